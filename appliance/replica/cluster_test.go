package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/runlog"
	"crony/internal/storetest"
)

// cluster is servers with real logs, whose wires are in memory and can be cut.
type cluster struct {
	t   *testing.T
	dir string

	mu     sync.Mutex
	voters []string
	nodes  map[string]*node
	cut    map[[2]string]bool
	frozen map[string]bool
	deaf   map[string]bool           // what others store for it, it is not told of
	tamper func(batch []byte) []byte // with all that travels; nil: nothing is
	ends   map[*scope]bool
	thaw   chan struct{} // closed when something has changed
}

type node struct {
	*Log
	own      *ownLog
	stop     context.CancelFunc
	done     chan struct{}
	registry *prometheus.Registry
}

// ownLog is a real log that can be made to fail.
type ownLog struct {
	*runlog.Log
	mu    sync.Mutex
	fault error
	stuck chan struct{} // nil: it is not
}

func (o *ownLog) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = err
}

func (o *ownLog) Store(ctx context.Context, b *runlog.Batch) error {
	o.mu.Lock()
	fault, stuck := o.fault, o.stuck
	o.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	if fault != nil {
		return fault
	}
	return o.Log.Store(ctx, b)
}

func (o *ownLog) Merge(ctx context.Context, b *runlog.Batch) error {
	o.mu.Lock()
	fault := o.fault
	o.mu.Unlock()
	if fault != nil {
		return fault
	}
	return o.Log.Merge(ctx, b)
}

// bubble runs a test in a bubble of time.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func newCluster(t *testing.T, voters ...string) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), voters: voters, nodes: map[string]*node{}, cut: map[[2]string]bool{},
		frozen: map[string]bool{}, deaf: map[string]bool{}, ends: map[*scope]bool{}, thaw: make(chan struct{})}
	for _, id := range voters {
		c.start(id)
	}
	t.Cleanup(func() {
		for id := range maps.Clone(c.nodes) {
			c.stop(id)
		}
	})
	return c
}

func testLog() *slog.Logger {
	if os.Getenv("CRONY_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func (c *cluster) members() ([]Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Member
	for _, id := range c.voters {
		list = append(list, Member{ID: id, Address: id})
	}
	return list, nil
}

func (c *cluster) start(id string) {
	c.t.Helper()
	log := testLog().With("on", id)
	own, err := runlog.Open(runlog.Options{Dir: filepath.Join(c.dir, id), Log: log})
	if err != nil {
		c.t.Fatal(err)
	}
	n := &node{own: &ownLog{Log: own}, done: make(chan struct{}), registry: prometheus.NewRegistry()}
	n.Log, err = New(Options{Self: id, Own: n.own, Peers: &wires{c, id}, Members: c.members,
		Registerer: n.registry, Log: log})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			c.t.Error(err)
		}
	}()
	c.change(func() { c.nodes[id] = n })
}

func (c *cluster) stop(id string) {
	n := c.node(id)
	c.change(func() { delete(c.nodes, id) })
	n.stop()
	<-n.done
	if err := n.own.Close(); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) node(id string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// scope is a call from one server to another.
type scope struct {
	from, to string
	end      context.CancelCauseFunc
}

var errCut = crony.Errorf(crony.Unavailable, "the wire is cut")

// change changes the wires; calls that can't go on end.
func (c *cluster) change(how func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	how()
	for s := range c.ends {
		if c.broken(s.from, s.to) {
			s.end(errCut)
			delete(c.ends, s)
		}
	}
	close(c.thaw)
	c.thaw = make(chan struct{})
}

func (c *cluster) broken(from, to string) bool {
	return c.cut[[2]string{min(from, to), max(from, to)}] || c.nodes[from] == nil || c.nodes[to] == nil
}

func (c *cluster) wire(a, b string, cut bool) {
	c.change(func() { c.cut[[2]string{min(a, b), max(a, b)}] = cut })
}

func (c *cluster) freeze(id string, frozen bool) { c.change(func() { c.frozen[id] = frozen }) }

func (c *cluster) isolate(id string, cut bool) {
	for _, other := range c.voters {
		if other != id {
			c.wire(id, other, cut)
		}
	}
}

// call begins a call. It ends with the wire.
func (c *cluster) call(ctx context.Context, from, to string) (context.Context, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken(from, to) {
		return nil, nil, errCut
	}
	ctx, end := context.WithCancelCause(ctx)
	s := &scope{from, to, end}
	c.ends[s] = true
	return ctx, func() {
		end(nil)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.ends, s)
	}, nil
}

// reach waits until both ends are awake.
func (c *cluster) reach(ctx context.Context, from, to string) error {
	for {
		c.mu.Lock()
		frozen, thaw := c.frozen[from] || c.frozen[to], c.thaw
		c.mu.Unlock()
		if err := context.Cause(ctx); err != nil || !frozen {
			return err
		}
		select {
		case <-thaw:
		case <-ctx.Done():
		}
	}
}

// wires are the calls of one server.
type wires struct {
	*cluster
	self string
}

const latency = time.Millisecond

// travel returns a batch as it arrives.
func (c *cluster) travel(batch []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch = slices.Clone(batch)
	if c.tamper != nil {
		batch = c.tamper(batch)
	}
	return batch
}

