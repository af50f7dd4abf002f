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
	// Ran, with After, says that the agent was cut off and has started these by itself. It reports them when this is granted;
	// what it does not is lost.
	Ran bool
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
	tries := 0
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
		again, err := s.claimBatch(ctx, asks, batch, decisions)
		if err != nil {
			return nil, err
		}
		if len(again) > 0 {
			tries++
		}
		if tries > attempts {
			return nil, crony.Errorf(crony.Unavailable, "claim: others keep claiming the same jobs")
		}
		todo = append(again, rest...)
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

// claimBatch decides those of asks that batch names, and returns which are to be decided again: what this server knew of
// them was not the latest.
func (s *Store) claimBatch(ctx context.Context, asks []Ask, batch []int, decisions []Decision) ([]int, error) {
	ops := make([]clientv3.Op, 0, len(batch))
	asked := make([]int, 0, len(batch))
	parts := make([]part, 0, len(batch)) // of those that are asked for
	now := s.now()
	for _, i := range batch {
		ask := &asks[i]
		p := s.mirror.part(ask.Job, ask.Agent)
		if why := impossible(ask, &p, now); why != "" {
			decisions[i] = Decision{Reason: why}
			continue
		}
		claim := crony.Claim{At: ask.At, Agent: ask.Agent, Epoch: ask.Epoch, Generation: p.def.Generation}
		if ask.After.IsZero() {
			claim.Run = crony.OccurrenceRunID(p.def.UID, ask.At, p.whose)
			ops = append(ops, p.claimOp(ask, claim, now))
		} else {
			ops = append(ops, p.passOp(ask, claim, now))
		}
		decisions[i] = Decision{Granted: true, Run: claim.Run}
		asked, parts = append(asked, i), append(parts, p)
	}
	if len(ops) == 0 {
		return nil, nil
	}
	resp, err := s.transact(ctx, nil, ops)
	if err != nil {
		return nil, err
	}
	var again []int
	for n, i := range asked {
		nested := resp.Responses[n].GetResponseTxn()
		if nested.Succeeded {
			continue
		}
		d, outrun := refused(&asks[i], decisions[i].Run, nested.Responses)
		if parts[n].mode() == crony.PlaceRace && (outrun || d.Cursor.After(asks[i].At)) {
			if err := s.mirror.wait(ctx, resp.Header.Revision); err != nil {
				return nil, err
			}
			if outrun {
				again = append(again, i)
			} else if s.mirror.overtook(&parts[n], &asks[i]) {
				d = Decision{Granted: true, Run: decisions[i].Run}
			}
		}
		decisions[i] = d
	}
	return again, nil
}

// impossible says why a claim can't be granted whatever the store holds; "" if it may be.
func impossible(ask *Ask, p *part, now time.Time) string {
	a := p.of(ask.Agent)
	switch {
	case p.rev == 0:
		return "there is no such job"
	case ask.Epoch <= 0:
		return "no assignment is named" // the store gives 0 as the revision of a key that is not there
	case a == nil || a.Epoch != ask.Epoch || a.Generation != p.def.Generation:
		return movedMeanwhile
	case p.claim.Generation != p.def.Generation:
		return "what came due before the job was changed is not decided yet"
	case !ask.After.IsZero() && !ask.After.Before(ask.At):
		return "nothing is to be passed over"
	case ask.Ran && p.mode() == crony.PlaceRace:
		return "agents that race for a job start nothing without a claim"
	case !ask.After.IsZero() && ask.At.After(now):
		return "not due yet: the agent's clock is ahead of the server's"
	case ask.At.After(now.Add(maxAhead)):
		return "not due for more than a minute: the agent's clock is ahead of the server's"
	}
	return ""
}

