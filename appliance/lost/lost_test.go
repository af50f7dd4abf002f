package lost

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/embedded/state"
)

// world is a keyspace and a run log, as far as the duty sees them.
type world struct {
	mu     sync.Mutex
	up     map[string]bool
	buried map[string]bool
	owed   []state.Owed
	waived []crony.RunID
	again  []state.Loss  // for which a second run was ordered
	wait   time.Duration // before a run may count as lost
	runs   map[crony.RunID]crony.Run
	others map[crony.RunID]crony.Run // that only other servers know, until they are asked
	procs  map[crony.RunID]state.Proc
	asked  int   // how often the others were
	alone  bool  // too few servers answer
	fails  error // of ordering a second run
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// Up implements Fleet.
func (w *world) Up(agent string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.up[agent]
}

// Buried implements Fleet.
func (w *world) Buried(id string) (crony.Tombstone, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return crony.Tombstone{}, w.buried[id]
}

// OwedByAbsent implements Fleet.
func (w *world) OwedByAbsent() []state.Owed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.owed), func(o state.Owed) bool { return w.up[o.Agent] })
}

// Waive implements Fleet.
func (w *world) Waive(_ context.Context, _ state.Term, list []state.Owed) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range list {
		w.waived = append(w.waived, o.Run)
		w.owed = slices.DeleteFunc(w.owed, func(x state.Owed) bool { return x.Run == o.Run })
	}
	return nil
}

// Verdict implements Fleet.
func (w *world) Verdict(r *crony.Run, why string, now time.Time) (crony.Fact, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.procs[r.ID]
	return p.Verdict(r, why, now)
}

// Rerun implements Fleet.
func (w *world) Rerun(_ context.Context, _ state.RunLog, l state.Loss) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil || w.wait > 0 {
		return w.wait, w.fails
	}
	if w.runs[l.Run].State.Ended() {
		panic("the loss is on record before the order")
	}
	w.again = append(w.again, l)
	return 0, nil
}

// gaveUp returns what was given up.
func (w *world) gaveUp() []crony.RunID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.waived)
}

// Append implements RunLog.
func (w *world) Append(_ context.Context, facts []crony.Fact, _ []crony.Chunk) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range facts {
		r := w.runs[f.Run]
		r.State, r.Reason = f.Ended.State, f.Ended.Reason
		w.runs[f.Run] = r
	}
	return nil
}

// Run implements RunLog.
func (w *world) Run(_ context.Context, id crony.RunID) (crony.Run, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, known := w.runs[id]
	if !known {
		return r, crony.Errorf(crony.NotFound, "no run %s", id)
	}
	return r, nil
}

// Refresh implements RunLog.
func (w *world) Refresh(_ context.Context, ids ...crony.RunID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.alone {
		return crony.Errorf(crony.Unavailable, "too few servers answer")
	}
	for _, id := range ids {
		if r, known := w.others[id]; known {
			w.runs[id] = r
		}
	}
	return nil
}

// Unfinished implements RunLog.
func (w *world) Unfinished(agent string) []crony.Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []crony.Run
	for _, r := range w.runs {
		if r.Agent == agent && !r.State.Ended() {
			list = append(list, r)
		}
	}
	return list
}

// Busy implements RunLog.
func (w *world) Busy() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, r := range w.runs {
		if !r.State.Ended() && !slices.Contains(list, r.Agent) {
			list = append(list, r.Agent)
		}
	}
	return list
}

func (w *world) state(id crony.RunID) crony.RunState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id].State
}

func running(id crony.RunID, agent string) crony.Run {
	return crony.Run{ID: id, Job: "j", Agent: agent, State: crony.Running}
}

