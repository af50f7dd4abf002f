package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Unclaimed is a run that an agent, cut off, has started without a claim, by an assignment that it has no more: the job was
// changed, removed or moved meanwhile.
type Unclaimed struct {
	Agent      string
	Run        crony.RunID // of the occurrence, as anybody would name it
	Job, UID   string
	Generation int64
	At         time.Time // the occurrence
}

// Fate is what an unclaimed run is to the servers.
//
// That nobody else has a run of the occurrence needs a proof: that none is known proves nothing, as its agent may not have
// reported it yet. The proof is that the cursor went over the occurrence in a pass; or that it has not come there, and what the
// job is now does not name the occurrence.
type Fate int

// The fates.
const (
	FateOpen   Fate = iota // there is no proof of anything
	FatePassed             // the occurrence was passed over, or will be: nobody was granted a run of it, or will be
	FateOwn                // its run is the agent's
	FateOthers             // its run is another agent's
)

// Fates returns what the keyspace proves of each run. What was passed over and is in the run log already, it does not tell.
func (s *Store) Fates(ctx context.Context, list []Unclaimed) ([]Fate, error) {
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	fates := make([]Fate, len(list))
	for i := range list {
		fates[i] = s.mirror.fate(&list[i], s.now())
	}
	return fates, nil
}

func (m *mirror) fate(u *Unclaimed, now time.Time) Fate {
	switch u.Run {
	case crony.OccurrenceRunID(u.UID, u.At, u.Agent): // of a job that each agent runs: nobody else's run has this id
		return FateOwn
	case crony.OccurrenceRunID(u.UID, u.At, ""):
	default:
		return FateOthers
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	fate := FateOpen
	for _, p := range m.passes {
		switch {
		case p.Definition.UID != u.UID || p.Of != "" || !p.After.Before(u.At) || p.Until.Before(u.At):
		case p.Unless == u.Run, p.Unless == "" && p.Ran:
			return u.fateOf(p.Agent)
		case p.Unless == "":
			fate = FatePassed
		}
	}
	j := m.jobs.byName[u.Job]
	if fate != FateOpen || j == nil || j.def == nil || j.def.UID != u.UID || j.claimRev == 0 {
		return fate
	}
	switch c := &j.claim; {
	case c.Run == u.Run:
		return u.fateOf(c.Agent)
	case c.At.Before(u.At) && !j.mayDecide(u.At, now):
		return FatePassed
	}
	return FateOpen
}

func (u *Unclaimed) fateOf(agent string) Fate {
	if agent == u.Agent {
		return FateOwn
	}
	return FateOthers
}

// mayDecide says whether an instant after the job's cursor may be claimed, now or later.
func (j *job) mayDecide(at, now time.Time) bool {
	if at.After(now) { // a change that is about to come would begin before it
		return true
	}
	if j.def.Job.Paused || !at.After(j.def.PlanSince) {
		return false
	}
	plan := j.def.Plan()
	return plan != nil && plan.Next(at.Add(-1)).Equal(at)
}

// Adopt gives occurrences that were passed over to the agent that has run them, whose runs then have the ordinary ids. Where
// two agents that were cut off have run one, it is the first one's. It returns which are the agent's; the same may be asked
// again.
func (s *Store) Adopt(ctx context.Context, list []Unclaimed) ([]bool, error) {
	own := make([]bool, 0, len(list))
	for batch := range slices.Chunk(list, maxPlace) {
		ops := make([]clientv3.Op, len(batch))
		for i := range batch {
			p := batch[i].adopted(s.now())
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(p.path()), "=", 0)},
				[]clientv3.Op{p.put()}, []clientv3.Op{clientv3.OpGet(p.path())})
		}
		resp, err := s.transact(ctx, nil, ops)
		if err != nil {
			return nil, err
		}
		for i := range batch {
			nested := resp.Responses[i].GetResponseTxn()
			mine := nested.Succeeded
			if !mine {
				if mine, err = adoptedBy(nested.Responses[0].GetResponseRange(), &batch[i]); err != nil {
					return nil, err
				}
			}
			own = append(own, mine)
		}
	}
	return own, nil
}

// adopted returns the record that the occurrence is the agent's.
func (u *Unclaimed) adopted(now time.Time) Pass {
	return Pass{Definition: crony.Definition{UID: u.UID, Generation: u.Generation, Job: crony.Job{Name: u.Job}}, Agent: u.Agent,
		After: u.At.Add(-1).UTC(), Until: u.At.UTC(), Unless: u.Run, Ran: true, End: crony.EndLost, DecidedAt: now.UTC(),
		Reason: "its agent was cut off and started it without a claim"}
}

func adoptedBy(found *etcdserverpb.RangeResponse, u *Unclaimed) (bool, error) {
	if len(found.Kvs) == 0 {
		return false, nil // it is gone again: the run is on record, and whose it is
	}
	p, err := decode[Pass](found.Kvs[0].Value)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", found.Kvs[0].Key, err)
	}
	return p.Agent == u.Agent && p.Unless == u.Run, nil
}

// Adopted says that the record is no pass, but says whose the run is that an agent has started without a claim. It is of use
// until that run is reported.
func (p *Pass) Adopted() bool { return p.Ran && p.Unless != "" }
