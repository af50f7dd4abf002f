package state

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/embedded/fakeetcd"
)

// office is what the servers of a test lead. Who leads is said by believes, as raft would say it.
type office struct {
	terms    chan reign
	errors   chan error // what a leader returns when it is told to give up
	believes map[string]*atomic.Bool
}

// reign is one term of a server.
type reign struct {
	server string
	term   Term
	ctx    context.Context //nolint:containedctx // what the term gave
}

func newOffice(servers ...string) *office {
	o := &office{terms: make(chan reign, 100), errors: make(chan error), believes: map[string]*atomic.Bool{}}
	for _, server := range servers {
		o.believes[server] = &atomic.Bool{}
	}
	return o
}

// stand has a server lead whenever it believes that it does, and returns a function that ends that and waits for its end.
func (o *office) stand(t testing.TB, store *Store, server string) (leave func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		err := store.Lead(ctx, server, o.believes[server].Load, func(ctx context.Context, term Term) error {
			o.terms <- reign{server, term, ctx}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case err := <-o.errors:
				return err
			}
		})
		if err != nil {
			t.Errorf("%s: %v", server, err)
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// elect makes a server the only one that believes that it leads; "" makes none.
func (o *office) elect(server string) {
	for name, believes := range o.believes {
		believes.Store(name == server)
	}
}

func (o *office) next(t *testing.T) reign {
	t.Helper()
	select {
	case x := <-o.terms:
		return x
	case <-time.After(patience):
		t.Fatal("nobody leads")
		panic("unreachable")
	}
}

// over waits for the end of a term, which must be an orderly one.
func (x *reign) over(t *testing.T) {
	t.Helper()
	select {
	case <-x.ctx.Done():
		if err := context.Cause(x.ctx); !errors.Is(err, errTermOver) {
			t.Errorf("term %d of %s ended with %v", x.term.Number(), x.server, err)
		}
	case <-time.After(patience):
		t.Fatalf("term %d of %s goes on", x.term.Number(), x.server)
	}
}

// TestLead has three servers lead one after the other, each with a store of its own on one member.
func TestLead(t *testing.T) {
	t.Parallel()
	client := ownClient(t)
	servers := []string{"s0", "s1", "s2"}
	o := newOffice(servers...)
	rigs, leave := map[string]*rig{}, map[string]func(){}
	for _, server := range servers {
		rigs[server] = newRig(t, client)
		if got := rigs[server].Leader(); got != "" {
			t.Errorf("the leader is %q before there was one", got)
		}
		leave[server] = o.stand(t, rigs[server].Store, server)
	}
	before := reign{}
	for _, server := range []string{"s0", "s1", "s2", "s0"} {
		o.elect(server)
		now := o.next(t)
		if now.server != server || now.term.Number() <= before.term.Number() {
			t.Fatalf("%+v after %+v, want %s to lead", now, before, server)
		}
		if before.server != "" {
			before.over(t)
		}
		before = now
		for name, r := range rigs {
			r.wait("the leader to be known to "+name, func() bool { return r.Leader() == server })
		}
	}
	o.errors <- errors.New("no luck") // the work fails: the next term is the same server's
	if again := o.next(t); again.server != before.server || again.term.Number() <= before.term.Number() {
		t.Errorf("%+v after %+v", again, before)
	}
	o.elect("")
	for _, end := range leave {
		end()
	}
	if n := rigs["s0"].leases(); n > 0 {
		t.Errorf("%d leases are left of leading", n)
	}
	if got := rigs["s1"].Leader(); got != "s0" {
		t.Errorf("the last leader is %q", got)
	}
	select {
	case x := <-o.terms:
		t.Errorf("%+v, although nobody leads", x)
	default:
	}
}

// TestTwoBelieve: two servers believe that they lead. Who wrote later does; the term of the other ends although it goes on to
// believe, and its writes are refused. When one of them has learned better the other leads, and no more terms begin.
func TestTwoBelieve(t *testing.T) {
	for _, right := range []string{"s1", "s2"} {
		t.Run(right, func(t *testing.T) {
			client := emptied(t)
			rigs := map[string]*rig{"s1": newRig(t, client), "s2": newRig(t, client)}
			r := rigs["s1"]
			r.define(job1("a", "1"))
			o := newOffice("s1", "s2")
			for server, r := range rigs {
				defer o.stand(t, r.Store, server)()
			}
			o.elect("s1")
			first := o.next(t)
			o.believes["s2"].Store(true)
			second := first
			for second.server != "s2" {
				second = o.next(t)
			}
			first.over(t)
			if err := r.Place(t.Context(), first.term, []crony.Assignment{{Job: "a", Agent: "a1", Generation: 1}}); err != nil || r.agentOf("a") != "" {
				t.Errorf("a term that is over placed a job: %v", err)
			}
			o.elect(right)
			last := second
			r.wait("the right one to lead", func() bool { // without a break: the terms that came meanwhile are taken
				select {
				case last = <-o.terms:
				default:
				}
				return last.server == right && r.mirror.lead().rev == last.term.Number() && len(o.terms) == 0
			})
			for range 10 { // it looks that often without finding a reason to begin anew
				pause(t.Context(), pollEvery)
			}
			if last.ctx.Err() != nil || len(o.terms) > 0 || r.Leader() != right {
				t.Errorf("the term of %s did not last: %v, %d more terms, led by %s", right, context.Cause(last.ctx), len(o.terms), r.Leader())
			}
			if err := r.Place(t.Context(), last.term, []crony.Assignment{{Job: "a", Agent: "a1", Generation: 1}}); err != nil || r.agentOf("a") != "a1" {
				t.Errorf("the leader can't place a job: %v", err)
			}
		})
	}
}

// TestTermEndsInTime measures in a bubble, where time is exact, how long a term outlives its reason.
func TestTermEndsInTime(t *testing.T) {
	const most = 100 * time.Millisecond
	for name, end := range map[string]func(*office, *clientv3.Client) error{
		"leading no more": func(o *office, _ *clientv3.Client) error { o.elect(""); return nil },
		"another leads": func(_ *office, c *clientv3.Client) error {
			_, err := c.Put(context.Background(), leader, encode(leadership{Server: "s2"}))
			return err
		},
		"another leads that can't be read": func(_ *office, c *clientv3.Client) error {
			_, err := c.Put(context.Background(), leader, `{"v":2}`)
			return err
		},
		"the key is gone": func(_ *office, c *clientv3.Client) error {
			_, err := c.Delete(context.Background(), leader)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fakeetcd.New().Client(t.Context())
				s, err := Open(t.Context(), Options{Client: client, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				o := newOffice("s1")
				leave := o.stand(t, s, "s1")
				o.elect("s1")
				first := o.next(t)
				time.Sleep(time.Hour + 20*time.Millisecond) // at some point between two looks
				if first.ctx.Err() != nil {
					t.Fatalf("the term ended for no reason: %v", context.Cause(first.ctx))
				}
				began := time.Now()
				if err := end(o, client); err != nil {
					t.Fatal(err)
				}
				first.over(t)
				if took := time.Since(began); took > most {
					t.Errorf("the term lasted for %v more", took)
				}
				if o.believes["s1"].Load() { // it leads all the same
					if again := o.next(t); again.term.Number() <= first.term.Number() || time.Since(began) > 2*most {
						t.Errorf("%+v after %v", again, time.Since(began))
					}
				}
				leave()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestNoQuorum: a server that leads and can't write so tries until it can, and gives up as soon as it leads no more.
func TestNoQuorum(t *testing.T) {
	r := newRig(t, emptied(t))
	o := newOffice("s1")
	defer o.stand(t, r.Store, "s1")()
	stuck, givenUp := make(chan struct{}), make(chan struct{})
	r.strike(func(ctx context.Context, _ func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		stuck <- struct{}{}
		<-ctx.Done()
		close(givenUp)
		return nil, ctx.Err()
	})
	o.elect("s1")
	<-stuck
	o.elect("")
	<-givenUp
	r.strike(requestLost)
	tried := r.asked()
	o.elect("s1")
	<-tried
	r.strike(replyLost) // written, and not known to be
	r.wait("a try whose answer is lost", func() bool { return r.Leader() == "s1" })
	if len(o.terms) > 0 {
		t.Fatalf("it leads: %+v", <-o.terms)
	}
	r.strike(nil)
	if now := o.next(t); now.term.Number() != r.mirror.lead().rev {
		t.Errorf("%+v; the key was written at %d", now, r.mirror.lead().rev)
	}
}

func TestTermFencesWrites(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"), job1("b", "1"), job1("c", "1"))
	old := r.elect()
	a := func(job, agent string, generation int64) crony.Assignment {
		return crony.Assignment{Job: job, Agent: agent, Generation: generation, Since: noon, Reason: "test"}
	}
	if err := r.Place(t.Context(), old, []crony.Assignment{a("a", "a1", 1), a("orphan", "a1", 1), a("b", "a1", 7)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{assignmentKey("a1", "a")}, r.keys(jobs)); diff != "" {
		t.Errorf("placed (-want +got):\n%s", diff)
	}
	got := r.look("a")
	want := a("a", "a1", 1)
	want.Epoch = r.Revision()
	if diff := cmp.Diff(&want, got.newest()); diff != "" || got.rev != got.newest().Epoch {
		t.Errorf("revision %d (-want +got):\n%s", got.rev, diff)
	}

	orphan := r.put(assignmentKey("a1", "gone"), encode(a("gone", "a1", 1)))
	next := r.elect()
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphans := r.Places().Orphans
	if len(orphans) != 1 || orphans[0].Job != "gone" || orphans[0].Epoch != orphan {
		t.Fatalf("orphans: %+v", orphans)
	}
	before := r.Revision()
	if err := r.Place(t.Context(), old, []crony.Assignment{a("a", "a2", 1), a("b", "a2", 1)}); err != nil {
		t.Error(err)
	}
	if err := r.Unplace(t.Context(), old, orphans); err != nil {
		t.Error(err)
	}
	if after := r.Revision(); after != before {
		t.Errorf("a leader of a term that is over wrote: revision %d after %d, keys %v", after, before, r.keys(jobs))
	}
	if err := r.Place(t.Context(), next, []crony.Assignment{a("a", "a2", 1), a("b", "a2", 1)}); err != nil {
		t.Error(err)
	}
	if err := r.Unplace(t.Context(), next, append(orphans, *r.newest("b"))); err != nil { // b is no orphan
		t.Error(err)
	}
	if diff := cmp.Diff([]string{assignmentKey("a2", "a"), assignmentKey("a2", "b")}, r.keys(jobs)); diff != "" {
		t.Errorf("placed by the next leader (-want +got):\n%s", diff)
	}
	p := r.Places()
	if len(p.Jobs) != 1 || p.Jobs[0].Definition.Job.Name != "c" || p.Load["a2"] != 2 || len(p.Load) != 1 || len(p.Orphans) != 0 {
		t.Errorf("places: %+v", p)
	}
}

// TestPlaceWhatChanged: a leader that decided on what no longer stands leaves out what changed, and only that.
func TestPlaceWhatChanged(t *testing.T) {
	client := emptied(t)
	r, leader := newRig(t, client), newRig(t, client)
	r.define(job1("a", "1"), job1("b", "1"), job1("c", "1"))
	r.give("a1", "c")
	leader.wait("the leader to know the jobs", func() bool { return leader.newest("c") != nil })
	term := r.elect()
	leader.link.hold()
	r.define(job1("a", "2"))
	if err := r.DeleteJob(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	done, asked := make(chan error, 1), leader.asked()
	go func() {
		done <- leader.Place(t.Context(), term, []crony.Assignment{
			{Job: "a", Agent: "a2", Generation: 1}, {Job: "b", Agent: "a2", Generation: 1}, {Job: "c", Agent: "a2", Generation: 1}})
	}()
	<-asked
	leader.link.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{assignmentKey("a2", "b")}, r.keys(jobs)); diff != "" {
		t.Errorf("placed (-want +got):\n%s", diff)
	}
	if open := leader.Places().Jobs; len(open) != 1 || open[0].Definition.Generation != 2 {
		t.Errorf("left to place: %+v", open)
	}
}
