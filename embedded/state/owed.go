package state

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Owed is a run that was claimed, and of which its agent owes a report: nothing is said of whether there is one.
type Owed struct {
	Agent string
	Run   crony.RunID

	part part
}

// Up says whether an agent is connected, to whichever server.
func (s *Store) Up(agent string) bool {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	_, up := s.mirror.agents[agent]
	return up
}

// OwedByAbsent returns what was claimed last of each job, if whoever claimed it is not connected.
func (s *Store) OwedByAbsent() []Owed {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Owed
	for _, j := range m.jobs.list {
		for _, p := range m.jobs.parts(j.name) {
			if _, up := m.agents[p.claim.Agent]; p.claim.Run != "" && !up {
				list = append(list, Owed{p.claim.Agent, p.claim.Run, p})
			}
		}
	}
	return list
}

// Waive gives up waiting for the reports of claimed runs: nobody is told any more to start them, and each leaves a record that
// it is lost, which is void if it is reported after all. What was claimed on meanwhile, and what somebody else has settled, is
// left alone; if the term is over, nothing is written.
func (s *Store) Waive(ctx context.Context, term Term, list []Owed) error {
	now := s.now().UTC()
	for start := 0; start < len(list); start += maxPlace {
		var ops []clientv3.Op
		for _, o := range list[start:min(start+maxPlace, len(list))] {
			p := &o.part
			claim := p.claim
			claim.Run = ""
			lost := p.lost(now)
			lost.Reason = "its agent claimed it, and was gone before it reported it"
			ops = append(ops, clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(p.claimKey()), "=", p.claimRev)},
				[]clientv3.Op{clientv3.OpPut(p.claimKey(), claimValue(claim, p.since)), lost.put()}, nil))
		}
		if ok, err := s.commit(ctx, []clientv3.Cmp{term.holds()}, ops); err != nil || !ok {
			return err
		}
	}
	return nil
}
