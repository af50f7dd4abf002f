package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// alone returns a job that is due every second, with so many runs at once.
func alone(name string, overlap crony.Overlap, most int) crony.Job {
	j := job1(name, "")
	j.Overlap, j.MaxParallel = overlap, most
	return j
}

// decide asks for one thing.
func (r *rig) decide(a Ask) Decision {
	r.t.Helper()
	d, err := r.Claim(r.ctx(), []Ask{a})
	if err != nil {
		r.t.Fatal(err)
	}
	return d[0]
}

func (r *rig) end(job, agent string, runs ...crony.RunID) {
	r.t.Helper()
	var list []Ending
	for _, run := range runs {
		list = append(list, Ending{Job: job, Agent: agent, Run: run})
	}
	if err := r.Release(r.ctx(), list); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) enter(job, agent string, epoch int64, run crony.RunID) (Held, string) {
	r.t.Helper()
	place, reason, err := r.Enter(r.ctx(), Entrance{Job: job, Agent: agent, Epoch: epoch, Run: run})
	if err != nil {
		r.t.Fatal(err)
	}
	return place, reason
}

// locked says who holds a job's lock and who waits, as the store has it.
func (r *rig) locked(name string) string {
	r.t.Helper()
	if err := r.sync(r.ctx()); err != nil {
		r.t.Fatal(err)
	}
	j := r.look(name)
	l, _ := r.mirror.lock(j.lockKey(""))
	return l.String()
}

