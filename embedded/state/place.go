package state

import (
	"context"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Scope says which jobs [Store.Places] looks at.
type Scope struct {
	Open bool     // those for which there is something to do whatever the agents are, and what is left of jobs and agents that are gone
	Wide bool     // those of modes each and race
	Of   []string // those that these agents have
	All  bool     // all that are defined
	Jobs []string // these, if there is something to do for them whatever the agents are
}

// Places is what placement decides on. It is made in time that grows with what is in its scope, not with all that there is.
type Places struct {
	Jobs    []Placed            // in the order of their names
	Agents  []crony.AgentStatus // all that are known, by id; not filled in by [Store.Places]
	Load    map[string]int      // how many jobs each agent has, by its id
	Orphans []crony.Assignment  // of jobs that are gone
	Buried  []string            // agents that were removed, and still have jobs or orders: see [Store.Vacate]
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
		placed := Placed{Definition: j.def, Claim: j.claim, ClaimRev: j.claimRev}
		if j.assignment != nil {
			placed.Assignments = []crony.Assignment{*j.assignment}
		}
		p.Jobs = append(p.Jobs, placed)
	}
	for agent, names := range m.jobs.byAgent {
		p.Load[agent] = len(names)
	}
	if scope.Open {
		for _, name := range slices.Sorted(maps.Keys(m.jobs.orphans)) {
			p.Orphans = append(p.Orphans, *m.jobs.byName[name].assignment)
		}
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
		if m.jobs.open[name] {
			names = append(names, name)
		}
	}
	if scope.Open {
		names = slices.AppendSeq(names, maps.Keys(m.jobs.open))
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
}
