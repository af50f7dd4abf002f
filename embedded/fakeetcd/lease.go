package fakeetcd

import (
	"context"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases implements clientv3.Lease. A lease that is kept alive costs nothing: it begins to run out when its keeper's context
// is done, as it would after the last of the real client's beats.
type leases struct {
	*Etcd
	link *Link
}

// Grant implements clientv3.Lease.
func (e leases) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if err := e.link.Cross(ctx); err != nil {
		return nil, err
	}
	resp := e.grant(ttl)
	return resp, e.link.Cross(ctx)
}

func (e leases) grant(ttl int64) *clientv3.LeaseGrantResponse {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastID++
	id := e.lastID
	l := &lease{ttl: time.Duration(ttl) * time.Second, keys: map[string]bool{}, over: make(chan struct{})}
	l.timer = time.AfterFunc(l.ttl, func() { e.expire(id) })
	e.leases[id] = l
	return &clientv3.LeaseGrantResponse{ResponseHeader: e.header(), ID: id, TTL: ttl}
}

func (e leases) expire(id clientv3.LeaseID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.leases[id]; l != nil && l.keeper == 0 {
		e.end(id, l)
	}
}

// end removes a lease and its keys, in one revision. e.mu is held.
func (e leases) end(id clientv3.LeaseID, l *lease) {
	l.timer.Stop()
	delete(e.leases, id)
	close(l.over)
	c := &change{Etcd: e.Etcd}
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		c.remove(key)
	}
	c.commit()
}

// Revoke implements clientv3.Lease.
func (e leases) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	if err := e.link.Cross(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[id]
	if l == nil {
		return nil, rpctypes.ErrLeaseNotFound
	}
	e.end(id, l)
	return &clientv3.LeaseRevokeResponse{Header: e.header()}, nil
}

// KeepAlive implements clientv3.Lease.
func (e leases) KeepAlive(ctx context.Context, id clientv3.LeaseID) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	out := make(chan *clientv3.LeaseKeepAliveResponse, 1)
	l, header := e.keep(id, 1)
	if l == nil {
		close(out)
		return out, nil
	}
	out <- &clientv3.LeaseKeepAliveResponse{ResponseHeader: header, ID: id, TTL: int64(l.ttl / time.Second)}
	go func() {
		defer close(out)
		for keeps := true; ; {
			cut, changed := e.link.State()
			switch {
			case cut && keeps:
				e.keep(id, -1)
			case !cut && !keeps:
				e.keep(id, 1)
			}
			keeps = !cut
			select {
			case <-changed:
			case <-l.over:
				return
			case <-ctx.Done():
				if keeps {
					e.keep(id, -1)
				}
				return
			}
		}
	}()
	return out, nil
}

// keep has one more, or one less, keep a lease, which it returns; nil if it is over. One that nobody keeps begins to run out.
func (e leases) keep(id clientv3.LeaseID, by int) (*lease, *pb.ResponseHeader) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[id]
	if l == nil {
		return nil, nil
	}
	if l.keeper += by; l.keeper > 0 {
		l.timer.Stop()
	} else {
		l.timer.Reset(l.ttl)
	}
	return l, e.header()
}

// KeepAliveOnce implements clientv3.Lease.
func (e leases) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	if err := e.link.Cross(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[id]
	if l == nil {
		return nil, rpctypes.ErrLeaseNotFound
	}
	if l.keeper == 0 {
		l.timer.Reset(l.ttl)
	}
	return &clientv3.LeaseKeepAliveResponse{ResponseHeader: e.header(), ID: id, TTL: int64(l.ttl / time.Second)}, nil
}

// TimeToLive implements clientv3.Lease, as far as which leases there are: how long they last is not told.
func (e leases) TimeToLive(
	ctx context.Context, id clientv3.LeaseID, _ ...clientv3.LeaseOption,
) (*clientv3.LeaseTimeToLiveResponse, error) {
	if err := e.link.Cross(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	resp := &clientv3.LeaseTimeToLiveResponse{ResponseHeader: e.header(), ID: id, TTL: -1}
	if l := e.leases[id]; l != nil {
		resp.TTL = int64(l.ttl / time.Second)
		resp.GrantedTTL = resp.TTL
	}
	return resp, nil
}

// Leases implements clientv3.Lease.
func (e leases) Leases(context.Context) (*clientv3.LeaseLeasesResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	resp := &clientv3.LeaseLeasesResponse{ResponseHeader: e.header()}
	for _, id := range slices.Sorted(maps.Keys(e.leases)) {
		resp.Leases = append(resp.Leases, clientv3.LeaseStatus{ID: id})
	}
	return resp, nil
}

// Close implements clientv3.Lease. A keeper ends with its context.
func (leases) Close() error { return nil }
