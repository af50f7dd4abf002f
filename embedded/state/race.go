package state

import (
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Agents that race for a job share its cursor, and the cursor tells of the last claim only. What another agent has claimed
// before may be unknown to it yet, as the reply was lost, or may never be reported, as it is gone. So whoever moves the cursor
// on leaves the record that a claim is lost unless it is reported; while that is there the claim is still the other agent's.

// overtake returns what records the run that another agent has claimed, from which the cursor is moved on.
func (p *part) overtake(ask *Ask, now time.Time) []clientv3.Op {
	if p.claim.Run == "" || p.claim.Agent == ask.Agent {
		return nil
	}
	lost := p.lost(now.UTC())
	return []clientv3.Op{lost.put()}
}

// overtook says that what is asked for was granted to the same agent, before another moved the cursor on.
func (m *mirror) overtook(p *part, ask *Ask) bool {
	id := crony.OccurrenceRunID(p.def.UID, ask.At, p.whose)
	record := Pass{Definition: crony.Definition{UID: p.def.UID}, Until: ask.At, Unless: id}
	m.mu.RLock()
	defer m.mu.RUnlock()
	found, ok := m.passes[record.path()]
	return ok && found.Unless == id && found.Agent == ask.Agent && found.Definition.Generation == p.def.Generation
}

// Overtaken returns an agent's claims of a job that agents race for, from which another has moved the cursor on, and of which
// it is not known yet whether they were reported; the oldest first. They are of the definition in force.
func (s *Store) Overtaken(agent, name string) []crony.Claim {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := m.jobs.part(name, agent)
	a := p.of(agent)
	if p.mode() != crony.PlaceRace || a == nil {
		return nil
	}
	var list []crony.Claim
	for _, r := range m.passes {
		d := &r.Definition
		if r.Unless != "" && r.Agent == agent && d.UID == p.def.UID && d.Generation == p.def.Generation {
			list = append(list, crony.Claim{At: r.Until, Run: r.Unless, Agent: agent, Epoch: a.Epoch, Generation: d.Generation})
		}
	}
	slices.SortFunc(list, func(a, b crony.Claim) int { return a.At.Compare(b.At) })
	return list
}
