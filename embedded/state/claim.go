package state

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Ask asks for the right to start one occurrence, or for several to be passed over.
type Ask struct {
	Job   string
	Agent string    // who asks
	Epoch int64     // of the assignment by which it has the job
	At    time.Time // the occurrence
	// After, if it is not zero, is the job's cursor, for all that the agent knows: what lies after it and up to At is to be
	// passed over, for Reason.
	After  time.Time
	Reason string
}

// Decision answers an Ask.
type Decision struct {
	Granted bool
	Run     crony.RunID // if a claim is granted
	Reason  string      // if not, in plain words
	Cursor  time.Time   // if not, and not zero: every occurrence up to it is decided
}

// maxClaims is how many claims share a transaction.
const maxClaims = 256

// maxAhead is how long before an occurrence is due it may be claimed: agents ask a second ahead, and the rest is for clocks
// that differ. Without it an agent whose clock is years ahead would decide a job's years to come, and nothing would run when
// the clock has been set right.
const maxAhead = time.Minute

// Claim decides each of asks, in their order. An occurrence is granted once: to the agent that the job is assigned to at
// the epoch it names, if nothing at or after the occurrence was decided before. The same ask again has the same answer, as
// long as it is for the last occurrence of the job that was decided. With an error some may have been granted: ask again.
func (s *Store) Claim(ctx context.Context, asks []Ask) ([]Decision, error) {
	if err := s.reach(ctx, asks); err != nil {
		return nil, err
	}
	decisions := make([]Decision, len(asks))
	for todo := indexes(len(asks)); len(todo) > 0; {
		var batch, rest []int
		seen := make(map[string]bool, len(todo))
		for _, i := range todo {
			if len(batch) == maxClaims || seen[asks[i].Job] { // one transaction writes a key once
				rest = append(rest, i)
				continue
			}
			seen[asks[i].Job] = true
			batch = append(batch, i)
		}
		if err := s.claimBatch(ctx, asks, batch, decisions); err != nil {
			return nil, err
		}
		todo = rest
	}
	return decisions, nil
}