func (l lock) String() string {
	var list []string
	for _, run := range l.Runs {
		text := fmt.Sprintf("%s:", run.Run.Time().UTC().Format("5"))
		if run.Waits {
			text += "waits"
		}
		if run.ReplacedBy != "" {
			text += "/" + run.ReplacedBy.Time().UTC().Format("5")
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func (r *rig) expectLock(name, want string) {
	r.t.Helper()
	if got := r.locked(name); got != want {
		r.t.Errorf("the lock is %q, want %q", got, want)
	}
}

// TestForbid has a job of one run at a time: what comes meanwhile is refused with the run that is in the way, also in the
// same request, until that has ended.
func TestForbid(t *testing.T) {
	for _, job := range []crony.Job{alone("a", crony.OverlapForbid, 0), alone("a", "", 1), alone("a", crony.OverlapForbid, 1)} {
		r := newRig(t, emptied(t))
		r.define(job)
		epoch := r.give("a1", "a")
		ask := func(n int) Ask { return Ask{Job: "a", Agent: "a1", Epoch: epoch, At: second(n)} }
		first := r.granted(r.decide(ask(1)))
		if again := r.granted(r.decide(ask(1))); again != first {
			t.Errorf("asked again: %s, want %s", again, first)
		}
		due := ask(2)
		due.Due = true
		for _, a := range []Ask{ask(2), due} {
			if d := r.decide(a); d.Granted || d.Busy != first || !strings.Contains(d.Reason, string(first)) || !d.Cursor.IsZero() {
				t.Errorf("while a run goes on: %+v", d)
			}
		}
		r.end("a", "a1", "another")
		r.expectLock("a", "1:")
		r.end("a", "a1", first)
		r.expectLock("a", "")
		if keys := r.keys(locks); len(keys) > 0 {
			t.Errorf("what nobody holds leaves %v", keys)
		}
		r.end("a", "a1", first)
		r.clock.forward(5 * time.Second)
		along := ask(5)
		along.After, along.Until, along.Skipped, along.Reason = second(1), second(4), true, "in the way"
		third := r.granted(r.decide(along))
		if again := r.granted(r.decide(along)); again != third {
			t.Errorf("asked again: %s, want %s", again, third)
		}
		if err := r.sync(r.ctx()); err != nil {
			t.Fatal(err)
		}
		list := r.PassesOf("a")
		if len(list) != 1 || list[0].End != crony.EndSkipped || list[0].Reason != "in the way" {
			t.Fatalf("passes: %+v", list)
		}
		if s, ok := list[0].Stretch(); !ok || s.Count != 3 || !s.From.Equal(second(2)) || !s.To.Equal(second(4)) {
			t.Errorf("the pass that went along is %+v", s)
		}
		along.At, along.Until = second(6), second(5) // the cursor is elsewhere
		r.end("a", "a1", third)
		if d := r.decide(along); d.Granted || d.Busy != "" || !d.Cursor.Equal(second(5)) {
			t.Errorf("with another cursor: %+v", d)
		}
		r.expectLock("a", "")
	}
}

// TestBehind claims occurrences ahead, behind a run of the same agent that is the last in the lock: nobody else comes in between.
func TestBehind(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapForbid, 0))
	epoch := r.give("a1", "a")
	ask := func(n int, behind crony.RunID) Ask {
		return Ask{Job: "a", Agent: "a1", Epoch: epoch, At: second(n), Behind: behind}
	}
	refused := func(what string, a Ask, by crony.RunID) {
		t.Helper()
		if d := r.decide(a); d.Granted || d.Busy != by {
			t.Errorf("%s: %+v", what, d)
		}
	}
	first := r.granted(r.decide(ask(1, "gone")))
	r.expectLock("a", "1:")
	refused("behind none", ask(2, ""), first)
	refused("behind what is not in the lock", ask(2, "gone"), first)
	var second2 crony.RunID
	for range 2 { // the answer is lost, and it is asked again
		d := r.decide(ask(2, first))
		if second2 = r.granted(d); d.Busy != first {
			t.Errorf("behind the first: %+v", d)
		}
		r.expectLock("a", "1: 2:waits")
	}
	refused("behind what is not the last", ask(3, first), first)
	third := r.granted(r.decide(ask(3, second2)))
	r.expectLock("a", "1: 2:waits 3:waits")
	if place, reason := r.enter("a", "a1", epoch, third); reason != "" || place.Behind != first {
		t.Errorf("the third: %+v, %s", place, reason)
	}
	if _, err := r.StartJob(r.ctx(), "a", crony.StartOptions{}); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("a person comes in between: %v", err)
	}
	r.end("a", "a1", second2) // it was given up, as the first went on
	r.end("a", "a1", first)
	r.expectLock("a", "3:")

	epoch = r.give("a2", "a")
	other := ask(4, third)
	other.Agent = "a2"
	refused("behind another agent's", other, third)

	for name, job := range map[string]crony.Job{"queue": alone("queue", crony.OverlapQueue, 1),
		"replace": alone("replace", crony.OverlapReplace, 1), "three": alone("three", "", 3)} {
		r.define(job)
		epoch := r.give("a1", name)
		asks := func(n int) Ask { return Ask{Job: name, Agent: "a1", Epoch: epoch, At: second(n)} }
		for n := range job.Slots() {
			first = r.granted(r.decide(asks(n + 1)))
		}
		a := asks(9)
		a.Behind = first
		if d := r.decide(a); d.Granted {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestParallel has a job of three runs at a time.
func TestParallel(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", "", 3))
	epoch := r.give("a1", "a")
	var runs []crony.RunID
	for n := range 3 {
		runs = append(runs, r.granted(r.ask("a", "a1", epoch, n+1)))
	}
	if d := r.ask("a", "a1", epoch, 4); d.Granted || d.Busy != runs[0] {
		t.Errorf("the fourth: %+v", d)
	}
	r.end("a", "a1", runs[1])
	r.granted(r.ask("a", "a1", epoch, 4))
	r.expectLock("a", "1: 3: 4:")
	r.end("a", "a1", runs[0], runs[2])
	r.expectLock("a", "4:")
}

// TestQueue has runs wait for each other, in their order, over the end of any of them, and no more than may.
func TestQueue(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapQueue, 0))
	epoch := r.give("a1", "a")
	feed := r.Changes("a1")
	defer feed.Close()
	feed.Take()
	ask := func(n int) Ask { return Ask{Job: "a", Agent: "a1", Epoch: epoch, At: second(n), Due: true} }
	runs := map[int]crony.RunID{1: r.granted(r.decide(ask(1)))}
	early := ask(2)
	early.Due = false
	if d := r.decide(early); d.Granted || d.Busy != runs[1] {
		t.Errorf("before its time: %+v", d)
	}
	for n := 2; n <= 4; n++ {
		d := r.decide(ask(n))
		if runs[n] = r.granted(d); d.Busy != runs[1] {
			t.Errorf("%d waits behind %s, want %s", n, d.Busy, runs[1])
		}
		if d = r.decide(ask(n)); r.granted(d) != runs[n] || d.Busy != runs[1] {
			t.Errorf("asked again: %+v", d)
		}
	}
	if place, reason := r.enter("a", "a1", epoch, runs[3]); reason != "" || place.Behind != runs[1] || !place.Waits {
		t.Errorf("the third: %+v, %s", place, reason)
	}
	r.expectLock("a", "1: 2:waits 3:waits 4:waits")
	if c := feed.Take(); len(c.Jobs) > 0 {
		t.Errorf("told of %+v, though nobody's place has changed", c)
	}
	r.end("a", "a1", runs[3]) // killed while it waited
	r.end("a", "a1", runs[1])
	r.expectLock("a", "2: 4:waits")
	if c := feed.Take(); !slices.Equal(c.Jobs, []string{"a"}) {
		t.Errorf("told of %+v, want the job whose lock a run has now", c)
	}
	if place, reason := r.enter("a", "a1", epoch, runs[2]); reason != "" || place.Behind != "" || place.Waits {
		t.Errorf("the second: %+v, %s", place, reason)
	}
	for n := 5; n <= 4+crony.MaxQueue-1; n++ {
		r.clock.forward(time.Second)
		runs[n] = r.granted(r.decide(ask(n)))
	}
	if d := r.decide(ask(1000)); d.Granted || d.Busy != "" {
		t.Errorf("a minute ahead: %+v", d)
	}
	r.clock.forward(5 * time.Minute)
	if d := r.decide(ask(200)); d.Granted || d.Busy != runs[2] || !strings.Contains(d.Reason, "queue is full") {
		t.Errorf("the full queue: %+v", d)
	}
	r.end("a", "a1", runs[2], runs[4], runs[6])
	r.granted(r.decide(ask(200)))
	if got := r.locked("a"); !strings.HasPrefix(got, "5: 7:waits 8:waits") {
		t.Errorf("the lock is %s", got)
	}
}

// TestReplace has each run make room for the next: of those that wait only the newest gets the lock.
func TestReplace(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapReplace, 0))
	epoch := r.give("a1", "a")
	feed := r.Changes("a1")
	defer feed.Close()
	feed.Take()
	ask := func(n int) Decision {
		return r.decide(Ask{Job: "a", Agent: "a1", Epoch: epoch, At: second(n), Due: true})
	}
	first, next, third := r.granted(ask(1)), r.granted(ask(2)), r.granted(ask(3))
	r.expectLock("a", "1:/2 2:waits/3 3:waits")
	if c := feed.Take(); !slices.Equal(c.Jobs, []string{"a"}) {
		t.Errorf("told of %+v, want the job of which runs are to end", c)
	}
	if list := r.LocksOn("a", "a1"); len(list) != 3 || list[0].ReplacedBy != next || list[1].ReplacedBy != third || list[2].Behind != first {
		t.Errorf("places: %+v", list)
	}
	r.end("a", "a1", next)
	r.expectLock("a", "1:/2 3:waits")
	r.end("a", "a1", first)
	r.expectLock("a", "3:")
	r.granted(ask(4))
	r.expectLock("a", "3:/4 4:waits")
}

