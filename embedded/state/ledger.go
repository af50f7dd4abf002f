package state

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Pass is the record that a job's cursor went over occurrences that will not run: written in the transaction that moved it,
// and here until it is in the run log.
type Pass struct {
	Definition crony.Definition `json:"definition"`   // as far as it says when the job was due
	Of         string           `json:"of,omitempty"` // the agent whose occurrences they are, of a job of mode each
	Agent      string           `json:"agent,omitempty"`
	After      time.Time        `json:"after"` // without this instant itself
	Until      time.Time        `json:"until"`
	End        crony.End        `json:"end"`
	Reason     string           `json:"reason"`
	DecidedAt  time.Time        `json:"decided_at"`
	// Unless, if set, is the run of the occurrence at Until, the only one that is meant: it was claimed, and if its agent
	// reports it the record is void.
	Unless crony.RunID `json:"unless,omitempty"`
	// Ran says that the agent has started these without a claim: those that it reports are void. With Unless, see [Pass.Adopted].
	Ran bool `json:"ran,omitempty"`

	key string
	rev int64
}

// Stretch returns the ledger's entry for what was passed over; false if no occurrence was.
func (p *Pass) Stretch() (crony.Stretch, bool) {
	s := crony.Stretch{Job: p.Definition.Job.Name, JobUID: p.Definition.UID, Of: p.Of, Generation: p.Definition.Generation,
		Agent: p.Agent, From: p.Until, To: p.Until, Count: 1, End: p.End, Reason: p.Reason, DecidedAt: p.DecidedAt}
	if p.Unless != "" {
		return s, !p.Adopted()
	}
	plan := p.Definition.Plan()
	if plan == nil {
		return s, false
	}
	s.Count, s.From, s.To = plan.Count(p.After, p.Until)
	return s, s.Count > 0
}

// Runs returns the ids of the runs that make the record void if all of them are reported. They are false if there are none,
// or more than so many.
func (p *Pass) Runs(most int) ([]crony.RunID, bool) {
	plan := p.Definition.Plan()
	switch {
	case p.Unless != "":
		return []crony.RunID{p.Unless}, true
	case !p.Ran || plan == nil:
		return nil, false
	}
	var list []crony.RunID
	for at := plan.Next(p.After); !at.IsZero() && !at.After(p.Until); at = plan.Next(at) {
		if len(list) == most {
			return nil, false
		}
		list = append(list, crony.OccurrenceRunID(p.Definition.UID, at, p.Of))
	}
	return list, len(list) > 0
}

// passOf returns the record for a definition, of which it keeps what says when the job was due.
func passOf(def *crony.Definition, after, until time.Time) Pass {
	kept := crony.Definition{UID: def.UID, Generation: def.Generation, Calendars: def.Calendars, Job: crony.Job{Name: def.Job.Name,
		Schedule: def.Job.Schedule, Schedules: def.Job.Schedules, Calendars: def.Job.Calendars}}
	return Pass{Definition: kept, After: after.UTC(), Until: until.UTC(), End: crony.EndMissed}
}

// put returns the operation that stores the record.
func (p *Pass) put() clientv3.Op { return clientv3.OpPut(p.path(), encode(p)) }

// path returns the record's key. A cursor passes a time once, so that it is the record's own: <uid>/<until>, for an agent's
// own cursor <uid>/of/<agent>/<until>, and with run/ before the time for what was claimed.
func (p *Pass) path() string {
	key := passes + p.Definition.UID + "/"
	if p.Of != "" {
		key += "of/" + p.Of + "/"
	}
	if p.Unless != "" {
		key += "run/"
	}
	return key + p.Until.UTC().Format(fixedTime)
}

// Passes returns the records that are to go into the run log, the oldest first.
func (s *Store) Passes() []Pass {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.SortedFunc(maps.Values(m.passes), func(a, b Pass) int {
		return cmp.Or(cmp.Compare(a.rev, b.rev), cmp.Compare(a.key, b.key))
	})
}

// PassesOf returns the records of a job that is defined now, the oldest first.
func (s *Store) PassesOf(job string) []Pass {
	list := s.Passes()
	return slices.DeleteFunc(list, func(p Pass) bool { return p.Definition.Job.Name != job })
}

// Forget removes records that the run log has, or that are void.
func (s *Store) Forget(ctx context.Context, list []Pass) error {
	for batch := range slices.Chunk(list, maxPlace) {
		ops := make([]clientv3.Op, len(batch))
		for i, p := range batch {
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(p.key), "=", p.rev)},
				[]clientv3.Op{clientv3.OpDelete(p.key)}, nil)
		}
		if _, err := s.commit(ctx, nil, ops); err != nil {
			return err
		}
	}
	return nil
}

// History is all that is kept of how a job came due.
type History struct {
	Definitions []crony.Definition // by generation; the last is in force
	Waiting     string             // why no agent has it, if none has
	// Claim is the cursor that all who have the job share: every occurrence up to its time is decided. It is the zero claim if
	// each has one of its own.
	Claim crony.Claim
	// Holders are those who have the job, and those who have a cursor of their own yet though they have it no more; by id.
	Holders []Holder
}

// Holder is an agent that has a job.
type Holder struct {
	Agent     string
	Assigned  bool
	Connected bool
	Claim     crony.Claim // of a job of mode each: every occurrence of the agent's up to its time is decided
	Since     time.Time   // of a job of mode each: when the agent began to have it; what was due up to then is none of its own
}

// History returns what is kept of a job; NotFound if there is none.
func (s *Store) History(ctx context.Context, name string) (History, error) {
	if err := s.sync(ctx); err != nil {
		return History{}, err
	}
	j := s.mirror.look(name)
	if j.rev == 0 {
		return History{}, noJob(name)
	}
	defs, err := s.generations(ctx, &j)
	if err != nil {
		return History{}, err
	}
	return History{Definitions: defs, Claim: j.claim, Waiting: j.waiting(s.mirror.all()), Holders: s.mirror.holders(&j)}, nil
}

// holders returns who has a job, or has a cursor of it.
func (m *mirror) holders(j *job) []Holder {
	m.mu.RLock()
	defer m.mu.RUnlock()
	by := map[string]Holder{}
	for _, agent := range j.agents() {
		if j.of(agent) != nil {
			by[agent] = Holder{Agent: agent, Assigned: true}
		}
	}
	for agent, c := range m.jobs.own[j.name] {
		h := by[agent]
		h.Agent, h.Claim, h.Since = agent, c.claim, c.since
		by[agent] = h
	}
	list := make([]Holder, 0, len(by))
	for _, agent := range slices.Sorted(maps.Keys(by)) {
		h := by[agent]
		_, h.Connected = m.agents[agent]
		list = append(list, h)
	}
	return list
}

// generations returns the kept definitions of a job, the one in force last.
func (s *Store) generations(ctx context.Context, j *job) ([]crony.Definition, error) {
	defs := make([]crony.Definition, 0, kept+1)
	if j.generation() > 1 {
		resp, err := s.get(ctx, history+j.name+"/", clientv3.WithPrefix())
		if err != nil {
			return nil, err
		}
		for _, kv := range resp.Kvs {
			def, err := decode[crony.Definition](kv.Value)
			if err != nil {
				s.unreadable([]error{err})
				continue
			}
			if def.UID == j.def.UID && def.Generation < j.generation() {
				defs = append(defs, def)
			}
		}
	}
	return append(defs, *j.def), nil
}
