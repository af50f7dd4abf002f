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
	// Skipped says that what is passed over is as was asked for; else it is missed.
	Skipped bool
	// Until, if it is not zero, is where the pass ends, and the occurrence at At is asked for as well: neither is without the
	// other.
	Until time.Time
	// Due says that the occurrence's time has come: if runs of the job are in the way, it is to wait, or to replace them, as the
	// job's overlap says. Before that it is refused, and may be asked for again.
	Due bool
	// Behind, if it is not "", is a run of the agent's that is to have ended when the occurrence starts: if it is the last in the
	// job's lock, which has place for one, the occurrence is granted behind it. The agent sees whether it has, and gives the
	// occurrence up if not; nobody else comes in between.
	Behind crony.RunID
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
	Busy    crony.RunID // the run that is in the way: of a claim that is granted, the run waits for its job's lock
}

// maxClaims is how many claims share a transaction.
const maxClaims = 256

// maxAhead is how long before an occurrence is due it may be claimed: agents ask a few seconds ahead, and the rest is for clocks
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
	c := claiming{asks: asks, decisions: make([]Decision, len(asks))}
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
		again, err := s.claimBatch(ctx, &c, batch)
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
	return c.decisions, nil
}

// claiming is asks that are being decided.
type claiming struct {
	asks      []Ask
	decisions []Decision
	current   bool // the mirror has caught up since they came
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
func (s *Store) claimBatch(ctx context.Context, c *claiming, batch []int) (again []int, err error) {
	ops := make([]clientv3.Op, 0, len(batch))
	asked := make([]*proposal, 0, len(batch))
	now := s.now()
	for _, i := range batch {
		p := s.proposal(i, &c.asks[i])
		if why := impossible(p.ask, &p.part, now); why != "" {
			c.decisions[i] = Decision{Reason: why}
			continue
		}
		d := p.decide(now)
		switch c.decisions[i] = d; {
		case d.Granted:
			ops, asked = append(ops, p.op(now)), append(asked, p)
		case !c.current: // a run is in the way, for all that the mirror shows
			again = append(again, i)
		}
	}
	if len(again) > 0 {
		if err := s.sync(ctx); err != nil {
			return nil, err
		}
		c.current = true
	}
	if len(ops) == 0 {
		return again, nil
	}
	resp, err := s.transact(ctx, nil, ops)
	if err != nil {
		return nil, err
	}
	for n, p := range asked {
		nested := resp.Responses[n].GetResponseTxn()
		if nested.Succeeded {
			continue
		}
		d, outrun := refused(p.ask, p.want.Run, nested.Responses)
		if outrun || p.mode() == crony.PlaceRace && d.Cursor.After(p.ask.At) {
			if err := s.mirror.wait(ctx, resp.Header.Revision); err != nil {
				return nil, err
			}
			if outrun {
				again = append(again, p.i)
			} else if s.mirror.overtook(&p.part, p.ask) {
				l, _ := s.mirror.lock(p.key)
				d = Decision{Granted: true, Run: p.want.Run, Busy: l.held(p.name, p.want.Run).Behind}
			}
		}
		c.decisions[p.i] = d
	}
	return again, nil
}

// impossible says why a claim can't be granted whatever the store holds; "" if it may be.
func impossible(ask *Ask, p *part, now time.Time) string {
	a, until := p.of(ask.Agent), ask.passUntil()
	switch {
	case p.rev == 0:
		return "there is no such job"
	case ask.Epoch <= 0:
		return "no assignment is named" // the store gives 0 as the revision of a key that is not there
	case a == nil || a.Epoch != ask.Epoch || a.Generation != p.def.Generation:
		return movedMeanwhile
	case p.claim.Generation != p.def.Generation:
		return "what came due before the job was changed is not decided yet"
	case !ask.After.IsZero() && !ask.After.Before(until), !ask.Until.IsZero() && !ask.Until.Before(ask.At):
		return "nothing is to be passed over"
	case ask.Ran && p.mode() == crony.PlaceRace:
		return "agents that race for a job start nothing without a claim"
	case !ask.After.IsZero() && !ask.Skipped && until.After(now):
		return "not due yet: the agent's clock is ahead of the server's"
	case ask.At.After(now.Add(maxAhead)):
		return "not due for more than a minute: the agent's clock is ahead of the server's"
	}
	return ""
}

// proposal is what an ask comes to, by what the mirror shows.
type proposal struct {
	part

	i    int // of the ask among the others
	ask  *Ask
	want crony.Claim
	room room
	key  string // of the job's lock; "" if it has none, or nothing is to start
	lock lock   // as it stands
	next lock   // as it would be
}

func (s *Store) proposal(i int, ask *Ask) *proposal {
	p := &proposal{part: s.mirror.part(ask.Job, ask.Agent), i: i, ask: ask}
	if p.rev == 0 {
		return p
	}
	p.want = crony.Claim{At: ask.At, Agent: ask.Agent, Epoch: ask.Epoch, Generation: p.def.Generation}
	if ask.passUntil().Equal(ask.At) {
		return p
	}
	p.want.Run = crony.OccurrenceRunID(p.def.UID, ask.At, p.whose)
	if p.room = roomOf(p.def); p.room.slots > 0 {
		p.key = p.lockKey(ask.Agent)
		p.lock, _ = s.mirror.lock(p.key)
	}
	return p
}

// passUntil returns up to where occurrences are to be passed over; the zero time if none are.
func (a *Ask) passUntil() time.Time {
	if a.After.IsZero() || !a.Until.IsZero() {
		return a.Until
	}
	return a.At
}

// decide returns what the ask is to be answered if the store is as the mirror shows it.
func (p *proposal) decide(now time.Time) Decision {
	granted := Decision{Granted: true, Run: p.want.Run}
	if p.key == "" {
		return granted
	}
	p.next = p.lock
	if _, has := p.lock.find(p.want.Run); has || !p.claim.At.Before(p.ask.At) {
		return granted // before, or not at all: the transaction changes nothing, and finds out
	}
	place := crony.Lock{Run: p.want.Run, Agent: p.ask.Agent, Since: now.UTC()}
	switch {
	case p.ask.Due || p.lock.free(p.room):
	case p.follows():
		p.next = p.lock.behind(place)
		granted.Busy = p.lock.holder()
		return granted
	default:
		return Decision{Busy: p.lock.holder(), Reason: crony.HolderReason(p.lock.holder())}
	}
	next, why := p.lock.enter(place, p.room)
	if why != "" {
		return Decision{Busy: p.lock.holder(), Reason: why}
	}
	p.next = next
	granted.Busy = next.held(p.ask.Job, p.want.Run).Behind
	return granted
}

// follows says whether the occurrence may be granted behind a run of the same agent.
func (p *proposal) follows() bool {
	n := len(p.lock.Runs)
	return p.ask.Behind != "" && p.room.single() && n > 0 && n <= crony.MaxQueue &&
		p.lock.Runs[n-1].Run == p.ask.Behind && p.lock.Runs[n-1].Agent == p.ask.Agent
}

// op is the transaction of one ask. A compare on a key that does not exist is false, so a job without a claim key (it is made
// with the job, or with the assignment) can't be claimed. When occurrences are passed over, it leaves a record of that, and the
// cursor must be where the agent takes it to be: else some of them may have been decided otherwise.
//
// Agents that race for a job share its cursor, and what the one before has claimed may not be reported yet: the agent may be
// gone. So who moves the cursor on leaves a record of that, and the cursor must be as it was when it was looked at.
func (p *proposal) op(now time.Time) clientv3.Op {
	ask, claim, assignment := p.ask, p.claimKey(), assignmentKey(p.ask.Agent, p.ask.Job)
	conditions := []clientv3.Cmp{
		clientv3.Compare(clientv3.Value(claim), "<", claimsBefore(ask.At)),
		clientv3.Compare(clientv3.ModRevision(assignment), "=", ask.Epoch),
	}
	puts := []clientv3.Op{clientv3.OpPut(claim, claimValue(p.want, p.since))}
	gets := []clientv3.Op{clientv3.OpGet(claim), clientv3.OpGet(assignment)}
	if !ask.After.IsZero() {
		pass := p.passOf(p.def, ask.After, ask.passUntil())
		pass.Agent, pass.Reason, pass.DecidedAt = ask.Agent, ask.Reason, now.UTC()
		switch {
		case ask.Skipped:
			pass.End = crony.EndSkipped
		case ask.Ran:
			pass.Ran, pass.End = true, crony.EndLost
		}
		conditions = append(conditions, clientv3.Compare(clientv3.Value(claim), ">", claimsBefore(ask.After)),
			clientv3.Compare(clientv3.Value(claim), "<", claimsAfter(ask.After)))
		puts = append(puts, pass.put())
	}
	if p.mode() == crony.PlaceRace {
		conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(claim), "=", p.claimRev))
		puts = append(puts, p.overtake(ask, now)...)
	}
	if p.key != "" {
		conditions = append(conditions, p.lock.is(p.key))
		puts = append(puts, p.next.op(p.key))
		gets = append(gets, clientv3.OpGet(p.key))
	}
	return clientv3.OpTxn(conditions, puts, gets)
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
	if err != nil {
		return Decision{Reason: fmt.Sprintf("its claim is not readable: %v", err)}, false
	}
	d, outrun = ask.refusal(&c.claim, id)
	if d.Granted && len(found) > 2 {
		l, err := lockFrom(found[2].GetResponseRange())
		if err != nil {
			return Decision{Reason: err.Error()}, false
		}
		d.Busy = l.held(ask.Job, id).Behind
	}
	return d, outrun
}

// refusal is the answer to an ask for the run id by where the job's cursor is.
func (a *Ask) refusal(claim *crony.Claim, id crony.RunID) (d Decision, outrun bool) {
	switch {
	case claim.At.Equal(a.At) && claim.Agent == a.Agent && claim.Epoch == a.Epoch && claim.Run == id:
		return Decision{Granted: true, Run: id}, false
	case claim.At.Equal(a.At) && claim.Run != "":
		return Decision{Reason: "claimed by agent " + claim.Agent, Cursor: claim.At}, false
	}
	outrun = a.After.IsZero() && claim.At.Before(a.At) || claim.At.Equal(a.After)
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