// TestStartAlone orders runs of jobs that have few at once.
func TestStartAlone(t *testing.T) {
	for overlap, want := range map[crony.Overlap]string{
		crony.OverlapForbid: "", crony.OverlapQueue: "1: 0:waits", crony.OverlapReplace: "1:/0 0:waits",
	} {
		r := newRig(t, emptied(t))
		r.define(alone("a", overlap, 0))
		epoch := r.give("a1", "a")
		holder := r.granted(r.ask("a", "a1", epoch, 1))
		runs, err := r.StartJob(r.ctx(), "a", crony.StartOptions{})
		if want == "" {
			if crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), string(holder)) {
				t.Errorf("%s: %v, want a conflict with %s", overlap, err, holder)
			}
			r.end("a", "a1", holder)
			if runs, err = r.StartJob(r.ctx(), "a", crony.StartOptions{}); err != nil {
				t.Fatal(err)
			}
			want = "0:"
		} else if err != nil {
			t.Fatalf("%s: %v", overlap, err)
		}
		run := runs[0]
		r.expectLock("a", want)
		list := r.Locks("a1")
		if i := slices.IndexFunc(list, func(h Held) bool { return h.Run == run }); i < 0 || !list[i].Expected {
			t.Errorf("%s: places %+v", overlap, list)
		}
		if err := r.DeleteJob(r.ctx(), "a"); err != nil {
			t.Fatal(err)
		}
		if keys := r.keys(locks); len(keys) > 0 {
			t.Errorf("a job that is gone leaves %v", keys)
		}
		r.end("a", "a1", run, holder)
	}
}

