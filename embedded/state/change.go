package state

import (
	"context"
	"slices"
	"time"

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
		select {
		case s.turn <- struct{}{}:
			queued = true
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
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
	seen := s.mirror.wait(ctx, resp.Header.Revision)
	if resp.Succeeded && seen != nil {
		seen = &crony.Error{Code: crony.Unavailable, Err: seen,
			Message: "the change was made, but this server does not show it yet"}
	}
	return resp.Header.Revision, resp.Succeeded, seen
}

// How long a transaction is waited for before it is made again, the first time and at most. One that was on its way to a leader
// that has just died is lost, and etcd itself would wait for it for six seconds. A large one takes its time, and is not to be
// made again because of that.
const (
	firstTry = 700 * time.Millisecond // about an election: the next one finds a leader
	tryPerOp = time.Millisecond
	lastTry  = 8 * time.Second
)

// transact runs a transaction, again if there is no answer in time. It may then have run twice: it must be one for which that
// changes nothing, or one that compares what it changes.
func (s *Store) transact(ctx context.Context, conditions []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	for try := firstTry + time.Duration(len(ops))*tryPerOp; ; try += try * 2 / 5 {
		waiting, cancel := context.WithTimeout(ctx, try)
		resp, err := s.client.Txn(waiting).If(conditions...).Then(ops...).Commit()
		late := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			return resp, nil
		case !late || try >= lastTry:
			return nil, translate(err)
		}
		s.log.Debug("transaction has no answer; asking again", "after", try)
	}
}

// sync waits until the mirror shows what the store holds now.
func (s *Store) sync(ctx context.Context) error {
	resp, err := s.client.Get(ctx, root, clientv3.WithCountOnly())
	if err != nil {
		return translate(err)
	}
	return s.mirror.wait(ctx, resp.Header.Revision)
}
