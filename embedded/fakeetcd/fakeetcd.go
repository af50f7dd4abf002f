// Package fakeetcd is an etcd in memory, for tests that live a year in a testing/synctest bubble. The real one has goroutines
// that tick and sockets, with which time in a bubble stands still or crawls.
//
// The one thing to know: it answers as etcd does or refuses. Ranges, transactions with what is nested in them, watches and
// leases are there as far as crony uses them; TestFaithful holds them against a real member. A watch or a read further back
// than what is remembered is told that it is compacted.
//
// It has no members, no users, no disk, and forgets all when it is dropped.
package fakeetcd

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// remembered is how many revisions a watch may begin in the past.
const remembered = 10_000

// Etcd is one keyspace. It is safe for concurrent use.
type Etcd struct {
	mu       sync.Mutex
	rev      int64
	keys     []string // sorted
	values   map[string]*mvccpb.KeyValue
	log      []revision // the newest, ascending
	watchers []*watcher // told in this order, which is the same each time
	leases   map[clientv3.LeaseID]*lease
	lastID   clientv3.LeaseID
}

type revision struct {
	rev    int64
	events []*clientv3.Event
}

// New returns an empty keyspace, at revision 1 as etcd's.
func New() *Etcd {
	return &Etcd{rev: 1, values: map[string]*mvccpb.KeyValue{}, leases: map[clientv3.LeaseID]*lease{}}
}

// Client returns a client, which lives as long as ctx.
func (e *Etcd) Client(ctx context.Context) *clientv3.Client { return e.ClientOver(ctx, &Link{}) }

// ClientOver returns a client that reaches the keyspace over a link.
func (e *Etcd) ClientOver(ctx context.Context, link *Link) *clientv3.Client {
	c := clientv3.NewCtxClient(ctx)
	c.KV = clientv3.NewKVFromKVClient(kv{e, link}, c)
	c.Watcher, c.Lease = watches{e, link}, leases{e, link}
	return c
}

func (e *Etcd) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 1, RaftTerm: 1, Revision: e.rev}
}

// within returns the sorted keys of a range: key alone, from key up to end, or from key on if end is a zero byte.
func (e *Etcd) within(key, end []byte) []string {
	from, _ := slices.BinarySearch(e.keys, string(key))
	switch {
	case len(end) == 0:
		if from < len(e.keys) && e.keys[from] == string(key) {
			return e.keys[from : from+1]
		}
		return nil
	case string(end) == "\x00":
		return e.keys[from:]
	}
	to, _ := slices.BinarySearch(e.keys, string(end))
	return e.keys[from:max(from, to)]
}

// change is a transaction's writes in the making.
type change struct {
	*Etcd
	events []*clientv3.Event
}

// next is the revision that the writes get.
func (c *change) next() int64 { return c.rev + 1 }

func (c *change) put(key string, value []byte, id clientv3.LeaseID) {
	now := &mvccpb.KeyValue{Key: []byte(key), Value: value, CreateRevision: c.next(), ModRevision: c.next(), Version: 1,
		Lease: int64(id)}
	if before := c.values[key]; before != nil {
		now.CreateRevision, now.Version = before.CreateRevision, before.Version+1
		c.detach(key, before.Lease)
	} else {
		i, _ := slices.BinarySearch(c.keys, key)
		c.keys = slices.Insert(c.keys, i, key)
	}
	if l := c.leases[id]; l != nil {
		l.keys[key] = true
	}
	c.values[key] = now
	c.events = append(c.events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: now})
}

func (c *change) remove(key string) {
	c.detach(key, c.values[key].Lease)
	delete(c.values, key)
	i, _ := slices.BinarySearch(c.keys, key)
	c.keys = slices.Delete(c.keys, i, i+1)
	c.events = append(c.events, &clientv3.Event{Type: clientv3.EventTypeDelete,
		Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: c.next()}})
}

func (c *change) detach(key string, id int64) {
	if l := c.leases[clientv3.LeaseID(id)]; l != nil {
		delete(l.keys, key)
	}
}

// commit makes the writes a revision, if there are any, and tells those who watch.
func (c *change) commit() {
	if len(c.events) == 0 {
		return
	}
	c.rev++
	c.log = append(c.log, revision{c.rev, c.events})
	if len(c.log) > 2*remembered {
		c.log = slices.Clone(c.log[len(c.log)-remembered:])
	}
	for _, w := range c.watchers {
		w.tell(c.rev, c.events)
	}
}

// watcher is one watch. What it is told waits without bound: nobody waits for who reads it.
type watcher struct {
	key, end string
	wake     chan struct{}

	mu    sync.Mutex
	queue []clientv3.WatchResponse
}

func (w *watcher) covers(key string) bool {
	switch w.end {
	case "":
		return key == w.key
	case "\x00":
		return key >= w.key
	}
	return key >= w.key && key < w.end
}

func (w *watcher) tell(rev int64, events []*clientv3.Event) {
	mine := make([]*clientv3.Event, 0, len(events))
	for _, e := range events {
		if w.covers(string(e.Kv.Key)) {
			mine = append(mine, e)
		}
	}
	if len(mine) > 0 {
		w.say(clientv3.WatchResponse{Header: &pb.ResponseHeader{Revision: rev}, Events: mine})
	}
}

func (w *watcher) say(resp clientv3.WatchResponse) {
	w.mu.Lock()
	w.queue = append(w.queue, resp)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []clientv3.WatchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.queue
	w.queue = nil
	return queue
}

type watches struct {
	*Etcd
	link *Link
}

// Watch implements clientv3.Watcher. Options other than those of range and revision make no difference.
func (e watches) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	op := clientv3.OpGet(key, opts...)
	w := &watcher{key: string(op.KeyBytes()), end: string(op.RangeBytes()), wake: make(chan struct{}, 1)}
	e.mu.Lock()
	if from := op.Rev(); from > 0 && from <= e.rev {
		if len(e.log) == 0 || e.log[0].rev > from {
			w.say(clientv3.WatchResponse{Header: e.header(), CompactRevision: e.rev, Canceled: true})
		} else {
			for _, r := range e.log {
				if r.rev >= from {
					w.tell(r.rev, r.events)
				}
			}
		}
	}
	e.watchers = append(e.watchers, w)
	e.mu.Unlock()
	out := make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		defer func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.watchers = slices.DeleteFunc(e.watchers, func(other *watcher) bool { return other == w })
		}()
		for {
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
			if e.link.Lag != nil && sleep(ctx, e.link.Lag()) != nil {
				return
			}
			for _, resp := range w.take() {
				if e.link.Cross(ctx) != nil {
					return
				}
				select {
				case out <- resp:
				case <-ctx.Done():
					return
				}
				if resp.Canceled {
					return
				}
			}
		}
	}()
	return out
}

// RequestProgress implements clientv3.Watcher: it does nothing, since no watch waits for progress.
func (watches) RequestProgress(context.Context) error { return nil }

// Close implements clientv3.Watcher. A watch ends with its context.
func (watches) Close() error { return nil }

// lease is alive while somebody keeps it, and for its TTL after.
type lease struct {
	ttl    time.Duration
	keys   map[string]bool
	keeper int // how many keep it
	timer  *time.Timer
	over   chan struct{}
}

// compareText is strings.Compare by its bytes, as etcd compares.
func compareText(a, b []byte) int { return strings.Compare(string(a), string(b)) }