// TestOverlapChanged changes a job whose runs hold its lock, or wait for it: they count for as long as they go on.
func TestOverlapChanged(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", "", 3))
	epoch := r.give("a1", "a")
	var runs []crony.RunID
	for n := range 3 {
		runs = append(runs, r.granted(r.ask("a", "a1", epoch, n+1)))
	}
	r.define(alone("a", crony.OverlapQueue, 2))
	epoch = r.settle("a")
	r.clock.forward(10 * time.Second)
	waits := r.granted(r.decide(Ask{Job: "a", Agent: "a1", Epoch: epoch, At: second(5), Due: true}))
	r.end("a", "a1", runs[0])
	r.expectLock("a", "2: 3: 5:waits")
	r.end("a", "a1", runs[1])
	r.expectLock("a", "3: 5:")
	r.define(alone("a", crony.OverlapForbid, 0))
	epoch = r.settle("a")
	r.clock.forward(10 * time.Second)
	if d := r.ask("a", "a1", epoch, 15); d.Granted || d.Busy != runs[2] {
		t.Errorf("%+v", d)
	}
	r.define(alone("a", "", 0))
	epoch = r.settle("a")
	r.granted(r.ask("a", "a1", epoch, 16))
	r.expectLock("a", "3: 5:")
	if place, reason := r.enter("a", "a1", epoch, "any"); place.Waits || reason != "" {
		t.Errorf("where any number may go on: %+v, %s", place, reason)
	}
	r.end("a", "a1", runs[2], waits)
	r.expectLock("a", "")
}

// TestLockEach has a lock for each agent of a job that runs on all.
func TestLockEach(t *testing.T) {
	r := newRig(t, emptied(t))
	job := alone("a", crony.OverlapForbid, 0)
	job.Placement = &crony.Placement{Mode: crony.PlaceEach}
	r.define(job)
	runs := map[string]crony.RunID{}
	for _, agent := range []string{"a1", "a2"} {
		r.give(agent, "a")
	}
	for agent := range map[string]bool{"a1": true, "a2": true} {
		j := r.look("a")
		a, _, err := r.Settle(r.ctx(), agent, "a")
		if err != nil {
			t.Fatal(err)
		}
		runs[agent] = r.granted(r.ask("a", agent, a.Assignment.Epoch, 1))
		if d := r.ask("a", agent, j.of(agent).Epoch, 2); d.Granted || d.Busy != runs[agent] {
			t.Errorf("%s: %+v", agent, d)
		}
	}
	if keys := r.keys(locks); len(keys) != 2 {
		t.Errorf("locks: %v", keys)
	}
	if list := r.Locks("a1"); len(list) != 1 || !list[0].Expected || list[0].Run != runs["a1"] {
		t.Errorf("of a1: %+v", list)
	}
	r.end("a", "a1", runs["a1"])
	r.end("a", "a2", runs["a2"])
	if keys := r.keys(locks); len(keys) > 0 {
		t.Errorf("left: %v", keys)
	}
}

