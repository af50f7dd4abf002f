package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Term is one stretch of leading. Its writes compare that it still is: whoever has been replaced, and does not know it yet,
// writes nothing.
type Term struct {
	rev int64 // of the leader's key: grows from term to term
}

func (t Term) holds() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(leader), "=", t.rev)
}

// Number tells the terms apart; a later term has a higher one.
func (t Term) Number() int64 { return t.rev }

// leadership is what the leader's key holds.
type leadership struct {
	Server string `json:"server"`

	rev int64 // of the key; 0: it is not there
}

var errTermOver = errors.New("the term is over")

// pollEvery is how often a server looks whether it leads. It has to look: etcd tells when there is a new leader, and a
// leader that has lost its followers is not told that there is none.
const pollEvery = 50 * time.Millisecond

// afterFailure is how long a server that leads waits before a new term, if the last one failed.
const afterFailure = time.Second

// Lead calls lead with a new term whenever the member of this server leads, as leading says, until ctx is done. The context
// of lead ends with the term: within 100 ms of when leading says no, or the mirror shows a term that came later. An error
// of lead ends the term, not Lead: the next term may go better.
//
// A term begins by overwriting the leader's key, whoever wrote it: there is no lease to wait for, and every write of a term
// compares that the key is still its own. Of two servers that believe for a moment that they lead, the one that wrote later
// does; the other's term is over, and if it is the one that leads after all, it begins a new one.
func (s *Store) Lead(ctx context.Context, server string, leading func() bool, lead func(context.Context, Term) error) error {
	for ; ctx.Err() == nil; pause(ctx, pollEvery) {
		if !leading() {
			continue
		}
		if err := s.term(ctx, server, leading, lead); err != nil && ctx.Err() == nil {
			s.log.Warn("term ended", "err", err)
			pause(ctx, afterFailure)
		}
	}
	return nil
}

func (s *Store) term(ctx context.Context, server string, leading func() bool, lead func(context.Context, Term) error) error {
	beginning, begun := while(ctx, leading)
	rev, _, err := s.commitAt(beginning, nil, []clientv3.Op{clientv3.OpPut(leader, encode(leadership{Server: server}))})
	begun()
	switch {
	case errors.Is(context.Cause(beginning), errTermOver):
		return nil
	case err != nil:
		return fmt.Errorf("begin a term: %w", err)
	}
	holding, end := while(ctx, func() bool { return leading() && s.mirror.lead().rev == rev })
	defer end()
	s.log.Info("leading", "term", rev)
	err = lead(holding, Term{rev})
	if errors.Is(context.Cause(holding), errTermOver) {
		s.log.Info("leading no more", "term", rev)
		return nil
	}
	return err
}

// while returns a context that lasts while holds does, and a function that ends it and must be called.
func while(ctx context.Context, holds func() bool) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	var polling sync.WaitGroup
	polling.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if !holds() {
				end(errTermOver)
				return
			}
		}
	})
	return ctx, func() {
		end(context.Canceled)
		polling.Wait()
	}
}

// Leader returns the id of the server that led last, for all that is known here; "" if none ever has.
func (s *Store) Leader() string { return s.mirror.lead().Server }

func (m *mirror) lead() leadership {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.cluster.lead
}
