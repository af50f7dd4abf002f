package state

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// start orders a job and returns the runs.
func (r *rig) start(job string, opts crony.StartOptions) []crony.RunID {
	r.t.Helper()
	runs, err := r.StartJob(r.ctx(), job, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	return runs
}

// TestSameRequestFromTwoServers has servers asked for the same at once, some of which lose the answer, and one that is behind.
// There is one run.
func TestSameRequestFromTwoServers(t *testing.T) {
	client := emptied(t)
	r, other, behind := newRig(t, client), newRig(t, client), newRig(t, client)
	r.register(crony.Agent{ID: "a1"})
	r.define(job1("a", "1"))
	r.give("a1", "a")
	if err := behind.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	opts := crony.StartOptions{Request: "r1", Params: map[string]string{"day": "monday"}}
	var mu sync.Mutex
	seen := map[crony.RunID]int{}
	var work sync.WaitGroup
	for n := range 20 {
		work.Go(func() {
			from := []*rig{r, other}[n%2]
			runs, err := from.StartJob(t.Context(), "a", opts)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[runs[0]]++
		})
	}
	work.Wait()
	r.strike(replyLost)
	if _, err := r.StartJob(t.Context(), "a", crony.StartOptions{Request: "r2"}); err == nil {
		t.Error("an order whose answer is lost is answered")
	}
	r.strike(nil)
	lost := other.start("a", crony.StartOptions{Request: "r2"})
	if again := r.start("a", crony.StartOptions{Request: "r2"}); !slices.Equal(again, lost) || len(r.keys(starts)) != 2 {
		t.Errorf("an order whose answer was lost: %v, and then %v; %v", lost, again, r.keys(starts))
	}
	run := r.start("a", opts)[0]
	if len(seen) != 1 || seen[run] != 20 {
		t.Errorf("one request has the runs %v, and then %s", seen, run)
	}
	other.take("a1", "a", run)
	for _, from := range []*rig{r, other, behind} {
		if again := from.start("a", opts); again[0] != run {
			t.Errorf("after it was taken: %s, not %s", again[0], run)
		}
	}
	if orders := r.Orders("a1", "a"); len(orders) != 1 || orders[0].Request.Run != lost[0] {
		t.Errorf("waiting: %+v", orders)
	}
}

// TestTakenOrder leaves a mark that goes by itself, and in ten minutes at the earliest.
func TestTakenOrder(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	r.give("a1", "a")
	for range 2 { // they share a lease
		run := r.start("a", crony.StartOptions{Params: map[string]string{"large": strings.Repeat("x", 10_000)}})[0]
		r.take("a1", "a", run)
		if err := r.TakeStart(t.Context(), "a1", "a", run); err != nil {
			t.Error(err)
		}
	}
	resp, err := r.client.Get(t.Context(), starts, clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	for _, kv := range resp.Kvs {
		left, err := r.client.TimeToLive(t.Context(), clientv3.LeaseID(kv.Lease))
		if err != nil || left.TTL < 600 || left.TTL > 900 || len(kv.Value) > 500 || kv.Lease != resp.Kvs[0].Lease {
			t.Errorf("left is %d bytes, for %d s: %v", len(kv.Value), left.TTL, err)
		}
	}
	if list := r.Unstarted(); len(list) > 0 || len(r.OrderedOf("a1")) > 0 {
		t.Errorf("to be put on record: %+v", list)
	}
}

// TestOrderFollowsTheJob moves a job before and after its agent was given the order.
func TestOrderFollowsTheJob(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	r.register(crony.Agent{ID: "a1"})
	r.register(crony.Agent{ID: "a2", Name: "two"})
	r.define(job1("a", "1"))
	r.give("a1", "a")
	one, two := r.Changes("a1"), r.Changes("a2")
	defer one.Close()
	defer two.Close()
	own, chosen := r.start("a", crony.StartOptions{})[0], r.start("a", crony.StartOptions{Agent: "two"})[0]
	has := func(agent string, runs ...crony.RunID) {
		t.Helper()
		var got []crony.RunID
		for _, o := range r.Orders(agent, "a") {
			got = append(got, o.Request.Run)
			if o.Request.Agent != agent || o.Definition.Job.Name != "a" || o.Epoch == 0 {
				t.Errorf("%s is told %+v", agent, o)
			}
		}
		slices.Sort(got)
		slices.Sort(runs)
		if !slices.Equal(got, runs) || (len(runs) > 0) != slices.Contains(r.OrderedOf(agent), "a") {
			t.Errorf("%s has orders for %v, want %v", agent, got, runs)
		}
	}
	has("a1", own)
	has("a2", chosen)
	for _, f := range []*Feed{one, two} {
		if c := f.Take(); !slices.Contains(c.Jobs, "a") {
			t.Errorf("nobody is told: %+v", c)
		}
	}
	if _, mine, err := r.GiveStart(t.Context(), "a1", "a", chosen); mine || err != nil {
		t.Errorf("a1 is given another's order: %v", err)
	}
	r.give("a2", "a")
	has("a1")
	has("a2", own, chosen)
	if c := two.Take(); !slices.Contains(c.Jobs, "a") {
		t.Errorf("a2 is not told: %+v", c)
	}
	if o, mine, err := r.GiveStart(t.Context(), "a2", "a", own); !mine || err != nil || !o.Given {
		t.Errorf("a2 is not given the order: %v", err)
	}
	r.give("a1", "a")
	has("a1")
	has("a2", own, chosen)
	if _, mine, err := other.GiveStart(t.Context(), "a1", "a", own); mine || err != nil {
		t.Errorf("what a2 may have begun is given to a1: %v", err)
	}
	if err := other.TakeStart(t.Context(), "a1", "a", own); crony.CodeOf(err) != crony.Forbidden {
		t.Errorf("a1 takes it: %v", err)
	}
	if err := other.TakeStart(t.Context(), "a2", "a", own); err != nil {
		t.Error(err)
	}
	r.must(r.sync(t.Context())) // it was another server that took it
	has("a2", chosen)
}

// TestGivenOnce has a job move to and fro while servers give the order to whoever has the job. One agent is given it.
func TestGivenOnce(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	r.define(job1("a", "1"))
	for range 10 {
		r.give("a1", "a")
		run := r.start("a", crony.StartOptions{})[0]
		var given [2]bool
		var work sync.WaitGroup
		for n, from := range []*rig{r, other} {
			work.Go(func() {
				for end := time.Now().Add(300 * time.Millisecond); !given[n] && time.Now().Before(end); {
					_, mine, err := from.GiveStart(t.Context(), []string{"a1", "a2"}[n], "a", run)
					given[n] = mine
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		r.give("a2", "a")
		work.Wait()
		if given[0] == given[1] {
			t.Fatalf("given to a1: %v, to a2: %v", given[0], given[1])
		}
		r.take(map[bool]string{true: "a1", false: "a2"}[given[0]], "a", run)
	}
}

// TestWithdraw takes back what nobody was given, and nothing else.
func TestWithdraw(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	r.give("a1", "a")
	waiting, given := r.start("a", crony.StartOptions{Request: "w"})[0], r.start("a", crony.StartOptions{})[0]
	if _, mine, err := r.GiveStart(t.Context(), "a1", "a", given); !mine || err != nil {
		t.Fatal(mine, err)
	}
	kill := crony.KillOrder{By: "eve", At: noon, Reason: "not needed"}
	for range 2 {
		if w, err := r.WithdrawStart(t.Context(), waiting, kill); !w.Done || err != nil {
			t.Errorf("not withdrawn: %v", err)
		}
	}
	if w, err := r.WithdrawStart(t.Context(), given, kill); err != nil || w != (Withdrawal{Job: "a", Agent: "a1"}) {
		t.Errorf("what was given: %+v, %v", w, err)
	}
	if w, err := r.WithdrawStart(t.Context(), crony.NewRunID(noon), kill); err != nil || w != (Withdrawal{}) {
		t.Errorf("an order that there is not: %+v, %v", w, err)
	}
	if _, mine, err := r.GiveStart(t.Context(), "a1", "a", waiting); mine || err != nil {
		t.Errorf("given after it was withdrawn: %v", err)
	}
	list := r.Unstarted()
	if len(list) != 1 || list[0].Run != waiting || list[0].State != crony.Skipped || list[0].Why != "killed before it started by eve: not needed" ||
		!list[0].At.Equal(noon) || list[0].What.Agent != "a1" || list[0].What.Job != "a" {
		t.Fatalf("to be put on record: %+v", list)
	}
	old := r.elect()
	term := r.elect()
	if err := r.DropOrder(t.Context(), old, &list[0]); err == nil || len(r.Unstarted()) != 1 {
		t.Errorf("dropped by who leads no more: %v", err)
	}
	if err := r.DropOrder(t.Context(), term, &list[0]); err != nil || len(r.Unstarted()) != 0 {
		t.Errorf("not dropped: %v", err)
	}
	if again := r.start("a", crony.StartOptions{Request: "w"}); again[0] != waiting || len(r.Orders("a1", "a")) != 1 {
		t.Errorf("the same request starts %s", again[0])
	}
}

// TestUnstarted looks what becomes of orders that nobody takes.
func TestUnstarted(t *testing.T) {
	r := newRig(t, emptied(t))
	for _, id := range []string{"a1", "a2", "a3"} {
		r.register(crony.Agent{ID: id})
	}
	r.define(job1("a", "1"), job1("gone", "1"), job1("again", "1"))
	r.give("a1", "a", "gone", "again")
	names := map[crony.RunID]string{}
	order := func(name, job string, given bool, opts crony.StartOptions) {
		t.Helper()
		run := r.start(job, opts)[0]
		names[run] = name
		if !given {
			return
		}
		agent := opts.Agent
		if agent == "" {
			agent = "a1"
		}
		if _, mine, err := r.GiveStart(t.Context(), agent, job, run); !mine || err != nil {
			t.Fatal(name, mine, err)
		}
	}
	order("waits", "a", false, crony.StartOptions{})
	order("given", "a", true, crony.StartOptions{})
	order("job gone", "gone", false, crony.StartOptions{})
	order("job gone, given", "gone", true, crony.StartOptions{})
	order("job made again", "again", false, crony.StartOptions{Agent: "a2"})
	order("agent gone", "a", false, crony.StartOptions{Agent: "a3"})
	order("agent gone, given", "a", true, crony.StartOptions{Agent: "a3"})
	for _, name := range []string{"gone", "again"} {
		if err := r.DeleteJob(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	r.define(job1("again", "1"))
	r.bury(stoneOf("a3"))
	check := func(when string, want map[string]string) {
		t.Helper()
		for _, u := range r.Unstarted() {
			name := names[u.Run]
			state, why, _ := strings.Cut(want[name], " ")
			if want[name] == "" || string(u.State) != state || !strings.Contains(u.Why, why) {
				t.Errorf("%s, %s: %s, %s; want %q", when, name, u.State, u.Why, want[name])
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Errorf("%s: nothing is said of %v", when, want)
		}
	}
	want := map[string]string{"job gone": "skipped job was removed", "job made again": "skipped job was removed",
		"agent gone": "skipped removed from the cluster before it was given", "agent gone, given": "lost removed from the cluster before it had said"}
	check("at once", map[string]string{"job gone": want["job gone"], "job made again": want["job made again"],
		"agent gone": want["agent gone"], "agent gone, given": want["agent gone, given"]})
	if orders := r.Orders("a2", "again"); len(orders) > 0 {
		t.Errorf("orders for the job that had the name before: %+v", orders)
	}
	r.clock.forward(orderLife + time.Second)
	want["waits"], want["given"], want["job gone, given"] = "skipped within an hour", "lost said nothing", "lost said nothing"
	check("after an hour", want)
}

// TestManyOrders stops at a bound.
func TestManyOrders(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	r.give("a1", "a")
	for range maxWaiting {
		r.start("a", crony.StartOptions{})
	}
	if _, err := r.StartJob(t.Context(), "a", crony.StartOptions{}); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("one more: %v", err)
	}
	if job, err := r.Job(t.Context(), "a"); err != nil || len(job.Orders) != crony.MaxOrders {
		t.Errorf("%d are listed, %v", len(job.Orders), err)
	}
}