// TestLockReplyLost loses answers: whoever asks again has the same answer, and nothing is there twice.
func TestLockReplyLost(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapQueue, 0))
	epoch := r.give("a1", "a")
	for n := range 3 {
		ask := Ask{Job: "a", Agent: "a1", Epoch: epoch, At: second(n + 1), Due: true}
		r.strike(replyLost)
		if d, err := r.Claim(r.ctx(), []Ask{ask}); err == nil {
			t.Fatalf("the answer came: %+v", d)
		}
		r.strike(nil)
		if d := r.decide(ask); !d.Granted || (d.Busy != "") != (n > 0) {
			t.Errorf("asked again: %+v", d)
		}
	}
	r.expectLock("a", "1: 2:waits 3:waits")
	run := r.LocksOn("a", "")[0].Run
	r.strike(replyLost)
	if err := r.Release(r.ctx(), []Ending{{Job: "a", Agent: "a1", Run: run}}); err == nil {
		t.Error("the answer came")
	}
	r.strike(nil)
	r.end("a", "a1", run)
	r.expectLock("a", "2: 3:waits")
}

// TestLockBehind has a server that is behind: it takes no run for one that goes on, nor an ended one for none.
func TestLockBehind(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	r.define(alone("a", crony.OverlapForbid, 0))
	epoch := r.give("a1", "a")
	if err := other.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.link.hold()
	run := r.granted(r.ask("a", "a1", epoch, 1))
	other.end("a", "a1", run)
	r.expectLock("a", "")
	other.link.release()
	run = r.granted(r.ask("a", "a1", epoch, 2))
	if err := other.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.link.hold()
	r.end("a", "a1", run)
	done := make(chan Decision)
	go func() {
		d, err := other.Claim(t.Context(), []Ask{{Job: "a", Agent: "a1", Epoch: epoch, At: second(3)}})
		if err != nil {
			t.Error(err)
			d = make([]Decision, 1)
		}
		done <- d[0]
	}()
	other.link.release()
	if d := <-done; !d.Granted {
		t.Errorf("by what was so before: %+v", d)
	}
}

// TestRaceForSlots has two servers claim, enter and release at random, for two jobs on one store. At every revision that the
// store ever had, no more runs hold a lock than may, none waits that could hold it, and who waits gets it in order.
func TestRaceForSlots(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client)}
	r := rigs[0]
	slots := map[string]int{"a": 1, "q": 3}
	race := &crony.Placement{Mode: crony.PlaceRace}
	jobs := []crony.Job{alone("a", crony.OverlapForbid, 1), alone("q", crony.OverlapQueue, 3)}
	for i := range jobs {
		jobs[i].Placement = race
	}
	r.define(jobs...)
	const agents = 20
	for n := range agents {
		r.give(fmt.Sprint("a", n), "a", "q")
	}
	watched := make(chan string, 1)
	start := r.Revision()
	go func() { watched <- watchLocks(r, client, start, slots) }()
	r.clock.forward(time.Hour)
	var next [2]atomic.Int64
	var granted, ended atomic.Int64
	var work sync.WaitGroup
	for n := range agents {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 7))
			agent := fmt.Sprint("a", n)
			own := map[string][]crony.RunID{}
			for range 50 {
				rig, k := rigs[random.IntN(2)], random.IntN(2)
				name := []string{"a", "q"}[k]
				if mine := own[name]; len(mine) > 0 && random.IntN(2) == 0 {
					if err := rig.Release(t.Context(), []Ending{{Job: name, Agent: agent, Run: mine[0]}}); err != nil {
						t.Error(err)
						return
					}
					own[name] = mine[1:]
					ended.Add(1)
					continue
				}
				j := rig.look(name)
				d, err := rig.Claim(t.Context(), []Ask{{Job: name, Agent: agent, Epoch: j.of(agent).Epoch,
					At: second(int(next[k].Add(1))), Due: true}})
				if crony.CodeOf(err) == crony.Unavailable {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if d[0].Granted {
					own[name] = append(own[name], d[0].Run)
					granted.Add(1)
				}
			}
			for name, mine := range own {
				for _, run := range mine {
					if err := rigs[0].Release(t.Context(), []Ending{{Job: name, Agent: agent, Run: run}}); err != nil {
						t.Error(err)
					}
					ended.Add(1)
				}
			}
		})
	}
	work.Wait()
	r.put(root+"end", "")
	if fault := <-watched; fault != "" {
		t.Error(fault)
	}
	if keys := r.keys(locks); len(keys) > 0 {
		t.Errorf("left: %v", keys)
	}
	if granted.Load() < 50 || granted.Load() != ended.Load() {
		t.Errorf("%d granted, %d ended", granted.Load(), ended.Load())
	}
}

