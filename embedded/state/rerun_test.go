package state

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"crony"
)

// runsKnown is a run log that has these runs; the other servers have the others, and may not answer.
type runsKnown struct {
	mu     sync.Mutex
	here   map[crony.RunID]bool
	others map[crony.RunID]bool
	silent error
}

func (k *runsKnown) Run(_ context.Context, id crony.RunID) (crony.Run, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.here[id] {
		return crony.Run{}, crony.Errorf(crony.NotFound, "there is no run %s", id)
	}
	return crony.Run{ID: id}, nil
}

func (k *runsKnown) Refresh(_ context.Context, runs ...crony.RunID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range runs {
		if k.others[id] {
			k.here[id] = true
		}
	}
	return k.silent
}

func nothingKnown() *runsKnown {
	return &runsKnown{here: map[crony.RunID]bool{}, others: map[crony.RunID]bool{}}
}

// again returns job 1 of a name that is to run again when a run of it is lost.
func again(name string, mode crony.PlacementMode, cutOff crony.OnDisconnect) crony.Job {
	j := job1(name, "")
	j.OnLost, j.OnDisconnect, j.KillGrace = crony.LostRerun, cutOff, crony.Duration(2*time.Second)
	if mode != "" {
		j.Placement = &crony.Placement{Mode: mode}
	}
	return j
}

// loss returns the loss of an agent's occurrence of a job.
func (r *rig) loss(job, agent string, n int) Loss {
	def := r.look(job).def
	whose := ""
	if def.Job.Mode() == crony.PlaceEach {
		whose = agent
	}
	return Loss{Job: job, JobUID: def.UID, Agent: agent, Run: crony.OccurrenceRunID(def.UID, second(n), whose), At: second(n)}
}

// rerun asks for a run in the place of a lost one, and returns whether there is one now, and how long to wait.
func (r *rig) rerun(l Loss) (bool, time.Duration) {
	r.t.Helper()
	wait, err := r.Rerun(r.ctx(), nothingKnown(), l)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.orders(l), wait
}

// orders says whether there is an order for a run in the place of a lost one.
func (r *rig) orders(l Loss) bool {
	def := r.look(l.Job).def
	if def == nil {
		return false
	}
	_, request := rerunOf(def, &l)
	return r.mirror.order(l.Job, request) != nil
}

// TestRerun makes up for a run of an agent that is gone: once, on the agent that has the job by then, however many servers
// are asked at once, and although answers are lost.
func TestRerun(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	gone := r.register(crony.Agent{ID: "a1"})
	r.register(crony.Agent{ID: "a2"})
	r.define(again("a", "", ""))
	r.give("a1", "a")
	gone.Leave(r.ctx())
	if err := other.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := r.loss("a", "a1", 3)
	r.strike(replyLost)
	if _, err := r.Rerun(t.Context(), nothingKnown(), l); err == nil {
		t.Error("an order whose answer is lost is answered")
	}
	r.strike(nil)
	var work sync.WaitGroup
	for n := range 10 {
		work.Go(func() {
			from := []*rig{r, other}[n%2]
			if wait, err := from.Rerun(t.Context(), nothingKnown(), l); !from.orders(l) || wait != 0 || err != nil {
				t.Errorf("%v %s %v", from.orders(l), wait, err)
			}
		})
	}
	work.Wait()
	if list := r.keys(starts); len(list) != 1 {
		t.Fatalf("orders: %v", list)
	}
	if list := r.Orders("a2", "a"); len(list) != 0 {
		t.Errorf("the agent that has not got the job may have %v", list)
	}
	r.give("a2", "a")
	list := r.Orders("a2", "a")
	if len(list) != 1 {
		t.Fatalf("the agent that has the job is told %v", list)
	}
	want := crony.StartRequest{Run: crony.RerunID(l.JobUID, l.At, ""), Job: "a", Agent: "a2", At: l.At, RerunOf: l.Run}
	if got := list[0].Request; got.Run != want.Run || got.Agent != "a2" || !got.At.Equal(l.At) || got.RerunOf != l.Run {
		t.Errorf("it is told %+v, want %+v", got, want)
	}
	r.clock.forward(30 * time.Minute) // its time is that of the order, and not the one when it was due
	if list := r.Unstarted(); len(list) > 0 {
		t.Errorf("it is given up: %+v", list)
	}
	r.take("a2", "a", want.Run)
	if ordered, _ := r.rerun(l); !ordered || len(r.keys(starts)) != 1 || len(r.Orders("a2", "a")) > 0 {
		t.Errorf("asked again, when it was taken: %v, %v", ordered, r.keys(starts))
	}
	r.remove(r.keys(starts)...) // its time is over
	known := nothingKnown()
	known.others[want.Run] = true
	if _, err := r.Rerun(t.Context(), known, l); r.orders(l) || err != nil || len(r.keys(starts)) > 0 {
		t.Errorf("asked again, when it is on record: %v %v", r.orders(l), err)
	}
	known = nothingKnown()
	known.silent = errors.New("too few answer")
	if _, err := r.Rerun(t.Context(), known, l); !errors.Is(err, known.silent) || len(r.keys(starts)) > 0 {
		t.Errorf("asked when it may be on record: %v", err)
	}
}