func (w *wires) Replicate(ctx context.Context, at string,
	next func(context.Context) (uint64, [][]byte, bool, error), done func(uint64, error),
) error {
	ctx, end, err := w.call(ctx, w.self, at)
	if err != nil {
		return err
	}
	defer end()
	var storing sync.WaitGroup
	defer storing.Wait()
	for {
		first, batches, compare, err := next(ctx)
		if err != nil {
			return err
		}
		wait(ctx, latency)
		if err := w.reach(ctx, w.self, at); err != nil {
			return err
		}
		if compare {
			w.node(at).Behind(w.self)
		}
		for i, batch := range batches {
			storing.Go(func() {
				n := w.node(at)
				if n == nil {
					return
				}
				err := n.Receive(ctx, w.travel(batch))
				if w.reach(ctx, w.self, at) != nil {
					return
				}
				w.mu.Lock()
				deaf := w.deaf[w.self]
				w.mu.Unlock()
				if !deaf {
					done(first+uint64(i), err)
				}
			})
		}
	}
}

// ask makes a call that frozen servers answer late, or not at all.
func (w *wires) ask(ctx context.Context, at string, answer func(context.Context, *node) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, crony.Errorf(crony.Unavailable, "nothing came"))
	defer cancel()
	ctx, end, err := w.call(ctx, w.self, at)
	if err != nil {
		return err
	}
	defer end()
	wait(ctx, latency)
	if err := w.reach(ctx, w.self, at); err != nil {
		return err
	}
	n := w.node(at)
	if n == nil {
		return errCut
	}
	return errors.Join(answer(ctx, n), context.Cause(ctx))
}

func (w *wires) Days(ctx context.Context, at string, _ map[string]runlog.Sum, _ string, _ map[string]crony.RunID) (
	days map[string]runlog.Sum, floor string, marks map[string]crony.RunID, err error,
) {
	err = w.ask(ctx, at, func(ctx context.Context, n *node) (err error) {
		floor, marks = n.Floor(), n.Marks()
		days, err = n.Days(ctx)
		return err
	})
	return days, floor, marks, err
}

func (w *wires) Minutes(ctx context.Context, at, day string) (list []runlog.Sum, err error) {
	err = w.ask(ctx, at, func(ctx context.Context, n *node) (err error) {
		list, err = n.Minutes(ctx, day)
		return err
	})
	return list, err
}

func (w *wires) Items(ctx context.Context, at, day string, minute int, each func(string, runlog.Sum) error) error {
	return w.ask(ctx, at, func(ctx context.Context, n *node) error {
		items, err := n.Items(ctx, day, minute)
		for key, sum := range items {
			err = errors.Join(err, each(key, sum))
		}
		return err
	})
}

func (w *wires) Records(ctx context.Context, at, day string, keys []string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var list [][]byte
		err := w.ask(ctx, at, func(ctx context.Context, n *node) error {
			for b, err := range n.Records(ctx, day, keys) {
				if err != nil {
					return err
				}
				list = append(list, w.travel(b.Bytes()))
			}
			return nil
		})
		for _, data := range list {
			if !yield(data, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func (w *wires) Day(ctx context.Context, at, day string, take func(int64, io.Reader) error) error {
	return w.ask(ctx, at, func(ctx context.Context, n *node) error {
		return n.CopyDay(ctx, day, func(size int64, write func(io.Writer) error) error {
			r, out := io.Pipe()
			go func() { out.CloseWithError(write(out)) }()
			defer r.Close()
			return take(size, r)
		})
	})
}

// life is all facts and some output of a run that was due at an instant.
func life(at time.Time) ([]crony.Fact, []crony.Chunk) {
	id := crony.NewRunID(at)
	return storetest.Life(id, "job", "a1", crony.Succeeded),
		[]crony.Chunk{{Run: id, Attempt: 1, Stream: crony.Stdout, At: at, Data: fmt.Append(nil, "output of ", id)}}
}

// append appends a run on a server, and returns its id if that was acknowledged.
func (c *cluster) append(on string) (crony.RunID, error) {
	facts, chunks := life(time.Now())
	return facts[0].Run, c.node(on).Append(c.t.Context(), facts, chunks)
}

func (c *cluster) mustAppend(on string) crony.RunID {
	c.t.Helper()
	id, err := c.append(on)
	if err != nil {
		c.t.Fatalf("append on %s: %v", on, err)
	}
	return id
}

// holders returns the servers whose logs have a run whole.
func (c *cluster) holders(id crony.RunID) (list []string) {
	c.t.Helper()
	for _, name := range c.voters {
		n := c.node(name)
		if n == nil {
			continue
		}
		if run, err := n.own.Run(c.t.Context(), id); err == nil && run.State == crony.Succeeded {
			list = append(list, name)
		}
	}
	return list
}

// same reports whether all logs hold the same.
func (c *cluster) same() bool {
	c.t.Helper()
	var first map[string]runlog.Sum
	for _, id := range c.voters {
		n := c.node(id)
		if n == nil {
			return false
		}
		days, err := n.Days(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		if first == nil {
			first = days
		}
		if !maps.Equal(first, days) {
			return false
		}
	}
	return true
}

// within fails the test if a condition is not met within a time.
func (c *cluster) within(d time.Duration, what string, met func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(d); !met(); {
		if time.Now().After(deadline) {
			for _, id := range c.voters {
				if n := c.node(id); n != nil {
					days, _ := n.Days(c.t.Context())
					c.t.Logf("%s: %+v\n%v", id, n.Status(), days)
				}
			}
			c.t.Fatalf("waited %s for %s", d, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