// watchLocks returns what was ever wrong with a lock, until the end is written.
func watchLocks(r *rig, client *clientv3.Client, since int64, slots map[string]int) string {
	before := map[string]lock{}
	for resp := range client.Watch(r.ctx(), root, clientv3.WithPrefix(), clientv3.WithRev(since+1)) {
		for _, e := range resp.Events {
			job, is := strings.CutPrefix(string(e.Kv.Key), locks)
			switch {
			case string(e.Kv.Key) == root+"end":
				return ""
			case !is:
				continue
			case e.Type == clientv3.EventTypeDelete:
				before[job] = lock{}
				continue
			}
			l, err := decode[lock](e.Kv.Value)
			if err != nil {
				return err.Error()
			}
			if fault := wrong(before[job], l, slots[job]); fault != "" {
				return fmt.Sprintf("%s: %s after %s: %s", job, l, before[job], fault)
			}
			before[job] = l
		}
	}
	return "the watch ended"
}

func wrong(before, now lock, slots int) string {
	holding, waiting := now.count()
	if holding > slots {
		return "too many hold it"
	}
	if holding < slots && waiting > 0 {
		return "one waits that could hold it"
	}
	first := ""
	for _, run := range now.Runs {
		was, had := before.find(run.Run)
		switch {
		case run.Waits && first == "":
			first = string(run.Run)
		case !run.Waits && had && was.Waits && first != "":
			return "a later one got it before " + first
		}
	}
	return ""
}

// TestReleaseIsAskedAgain: what was on its way to a leader that has just died is not waited for until etcd gives it up, after
// six seconds: the run has ended, and its place keeps the next one out.
func TestReleaseIsAskedAgain(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapForbid, 0))
	epoch := r.give("a1", "a")
	run := r.granted(r.ask("a", "a1", epoch, 1))
	var asked atomic.Int32
	r.strike(func(ctx context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		if asked.Add(1) == 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return commit()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.Release(ctx, []Ending{{Job: "a", Agent: "a1", Run: run}}); err != nil || asked.Load() != 2 {
		t.Fatalf("asked %d times: %v", asked.Load(), err)
	}
	r.granted(r.ask("a", "a1", epoch, 2))
}

// TestElectionAsksAgain: what was on its way to a leader that has died is asked of the next one as soon as there is one, and not
// when it is clear that there will be no answer.
func TestElectionAsksAgain(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapForbid, 0))
	epoch := r.give("a1", "a")
	elections := make(chan struct{}, 1)
	r.elected = func() <-chan struct{} { return elections }
	var asked atomic.Int32
	r.strike(func(ctx context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		if asked.Add(1) > 1 {
			return commit()
		}
		elections <- struct{}{}
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Error("it was waited for although another leads:", ctx.Err())
		}
		return nil, ctx.Err()
	})
	r.granted(r.ask("a", "a1", epoch, 1))
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
