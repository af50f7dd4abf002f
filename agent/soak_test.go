//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/embedded/fakeetcd"
)

// soak is a small fleet in a bubble, to which a long and eventful time happens: one agent's loop, runner, journal and
// reporter, and one server's store, hub, placement and delivery of the ledger, all of them the real ones. What is not is
// etcd, the run log, the wire and the processes. In the end the ledger must have every occurrence once.
//
// Time in which nothing is due passes at once: the clocks of the server and of the agent are put forward alike, to a
// second before there is something to do.
type soak struct {
	seed uint64
	rng  *rand.Rand
	days int
	host soakHost
	log  *soakFaults
	etcd *fakeetcd.Etcd
	runs *soakLog
	lose atomic.Int32 // a wireLoss

	mu       sync.Mutex
	skipped  time.Duration // by which all clocks are ahead of the bubble's
	step     time.Duration // by which the agent's is ahead of the server's
	server   *soakServer   // nil: down
	stream   *soakStream   // the newest
	isolated bool          // the agent reaches no server
	starts   map[crony.RunID]int

	names    []string
	chapters map[string]*chapter // of jobs that are there
	book     []*chapter          // of all
	orders   map[crony.RunID]string
	counts   map[string]int
}

// soakFaults is a log of which only what should not happen is kept.
type soakFaults struct {
	mu    sync.Mutex
	lines []string
}

// Enabled implements slog.Handler.
func (l *soakFaults) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

// WithAttrs implements slog.Handler.
func (l *soakFaults) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *soakFaults) WithGroup(string) slog.Handler { return l }

// Handle implements slog.Handler.
func (l *soakFaults) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
	return nil
}

// suiteSeed is the seed of the story that is told if none is named.
const suiteSeed = 1

// TestSoak lets jobs come due over a long time in which they are changed, paused, removed and made again, while the link is
// cut, the agent and the server are stopped and killed, and the agent's clock is set. CRONY_SOAK_SEED (0: a new one),
// CRONY_SOAK_JOBS and CRONY_SOAK_DAYS choose another story; `make soak` tells a new long one.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seed := fromEnv(t, "CRONY_SOAK_SEED", suiteSeed)
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	jobs, days := fromEnv(t, "CRONY_SOAK_JOBS", 120), fromEnv(t, "CRONY_SOAK_DAYS", 30)
	s := newSoak(t, seed, int(days))
	for i := range jobs {
		s.names = append(s.names, fmt.Sprintf("job-%05d", i))
	}
	began := time.Now()
	defer func() {
		t.Logf("%d jobs, %d days in %s: %v", jobs, days, time.Since(began).Round(time.Second), s.counts)
		if t.Failed() {
			t.Logf("again: CRONY_SOAK_SEED=%d CRONY_SOAK_JOBS=%d CRONY_SOAK_DAYS=%d", seed, jobs, days)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s.etcd = fakeetcd.New()
		if err := s.tell(); err != nil {
			t.Error(err)
		}
		for _, fault := range s.judge(t) {
			t.Error(fault)
		}
		if err := s.server.close(); err != nil {
			t.Error(err)
		}
	})
}

func newSoak(t *testing.T, seed uint64, days int) *soak {
	s := &soak{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), days: days, log: &soakFaults{},
		runs: newSoakLog(), starts: map[crony.RunID]int{}, chapters: map[string]*chapter{}, orders: map[crony.RunID]string{},
		counts: map[string]int{}}
	s.host = soakHost{id: soakAgentID, dir: t.TempDir(), seed: seed, log: s.log, now: s.agentNow, dial: s.dial, works: s.works,
		boottime: func() time.Duration { return s.now().Sub(bubbleBegan()) }}
	return s
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// now is the server's clock.
func (s *soak) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skipped)
}

func (s *soak) agentNow() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skipped + s.step)
}

// works counts how often a run was started, over all lives of the agent, and lets few of them take their time.
func (s *soak) works(ctx context.Context, a *attempt, rng *rand.Rand) crony.RunState {
	s.mu.Lock()
	s.starts[a.run]++
	s.mu.Unlock()
	switch {
	case rng.IntN(4) > 0:
		return crony.Succeeded
	case sleep(ctx, time.Duration(rng.Int64N(int64(time.Minute)))) != nil:
		return crony.Killed
	}
	return crony.Failed
}

// pass lets time go by.
func (s *soak) pass(d time.Duration) {
	for until := s.now().Add(d); ; {
		synctest.Wait()
		left := until.Sub(s.now())
		if left <= 0 {
			return
		}
		idle := min(left, s.idle())
		if skip := idle - ahead - tick/10; skip > 0 {
			s.mu.Lock()
			s.skipped += skip
			s.mu.Unlock()
			idle -= skip
		}
		time.Sleep(min(max(idle, 100*time.Millisecond), left))
	}
}

// idle returns how long the agent has nothing to do. Nothing else in the bubble runs meanwhile.
func (s *soak) idle() time.Duration {
	if s.host.life == nil {
		return 365 * 24 * time.Hour
	}
	wake := s.host.life.loop.table.wake(true)
	if wake.IsZero() {
		return 365 * 24 * time.Hour
	}
	return wake.Sub(s.agentNow())
}
