package state

import (
	"context"
	"maps"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Bury removes a server or an agent from the cluster for good. Its tombstone comes first, and what was known of it goes with it:
// from then on it can't register, and gets no job. Then an agent's assignments go, some at a time, so that its jobs are placed anew, and with them the
// orders to start a job that it has not taken. An order is not given to another agent: the one that is gone may have begun,
// without anybody having heard of it, and a run that a person asked for once would be there twice.
//
// Whoever was interrupted calls it again; the leader clears up as well. Who is buried already stays as it was buried.
func (s *Store) Bury(ctx context.Context, stone crony.Tombstone) error {
	err := s.change(ctx, "remove "+stone.ID, func() (*txn, error) {
		t := s.newTxn(ctx)
		if stone.ID == "" || stone.Role != crony.JoinServer && stone.Role != crony.JoinAgent {
			return nil, crony.Errorf(crony.Invalid, "a server or an agent is removed by its id, not %q of %q", stone.ID, stone.Role)
		}
		if _, buried := s.Buried(stone.ID); buried {
			return t, nil
		}
		if stone.At.IsZero() {
			stone.At = t.now
		}
		if stone.By == "" {
			stone.By = t.actor
		}
		t.expect(tombstones+stone.ID, 0)
		t.put(tombstones+stone.ID, encode(stone))
		if stone.Role == crony.JoinAgent {
			t.remove(nodes + stone.ID)
			t.remove(agents + stone.ID)
			t.remove(setKey(stone.ID))
			t.remove(seenKey(stone.ID))
		} else {
			t.remove(servers + stone.ID)
			t.remove(ups + stone.ID)
		}
		return t, nil
	})
	if err != nil || stone.Role != crony.JoinAgent {
		return err
	}
	ok, err := s.vacate(ctx, stone.ID)
	if err == nil && !ok {
		err = crony.Errorf(crony.Conflict, "somebody took the tombstone of %s away", stone.ID)
	}
	return err
}

// Vacate does what is left to do of burying an agent, for the leader of a term: see [Places]. If the term is over, nothing
// is written.
func (s *Store) Vacate(ctx context.Context, term Term, agent string) error {
	_, err := s.vacate(ctx, agent, term.holds())
	return err
}

// vacate takes from a buried agent what it has, as long as conditions hold and there is a tombstone; it reports whether they
// did. Nobody gives the agent more: an assignment is placed under the condition that there is no tombstone, and an order is
// given under the same. So what is there now is all, but for what others are changing.
func (s *Store) vacate(ctx context.Context, agent string, conditions ...clientv3.Cmp) (bool, error) {
	conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(tombstones+agent), ">", 0))
	for range attempts {
		list := s.mirror.left(agent)
		if len(list) == 0 {
			return true, nil
		}
		for _, c := range list {
			if job, ok := strings.CutPrefix(c.key, starts); ok {
				s.log.Warn("order dropped: its agent was removed", "job", job, "run", s.mirror.start(job).Run, "agent", agent)
			}
		}
		for batch := range slices.Chunk(list, maxPlace) {
			ops := make([]clientv3.Op, len(batch))
			for i, c := range batch {
				var err error
				if ops[i], err = s.leave(ctx, agent, c); err != nil {
					return false, err
				}
			}
			if ok, err := s.commit(ctx, conditions, ops); err != nil || !ok {
				return false, err
			}
		}
	}
	return false, crony.Errorf(crony.Unavailable, "remove the assignments of %s: others keep changing its jobs", agent).
		WithHint("try again")
}

// left returns the keys of the assignments and of the orders that an agent has, each with its revision.
func (m *mirror) left(agent string) []condition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []condition
	for _, name := range slices.Sorted(maps.Keys(m.jobs.byAgent[agent])) {
		j := m.jobs.byName[name]
		if i, found := j.find(agent); found {
			list = append(list, condition{assignmentKey(agent, name), j.assignments[i].Epoch})
		}
	}
	for name, order := range m.starts {
		if order.Agent == agent {
			list = append(list, condition{starts + name, order.rev})
		}
	}
	return list
}

// leave returns the transaction that takes one of those keys away, and with an assignment the agent's own cursor.
func (s *Store) leave(ctx context.Context, agent string, c condition) (clientv3.Op, error) {
	t := s.newTxn(ctx)
	t.expect(c.key, c.rev)
	t.remove(c.key)
	if name, ok := strings.CutPrefix(c.key, assignmentKey(agent, "")); ok {
		p := s.mirror.part(name, agent)
		if p.claimRev != 0 && p.whose != "" {
			defs, err := s.generations(ctx, &p.job)
			if err != nil {
				return clientv3.Op{}, err
			}
			t.close(&p, defs, takenBefore)
		}
	}
	return clientv3.OpTxn(t.compares(), t.ops, nil), nil
}

// haunted returns the agents that are buried and still have assignments or orders. m.mu is held.
func (m *mirror) haunted() []string {
	found := map[string]bool{}
	for agent := range m.jobs.byAgent {
		if _, buried := m.cluster.tombstones[agent]; buried {
			found[agent] = true
		}
	}
	for _, order := range m.starts {
		if _, buried := m.cluster.tombstones[order.Agent]; buried {
			found[order.Agent] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
