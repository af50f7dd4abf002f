package state

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// maxOps is how many operations, and how many conditions, a transaction may have at its top: somewhat fewer than a member
// takes in all, since what is nested counts as well.
const maxOps = 16_000

// txn collects the changes of one transaction, and the conditions that what they were computed from still stands.
type txn struct {
	store      *Store
	actor      string
	now        time.Time
	conditions []condition
	ops        []clientv3.Op
	loose      bool // part of the answer has no condition: it is what the mirror shows
}

func (s *Store) newTxn(ctx context.Context) *txn {
	return &txn{store: s, actor: crony.ActorFrom(ctx), now: s.now().UTC()}
}

// look returns what the mirror knows of a job; the zero job if there is none.
func (t *txn) look(name string) job { return t.store.mirror.look(name) }

// condition says at which revision a key was written last; 0: it is not there.
type condition struct {
	key string
	rev int64
}

func (t *txn) expect(key string, rev int64) { t.conditions = append(t.conditions, condition{key, rev}) }

// compares returns the conditions as the store's.
func (t *txn) compares() []clientv3.Cmp {
	list := make([]clientv3.Cmp, len(t.conditions))
	for i, c := range t.conditions {
		list[i] = clientv3.Compare(clientv3.ModRevision(c.key), "=", c.rev)
	}
	return list
}

func (t *txn) put(key, value string) { t.ops = append(t.ops, clientv3.OpPut(key, value)) }

func (t *txn) remove(key string) { t.ops = append(t.ops, clientv3.OpDelete(key)) }

// attempts bounds how often a change is computed anew because somebody else was faster. On this server the others wait for
// their turn meanwhile, so that it takes many servers that change the same thing all the time to come here.
const attempts = 100

// blind is how often the same conditions may fail one after the other. Once or twice is chance: a key came and went. Then it
// is that the mirror shows what is not so, although it has caught up.
const blind = 5

// change makes a change: plan computes a transaction from what the mirror shows, and computes it anew if that has been
// changed before the transaction ran. What plan answers without a condition that the store checks (a refusal, or that there
// is nothing to do) is asked for again once the mirror has caught up, for the caller may have heard of more elsewhere.
func (s *Store) change(ctx context.Context, what string, plan func() (*txn, error)) error {
	var failed []condition // of the attempt before
	fresh, queued, same := false, false, 0
	for range attempts {
		t, err := plan()
		switch {
		case !fresh && (err != nil || t.loose || len(t.ops) == 0):
			if err := s.sync(ctx); err != nil {
				return err
			}
			fresh = true
			continue
		case err != nil:
			return err
		case len(t.ops) == 0:
			return nil
		case same == blind:
			return crony.Errorf(crony.Unavailable, "%s: the store holds what this server can't read", what).
				WithHint("was it written by a newer crony? upgrade this server; its log names the key")
		}
		if ok, err := s.commit(ctx, t.compares(), t.ops); ok || err != nil {
			return err
		}
		if !slices.Equal(failed, t.conditions) {
			same = 0
		}
		fresh, failed, same = true, t.conditions, same+1
		if queued {
			continue
		}
		if s.turn.Acquire(ctx, 1) != nil {
			return context.Cause(ctx)
		}
		defer s.turn.Release(1)
		queued = true
	}
	return crony.Errorf(crony.Unavailable, "%s: others keep changing the same thing", what).WithHint("try again")
}

// commit runs a transaction and waits until the mirror has seen it. It reports whether the transaction's conditions held;
// if not, the mirror has caught up with whatever made them fail.
func (s *Store) commit(ctx context.Context, conditions []clientv3.Cmp, ops []clientv3.Op) (bool, error) {
	_, ok, err := s.commitAt(ctx, conditions, ops)
	return ok, err
}

