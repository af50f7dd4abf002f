package state

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Places is what placement decides on: every agent, and every job for which there is something to do. It is made in time
// that grows with what there is to do, not with all that there is.
type Places struct {
	Jobs    []Placed           // that no agent has, or whose assignment is not of their generation; in the order of their names
	Agents  []crony.Agent      // that are connected and take jobs, in the order of their ids
	Load    map[string]int     // how many jobs each agent has, by its id
	Orphans []crony.Assignment // of jobs that are gone
	Buried  []string           // agents that were removed, and still have jobs or orders: see [Store.Vacate]
}

// Placed is a job, and where it is.
type Placed struct {
	Definition *crony.Definition // not to be changed
	Assignment *crony.Assignment // nil: nowhere
}

// Places returns what there is for placement to decide.
func (s *Store) Places() Places {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := Places{
		Jobs: make([]Placed, 0, len(m.jobs.open)),
		Load: make(map[string]int, len(m.jobs.byAgent)),
	}
	for _, a := range m.fleet() {
		if a.Up && a.Cordon == nil {
			p.Agents = append(p.Agents, a.Agent)
		}
	}
	slices.SortFunc(p.Agents, func(a, b crony.Agent) int { return strings.Compare(a.ID, b.ID) })
	for _, name := range slices.Sorted(maps.Keys(m.jobs.open)) {
		j := m.jobs.byName[name]
		p.Jobs = append(p.Jobs, Placed{j.def, j.newest()})
	}
	for agent, names := range m.jobs.byAgent {
		p.Load[agent] = len(names)
	}
	for _, name := range slices.Sorted(maps.Keys(m.jobs.orphans)) {
		p.Orphans = append(p.Orphans, m.jobs.byName[name].assigned(math.MaxInt)...)
	}
	p.Buried = m.haunted()
	return p
}

// maxPlace is how many assignments share a transaction.
const maxPlace = 100

// Place writes the assignments that the leader of a term decided on, replacing what their jobs have now. An assignment whose
// job has changed since the leader looked is left out, and one to an agent that has been removed; if the term is over, nothing
// is written. All come again with the next change that placement sees.
func (s *Store) Place(ctx context.Context, term Term, list []crony.Assignment) error {
	for batch := range slices.Chunk(list, maxPlace) {
		t := s.newTxn(ctx)
		for _, a := range batch {
			if err := t.place(ctx, a); err != nil {
				return err
			}
		}
		if len(t.ops) == 0 {
			continue
		}
		if ok, err := s.commit(ctx, []clientv3.Cmp{term.holds()}, t.ops); err != nil || !ok {
			return err
		}
	}
	return nil
}

// place writes one assignment in a transaction of its own inside t, so that a job that changed holds up no other. A job that
// one agent is to have is taken from whoever has it now.
func (t *txn) place(ctx context.Context, a crony.Assignment) error {
	j := t.look(a.Job)
	if j.rev == 0 || j.generation() != a.Generation {
		return nil
	}
	one := &txn{store: t.store, now: t.now}
	one.expect(specs+a.Job, j.rev)
	one.expect(tombstones+a.Agent, 0)
	one.assign(a)
	agents := []string{a.Agent}
	for _, old := range j.assignments {
		switch {
		case old.Agent == a.Agent || j.mode() == crony.PlaceOne:
			one.expect(assignmentKey(old.Agent, a.Job), old.Epoch)
			if old.Agent != a.Agent {
				one.remove(assignmentKey(old.Agent, a.Job))
			}
		default:
			agents = append(agents, old.Agent)
		}
	}
	if j.of(a.Agent) == nil {
		// Whoever is changing or deleting the job has no assignment to compare. So that it notices the new one, the definition
		// gets a new revision; its value stays.
		one.ops = append(one.ops, clientv3.OpPut(specs+a.Job, "", clientv3.WithIgnoreValue()))
	}
	if err := one.cursors(ctx, &j, agents); err != nil {
		return err
	}
	t.ops = append(t.ops, clientv3.OpTxn(one.compares(), one.ops, nil))
	return nil
}

// Unplace removes assignments of jobs that are gone.
func (s *Store) Unplace(ctx context.Context, term Term, list []crony.Assignment) error {
	for _, a := range list {
		t := s.newTxn(ctx)
		t.expect(specs+a.Job, 0)
		t.expect(assignmentKey(a.Agent, a.Job), a.Epoch)
		t.remove(assignmentKey(a.Agent, a.Job))
		if _, err := s.commit(ctx, append(t.compares(), term.holds()), t.ops); err != nil {
			return err
		}
	}
	return nil
}
