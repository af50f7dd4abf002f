package state

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listPage is how many keys are read at once.
const listPage = 1000

// list reads the whole keyspace as of one revision, which it returns.
func (s *Store) list(ctx context.Context) (int64, error) {
	var (
		kvs  []*mvccpb.KeyValue
		rev  int64
		from = root
	)
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(root)),
			clientv3.WithLimit(listPage), clientv3.WithRev(rev))
		if err != nil {
			return 0, translate(err)
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More {
			s.unreadable(s.mirror.load(kvs, rev))
			return rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// follow keeps the mirror current from after rev on, until ctx is done. A watch that ends is opened again where it ended;
// one whose revision has been compacted begins with a new list.
func (s *Store) follow(ctx context.Context, rev int64) {
	for ctx.Err() == nil {
		err := s.watch(ctx, &rev)
		if errors.Is(err, errCompacted) {
			var at int64
			if at, err = s.list(ctx); err == nil {
				s.log.Warn("keyspace read anew: what changed meanwhile was not kept", "rev", at)
				rev = at
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("keyspace not followed", "err", err)
		pause(ctx, time.Second)
	}
}

var errCompacted = errors.New("the revisions in between are compacted")

// watch follows every key, not only crony's: each revision that the store ever tells a writer of is then seen to come, and
// can be waited for, whoever made it. The revision of what has been seen is the last event's; the one in a response's header
// is the store's, and ahead of the events while the watch is catching up.
func (s *Store) watch(ctx context.Context, rev *int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := s.client.Watch(clientv3.WithRequireLeader(ctx), "", clientv3.WithPrefix(), clientv3.WithRev(*rev+1),
		clientv3.WithFragment())
	for resp := range stream {
		if resp.CompactRevision != 0 {
			return errCompacted
		}
		if err := resp.Err(); err != nil {
			return err
		}
		if len(resp.Events) == 0 {
			continue
		}
		events := make([]change, len(resp.Events))
		for i, e := range resp.Events {
			events[i] = change{kv: e.Kv, deleted: e.Type == clientv3.EventTypeDelete}
		}
		*rev = events[len(events)-1].kv.ModRevision
		s.unreadable(s.mirror.update(events, *rev))
	}
	return errors.New("the stream was closed")
}

// unreadable logs values that this crony cannot read.
func (s *Store) unreadable(errs []error) {
	for _, err := range errs {
		s.log.Error("value is not readable", "err", err)
	}
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
