package state

import (
	"context"
	"crypto/rand"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// rebalanceWait is how long a request to rebalance may wait for a leader. Whoever asked is told by then, and a leader of later
// does not surprise them.
const rebalanceWait = 30 * time.Second

// Rebalance is a person's request to spread jobs anew, and how it ended. There is one at a time: who asks while one waits has
// its answer.
type Rebalance struct {
	ID     string           `json:"id"`
	By     string           `json:"by,omitempty"`
	At     time.Time        `json:"at"`
	Done   bool             `json:"done"`
	Result crony.Rebalanced `json:"result"`

	rev int64 // of its key
}

// waits says whether the request is one for the leader.
func (r *Rebalance) waits(now time.Time) bool {
	return r.rev != 0 && !r.Done && now.Sub(r.At) < rebalanceWait
}

// RebalanceAgents implements [crony.Agents].
func (s *Store) RebalanceAgents(ctx context.Context) (crony.Rebalanced, error) {
	ctx, cancel := context.WithTimeout(ctx, rebalanceWait)
	defer cancel()
	feed := s.Changes("")
	defer feed.Close()
	var id string
	err := s.change(ctx, "rebalance", func() (*txn, error) {
		t := s.newTxn(ctx)
		now := s.mirror.rebalance()
		if now.waits(t.now) {
			id = now.ID
			t.loose = true
			return t, nil
		}
		id = rand.Text()
		t.expect(rebalance, now.rev)
		t.put(rebalance, encode(Rebalance{ID: id, By: t.actor, At: t.now}))
		return t, nil
	})
	if err != nil {
		return crony.Rebalanced{}, err
	}
	for {
		if now := s.mirror.rebalance(); now.ID != id || now.Done {
			return now.Result, nil // another's came after it, and found less to do
		}
		if _, err := feed.Next(ctx); err != nil {
			return crony.Rebalanced{}, &crony.Error{Code: crony.Unavailable, Err: err,
				Message: "no leader has taken up the request to rebalance", Hint: "see `crony cluster status`, and try again"}
		}
	}
}

// WantsRebalance returns the request to rebalance that waits for the leader, and whether there is one.
func (s *Store) WantsRebalance() (Rebalance, bool) {
	r := s.mirror.rebalance()
	return r, r.waits(s.now())
}

// Rebalanced answers a request, for the leader of a term. If the term is over, or the request is not the one of now, nothing is
// written.
func (s *Store) Rebalanced(ctx context.Context, term Term, r Rebalance, result crony.Rebalanced) error {
	r.Done, r.Result = true, result
	_, err := s.commit(ctx, []clientv3.Cmp{term.holds(), clientv3.Compare(clientv3.ModRevision(rebalance), "=", r.rev)},
		[]clientv3.Op{clientv3.OpPut(rebalance, encode(r))})
	return err
}

func (m *mirror) rebalance() Rebalance {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.cluster.rebalance
}
