package state

import (
	"context"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// KeepSeen writes down since when agents are not connected whose presence ended with its lease, so that nobody wrote it: its
// server died, or could not tell the others any more. It is the work of the leader of a term, until ctx is done, which is no
// error. Each server has seen for itself when that was, so that it is known as long as one of them has been up since.
func (s *Store) KeepSeen(ctx context.Context, term Term) error {
	feed := s.Changes("")
	defer feed.Close()
	for {
		if _, err := feed.Next(ctx); err != nil {
			return nil // the term is over; nothing went wrong
		}
		for batch := range slices.Chunk(s.mirror.lapses(), maxPlace) {
			if _, err := s.commit(ctx, []clientv3.Cmp{term.holds()}, seenOff(batch)); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// lapse is an agent whose presence ended with nothing written.
type lapse struct {
	agent string
	at    time.Time
}

// lapses returns the agents of which it is not written since when they are not connected, by id.
func (m *mirror) lapses() []lapse {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []lapse
	for agent, k := range m.known {
		if !k.lapsed.IsZero() && k.saidRev != 0 {
			list = append(list, lapse{agent, k.lapsed})
		}
	}
	slices.SortFunc(list, func(a, b lapse) int { return strings.Compare(a.agent, b.agent) })
	return list
}

// seenOff writes since when each agent is gone, unless it is back, was removed, or somebody has written it.
func seenOff(list []lapse) []clientv3.Op {
	ops := make([]clientv3.Op, len(list))
	for i, l := range list {
		ops[i] = clientv3.OpTxn([]clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(nodes+l.agent), "=", 0),
			clientv3.Compare(clientv3.ModRevision(seenKey(l.agent)), "=", 0),
			clientv3.Compare(clientv3.ModRevision(agents+l.agent), ">", 0),
		}, []clientv3.Op{clientv3.OpPut(seenKey(l.agent), encode(l.at))}, nil)
	}
	return ops
}