// inTerm runs a test while the duty is done.
func inTerm(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{up: map[string]bool{}, buried: map[string]bool{}, runs: map[crony.RunID]crony.Run{"r1": running("r1", "a1")},
			others: map[crony.RunID]crony.Run{}, procs: map[crony.RunID]state.Proc{}}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() {
			if err := Run(ctx, Options{Fleet: w, Runs: w, Log: slog.New(slog.DiscardHandler), Now: time.Now}); err != nil {
				t.Error(err)
			}
		})
		defer work.Wait()
		defer cancel()
		test(t, w)
	})
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestLost(t *testing.T) {
	for name, c := range map[string]struct {
		before func(w *world)
		after  time.Duration
		want   crony.RunState
	}{
		"not down for long enough": {func(*world) {}, downTime - lookTick, crony.Running},
		"down":                     {func(*world) {}, downTime + 2*lookTick, crony.Lost},
		"up":                       {func(w *world) { w.up["a1"] = true }, time.Hour, crony.Running},
		"removed":                  {func(w *world) { w.buried["a1"] = true }, buriedTime + 2*lookTick, crony.Lost},
		"too few servers answer":   {func(w *world) { w.alone = true }, time.Hour, crony.Running},
		"another server knows how it ended": {func(w *world) {
			w.others["r1"] = crony.Run{ID: "r1", Agent: "a1", State: crony.Succeeded}
		}, time.Hour, crony.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			inTerm(t, func(t *testing.T, w *world) {
				w.set(func() { c.before(w) })
				after(c.after)
				if got := w.state("r1"); got != c.want {
					t.Errorf("the run is %s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestWaits ends a run that waits for whom it has called by its answer, or when its time is up, and does not run it again,
// whether its agent is gone or is there and has forgotten it.
func TestWaits(t *testing.T) {
	answer := func(attempt int, after time.Duration) func(w *world) {
		return func(w *world) {
			w.procs["r1"] = state.Proc{Answer: &crony.Answer{Attempt: attempt, State: crony.Failed, Reason: "no", At: time.Now().Add(after)}}
		}
	}
	up := func(w *world) { w.up["a1"] = true }
	both := func(fs ...func(*world)) func(*world) {
		return func(w *world) {
			for _, f := range fs {
				f(w)
			}
		}
	}
	kill := func(w *world) {
		p := w.procs["r1"]
		p.Kill = &crony.KillOrder{By: "eve", At: time.Now().Add(time.Minute)}
		w.procs["r1"] = p
	}
	for name, c := range map[string]struct {
		before func(w *world)
		after  time.Duration
		want   crony.RunState
	}{
		"in its time":                 {func(*world) {}, time.Hour - lookTick, crony.Waiting},
		"its time is up":              {func(*world) {}, time.Hour + 2*lookTick, crony.TimedOut},
		"answered":                    {answer(1, 10*time.Minute), 10*time.Minute + 2*lookTick, crony.Failed},
		"not answered yet":            {answer(1, 10*time.Minute), 10*time.Minute - lookTick, crony.Waiting},
		"answered in a try before":    {answer(0, time.Minute), 10 * time.Minute, crony.Waiting},
		"killed":                      {kill, 2 * time.Minute, crony.Killed},
		"answered, then killed":       {both(answer(1, time.Second), kill), 2 * time.Minute, crony.Failed},
		"killed, then answered":       {both(answer(1, 90*time.Second), kill), 2 * time.Minute, crony.Killed},
		"forgotten, in its time":      {up, time.Hour + heedTime - lookTick, crony.Waiting},
		"forgotten, its time is up":   {up, time.Hour + heedTime + askTick + 2*lookTick, crony.TimedOut},
		"forgotten, just answered":    {both(up, answer(1, time.Minute)), time.Minute + heedTime - lookTick, crony.Waiting},
		"forgotten, answered":         {both(up, answer(1, time.Minute)), time.Minute + heedTime + askTick + 2*lookTick, crony.Failed},
		"removed":                     {func(w *world) { w.buried["a1"] = true }, time.Hour - lookTick, crony.Waiting},
		"removed, and its time is up": {func(w *world) { w.buried["a1"] = true }, time.Hour + 2*lookTick, crony.TimedOut},
	} {
		t.Run(name, func(t *testing.T) {
			inTerm(t, func(t *testing.T, w *world) {
				w.set(func() {
					run := running("r1", "a1")
					run.Trigger, run.State, run.Until, run.Callback = crony.BySchedule, crony.Waiting, time.Now().Add(time.Hour), "hash"
					run.Attempts = []crony.Attempt{{Number: 1}}
					w.runs["r1"] = run
					c.before(w)
				})
				after(c.after)
				got := w.state("r1")
				w.set(func() {
					if got != c.want || len(w.again) > 0 || w.asked > 2 {
						t.Errorf("the run is %s, want %s; runs ordered: %v; others asked %d times", got, c.want, w.again, w.asked)
					}
				})
			})
		})
	}
}

// TestRunsAgain has a second run ordered before the first is lost; that waits until it is over, and until it could be ordered.
func TestRunsAgain(t *testing.T) {
	inTerm(t, func(t *testing.T, w *world) {
		w.set(func() {
			run := running("r1", "a1")
			run.Trigger = crony.BySchedule
			w.runs["r1"] = run
			w.wait = time.Second
		})
		after(2 * downTime)
		w.set(func() { w.wait, w.fails = 0, errors.New("no answer") })
		after(downTime)
		if got := w.state("r1"); got != crony.Running || len(w.again) > 0 {
			t.Errorf("the run is %s, runs ordered: %v", got, w.again)
		}
		w.set(func() { w.fails = nil })
		after(2 * askTick)
		w.set(func() {
			if w.runs["r1"].State != crony.Lost || len(w.again) != 1 || w.again[0].Run != "r1" || w.again[0].Agent != "a1" {
				t.Errorf("the run is %s, runs ordered: %v", w.runs["r1"].State, w.again)
			}
		})
	})
}

// TestComesAndGoes counts anew when an agent was there in between.
func TestComesAndGoes(t *testing.T) {
	inTerm(t, func(t *testing.T, w *world) {
		for range 5 {
			after(downTime - 2*lookTick)
			w.set(func() { w.up["a1"] = true })
			after(2 * lookTick)
			w.set(func() { w.up["a1"] = false })
		}
		if got := w.state("r1"); got != crony.Running {
			t.Errorf("the run is %s", got)
		}
	})
}

// TestLate ends a run that comes to the run log long after its agent was removed and its other runs were ended.
func TestLate(t *testing.T) {
	inTerm(t, func(t *testing.T, w *world) {
		w.set(func() { w.buried["a1"] = true })
		after(time.Minute)
		w.set(func() { w.runs["r2"] = running("r2", "a1") })
		after(time.Minute)
		if got := w.state("r2"); got != crony.Lost {
			t.Errorf("the late run is %s", got)
		}
	})
}

// TestRecovers gives the verdict once enough servers answer.
func TestRecovers(t *testing.T) {
	inTerm(t, func(t *testing.T, w *world) {
		w.set(func() { w.alone = true })
		after(time.Hour)
		w.set(func() { w.alone = false })
		after(askTick + 2*lookTick)
		if got := w.state("r1"); got != crony.Lost {
			t.Errorf("the run is %s", got)
		}
	})
}

// TestWaives gives up what an agent that is gone has claimed, unless there is a run of it, and what others have claimed never.
func TestWaives(t *testing.T) {
	inTerm(t, func(t *testing.T, w *world) {
		w.set(func() {
			w.up["a2"] = true
			w.owed = []state.Owed{{Agent: "a1", Run: "r1"}, {Agent: "a1", Run: "r2"}, {Agent: "a2", Run: "r3"}}
		})
		after(downTime - lookTick)
		if list := w.gaveUp(); len(list) > 0 {
			t.Errorf("given up too soon: %v", list)
		}
		after(3 * askTick)
		if list := w.gaveUp(); !slices.Equal(list, []crony.RunID{"r2"}) {
			t.Errorf("given up: %v, want r2", list)
		}
	})
}
