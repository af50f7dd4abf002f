package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

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
// lead ends with the term; when lead has returned, the term is given up, so that another may lead at once. An error of lead
// ends the term, not Lead: the next term may go better.
func (s *Store) Lead(ctx context.Context, server string, lead func(context.Context, Term) error) error {
	for ctx.Err() == nil {
		err := s.term(ctx, server, lead)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Warn("term ended", "err", err)
		pause(ctx, time.Second)
	}
	return nil
}

func (s *Store) term(ctx context.Context, server string, lead func(context.Context, Term) error) error {
	if err := s.withdraw(ctx, server); err != nil {
		return fmt.Errorf("withdraw an earlier candidacy: %w", err)
	}
	session, err := s.hold(ctx)
	if err != nil {
		return fmt.Errorf("take a lease: %w", err)
	}
	defer s.letGo(ctx, session)
	holding, end := context.WithCancelCause(ctx)
	defer end(errTermOver)
	stop := context.AfterFunc(session.Ctx(), func() { end(errTermOver) }) //nolint:contextcheck // it tells of the lease's end
	defer stop()
	election := concurrency.NewElection(session, leaders[:len(leaders)-1])
	if err := election.Campaign(holding, server); err != nil {
		if holding.Err() != nil {
			err = context.Cause(holding) // without its lease it stands no more, and would wait in vain
		}
		return fmt.Errorf("stand for election: %w", err)
	}
	term := Term{key: election.Key(), rev: election.Rev()}
	s.log.Info("leading", "term", term.Number())
	return lead(holding, term)
}

// withdraw removes what the same server, before it was restarted or its last term ended, left in the election: nobody waits
// for its lease to end. A data directory has one process at a time, so that it can't be anybody else's.
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
			s.revoke(ctx, kv.Lease)
		}
	}
	return nil
}

// Leader returns the id of the server that leads, "" while none does.
func (s *Store) Leader() string {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	var first candidate
	for _, c := range s.mirror.queue {
		if first.created == 0 || c.created < first.created {
			first = c
		}
	}
	return first.server
}
