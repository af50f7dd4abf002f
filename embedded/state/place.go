package state

import (
	"context"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Places is what placement decides on: every job and where it is, and every agent.
type Places struct {
	Jobs    []Placed // in the order of their names
	Agents  []crony.Agent
	Orphans []crony.Assignment // of jobs that are gone
}

// Placed is a job, and where it is.
type Placed struct {
	Definition crony.Definition
	Assignment *crony.Assignment // nil: nowhere
}

// Places returns every job and agent.
func (s *Store) Places() Places {
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	p := Places{Agents: slices.Collect(maps.Values(m.agents)), Jobs: make([]Placed, 0, len(m.names))}
	for _, name := range m.names {
		j := m.jobs[name]
		p.Jobs = append(p.Jobs, Placed{j.def, j.assignment})
	}
	for _, j := range m.jobs {
		if j.rev == 0 && j.assignment != nil {
			p.Orphans = append(p.Orphans, *j.assignment)
		}
	}
	return p
}

// maxPlace is how many assignments share a transaction.
const maxPlace = 100

// Place writes the assignments that the leader of a term decided on, replacing what their jobs have now. An assignment whose
// job has changed since the leader looked is left out; if the term is over, nothing is written. Both come again with the
// next change that placement sees.
func (s *Store) Place(ctx context.Context, term Term, list []crony.Assignment) error {
	for batch := range slices.Chunk(list, maxPlace) {
		t := s.newTxn(ctx)
		t.conditions = append(t.conditions, term.holds())
		for _, a := range batch {
			t.place(a)
		}
		if len(t.ops) == 0 {
			continue
		}
		if _, err := s.commit(ctx, t.conditions, t.ops); err != nil {
			return err
		}
	}
	return nil
}

// place writes one assignment in a transaction of its own inside t, so that a job that changed holds up no other.
func (t *txn) place(a crony.Assignment) {
	j := t.look(a.Job)
	if j.rev == 0 || j.def.Generation != a.Generation {
		return
	}
	one := &txn{store: t.store, now: t.now}
	one.expect(specs+a.Job, j.rev)
	one.assign(a.Job, j.assignment, a)
	if old := j.assignment; old != nil && old.Agent != a.Agent {
		one.ops = append(one.ops, clientv3.OpDelete(assignmentKey(old.Agent, a.Job)))
	}
	t.ops = append(t.ops, clientv3.OpTxn(one.conditions, one.ops, nil))
}

// Unplace removes assignments of jobs that are gone.
func (s *Store) Unplace(ctx context.Context, term Term, list []crony.Assignment) error {
	for _, a := range list {
		t := s.newTxn(ctx)
		t.conditions = append(t.conditions, term.holds())
		t.expect(specs+a.Job, 0)
		t.expect(assignmentKey(a.Agent, a.Job), a.Epoch)
		t.ops = append(t.ops, clientv3.OpDelete(assignmentKey(a.Agent, a.Job)))
		if _, err := s.commit(ctx, t.conditions, t.ops); err != nil {
			return err
		}
	}
	return nil
}
