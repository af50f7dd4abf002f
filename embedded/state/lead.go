package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"crony"
)

// leaseTTL is how long after its holder's last sign a lease ends, in seconds.
const leaseTTL = 10

// Term is one stretch of leading. Its writes compare that it still is: whoever has been replaced, and does not know it yet,
// writes nothing.
type Term struct {
	key string
	rev int64 // the creation revision of the key: grows from term to term
}

func (t Term) holds() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(t.key), "=", t.rev)
}

// Number tells the terms apart; a later term has a higher one.
func (t Term) Number() int64 { return t.rev }

var errTermOver = errors.New("the term is over")

// Lead stands for election under the server's id, and calls lead whenever it is elected, until ctx is done. The context of
// lead ends with the term. An error of lead ends the term, not Lead: the next term may go better.
func (s *Store) Lead(ctx context.Context, server string, lead func(context.Context, Term) error) error {
	if err := s.withdraw(ctx, server); err != nil {
		s.log.Warn("candidacy of an earlier life not withdrawn", "err", err)
	}
	for ctx.Err() == nil {
		if err := s.term(ctx, server, lead); err != nil && ctx.Err() == nil {
			s.log.Warn("term ended", "err", err)
			if pause(ctx, time.Second) != nil {
				break
			}
		}
	}
	return nil
}

func (s *Store) term(ctx context.Context, server string, lead func(context.Context, Term) error) error {
	session, err := concurrency.NewSession(s.client, concurrency.WithTTL(leaseTTL), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("take a lease: %w", translate(err))
	}
	defer session.Close() //nolint:errcheck // the lease ends by itself if it can't be revoked
	election := concurrency.NewElection(session, leaders[:len(leaders)-1])
	if err := election.Campaign(ctx, server); err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	term := Term{key: election.Key(), rev: election.Rev()}
	leading, end := context.WithCancelCause(ctx)
	defer end(errTermOver)
	stop := context.AfterFunc(session.Ctx(), func() { end(errTermOver) })
	defer stop()
	s.log.Info("leading", "term", term.Number())
	return lead(leading, term)
}

// withdraw removes what the same server, before it was restarted, left in the election: nobody waits for its lease to end.
// A data directory has one process at a time, so that it can't be anybody else's.
func (s *Store) withdraw(ctx context.Context, server string) error {
	resp, err := s.client.Get(ctx, leaders, clientv3.WithPrefix())
	if err != nil {
		return translate(err)
	}
	for _, kv := range resp.Kvs {
		if string(kv.Value) == server {
			if _, err := s.client.Delete(ctx, string(kv.Key)); err != nil {
				return translate(err)
			}
		}
	}
	return nil
}

// Leader returns the id of the server that leads, "" while none does.
func (s *Store) Leader() string {
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	var first candidate
	for _, c := range s.mirror.queue {
		if first.created == 0 || c.created < first.created {
			first = c
		}
	}
	return first.server
}

// Presence is a record that is there as long as its holder.
type Presence struct {
	store  *Store
	lease  clientv3.LeaseID
	cancel context.CancelFunc
	lost   chan struct{}
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
	grant, err := s.client.Grant(ctx, leaseTTL)
	if err != nil {
		return nil, translate(err)
	}
	alive, cancel := context.WithCancel(context.Background())
	p := &Presence{store: s, lease: grant.ID, cancel: cancel, lost: make(chan struct{})}
	beats, err := s.client.KeepAlive(alive, grant.ID)
	if err != nil {
		cancel()
		return nil, translate(err)
	}
	go func() {
		defer close(p.lost)
		for range beats { //nolint:revive // drained until it is closed: the lease is gone, or Leave was called
		}
	}()
	if _, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpPut(key, value, clientv3.WithLease(grant.ID))}); err != nil {
		p.Leave(ctx)
		return nil, err
	}
	return p, nil
}

// Lost is closed when the record may be gone although nobody left.
func (p *Presence) Lost() <-chan struct{} { return p.lost }

// Leave removes the record, unless somebody else has put it meanwhile: then it is theirs.
func (p *Presence) Leave(ctx context.Context) {
	p.cancel()
	<-p.lost
	if _, err := p.store.client.Revoke(ctx, p.lease); err != nil {
		p.store.log.Debug("lease not revoked; it ends by itself", "err", err)
	}
}