// remove removes keys.
func (r *rig) remove(keys ...string) {
	r.t.Helper()
	for _, key := range keys {
		if _, err := r.client.Delete(r.ctx(), key); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.sync(r.ctx()); err != nil {
		r.t.Fatal(err)
	}
}

// TestNoRerun has losses that nothing takes the place of.
func TestNoRerun(t *testing.T) {
	r := newRig(t, emptied(t))
	presence := r.register(crony.Agent{ID: "a1"})
	r.register(crony.Agent{ID: "a9"})
	plain, paused := job1("plain", ""), again("paused", "", "")
	paused.Paused = true
	r.define(plain, paused, again("killed", "", ""), again("former", "", ""), again("own", crony.PlaceEach, ""))
	r.give("a1", "plain", "paused", "killed", "former", "own")
	presence.Leave(r.ctx())
	killed, former, buried := r.loss("killed", "a1", 1), r.loss("former", "a1", 1), r.loss("own", "a9", 1)
	if err := r.OrderKill(t.Context(), "a1", "killed", killed.Run, crony.KillOrder{By: "eve", At: noon}); err != nil {
		t.Fatal(err)
	}
	former.JobUID = "of a job of that name before"
	r.bury(crony.Tombstone{ID: "a9", Role: crony.JoinAgent})
	for name, l := range map[string]Loss{
		"not wanted": r.loss("plain", "a1", 1), "paused": r.loss("paused", "a1", 1), "to be ended": killed, "of another job": former,
		"of no job": {Job: "none"}, "of an agent that was removed, and whose own it was": buried,
	} {
		if ordered, wait := r.rerun(l); ordered || wait != 0 {
			t.Errorf("%s: %v %s", name, ordered, wait)
		}
	}
	if list := r.keys(starts); len(list) > 0 {
		t.Errorf("orders: %v", list)
	}
	at := time.Now()
	for name, run := range map[string]crony.Run{
		"a person's": {Trigger: crony.ByHand}, "a double": {Trigger: crony.BySchedule, Doubles: crony.NewRunID(at)},
		"a second one": {Trigger: crony.BySchedule, RerunOf: crony.NewRunID(at)},
	} {
		if l, ok := LossOf(&run); ok {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestRerunWhenSure has an agent that is not heard of: what may go on there is run again by run, after it was killed by stop,
// and not by hold; if it is there, once it has had time to report it; and if it says so itself, or was removed, at once.
func TestRerunWhenSure(t *testing.T) {
	r := newRig(t, emptied(t))
	register := func(agent string) *Presence { return r.register(crony.Agent{ID: agent}) }
	presence := register("a1")
	register("a2")
	names := map[crony.OnDisconnect]string{crony.DisconnectRun: "run", crony.DisconnectStop: "stop", crony.DisconnectHold: "hold"}
	for cutOff, name := range names {
		r.define(again(name, "", cutOff))
		r.give("a1", name)
	}
	expect := func(name string, n int, want bool, wantWait time.Duration) {
		t.Helper()
		if ordered, wait := r.rerun(r.loss(name, "a1", n)); ordered != want || wait != wantWait {
			t.Errorf("%s: ordered %v, wait %s; want %v, %s", name, ordered, wait, want, wantWait)
		}
	}
	expect("run", 1, true, 0)
	for _, name := range []string{"stop", "hold"} {
		expect(name, 1, false, backMargin)
		said := r.loss(name, "a1", 9)
		said.Said = true
		if ordered, wait := r.rerun(said); !ordered || wait != 0 {
			t.Errorf("%s, when the agent says so: %v %s", name, ordered, wait)
		}
	}
	r.clock.forward(backMargin)
	for _, name := range names {
		expect(name, 1, true, 0)
	}
	presence.Leave(r.ctx())
	r.wait("the agent to be gone", func() bool { return !r.Up("a1") })
	const over = crony.AgentLease + 2*time.Second + stopMargin
	expect("run", 2, true, 0)
	expect("stop", 2, false, over)
	expect("hold", 2, false, 0)
	r.clock.forward(over - time.Second)
	expect("stop", 2, false, time.Second)
	presence = register("a1")
	r.clock.forward(time.Hour)
	presence.Leave(r.ctx())
	r.wait("the agent to be gone again", func() bool { return !r.Up("a1") })
	expect("stop", 2, false, over) // counted anew
	r.clock.forward(over)
	expect("stop", 2, true, 0)
	expect("hold", 2, false, 0)
	late := newRig(t, r.client) // a server that has only just begun to look counts for itself
	if ordered, wait := late.rerun(late.loss("stop", "a1", 3)); ordered || wait != over {
		t.Errorf("by a new server: %v %s", ordered, wait)
	}
	r.bury(crony.Tombstone{ID: "a1", Role: crony.JoinAgent})
	expect("hold", 2, true, 0)
}

// TestRerunOfEach is its agent's own, which may come back for it.
func TestRerunOfEach(t *testing.T) {
	r := newRig(t, emptied(t))
	presence := r.register(crony.Agent{ID: "a1"})
	r.register(crony.Agent{ID: "a2"})
	r.define(again("a", crony.PlaceEach, ""))
	r.give("a1", "a")
	r.give("a2", "a")
	presence.Leave(r.ctx())
	l := r.loss("a", "a1", 1)
	if ordered, _ := r.rerun(l); !ordered {
		t.Fatal("it is not ordered")
	}
	if list := r.Orders("a2", "a"); len(list) > 0 {
		t.Errorf("another agent is told %+v", list)
	}
	id := crony.RerunID(l.JobUID, l.At, "a1")
	if list := r.Orders("a1", "a"); len(list) != 1 || list[0].Request.Run != id {
		t.Errorf("its own agent is told %+v", list)
	}
	r.clock.forward(orderLife + time.Second)
	if list := r.Unstarted(); len(list) != 1 || list[0].Run != id || list[0].What.RerunOf != l.Run {
		t.Errorf("when the agent does not come: %+v", list)
	}
}

// TestRerunInTheLock takes the place of the lost run, so that nothing comes between them; and finds none behind others.
func TestRerunInTheLock(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1"})
	for _, overlap := range []crony.Overlap{crony.OverlapForbid, crony.OverlapQueue, crony.OverlapReplace} {
		name := string(overlap)
		j := again(name, "", "")
		j.Overlap = overlap
		r.define(j)
		epoch := r.give("a1", name)
		ask := func(n int) Decision {
			return r.decide(Ask{Job: name, Agent: "a1", Epoch: epoch, At: second(n), Due: true})
		}
		first := r.granted(ask(1))
		l := r.loss(name, "a1", 1)
		if l.Run != first {
			t.Fatal("another run")
		}
		id := crony.RerunID(l.JobUID, l.At, "")
		if overlap == crony.OverlapReplace {
			r.granted(ask(2))
			if ordered, _ := r.rerun(l); ordered {
				t.Errorf("%s: what is replaced runs again", overlap)
			}
			r.expectLock(name, "1:/2 2:waits")
			continue
		}
		want := "1:"
		if overlap == crony.OverlapQueue {
			r.granted(ask(2))
			want = "1: 2:waits"
		}
		if ordered, _ := r.rerun(l); !ordered {
			t.Errorf("%s: it is not ordered", overlap)
		}
		r.expectLock(name, want)
		lk, _ := r.mirror.lock(locks + name)
		if !slices.ContainsFunc(lk.Runs, func(p crony.Lock) bool { return p.Run == id && !p.Waits }) {
			t.Errorf("%s: %s has not the place of %s: %+v", overlap, id, first, lk.Runs)
		}
		r.end(name, "a1", first) // its loss is on record
		r.expectLock(name, want)
		if overlap == crony.OverlapForbid { // another one, that held no place
			if ordered, _ := r.rerun(r.loss(name, "a1", 9)); ordered {
				t.Errorf("%s: it runs beside another", overlap)
			}
		}
	}
}