// commitAt is commit, and returns at which revision the change was made.
func (s *Store) commitAt(ctx context.Context, conditions []clientv3.Cmp, ops []clientv3.Op) (int64, bool, error) {
	resp, err := s.transact(ctx, conditions, ops)
	if err != nil {
		return 0, false, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, true, s.shown(ctx, resp.Header.Revision)
	}
	return resp.Header.Revision, false, s.mirror.wait(ctx, resp.Header.Revision)
}

// shown waits until the mirror has seen a change.
func (s *Store) shown(ctx context.Context, rev int64) error {
	if err := s.mirror.wait(ctx, rev); err != nil {
		return &crony.Error{Code: crony.Unavailable, Err: err, Message: "the change was made, but this server does not show it yet"}
	}
	return nil
}

// How long a request that changes something is waited for before it is made again, the first time and at most. One that was on
// its way to a leader that has just died is lost, and etcd itself would wait for it for six seconds. A large one takes its time,
// and is not to be made again because of that.
const (
	firstTry = 700 * time.Millisecond
	tryPerOp = time.Millisecond
	lastTry  = 8 * time.Second
)

var errElected = errors.New("another server leads")

// transact runs a transaction, again if there is no answer. It may then have run twice: it must be one for which that changes
// nothing, or one that compares what it changes.
//
// One that was given up can come to pass all the same, and long after others that were made later: a leader that was frozen
// forwards what it finds when it goes on.
func (s *Store) transact(ctx context.Context, conditions []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	return s.transactOr(ctx, conditions, ops, nil)
}

// transactOr is transact, and does something else if the conditions don't hold.
func (s *Store) transactOr(ctx context.Context, conditions []clientv3.Cmp, ops, otherwise []clientv3.Op) (
	*clientv3.TxnResponse, error,
) {
	return insist(ctx, s, firstTry+time.Duration(len(ops))*tryPerOp, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).If(conditions...).Then(ops...).Else(otherwise...).Commit()
	})
}

// grant takes a lease of so many seconds. If it had to ask again there may be another that nobody knows of: it ends by itself.
func (s *Store) grant(ctx context.Context, seconds int64) (clientv3.LeaseID, error) {
	grant, err := insist(ctx, s, firstTry, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		return s.client.Grant(ctx, seconds)
	})
	if err != nil {
		return clientv3.NoLease, err
	}
	return grant.ID, nil
}

// insist makes a request, again if there is no answer in time, and at once when another server leads.
func insist[T any](ctx context.Context, s *Store, try time.Duration, request func(context.Context) (T, error)) (T, error) {
	for {
		answer, err, why := attempt(ctx, s.elected(), try, request)
		switch {
		case err == nil:
			return answer, nil
		case why == nil || ctx.Err() != nil || try >= lastTry:
			return answer, translate(err)
		}
		s.log.Debug("the store has not answered; asking again", "reason", why)
		if !errors.Is(why, errElected) {
			try += try * 2 / 5
		}
	}
}

// attempt makes a request once, and says why its answer was not waited for, if it was not.
func attempt[T any](ctx context.Context, elected <-chan struct{}, most time.Duration, request func(context.Context) (T, error)) (
	answer T, err, why error,
) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	go func() {
		select {
		case <-elected:
			cancel(errElected)
		case <-ctx.Done():
		}
	}()
	answer, err = request(ctx)
	return answer, err, context.Cause(ctx)
}

// get reads from the store itself. A read that was under way when a leader was elected is made again.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := s.client.Get(ctx, key, opts...)
	for errors.Is(err, rpctypes.ErrLeaderChanged) && ctx.Err() == nil {
		resp, err = s.client.Get(ctx, key, opts...)
	}
	if err != nil {
		return nil, translate(err)
	}
	return resp, nil
}

// Sync waits until what the store says is no older than this call.
func (s *Store) Sync(ctx context.Context) error { return s.sync(ctx) }

// sync waits until the mirror shows what the store holds now.
func (s *Store) sync(ctx context.Context) error {
	resp, err := s.get(ctx, root, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	return s.mirror.wait(ctx, resp.Header.Revision)
}
