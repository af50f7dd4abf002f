package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

func stoneOf(agent string) crony.Tombstone {
	return crony.Tombstone{ID: agent, Role: crony.JoinAgent, Name: "name of " + agent}
}

func (r *rig) bury(stone crony.Tombstone) {
	r.t.Helper()
	if err := r.Bury(crony.WithActor(r.ctx(), "ann"), stone); err != nil {
		r.t.Fatal(err)
	}
}

func TestBuryServer(t *testing.T) {
	r := newRig(t, emptied(t))
	r.registerServer(Server{ID: "s1"})
	r.registerServer(Server{ID: "s2"})
	feed := r.Changes("")
	defer feed.Close()
	r.next(feed)
	r.bury(crony.Tombstone{ID: "s1", Role: crony.JoinServer, Name: "one"})
	want := crony.Tombstone{ID: "s1", Role: crony.JoinServer, Name: "one", At: noon, By: "ann"}
	got, buried := r.Buried("s1")
	if diff := cmp.Diff(want, got); diff != "" || !buried {
		t.Errorf("%v (-want +got):\n%s", buried, diff)
	}
	r.wantNext(feed, Changes{Cluster: true})
	if list := r.Servers(); len(list) != 1 || list[0].ID != "s2" {
		t.Errorf("servers: %+v", list)
	}
	if _, err := r.RegisterServer(t.Context(), Server{ID: "s1"}); crony.CodeOf(err) != crony.Forbidden || len(r.Servers()) != 1 {
		t.Errorf("it registers again: %v", err)
	}
	if _, buried := r.Buried("s2"); buried {
		t.Error("another is buried")
	}
	for _, wrong := range []crony.Tombstone{{ID: "s1"}, {Role: crony.JoinServer}, {ID: "s1", Role: "people"}} {
		if err := r.Bury(t.Context(), wrong); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// TestBuryAgent: what it has goes, what others have stays, and nobody gives it anything again.
func TestBuryAgent(t *testing.T) {
	client := emptied(t)
	r, leader := newRig(t, client), newRig(t, client)
	p, other := r.register(crony.Agent{ID: "a1"}), r.register(crony.Agent{ID: "a2"})
	_, secret := r.newJoinToken(crony.JoinTokenSpec{For: crony.JoinAgent})
	r.redeem(secret, "key", "a1")
	r.define(job1("a", "1"), job1("b", "1"), job1("c", "1"))
	r.give("a1", "a", "b")
	r.give("a2", "c")
	for _, name := range []string{"a", "c"} {
		if _, err := r.StartJob(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := leader.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	leader.link.hold() // the leader still takes it for alive
	term := r.elect()
	r.bury(stoneOf("a1"))
	if got := []string{r.agentOf("a"), r.agentOf("b"), r.agentOf("c")}; got[0] != "" || got[1] != "" || got[2] != "a2" {
		t.Errorf("the jobs are placed on %q", got)
	}
	if _, waits := r.Order("a"); waits {
		t.Error("an order to an agent that is gone waits")
	}
	if _, waits := r.Order("c"); !waits {
		t.Error("the order to another is gone")
	}
	if diff := cmp.Diff([]string{nodes + "a2"}, r.keys(nodes)); diff != "" || lost(other) {
		t.Errorf("agents (-want +got):\n%s", diff)
	}
	p.Leave(t.Context())

	done, asked := make(chan error, 1), leader.asked()
	go func() {
		done <- leader.placeAll(t.Context(), term, []crony.Assignment{
			{Job: "b", Agent: "a1", Generation: 1}, {Job: "c", Agent: "a1", Generation: 1}})
	}()
	<-asked
	leader.link.release()
	if err := <-done; err != nil || leader.agentOf("b") != "" || leader.agentOf("c") != "a2" {
		t.Errorf("jobs were placed on an agent that is buried: %v, %q, %q", err, leader.agentOf("b"), leader.agentOf("c"))
	}
	if _, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "a1"}); crony.CodeOf(err) != crony.Forbidden || r.Counts().Agents != 1 {
		t.Errorf("it registers again: %v", err)
	}
	if id, err := r.RedeemJoinToken(t.Context(), secret, "key", "a9"); crony.CodeOf(err) != crony.Forbidden || id != "" {
		t.Errorf("it asks for its certificate again: %q, %v", id, err)
	}

	r.clock.forward(hour)
	before, _ := r.Buried("a1")
	r.bury(crony.Tombstone{ID: "a1", Role: crony.JoinAgent, Name: "another name"})
	if after, _ := r.Buried("a1"); !cmp.Equal(before, after) {
		t.Errorf("buried again: %+v, before %+v", after, before)
	}
}

// manyJobs defines jobs and places them on an agent.
func (r *rig) manyJobs(agent string, n int) {
	r.t.Helper()
	var jobs []crony.Job
	var list []crony.Assignment
	for i := range n {
		jobs = append(jobs, job1(fmt.Sprintf("job-%04d", i), ""))
		list = append(list, crony.Assignment{Job: jobs[i].Name, Agent: agent, Generation: 1, Since: noon, Reason: "test"})
	}
	for batch := range slices.Chunk(jobs, 500) {
		r.define(batch...)
	}
	if err := r.placeAll(r.ctx(), r.elect(), list); err != nil {
		r.t.Fatal(err)
	}
	if got := len(r.AssignedTo(agent)); got != n {
		r.t.Fatalf("%s has %d jobs, want %d", agent, got, n)
	}
}

// crashAfter lets a number of transactions through and loses all that come later.
func crashAfter(n int) fault {
	var mu sync.Mutex
	return func(_ context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		if n--; n < 0 {
			return nil, errLost
		}
		return commit()
	}
}

// TestBuryIsInterrupted: after a crash with part of the assignments gone, whoever buries the agent again does the rest, or the
// leader does.
func TestBuryIsInterrupted(t *testing.T) {
	const n = 5000
	for name, finish := range map[string]func(*rig) error{
		"again": func(r *rig) error { return r.Bury(r.ctx(), stoneOf("a1")) },
		"leader": func(r *rig) error {
			stale, term := r.elect(), r.elect()
			if err := r.Vacate(r.ctx(), stale, "a1"); err != nil || len(r.AssignedTo("a1")) == 0 {
				return fmt.Errorf("a term that is over does it: %w", err)
			}
			for _, agent := range r.Places(Scope{Open: true}).Buried {
				if err := r.Vacate(r.ctx(), term, agent); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := emptied(t)
			r, other := newRig(t, client), newRig(t, client)
			r.manyJobs("a1", n)
			r.register(crony.Agent{ID: "a1"})
			r.strike(crashAfter(20))
			if err := r.Bury(t.Context(), stoneOf("a1")); !errors.Is(err, errLost) {
				t.Fatalf("a burial that is interrupted: %v", err)
			}
			if err := other.sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(other.AssignedTo("a1")); got != n-19*maxPlace {
				t.Fatalf("%d assignments are left", got)
			}
			if _, buried := other.Buried("a1"); !buried || other.Counts().Agents != 0 {
				t.Error("the tombstone did not come first")
			}
			if diff := cmp.Diff([]string{"a1"}, other.Places(Scope{Open: true}).Buried); diff != "" {
				t.Errorf("what the leader is told (-want +got):\n%s", diff)
			}
			if err := finish(other); err != nil {
				t.Fatal(err)
			}
			if p := other.Places(Scope{Open: true}); len(p.Buried) != 0 || len(p.Jobs) != n || len(p.Load) != 0 || len(other.keys(jobs)) != 0 {
				t.Errorf("left: buried %v, %d jobs to place, load %v", p.Buried, len(p.Jobs), p.Load)
			}
		})
	}
}

// TestStartOnTheBuried: no order is given to an agent whose tombstone stands, though it still has the job; not by a server
// that has not heard of the tombstone either.
func TestStartOnTheBuried(t *testing.T) {
	client := emptied(t)
	r, behind := newRig(t, client), newRig(t, client)
	r.define(job1("a", "1"))
	r.give("a1", "a")
	if err := behind.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	behind.link.hold()
	r.strike(crashAfter(1))
	if err := r.Bury(t.Context(), stoneOf("a1")); !errors.Is(err, errLost) || r.agentOf("a") != "a1" {
		t.Fatalf("%v; the job is placed on %q", err, r.agentOf("a"))
	}
	r.strike(nil)
	done, asked := make(chan error, 1), behind.asked()
	go func() {
		_, err := behind.StartJob(t.Context(), "a")
		done <- err
	}()
	<-asked
	behind.link.release()
	_, err := r.StartJob(t.Context(), "a")
	for _, err := range []error{err, <-done} {
		if crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("an order to an agent that is buried: %v", err)
		}
	}
	if left := r.keys(starts); len(left) > 0 || !cmp.Equal(r.keys(claims), []string{claims + "a"}) {
		t.Errorf("orders: %v", left)
	}
}

// TestVacateTheLiving: only the buried lose what they have.
func TestVacateTheLiving(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	r.give("a1", "a")
	if err := r.Vacate(t.Context(), r.elect(), "a1"); err != nil || r.agentOf("a") != "a1" {
		t.Errorf("%v, the job is placed on %q", err, r.agentOf("a"))
	}
}

// TestBuryInAStorm buries an agent while its jobs are changed, started, removed and placed, by two servers. In the end nothing
// of it is left, and a job that is placed is placed elsewhere.
func TestBuryInAStorm(t *testing.T) {
	client := emptied(t)
	r, leader := newRig(t, client), newRig(t, client)
	const names = 12
	term := r.elect()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var storm sync.WaitGroup
	expected := func(err error) {
		switch crony.CodeOf(err) {
		case "", crony.NotFound, crony.Conflict, crony.Unavailable:
		default:
			if ctx.Err() == nil {
				t.Error(err)
			}
		}
	}
	for w := range 3 {
		storm.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprint("job-", n%names)
				switch (n + w) % 5 {
				case 0:
					expected(r.DeleteJob(ctx, name))
				case 1:
					_, err := r.StartJob(ctx, name)
					expected(err)
				default:
					_, err := r.Define(ctx, crony.Manifest{Jobs: []crony.Job{job1(name, fmt.Sprint(w, n))}}, crony.ApplyOptions{})
					expected(err)
				}
			}
		})
	}
	storm.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			j := leader.look(fmt.Sprint("job-", n%names))
			expected(leader.placeAll(ctx, term, []crony.Assignment{
				{Job: j.name, Agent: fmt.Sprint("a", 1+n/names%2), Generation: j.generation()}}))
		}
	})
	r.wait("the agent to have jobs", func() bool { return len(r.AssignedTo("a1")) > names/3 })
	r.bury(stoneOf("a1"))
	if left := r.keys(jobs + "a1/"); len(left) > 0 {
		t.Errorf("when it is buried it has %v", left)
	}
	r.wait("the storm to go on for a while", func() bool { return len(r.AssignedTo("a2")) > names/2 })
	stop()
	storm.Wait()
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := r.keys(jobs + "a1/"); len(left) > 0 || len(r.Places(Scope{Open: true}).Buried) > 0 {
		t.Errorf("in the end it has %v; %v", left, r.Places(Scope{Open: true}).Buried)
	}
	for n := range names {
		if order, ok := r.Order(fmt.Sprint("job-", n)); ok && order.Agent == "a1" {
			t.Errorf("an order to it waits: %+v", order)
		}
	}
}
