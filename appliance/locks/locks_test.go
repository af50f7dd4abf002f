package locks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/embedded/fakeetcd"
	"crony/embedded/state"
)

// runLog is this server's run log, and what another server knows beside that.
type runLog struct {
	mu     sync.Mutex
	own    map[crony.RunID]crony.RunState
	others map[crony.RunID]crony.RunState
	silent bool // the others are
	asked  int
}

func (l *runLog) Run(_ context.Context, id crony.RunID) (crony.Run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state, ok := l.own[id]
	if !ok {
		return crony.Run{}, crony.Errorf(crony.NotFound, "no run %s", id)
	}
	return crony.Run{ID: id, State: state}, nil
}

func (l *runLog) Refresh(_ context.Context, runs ...crony.RunID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.silent {
		return errors.New("too few answer")
	}
	for _, id := range runs {
		if state, ok := l.others[id]; ok {
			l.own[id] = state
		}
	}
	return nil
}

// TestSweep has servers that died after they had stored the ends of runs: their locks are freed within seconds if this server
// knows of the ends, and later if another does. Runs that go on, or of which nobody says anything, keep theirs.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, quiet := fakeetcd.New().Client(t.Context()), slog.New(slog.DiscardHandler)
		for _, run := range []string{"ended", "elsewhere", "running", "unknown"} {
			value := fmt.Sprintf(`{"v":1,"body":{"runs":[{"run":%q,"agent":"a1","since":%q}]}}`, run, time.Now().Format(time.RFC3339))
			if _, err := client.Put(t.Context(), "/crony/lock/"+run, value); err != nil {
				t.Fatal(err)
			}
		}
		store, err := state.Open(t.Context(), state.Options{Client: client, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		runs := &runLog{silent: true, own: map[crony.RunID]crony.RunState{"ended": crony.Succeeded, "running": crony.Running},
			others: map[crony.RunID]crony.RunState{"elsewhere": crony.Lost}}
		ctx, cancel := context.WithCancel(t.Context())
		var sweeping sync.WaitGroup
		sweeping.Go(func() { Run(ctx, store, runs, quiet, time.Now) })
		defer sweeping.Wait()
		defer cancel()
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, h := range store.Locks("") {
				got = append(got, h.Job)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("after %s the locks are %v, want %v", time.Since(midnight), got, want)
			}
		}
		time.Sleep(sweepEvery)
		expect("elsewhere", "running", "unknown")
		time.Sleep(10 * askEvery * sweepEvery)
		expect("elsewhere", "running", "unknown")
		runs.mu.Lock()
		runs.silent = false
		runs.mu.Unlock()
		time.Sleep(askEvery * sweepEvery)
		expect("running", "unknown")
		if runs.asked < 5 || runs.asked > 12 {
			t.Errorf("asked %d times", runs.asked)
		}
	})
}

// midnight is when a bubble begins.
var midnight = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