// reach has the mirror know every assignment that is named. Without it a mirror that is behind could take a job for the one
// that had its name before, whose runs have other ids.
func (s *Store) reach(ctx context.Context, asks []Ask) error {
	at := s.mirror.revision()
	if !slices.ContainsFunc(asks, func(a Ask) bool { return a.Epoch > at }) {
		return nil
	}
	return s.sync(ctx)
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func (s *Store) claimBatch(ctx context.Context, asks []Ask, batch []int, decisions []Decision) error {
	ops := make([]clientv3.Op, 0, len(batch))
	asked := make([]int, 0, len(batch))
	now := s.now()
	for _, i := range batch {
		ask := &asks[i]
		j := s.mirror.look(ask.Job)
		if why := impossible(ask, j, now); why != "" {
			decisions[i] = Decision{Reason: why}
			continue
		}
		claim := crony.Claim{At: ask.At, Agent: ask.Agent, Epoch: ask.Epoch, Generation: j.assignment.Generation}
		if ask.After.IsZero() {
			claim.Run = crony.OccurrenceRunID(j.def.UID, ask.At, "")
			ops = append(ops, claimOp(ask, claim))
		} else {
			ops = append(ops, s.passOp(ask, claim, j.def))
		}
		decisions[i] = Decision{Granted: true, Run: claim.Run}
		asked = append(asked, i)
	}
	if len(ops) == 0 {
		return nil
	}
	resp, err := s.transact(ctx, nil, ops)
	if err != nil {
		return err
	}
	for n, i := range asked {
		if nested := resp.Responses[n].GetResponseTxn(); !nested.Succeeded {
			decisions[i] = s.refused(&asks[i], decisions[i].Run, nested.Responses)
		}
	}
	return nil
}

// impossible says why a claim can't be granted whatever the store holds; "" if it may be.
func impossible(ask *Ask, j job, now time.Time) string {
	switch {
	case j.rev == 0:
		return "there is no such job"
	case ask.Epoch <= 0:
		return "no assignment is named" // the store gives 0 as the revision of a key that is not there
	case j.agent() != ask.Agent || j.assignment.Epoch != ask.Epoch:
		return movedMeanwhile
	case j.claim.Generation != j.assignment.Generation:
		return "what came due before the job was changed is not decided yet"
	case !ask.After.IsZero() && !ask.After.Before(ask.At):
		return "nothing is to be passed over"
	case !ask.After.IsZero() && ask.At.After(now):
		return "not due yet: the agent's clock is ahead of the server's"
	case ask.At.After(now.Add(maxAhead)):
		return "not due for more than a minute: the agent's clock is ahead of the server's"
	}
	return ""
}

// claimOp is the transaction of one claim. A compare on a key that does not exist is false, so a job without a claim key
// (it is made with the job) can't be claimed.
func claimOp(ask *Ask, want crony.Claim) clientv3.Op {
	claim, assignment := claims+ask.Job, assignmentKey(ask.Agent, ask.Job)
	return clientv3.OpTxn(
		[]clientv3.Cmp{
			clientv3.Compare(clientv3.Value(claim), "<", claimsBefore(ask.At)),
			clientv3.Compare(clientv3.ModRevision(assignment), "=", ask.Epoch),
		},
		[]clientv3.Op{clientv3.OpPut(claim, claimValue(want))},
		[]clientv3.Op{clientv3.OpGet(claim), clientv3.OpGet(assignment)},
	)
}

// passOp is the transaction that passes over occurrences, and leaves a record of it. The cursor must be where the agent takes
// it to be: else some of them may have been decided otherwise.
func (s *Store) passOp(ask *Ask, want crony.Claim, def *crony.Definition) clientv3.Op {
	claim, assignment := claims+ask.Job, assignmentKey(ask.Agent, ask.Job)
	pass := passOf(def, ask.After, ask.At)
	pass.Agent, pass.Reason, pass.DecidedAt = ask.Agent, ask.Reason, s.now().UTC()
	return clientv3.OpTxn(
		[]clientv3.Cmp{
			clientv3.Compare(clientv3.Value(claim), ">", claimsBefore(ask.After)),
			clientv3.Compare(clientv3.Value(claim), "<", claimsAfter(ask.After)),
			clientv3.Compare(clientv3.ModRevision(assignment), "=", ask.Epoch),
		},
		[]clientv3.Op{clientv3.OpPut(claim, claimValue(want)), pass.put()},
		[]clientv3.Op{clientv3.OpGet(claim), clientv3.OpGet(assignment)},
	)
}

const movedMeanwhile = "the job was changed or moved meanwhile"

// refused says why a claim was not granted, unless it was granted to the same agent before.
func (s *Store) refused(ask *Ask, id crony.RunID, found []*etcdserverpb.ResponseOp) Decision {
	held, assigned := found[0].GetResponseRange().Kvs, found[1].GetResponseRange().Kvs
	if len(assigned) == 0 || assigned[0].ModRevision != ask.Epoch {
		return Decision{Reason: movedMeanwhile}
	}
	if len(held) == 0 {
		return Decision{Reason: "the job is being removed"}
	}
	claim, err := decodeClaim(held[0].Value)
	switch {
	case err != nil:
		return Decision{Reason: fmt.Sprintf("its claim is not readable: %v", err)}
	case claim.At.Equal(ask.At) && claim.Agent == ask.Agent && claim.Epoch == ask.Epoch && claim.Run == id:
		return Decision{Granted: true, Run: id}
	case claim.At.Equal(ask.At) && claim.Run != "":
		return Decision{Reason: "claimed by agent " + claim.Agent, Cursor: claim.At}
	}
	return Decision{Reason: "decided already: everything up to " + claim.At.Format(time.RFC3339Nano), Cursor: claim.At}
}

func decodeClaim(data []byte) (crony.Claim, error) {
	var c struct {
		crony.Claim
		V int `json:"v"`
	}
	if !bytes.HasPrefix(data, []byte(claimStart)) {
		return c.Claim, fmt.Errorf("a claim must begin with its time")
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c.Claim, err
	}
	if c.V != version {
		return c.Claim, fmt.Errorf("schema version %d; this crony reads %d", c.V, version)
	}
	return c.Claim, nil
}
