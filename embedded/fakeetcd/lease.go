package fakeetcd

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases implements clientv3.Lease. A lease that is kept alive costs nothing: it begins to run out when its keeper's context
// is done, as it would after the last of the real client's beats.
type leases struct{ *Etcd }

// Grant implements clientv3.Lease.
func (e leases) Grant(_ context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastID++
	id := e.lastID
	l := &lease{ttl: time.Duration(ttl) * time.Second, keys: map[string]bool{}, over: make(chan struct{})}
	l.timer = time.AfterFunc(l.ttl, func() { e.expire(id) })
	e.leases[id] = l
	return &clientv3.LeaseGrantResponse{ResponseHeader: e.header(), ID: id, TTL: ttl}, nil
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
	if ctx.Err() != nil {
		return nil, ctx.Err()
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
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[id]
	if l == nil {
		close(out)
		return out, nil
	}
	l.keeper++
	l.timer.Stop()
	out <- &clientv3.LeaseKeepAliveResponse{ResponseHeader: e.header(), ID: id, TTL: int64(l.ttl / time.Second)}
	go func() {
		defer close(out)
		select {
		case <-l.over:
			return
		case <-ctx.Done():
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if l.keeper--; l.keeper == 0 {
			l.timer.Reset(l.ttl)
		}
	}()
	return out, nil
}

// KeepAliveOnce implements clientv3.Lease.
func (e leases) KeepAliveOnce(_ context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
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
	_ context.Context, id clientv3.LeaseID, _ ...clientv3.LeaseOption,
) (*clientv3.LeaseTimeToLiveResponse, error) {
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
