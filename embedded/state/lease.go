package state

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// leaseTTL is how long after its holder's last sign a lease ends, in seconds.
const leaseTTL = 10

// revokeWait is how long ending a lease may take. It then ends by itself.
const revokeWait = 2 * time.Second

// sweepAgain is how long what is forsaken waits after it could not be removed.
const sweepAgain = time.Second

// tenancy is the lease that all who are present by a store share, and what may be left on it.
type tenancy struct {
	turn    chan struct{}        // holds a token while somebody sees to the lease
	session *concurrency.Session // nil until it is first needed

	mu     sync.Mutex
	adrift []forsaken
	wake   chan struct{} // has a sign when there is something adrift
}

func newTenancy() *tenancy {
	return &tenancy{turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// lease returns the lease that all who are present share.
func (s *Store) lease(ctx context.Context) (*concurrency.Session, error) {
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
	if session := s.tenancy.session; session != nil && session.Ctx().Err() == nil {
		return session, nil
	}
	lease, err := s.grant(ctx, leaseTTL)
	if err != nil {
		return nil, err
	}
	session, err := concurrency.NewSession(s.client, concurrency.WithLease(lease)) // it outlasts ctx
	if err != nil {
		s.revoke(ctx, int64(lease))
		return nil, translate(err)
	}
	s.tenancy.session = session
	return session, nil
}

// endLease ends the lease, if there is one, and with it every record. The mirror is closed, so that there is no other.
func (s *Store) endLease() {
	t := s.tenancy
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	if t.session == nil {
		return
	}
	t.session.Orphan()
	s.revoke(context.Background(), int64(t.session.Lease()))
	t.session = nil
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

// forsaken is a record that nobody holds and that may be there all the same: whoever put it, or wanted it removed, was not
// told what became of that. Its lease goes on for the others, so that it does not go by itself.
type forsaken struct {
	key  string
	mine clientv3.Cmp    // that it is this one, and not a later one of the same key
	over <-chan struct{} // closed when the lease has ended, and everything on it has gone or will
}

func (t *tenancy) forsake(list ...forsaken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.adrift = append(t.adrift, list...)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tenancy) take() []forsaken {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.adrift
	t.adrift = nil
	return list
}

// sweep removes what is forsaken, until ctx is done.
func (s *Store) sweep(ctx context.Context) {
	for {
		select {
		case <-s.tenancy.wake:
		case <-ctx.Done():
			return
		}
		list := s.tenancy.take()
		for i := range list {
			if err := s.clear(ctx, &list[i]); err != nil {
				s.tenancy.forsake(list[i:]...)
				pause(ctx, sweepAgain)
				break
			}
		}
	}
}

// clear removes a forsaken record. The store takes what a server asks of it in the order in which it was asked, so that the
// record is there by now, or never will be.
func (s *Store) clear(ctx context.Context, f *forsaken) error {
	select {
	case <-f.over:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, revokeWait)
	defer cancel()
	_, err := s.client.Txn(ctx).If(f.mine).Then(clientv3.OpDelete(f.key)).Commit()
	return err
}
