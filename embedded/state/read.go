package state

import (
	"context"
	"maps"
	"slices"
	"strings"

	"crony"
)

// look returns a copy of what is known of a job; its rev is 0 if there is none.
func (m *mirror) look(name string) job {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[name]; j != nil {
		return *j
	}
	return job{}
}

func (m *mirror) start(name string) start {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts[name]
}

func (m *mirror) agentCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
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
	j := s.mirror.look(name)
	if j.rev == 0 || j.agent() != agent || j.assignment.Generation != j.def.Generation {
		return Assigned{}, false
	}
	return Assigned{j.def, *j.assignment, j.claim}, true
}

// AssignedTo returns the names of the jobs that the agent has, sorted.
func (s *Store) AssignedTo(agent string) []string {
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name, j := range m.jobs {
		if j.agent() == agent {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Order returns the order to start a job now, and whether there is one.
func (s *Store) Order(name string) (crony.StartRequest, bool) {
	order := s.mirror.start(name)
	return order.StartRequest, order.Run != ""
}

// ListAgents returns the agents that are connected, in the order of their names, with the number of jobs that each has.
func (s *Store) ListAgents(context.Context) ([]crony.AgentStatus, error) {
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	jobs := map[string]int{}
	for _, j := range m.jobs {
		if j.rev != 0 && j.assignment != nil {
			jobs[j.assignment.Agent]++
		}
	}
	list := make([]crony.AgentStatus, 0, len(m.agents))
	for a := range maps.Values(m.agents) {
		list = append(list, crony.AgentStatus{Agent: a, Jobs: jobs[a.ID]})
	}
	slices.SortFunc(list, func(a, b crony.AgentStatus) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// Counts are the figures of the keyspace.
type Counts struct {
	Jobs, Paused, Unplaced, Agents int
}

// Counts returns the figures of the keyspace.
func (s *Store) Counts() Counts {
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	c := Counts{Jobs: len(m.names), Agents: len(m.agents)}
	for _, name := range m.names {
		if m.jobs[name].def.Job.Paused {
			c.Paused++
		}
		if m.jobs[name].assignment == nil {
			c.Unplaced++
		}
	}
	return c
}
