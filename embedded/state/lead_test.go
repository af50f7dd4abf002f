package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// office is what the candidates of a test lead.
type office struct {
	terms  chan reign
	errors chan error // what a leader returns when it is told to give up
}

// reign is one term of a candidate.
type reign struct {
	server string
	term   Term
	ctx    context.Context //nolint:containedctx // what the term gave
}

func newOffice() *office { return &office{terms: make(chan reign, 10), errors: make(chan error)} }

// stand starts a candidate and returns a function that ends it and waits for its end.
func (o *office) stand(r *rig, server string) (leave func()) {
	ctx, cancel := context.WithCancel(r.ctx())
	var done sync.WaitGroup
	done.Go(func() {
		err := r.Lead(ctx, server, func(ctx context.Context, term Term) error {
			o.terms <- reign{server, term, ctx}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case err := <-o.errors:
				return err
			}
		})
		if err != nil {
			r.t.Errorf("%s: %v", server, err)
		}
	})
	return func() {
		cancel()
		done.Wait()
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

// TestLead has three stand for election and takes the lead from one after the other, in each way in which it can end.
func TestLead(t *testing.T) {
	t.Parallel()
	client := ownClient(t)
	r := newRig(t, client)
	o := newOffice()
	leave := map[string]func(){}
	for n := range 3 {
		server := fmt.Sprint("s", n)
		leave[server] = o.stand(r, server)
	}
	first := o.next(t)
	r.wait("all three to stand", func() bool { return len(r.keys(leaders)) == 3 })
	if err := r.sync(t.Context()); err != nil || r.Leader() != first.server {
		t.Errorf("the leader is %q, %v; want %q", r.Leader(), err, first.server)
	}

	// Its lease is gone: the term ends, and it stands again.
	r.revokeLease(first.term.key)
	second := o.next(t)
	select {
	case <-first.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the term goes on without its lease")
	}
	if err := context.Cause(first.ctx); !errors.Is(err, errTermOver) {
		t.Errorf("the first term ended with %v", err)
	}
	if second.server == first.server || second.term.Number() <= first.term.Number() {
		t.Errorf("%+v after %+v", second, first)
	}
	r.wait("the first to stand again", func() bool { return len(r.keys(leaders)) == 3 })

	// It leaves: another leads at once, not when a lease ends.
	began := time.Now()
	leave[second.server]()
	third := o.next(t)
	if took := time.Since(began); took > leaseTTL*time.Second/2 {
		t.Errorf("the next leader came after %v", took)
	}
	if third.server == second.server || third.term.Number() <= second.term.Number() {
		t.Errorf("%+v after %+v", third, second)
	}

	// Its work fails: the term is over, and the next leads.
	o.errors <- errors.New("no luck")
	fourth := o.next(t)
	if fourth.server == third.server {
		t.Errorf("%s leads again, before the other had its turn", fourth.server)
	}
	for _, end := range leave {
		end()
	}
	if left := r.keys(leaders); len(left) > 0 || r.leases() > 0 {
		t.Errorf("left in the election: %v, and %d leases", left, r.leases())
	}
	if err := r.sync(t.Context()); err != nil || r.Leader() != "" {
		t.Errorf("the leader is %q, %v; want none", r.Leader(), err)
	}
}

func (r *rig) revokeLease(key string) {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), key)
	if err != nil || len(resp.Kvs) != 1 {
		r.t.Fatalf("%s: %v, %v", key, resp, err)
	}
	if _, err := r.client.Revoke(r.ctx(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		r.t.Fatal(err)
	}
}

// TestCandidateLosesItsLease: who waits to lead, and has lost its place in the queue, takes a new one.
func TestCandidateLosesItsLease(t *testing.T) {
	t.Parallel()
	client := ownClient(t)
	r := newRig(t, client)
	o := newOffice()
	leaveFirst := o.stand(r, "s1")
	o.next(t)
	leaveSecond := o.stand(r, "s2")
	defer leaveSecond()
	r.wait("the second to stand", func() bool { return len(r.keys(leaders)) == 2 })
	for _, key := range r.keys(leaders) {
		if resp, err := client.Get(t.Context(), key); err == nil && string(resp.Kvs[0].Value) == "s2" {
			r.revokeLease(key)
		}
	}
	r.wait("the second to stand again", func() bool { return len(r.keys(leaders)) == 2 })
	leaveFirst()
	if got := o.next(t); got.server != "s2" {
		t.Errorf("%s leads", got.server)
	}
}

// TestWithdraw: a server that was killed while it led, and is back before its lease has ended, waits for nobody.
func TestWithdraw(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	lease, err := r.client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Put(t.Context(), leaders+"earlier", "s1", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	o := newOffice()
	leaveOther := o.stand(r, "s2")
	defer leaveOther()
	r.wait("the other to stand", func() bool { return len(r.keys(leaders)) == 2 })
	leave := o.stand(r, "s1")
	defer leave()
	if got := o.next(t); got.server != "s2" {
		t.Errorf("%s leads, though the other stood before", got.server)
	}
	if n := r.leases(); n != leases+2 {
		t.Errorf("%d leases more than before, want the two candidates'", n-leases)
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
	if diff := cmp.Diff(&want, got.assignment); diff != "" || got.rev != got.assignment.Epoch {
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
	if err := r.Unplace(t.Context(), next, append(orphans, *r.look("b").assignment)); err != nil { // b is no orphan
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
	leader.wait("the leader to know the jobs", func() bool { return leader.look("c").assignment != nil })
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
