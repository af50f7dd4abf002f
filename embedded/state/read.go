package state

import (
	"maps"
	"slices"

	"crony"
)

// look returns what is known of a job; its rev is 0 if there is none.
func (m *mirror) look(name string) job {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if j := m.jobs.byName[name]; j != nil {
		return *j
	}
	return job{name: name}
}

// part returns what is known of a job as an agent has it, or would have it; its rev is 0 if there is none.
func (m *mirror) part(name, agent string) part {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.jobs.part(name, agent)
}

// parts returns a job once for each cursor that there is of it.
func (m *mirror) parts(name string) []part {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.jobs.parts(name)
}

// hasOwn says whether agents have cursors of a job of their own.
func (m *mirror) hasOwn(name string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.jobs.own[name]) > 0
}

// stride is how many jobs are looked at before others, and above all what comes from the store, get their turn.
const stride = 1000

// find returns the first jobs, at most most of them, whose name comes after a name and that are wanted.
func (m *mirror) find(after string, most int, wanted func(*job) bool) []job {
	var found []job
	for {
		last, more := m.findSome(after, func(j *job) bool {
			if wanted(j) {
				found = append(found, *j)
			}
			return len(found) < most
		})
		if !more {
			return found
		}
		after = last
	}
}

// findSome shows the next jobs after a name until f has seen enough; more says that there are others.
func (m *mirror) findSome(after string, f func(*job) bool) (last string, more bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, found := m.jobs.search(after)
	if found {
		i++
	}
	list := m.jobs.list[i:]
	for _, j := range list[:min(stride, len(list))] {
		if !f(j) {
			return "", false
		}
		last = j.name
	}
	return last, len(list) > stride
}

func (m *mirror) start(name string) start {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.starts[name]
}

// connected says whether an agent is, to whichever server.
func (s *Store) connected(agent string) bool {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	_, is := s.mirror.agents[agent]
	return is
}

func (m *mirror) agentCount() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.agents)
}

// Assigned is a job as its agent must know it.
type Assigned struct {
	Definition crony.Definition
	Assignment crony.Assignment
	Claim      crony.Claim // every occurrence up to its time is decided
}

// Assigned returns the job as the agent has it, and whether it has it.
func (s *Store) Assigned(agent, name string) (Assigned, bool) {
	p := s.mirror.part(name, agent)
	return p.has(agent)
}

func (p *part) has(agent string) (Assigned, bool) {
	a := p.of(agent)
	if p.rev == 0 || a == nil || a.Generation != p.def.Generation {
		return Assigned{}, false
	}
	return Assigned{*p.def, *a, p.claim}, true
}

// AssignedTo returns the names of the jobs that the agent has, sorted.
func (s *Store) AssignedTo(agent string) []string {
	s.mirror.mu.RLock()
	names := slices.Collect(maps.Keys(s.mirror.jobs.byAgent[agent]))
	s.mirror.mu.RUnlock()
	slices.Sort(names)
	return names
}

// Order returns the order to start a job now, and whether there is one.
func (s *Store) Order(name string) (crony.StartRequest, bool) {
	order := s.mirror.start(name)
	return order.StartRequest, order.Run != ""
}

// Counts are the figures of the keyspace.
type Counts struct {
	Jobs, Paused, Unplaced, Agents int
}

// Counts returns the figures of the keyspace.
func (s *Store) Counts() Counts {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Counts{Jobs: len(m.jobs.list), Paused: m.jobs.paused, Unplaced: m.jobs.homeless, Agents: len(m.agents)}
}
