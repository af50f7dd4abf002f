package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"crony"
	"crony/embedded/member"
	"crony/internal/pki"
)

// patience is how long a test waits for what must come; only a failing test waits so long.
const patience = 20 * time.Second

func openMember(ctx context.Context, dir string) (*member.Member, error) {
	return member.Open(ctx, member.Options{
		Dir: dir, Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s1"}, Create: true,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
}

// shared is the member of all tests that do not run in parallel.
var shared *member.Member

func TestMain(m *testing.M) {
	if text := os.Getenv(peerPlace); text != "" {
		if err := servePeer(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "state")
	if err == nil {
		shared, err = openMember(context.Background(), dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
		shared.Close()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// emptied returns the client of the shared member, of which every key has been deleted.
func emptied(t testing.TB) *clientv3.Client {
	t.Helper()
	if _, err := shared.Client().Delete(t.Context(), "", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	return shared.Client()
}

// ownClient returns the client of a member of the test's own, so that the test may wait while others run.
func ownClient(t testing.TB) *clientv3.Client {
	t.Helper()
	m, err := openMember(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m.Client()
}

// rig is a store and what a test holds of its surroundings.
type rig struct {
	*Store
	t      testing.TB
	client *clientv3.Client // the store's, without the link
	link   *link
	tap    *tap
	clock  *clock
}

// tap counts what a store asks of the other, and lets a test come between.
type tap struct {
	clientv3.KV

	asked atomic.Int64
	fault atomic.Pointer[fault]
}

// fault is what becomes of a transaction: commit makes it.
type fault func(ctx context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error)

// strike has a fault befall every transaction of the store from now on; nil: none.
func (r *rig) strike(f fault) {
	if f == nil {
		r.tap.fault.Store(nil)
		return
	}
	r.tap.fault.Store(&f)
}

var errLost = errors.New("lost on the way")

// replyLost makes a transaction whose answer is lost.
func replyLost(_ context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
	if _, err := commit(); err != nil {
		return nil, err
	}
	return nil, errLost
}

// requestLost makes no transaction.
func requestLost(context.Context, func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
	return nil, errLost
}

// strikeLate has the next transaction come to pass only when the test makes it, by what it finds in the channel: whoever asked for it
// has given it up by then.
func (r *rig) strikeLate() <-chan func() (*clientv3.TxnResponse, error) {
	late := make(chan func() (*clientv3.TxnResponse, error), 1)
	r.strike(func(ctx context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		r.strike(nil)
		late <- commit
		<-ctx.Done()
		return nil, ctx.Err()
	})
	return late
}

// tapped is a transaction in the making.
type tapped struct {
	clientv3.Txn

	ctx   context.Context //nolint:containedctx // a transaction's is
	fault fault
}

func (t tapped) If(list ...clientv3.Cmp) clientv3.Txn {
	return tapped{t.Txn.If(list...), t.ctx, t.fault}
}
func (t tapped) Then(ops ...clientv3.Op) clientv3.Txn {
	return tapped{t.Txn.Then(ops...), t.ctx, t.fault}
}
func (t tapped) Else(ops ...clientv3.Op) clientv3.Txn {
	return tapped{t.Txn.Else(ops...), t.ctx, t.fault}
}

func (t tapped) Commit() (*clientv3.TxnResponse, error) { return t.fault(t.ctx, t.Txn.Commit) }

func (t *tap) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	defer t.asked.Add(1)
	return t.KV.Get(ctx, key, opts...)
}

func (t *tap) Txn(ctx context.Context) clientv3.Txn {
	defer t.asked.Add(1)
	if f := t.fault.Load(); f != nil {
		return tapped{t.KV.Txn(context.WithoutCancel(ctx)), ctx, *f} // it may be made when nobody waits for it any more
	}
	return t.KV.Txn(ctx)
}

// asked returns a channel that is closed when the store has asked for something once more.
func (r *rig) asked() <-chan struct{} {
	before, done := r.tap.asked.Load(), make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(patience); r.tap.asked.Load() == before && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
	}()
	return done
}

func newRig(t testing.TB, client *clientv3.Client) *rig {
	t.Helper()
	return newRigWithLog(t, client, slog.New(slog.DiscardHandler))
}

func newRigWithLog(t testing.TB, client *clientv3.Client, log *slog.Logger) *rig {
	t.Helper()
	r := &rig{t: t, client: client, clock: &clock{at: noon}, tap: &tap{KV: client.KV},
		link: &link{Watcher: client.Watcher, cuts: map[int]context.CancelFunc{}}}
	linked := clientv3.NewCtxClient(t.Context(), clientv3.WithZapLogger(zap.NewNop()))
	linked.KV, linked.Lease, linked.Watcher = r.tap, client.Lease, r.link
	var err error
	if r.Store, err = Open(t.Context(), Options{Client: linked, Log: log, Now: r.clock.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// clock is a wall clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	return c.at
}

// link is the way by which a store's watches reach it. It can be held, so that nothing comes and no watch begins, and cut,
// so that the watches end.
type link struct {
	clientv3.Watcher

	mu   sync.Mutex
	held chan struct{} // nil: open
	n    int
	cuts map[int]context.CancelFunc
}

func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
}

func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held)
	l.held = nil
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, cut := range l.cuts {
		cut()
	}
}

func (l *link) pass(ctx context.Context) bool {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

func (l *link) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	ctx, cut := context.WithCancel(ctx)
	l.mu.Lock()
	l.n++
	n := l.n
	l.cuts[n] = cut
	l.mu.Unlock()
	out := make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.cuts, n)
			cut()
		}()
		if !l.pass(ctx) {
			return
		}
		for resp := range l.Watcher.Watch(ctx, key, opts...) {
			if !l.pass(ctx) {
				return
			}
			select {
			case out <- resp:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// wait polls a condition until it holds, and ends the test if it never does.
func (r *rig) wait(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (r *rig) ctx() context.Context { return r.t.Context() }

// job returns a job that is due every second.
func job1(name, note string) crony.Job {
	return crony.Job{Name: name, Note: note, Schedule: "* * * * * *", Shell: &crony.Shell{Argv: []string{"true"}}}
}

// define applies jobs.
func (r *rig) define(jobs ...crony.Job) {
	r.t.Helper()
	if _, err := r.Define(r.ctx(), crony.Manifest{Jobs: jobs}, crony.ApplyOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// elect makes a term, which lasts until the next.
func (r *rig) elect() Term {
	r.t.Helper()
	return Term{r.put(leader, encode(leadership{Server: "test"}))}
}

// placeAll has a leader put jobs where a list says, and nowhere else.
func (s *Store) placeAll(ctx context.Context, term Term, list []crony.Assignment) error {
	moves := make([]Move, len(list))
	for i, a := range list {
		moves[i] = Move{Job: a.Job, Generation: a.Generation, Put: []crony.Assignment{a}}
		j := s.mirror.look(a.Job)
		for _, held := range j.assignments {
			if held.Agent != a.Agent && j.mode() == crony.PlaceOne {
				moves[i].Drop = append(moves[i].Drop, *held)
			}
		}
	}
	_, err := s.Place(ctx, term, moves)
	return err
}

// give places jobs on an agent and returns the epoch of the last.
func (r *rig) give(agent string, names ...string) int64 {
	r.t.Helper()
	var list []crony.Assignment
	for _, name := range names {
		j := r.look(name)
		list = append(list, crony.Assignment{Job: name, Agent: agent, Generation: j.generation(), Since: r.now(), Reason: "test"})
	}
	if err := r.placeAll(r.ctx(), r.elect(), list); err != nil {
		r.t.Fatal(err)
	}
	a := r.newest(names[len(names)-1])
	if a == nil || a.Agent != agent {
		r.t.Fatalf("%v are not placed on %s: %+v", names, agent, a)
	}
	for _, name := range names {
		r.settle(name)
	}
	return a.Epoch
}

// take gives an agent a run that was ordered, and has it take it.
func (r *rig) take(agent, job string, run crony.RunID) {
	r.t.Helper()
	if _, mine, err := r.GiveStart(r.ctx(), agent, job, run); err != nil || !mine {
		r.t.Fatalf("%s is not given the run %s of %s: %v", agent, run, job, err)
	}
	if err := r.TakeStart(r.ctx(), agent, job, run); err != nil {
		r.t.Fatal(err)
	}
}

// settle has the decisions on a job catch up with its definition, as before its agent is told, and returns its epoch.
func (r *rig) settle(name string) int64 {
	r.t.Helper()
	a, has, err := r.Settle(r.ctx(), r.agentOf(name), name)
	if err != nil || !has {
		r.t.Fatalf("%s is not settled: %v", name, err)
	}
	return a.Assignment.Epoch
}

func (r *rig) look(name string) job { return r.mirror.look(name) }

func (r *rig) newest(name string) *crony.Assignment {
	j := r.look(name)
	return j.newest()
}

func (r *rig) agentOf(name string) string { return agentOf(r.look(name)) }

// agentOf returns who got a job last; "" if nobody has it.
func agentOf(j job) string {
	if a := j.newest(); a != nil {
		return a.Agent
	}
	return ""
}

// put writes a value as another crony would, or anybody.
func (r *rig) put(key, value string) int64 {
	r.t.Helper()
	resp, err := r.client.Put(r.ctx(), key, value)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.Header.Revision
}

// keys returns what stands under a prefix.
func (r *rig) keys(prefix string) []string {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), prefix, clientv3.WithPrefix())
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, kv := range resp.Kvs {
		list = append(list, string(kv.Key))
	}
	return list
}

// leases returns how many leases there are.
func (r *rig) leases() int {
	r.t.Helper()
	resp, err := r.client.Leases(r.ctx())
	if err != nil {
		r.t.Fatal(err)
	}
	return len(resp.Leases)
}
