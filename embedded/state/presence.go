package state

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"crony"
)

// leaseTTL is how long after its holder's last sign a lease ends, in seconds.
const leaseTTL = 10

// revokeWait is how long ending a lease may take. It then ends by itself.
const revokeWait = 2 * time.Second

// hold takes a lease and keeps it alive until it is let go, also when ctx is done before.
func (s *Store) hold(ctx context.Context) (*concurrency.Session, error) {
	grant, err := s.client.Grant(ctx, leaseTTL)
	if err != nil {
		return nil, translate(err)
	}
	session, err := concurrency.NewSession(s.client, concurrency.WithLease(grant.ID),
		concurrency.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		s.revoke(ctx, int64(grant.ID))
		return nil, translate(err)
	}
	return session, nil
}

func (s *Store) letGo(ctx context.Context, session *concurrency.Session) {
	session.Orphan()
	s.revoke(ctx, int64(session.Lease()))
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

// Presence is a record that is there as long as its holder.
type Presence struct {
	store   *Store
	session *concurrency.Session
}

// RegisterAgent says that the agent is connected.
func (s *Store) RegisterAgent(ctx context.Context, a crony.Agent) (*Presence, error) {
	return s.present(ctx, nodes+a.ID, encode(a))
}

// Server is a server, as it registered.
type Server struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Agents  string `json:"agents"` // the address for agents
	People  string `json:"people"` // the URL for people
}

// RegisterServer says that the server is up.
func (s *Store) RegisterServer(ctx context.Context, server Server) (*Presence, error) {
	return s.present(ctx, servers+server.ID, encode(server))
}

func (s *Store) present(ctx context.Context, key, value string) (*Presence, error) {
	session, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	put := clientv3.OpPut(key, value, clientv3.WithLease(session.Lease()))
	if _, err := s.commit(ctx, nil, []clientv3.Op{put}); err != nil {
		s.letGo(ctx, session)
		return nil, err
	}
	return &Presence{store: s, session: session}, nil
}

// Lost is closed when the record may be gone: its lease has ended, or Leave was called.
func (p *Presence) Lost() <-chan struct{} { return p.session.Done() }

// Leave removes the record, unless somebody else has put it meanwhile: then it is theirs. It does so when ctx is done as
// well, and takes a few seconds at most; a record that can't be removed goes by itself when its lease ends. It may be called
// again.
func (p *Presence) Leave(ctx context.Context) { p.store.letGo(ctx, p.session) }
