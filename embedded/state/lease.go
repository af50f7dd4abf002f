package state

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseTTL is how long after its holder's last sign a lease ends, in seconds.
const leaseTTL = 10

// revokeWait is how long ending a lease may take. It then ends by itself.
const revokeWait = 2 * time.Second

// A lease is kept by a sign three times as often as it would end. While that fails it is tried again.
const (
	keepEvery = leaseTTL * time.Second / 3
	keepAgain = 100 * time.Millisecond
)

// tenure is a lease that is kept.
type tenure struct {
	id   clientv3.LeaseID
	ctx  context.Context //nolint:containedctx // the lease's life: done when it may have ended
	end  context.CancelFunc
	over chan struct{} // closed when nobody keeps it any more
}

// stay gives signs of a lease until it may have ended, or is not to be kept any more. Each is asked for again and again: one
// that was on its way to a leader that is gone would hold up all others.
func (s *Store) stay(life context.Context, t *tenure, ends time.Time) {
	defer close(t.over)
	defer t.end()
	wait := keepEvery
	for {
		timer := time.NewTimer(min(wait, time.Until(ends)))
		select {
		case <-timer.C:
		case <-life.Done():
			timer.Stop()
			return
		}
		if !time.Now().Before(ends) {
			s.log.Debug("lease may have ended: it could not be kept in time")
			return
		}
		ctx, cancel := context.WithDeadline(life, ends)
		var asked time.Time
		resp, err := insist(ctx, s, firstTry, func(ctx context.Context) (*clientv3.LeaseKeepAliveResponse, error) {
			asked = time.Now()
			return s.client.KeepAliveOnce(ctx, t.id)
		})
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return
		case err != nil:
			wait = keepAgain
		default:
			ends, wait = asked.Add(time.Duration(resp.TTL)*time.Second), keepEvery
		}
	}
}

// sweepEvery is how often it is looked whether there is something on the lease that nobody holds.
const sweepEvery = time.Second

// tenancy is the lease that all who are present by a store share, and who they are.
type tenancy struct {
	turn chan struct{} // holds a token while somebody sees to the lease

	mu   sync.Mutex
	now  *tenure        // nil until it is first needed
	held map[string]int // keys that somebody holds, or is about to, and how many do
}

func newTenancy() *tenancy {
	return &tenancy{turn: make(chan struct{}, 1), held: map[string]int{}}
}

func (t *tenancy) tenure() *tenure {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

// lease returns the lease that all who are present share.
func (s *Store) lease(ctx context.Context) (*tenure, error) {
	select {
	case s.tenancy.turn <- struct{}{}:
		defer func() { <-s.tenancy.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case <-s.mirror.closed:
		return nil, stopping()
	default:
	}
	if t := s.tenancy.tenure(); t != nil && t.ctx.Err() == nil {
		return t, nil
	}
	asked := time.Now()
	id, err := s.grant(ctx, leaseTTL)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // it outlasts ctx
	t := &tenure{id: id, ctx: life, end: end, over: make(chan struct{})}
	s.tenancy.mu.Lock()
	s.tenancy.now = t
	s.tenancy.mu.Unlock()
	go s.stay(life, t, asked.Add(leaseTTL*time.Second))
	return t, nil
}

// endLease ends the lease, if there is one, and with it every record. The mirror is closed, so that there is no other.
func (s *Store) endLease() {
	s.tenancy.turn <- struct{}{}
	defer func() { <-s.tenancy.turn }()
	t := s.tenancy.tenure()
	if t == nil {
		return
	}
	t.end()
	<-t.over
	s.revoke(context.Background(), int64(t.id))
}

// revoke ends a lease, and what it holds, also when ctx is done: it clears away what would else stay until the lease ends by
// itself. 0 is no lease.
func (s *Store) revoke(ctx context.Context, lease int64) {
	if lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
	defer cancel()
	if _, err := s.client.Revoke(ctx, clientv3.LeaseID(lease)); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		s.log.Debug("lease not revoked; it ends by itself", "err", err)
	}
}

// hold notes that somebody holds a key, or is about to; release, that it came to nothing, or is over.
func (t *tenancy) hold(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held[key]++
}

func (t *tenancy) release(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[key]--; t.held[key] == 0 {
		delete(t.held, key)
	}
}

// adrift returns the records on the lease that nobody holds, with their revisions. Whoever put one, or wanted it removed, was not
// told what became of that: it can have come to pass long after. The lease goes on for the others, so that such a record
// does not go by itself.
func (s *Store) adrift() map[string]int64 {
	t, m := s.tenancy, s.mirror
	t.mu.Lock()
	defer t.mu.Unlock()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if t.now == nil {
		return nil
	}
	var list map[string]int64
	for key, h := range m.here {
		if h.lease != t.now.id || t.held[key] > 0 {
			continue
		}
		if list == nil {
			list = map[string]int64{}
		}
		list[key] = h.rev
	}
	return list
}

// sweep removes what is adrift, until ctx is done.
func (s *Store) sweep(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, sweepEvery) {
		for key, rev := range s.adrift() {
			if err := s.clear(ctx, key, rev); err != nil {
				s.log.Debug("a record that nobody holds is not removed yet", "key", key, "err", err)
				break
			}
		}
	}
}

// clear removes a record if it is still the same.
func (s *Store) clear(ctx context.Context, key string, rev int64) error {
	ctx, cancel := context.WithTimeout(ctx, revokeWait)
	defer cancel()
	same := clientv3.Compare(clientv3.ModRevision(key), "=", rev)
	_, err := s.commit(ctx, []clientv3.Cmp{same}, []clientv3.Op{clientv3.OpDelete(key)})
	return err
}