// claimOp is the transaction of one claim. A compare on a key that does not exist is false, so a job without a claim key
// (it is made with the job, or with the assignment) can't be claimed.
//
// Agents that race for a job share its cursor, and what the one before has claimed may not be reported yet: the agent may be
// gone. So who moves the cursor on leaves a record of that, and the cursor must be as it was when it was looked at.
func (p *part) claimOp(ask *Ask, want crony.Claim, now time.Time) clientv3.Op {
	claim, assignment := p.claimKey(), assignmentKey(ask.Agent, ask.Job)
	if p.mode() != crony.PlaceRace {
		return clientv3.OpTxn(
			[]clientv3.Cmp{
				clientv3.Compare(clientv3.Value(claim), "<", claimsBefore(ask.At)),
				clientv3.Compare(clientv3.ModRevision(assignment), "=", ask.Epoch),
			},
			[]clientv3.Op{clientv3.OpPut(claim, claimValue(want, p.since))},
			[]clientv3.Op{clientv3.OpGet(claim), clientv3.OpGet(assignment)},
		)
	}
	return clientv3.OpTxn(
		[]clientv3.Cmp{
			clientv3.Compare(clientv3.Value(claim), "<", claimsBefore(ask.At)),
			clientv3.Compare(clientv3.ModRevision(claim), "=", p.claimRev),
			clientv3.Compare(clientv3.ModRevision(assignment), "=", ask.Epoch),
		},
		append(p.overtake(ask, now), clientv3.OpPut(claim, claimValue(want, p.since))),
		[]clientv3.Op{clientv3.OpGet(claim), clientv3.OpGet(assignment)},
	)
}

// passOp is the transaction that passes over occurrences, and leaves a record of it. The cursor must be where the agent takes
// it to be: else some of them may have been decided otherwise.
func (p *part) passOp(ask *Ask, want crony.Claim, now time.Time) clientv3.Op {
	claim, assignment := p.claimKey(), assignmentKey(ask.Agent, ask.Job)
	pass := p.passOf(p.def, ask.After, ask.At)
	pass.Agent, pass.Reason, pass.DecidedAt = ask.Agent, ask.Reason, now.UTC()
	if ask.Ran {
		pass.Ran, pass.End = true, crony.EndLost
	}
	conditions := []clientv3.Cmp{
		clientv3.Compare(clientv3.Value(claim), ">", claimsBefore(ask.After)),
		clientv3.Compare(clientv3.Value(claim), "<", claimsAfter(ask.After)),
		clientv3.Compare(clientv3.ModRevision(assignment), "=", ask.Epoch),
	}
	puts := []clientv3.Op{clientv3.OpPut(claim, claimValue(want, p.since)), pass.put()}
	if p.mode() == crony.PlaceRace {
		conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(claim), "=", p.claimRev))
		puts = append(puts, p.overtake(ask, now)...)
	}
	return clientv3.OpTxn(conditions, puts, []clientv3.Op{clientv3.OpGet(claim), clientv3.OpGet(assignment)})
}

const movedMeanwhile = "the job was changed or moved meanwhile"

// refused says why a claim was not granted, unless it was granted to the same agent before. Outrun says that it may be granted
// yet: the cursor moves, but is not there.
func refused(ask *Ask, id crony.RunID, found []*etcdserverpb.ResponseOp) (d Decision, outrun bool) {
	held, assigned := found[0].GetResponseRange().Kvs, found[1].GetResponseRange().Kvs
	if len(assigned) == 0 || assigned[0].ModRevision != ask.Epoch {
		return Decision{Reason: movedMeanwhile}, false
	}
	if len(held) == 0 {
		return Decision{Reason: "the job is being removed"}, false
	}
	c, err := decodeClaim(held[0].Value)
	claim := &c.claim
	switch {
	case err != nil:
		return Decision{Reason: fmt.Sprintf("its claim is not readable: %v", err)}, false
	case claim.At.Equal(ask.At) && claim.Agent == ask.Agent && claim.Epoch == ask.Epoch && claim.Run == id:
		return Decision{Granted: true, Run: id}, false
	case claim.At.Equal(ask.At) && claim.Run != "":
		return Decision{Reason: "claimed by agent " + claim.Agent, Cursor: claim.At}, false
	}
	outrun = ask.After.IsZero() && claim.At.Before(ask.At) || claim.At.Equal(ask.After)
	return Decision{Reason: "decided already: everything up to " + claim.At.Format(time.RFC3339Nano), Cursor: claim.At}, outrun
}

// decodeClaim reads a cursor; its revision is the key's and not in the value.
func decodeClaim(data []byte) (cursor, error) {
	var c struct {
		crony.Claim
		V     int       `json:"v"`
		Since time.Time `json:"since"`
	}
	if !bytes.HasPrefix(data, []byte(claimStart)) {
		return cursor{}, fmt.Errorf("a claim must begin with its time")
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return cursor{}, err
	}
	if c.V != version {
		return cursor{}, fmt.Errorf("schema version %d; this crony reads %d", c.V, version)
	}
	return cursor{claim: c.Claim, since: c.Since}, nil
}
