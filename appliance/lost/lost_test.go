package lost

import (
	"context"
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
	runs   map[crony.RunID]crony.Run
	others map[crony.RunID]crony.Run // that only other servers know, until they are asked
	alone  bool                      // too few servers answer
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
			others: map[crony.RunID]crony.Run{}}
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
