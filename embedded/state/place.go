package state

import (
	"context"
	"maps"
	"math"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Scope says which jobs [Store.Places] looks at.
type Scope struct {
	Open bool     // those for which there is something to do whatever the agents are
	Wide bool     // those of modes each and race
	Of   []string // those that these agents have
	All  bool     // all that are defined
	Jobs []string // these, if they are defined
}

// Places is what placement decides on. It is made in time that grows with what is in its scope, not with all that there is.
type Places struct {
	Jobs    []Placed            // in the order of their names
	Agents  []crony.AgentStatus // all that are known, by id; not filled in by [Store.Places]
	Load    map[string]int      // how many jobs each agent has, by its id
	Orphans []crony.Assignment  // of jobs that are gone
	Buried  []string            // with Open: agents that were removed, and still have jobs: see [Store.Vacate]
}

// Placed is a job, and where it is.
type Placed struct {
	Definition  *crony.Definition  // not to be changed
	Assignments []crony.Assignment // by agent
	Claim       crony.Claim        // the last, of a job of mode one or race
	ClaimRev    int64              // of its record; 0: there is none
}

// Places returns what there is in a scope for placement to decide on.
func (s *Store) Places(scope Scope) Places {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := Places{Load: make(map[string]int, len(m.jobs.byAgent))}
	for _, name := range m.within(scope) {
		j := m.jobs.byName[name]
		p.Jobs = append(p.Jobs, Placed{j.def, j.assigned(math.MaxInt), j.claim, j.claimRev})
	}
	for agent, names := range m.jobs.byAgent {
		p.Load[agent] = len(names)
	}
	for _, name := range slices.Sorted(maps.Keys(m.jobs.orphans)) {
		p.Orphans = append(p.Orphans, m.jobs.byName[name].assigned(math.MaxInt)...)
	}
	if scope.Open || scope.All {
		p.Buried = m.haunted()
	}
	return p
}

// within returns the names of the jobs in a scope, sorted. m.mu is held.
func (m *mirror) within(scope Scope) []string {
	if scope.All {
		names := make([]string, len(m.jobs.list))
		for i, j := range m.jobs.list {
			names[i] = j.name
		}
		return names
	}
	var names []string
	for _, name := range scope.Jobs {
		if j := m.jobs.byName[name]; j != nil && j.def != nil {
			names = append(names, name)
		}
	}
	if scope.Open {
		names = slices.AppendSeq(names, maps.Keys(m.jobs.open))
	}
	if scope.Wide {
		names = slices.AppendSeq(names, maps.Keys(m.jobs.wide))
	}
	for _, agent := range scope.Of {
		names = slices.AppendSeq(names, maps.Keys(m.jobs.byAgent[agent]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Move is a change of who has a job.
type Move struct {
	Job        string
	Generation int64              // of the definition by which it was decided
	Put        []crony.Assignment // to be written, over what the same agents have of the job now
	Drop       []crony.Assignment // to be taken away

	// Gone is an agent that must not be connected: it is why the job moves. "": none.
	Gone string
	// Claim is the revision of the job's claim beyond which nothing may have been claimed; 0: whatever was.
	Claim int64

	later []crony.Assignment // what further pieces of the same move put: these agents' cursors are kept for them
}

// Bounds on what shares a transaction.
const (
	maxPlace = 100 // changes of what rarely changes
	maxMoved = 500 // assignments that are written or taken away
)

// Place makes the moves that the leader of a term decided on, at most one of a job, and returns the names of the jobs that are
// then as their moves want them: an answer that was lost, and asked for again, tells no more. A move is made whole or not at
// all, but for one that is too large for a transaction, which is made in pieces. It is left out if its job was changed or has
// moved since the leader looked, if it puts the job on an agent that was removed, or if what it says of Gone or Claim does not
// hold. If the term is over, nothing more is written, which is no error.
func (s *Store) Place(ctx context.Context, term Term, moves []Move) ([]string, error) {
	made := make([]string, 0, len(moves))
	for todo := pieces(moves); len(todo) > 0; {
		n, size := 1, todo[0].size()
		for n < len(todo) && todo[n].Job != todo[n-1].Job && size+todo[n].size() <= maxMoved {
			size += todo[n].size()
			n++
		}
		led, err := s.place(ctx, term, todo[:n])
		if err != nil || !led {
			return made, err
		}
		for i := range todo[:n] {
			if m := &todo[i]; s.moved(m) && (len(made) == 0 || made[len(made)-1] != m.Job) {
				made = append(made, m.Job)
			}
		}
		todo = todo[n:]
	}
	return made, nil
}

func (m *Move) size() int { return len(m.Put) + len(m.Drop) }

// pieces returns moves none of which is too large, those of one job one after the other.
func pieces(moves []Move) []Move {
	if !slices.ContainsFunc(moves, func(m Move) bool { return m.size() > maxMoved }) {
		return moves
	}
	var list []Move
	for _, m := range moves {
		for m.size() > maxMoved {
			piece := m
			piece.Put = m.Put[:min(maxMoved, len(m.Put))]
			piece.Drop = m.Drop[:min(maxMoved-len(piece.Put), len(m.Drop))]
			m.Put, m.Drop = m.Put[len(piece.Put):], m.Drop[len(piece.Drop):]
			piece.later = m.Put
			list = append(list, piece)
		}
		list = append(list, m)
	}
	return list
}

// place makes moves in one transaction, as far as they can be made. It says whether the term holds.
func (s *Store) place(ctx context.Context, term Term, moves []Move) (bool, error) {
	t := s.newTxn(ctx)
	for i := range moves {
		if err := t.move(ctx, &moves[i]); err != nil {
			return false, err
		}
	}
	if len(t.ops) == 0 {
		return true, nil
	}
	return s.commit(ctx, []clientv3.Cmp{term.holds()}, t.ops)
}

// move makes one move in a transaction of its own inside t, so that a job that changed holds up no other.
func (t *txn) move(ctx context.Context, m *Move) error {
	j := t.look(m.Job)
	if j.rev == 0 || j.generation() != m.Generation {
		return nil
	}
	one := &txn{store: t.store, now: t.now}
	one.expect(specs+m.Job, j.rev)
	agents := map[string]bool{}
	for _, agent := range j.agents() {
		agents[agent] = true
	}
	noticed := false // by whoever changes or deletes the job, and compares what assignments it has
	for _, a := range m.Drop {
		one.expect(assignmentKey(a.Agent, m.Job), a.Epoch)
		one.remove(assignmentKey(a.Agent, m.Job))
		delete(agents, a.Agent)
		noticed = true
	}
	for _, a := range m.Put {
		var epoch int64
		if i, found := j.find(a.Agent); found {
			epoch, noticed = j.assignments[i].Epoch, true
		}
		one.expect(assignmentKey(a.Agent, m.Job), epoch)
		one.expect(tombstones+a.Agent, 0)
		one.assign(a)
		agents[a.Agent] = true
	}
	if j.mode() == crony.PlaceOne && len(agents) > 1 {
		return nil // it has been given to another agent since the leader looked
	}
	if !noticed {
		// So that it is, the definition gets a new revision; its value stays.
		one.ops = append(one.ops, clientv3.OpPut(specs+m.Job, "", clientv3.WithIgnoreValue()))
	}
	if m.Gone != "" {
		one.expect(nodes+m.Gone, 0)
	}
	if m.Claim != 0 {
		one.expect(claims+m.Job, m.Claim)
	}
	if err := one.cursors(ctx, &j, slices.Sorted(maps.Keys(agents)), m.later); err != nil {
		return err
	}
	t.ops = append(t.ops, clientv3.OpTxn(one.compares(), one.ops, nil))
	return nil
}

// moved says whether the mirror shows what a move makes.
func (s *Store) moved(m *Move) bool {
	j := s.mirror.look(m.Job)
	for _, a := range m.Put {
		i, found := j.find(a.Agent)
		if !found || j.assignments[i].Generation != m.Generation || !j.assignments[i].Since.Equal(a.Since) {
			return false
		}
	}
	for _, a := range m.Drop {
		if _, found := j.find(a.Agent); found {
			return false
		}
	}
	return true
}

// Strays returns the agents that have jobs and of which nothing else is known, by id: they registered before what is known of
// agents was written down. Those that were removed are none.
func (s *Store) Strays() []string {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []string
	for agent := range m.jobs.byAgent {
		_, buried := m.cluster.tombstones[agent]
		if _, known := m.status(agent); !known && !buried {
			list = append(list, agent)
		}
	}
	slices.Sort(list)
	return list
}

// Unplace removes assignments of jobs that are gone.
func (s *Store) Unplace(ctx context.Context, term Term, list []crony.Assignment) error {
	for batch := range slices.Chunk(list, maxPlace) {
		ops := make([]clientv3.Op, len(batch))
		for i, a := range batch {
			t := s.newTxn(ctx)
			t.expect(specs+a.Job, 0)
			t.expect(assignmentKey(a.Agent, a.Job), a.Epoch)
			t.remove(assignmentKey(a.Agent, a.Job))
			ops[i] = clientv3.OpTxn(t.compares(), t.ops, nil)
		}
		if ok, err := s.commit(ctx, []clientv3.Cmp{term.holds()}, ops); err != nil || !ok {
			return err
		}
	}
	return nil
}
