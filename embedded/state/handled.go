package state

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Handling is that somebody marks a run's result as handled, from when it is decided until it is in the run log. There is one
// of a run at a time. Whose is in the run log already counts all the same: this one has come too late, and goes.
type Handling struct {
	crony.HandledFact

	Run crony.RunID `json:"-"`
	At  time.Time   `json:"at"`
}

// maxHandlings is how many may be on their way to the run log. They are many only while it takes nothing.
const maxHandlings = 1000

func (h *Handling) key() string { return handlings + string(h.Run) }

// Handled returns what it is once it is in the run log.
func (h *Handling) Handled() crony.Handled {
	return crony.Handled{By: h.By, At: h.At, Note: h.Note, Request: h.Request}
}

func (m *mirror) putHandling(name string, kv *mvccpb.KeyValue) error {
	h, err := decode[Handling](kv.Value)
	if err != nil {
		return err
	}
	h.Run = crony.RunID(name)
	m.handlings[h.Run] = h
	return nil
}

// DecideHandled has a run's result be handled as h says, unless it is on its way already as something else says, and returns
// the one of the two that stands.
func (s *Store) DecideHandled(ctx context.Context, h Handling) (stands Handling, err error) {
	err = s.change(ctx, "mark "+string(h.Run)+" as handled", func() (*txn, error) {
		t := s.newTxn(ctx)
		there, n := s.mirror.handling(h.Run)
		switch {
		case there != nil:
			stands, t.loose = *there, true
			return t, nil
		case n >= maxHandlings:
			return nil, crony.Errorf(crony.Unavailable, "%d results that were handled are not in the run log yet", n).
				WithHint("`crony cluster status` shows what is wrong with it")
		}
		stands = h
		t.expect(h.key(), 0)
		t.put(h.key(), encode(h)) // without a lease: it outlasts this server
		return t, nil
	})
	return stands, err
}

// handling returns what of a run is on its way, nil if nothing is, and of how many runs something is.
func (m *mirror) handling(run crony.RunID) (*Handling, int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if h, ok := m.handlings[run]; ok {
		return &h, len(m.handlings)
	}
	return nil, len(m.handlings)
}

// Handlings returns all that are on their way to the run log, in no order.
func (s *Store) Handlings() []Handling {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Handling, 0, len(m.handlings))
	for _, h := range m.handlings {
		list = append(list, h)
	}
	return list
}

// DropHandling removes one, and no other, that is in the run log, or came too late.
func (s *Store) DropHandling(ctx context.Context, h Handling) error {
	_, err := s.commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.Value(h.key()), "=", encode(h))},
		[]clientv3.Op{clientv3.OpDelete(h.key())})
	return err
}
