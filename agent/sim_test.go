//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"crony"
	"crony/embedded/fakeetcd"
)

// sim is a fleet in a bubble: three servers and four agents, to which most of a minute of every trouble happens that a network, a
// clock and the death of processes can make, and then nothing for a while. All of crony that decides is the real thing: the agents' loops,
// runners, journals and reporters, the servers' stores, hubs, placement and ledger. What is not is etcd, the run log, the wires and the
// processes.
//
// In the end nothing may have been done twice that must not be, or be unaccounted for, whatever happened (safety); and once the
// trouble is over, every occurrence must run, on time (liveness).
//
// A seed names what happens, when, and how long each message is on its way. A process crashes between any two of what it writes,
// sends and gets. `make sim` has a Go in which even what Go chooses is the seed's, and a seed tells the same story again, to the
// byte; see internal/overlay/replay.
type sim struct {
	seed  uint64
	rng   *rand.Rand // the story's
	log   *soakFaults
	etcd  *fakeetcd.Etcd
	runs  *soakLog
	began time.Time

	servers []*simServer
	graves  sync.WaitGroup // of servers that were killed
	hosts   []*simHost
	jobs    []crony.Job

	mu     sync.Mutex
	leads  string // the id of the server whose member leads; "" while there is none
	starts []simStart
	moved  int      // attempts that another agent made than the one before
	events []string // what has happened, for people

	trace *simTrace // nil: nobody wants it
}

// simStart is a process that was started.
type simStart struct {
	job, agent string
	run        crony.RunID
	attempt    int
	due, at    time.Time
	end        time.Time // zero while it goes on
}

// simHost is a host with an agent, and its wires.
type simHost struct {
	soakHost
	wires map[string]*fakeetcd.Link // by server
	skew  time.Duration             // of its clock: no two are alike
	step  time.Duration             // likewise, while that is set wrong; the sim's mu guards it
	dials *rand.Rand
	fuse  *simFuse // of its agent's life
	still simFreezer
}

const (
	simServers = 3
	simAgents  = 4
	simTrouble = 40 * time.Second // how long there is trouble
	simSettle  = 40 * time.Second // after it, until everything must be in order
	simQuiet   = 10 * time.Second // after that, in which everything must run on time
)

// TestSim tells CRONY_SIM_SEEDS stories, 25 if that is not set, from the one whose seed is CRONY_SIM_SEED on. `make sim` tells a
// thousand. The race detector remembers each stack that it has seen, and ends the process over those of a fleet.
func TestSim(t *testing.T) {
	if raced {
		t.Skip("more than the race detector can take; make sim runs it without")
	}
	first, count := fromEnv(t, "CRONY_SIM_SEED", 1), fromEnv(t, "CRONY_SIM_SEEDS", 25)
	if testing.Short() {
		count = min(count, 3)
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			tellSim(t, seed)
		})
	}
}

func tellSim(t *testing.T, seed uint64) {
	cryptotest.SetGlobalRandom(t, seed) // ids are random
	seedBubbles(seed)
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // what is collected in between changes who runs next
	var s *sim
	dir, trace := t.TempDir(), openTrace(t, seed)
	defer func() {
		if t.Failed() {
			t.Logf("again: make sim CRONY_SIM_SEED=%d CRONY_SIM_SEEDS=1", seed)
			for _, e := range s.events {
				t.Log(e)
			}
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s = newSim(dir, seed)
		s.etcd, s.began, s.trace = fakeetcd.New(), time.Now(), trace
		if err := s.tell(); err != nil {
			t.Error(err)
		}
		s.quiet()
		faults := s.judge(t)
		t.Logf("%d attempts were made by another agent than the one before", s.moved)
		for _, fault := range faults {
			t.Error(fault)
		}
		s.end()
		s.rest(t)
	})
}

func newSim(dir string, seed uint64) *sim {
	s := &sim{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), log: &soakFaults{}, runs: newSoakLog()}
	for n := range simServers {
		s.servers = append(s.servers, &simServer{sim: s, id: fmt.Sprint("s", n+1), work: &sync.WaitGroup{}})
	}
	for n := range simAgents {
		id := fmt.Sprint("a", n+1)
		h := &simHost{wires: map[string]*fakeetcd.Link{}, skew: time.Duration(n) * 1234567, dials: rand.New(rand.NewPCG(seed, uint64(100+n)))}
		h.soakHost = soakHost{id: id, dir: filepath.Join(dir, id), seed: seed ^ uint64(n)<<32, log: s.log}
		h.now = func() time.Time { return s.clockOf(h) }
		h.boottime = func() time.Duration {
			h.still.pass()
			return time.Since(s.began)
		}
		h.fuses = func() *simFuse {
			h.fuse = newSimFuse()
			return h.fuse
		}
		h.dial = func(ctx context.Context) *dialled { return s.dial(ctx, h) }
		h.works = func(ctx context.Context, a *attempt, rng *rand.Rand) crony.RunState { return s.works(ctx, h, a, rng) }
		for k, v := range s.servers {
			h.wires[v.id] = &fakeetcd.Link{Delay: s.delays(id+v.id, uint64(1000+10*n+k))}
		}
		s.hosts = append(s.hosts, h)
	}
	return s
}

// delays returns how long messages are on their way: a few milliseconds, now and then much longer. It depends on when they are sent,
// and not on how many were before.
func (s *sim) delays(name string, of uint64) func() time.Duration {
	return func() time.Duration {
		rng := rand.New(rand.NewPCG(s.seed<<32^of, uint64(time.Now().UnixNano())))
		d := time.Duration(rng.Int64N(int64(3 * time.Millisecond)))
		if rng.IntN(100) == 0 {
			d += time.Duration(rng.Int64N(int64(400 * time.Millisecond)))
		}
		s.trace.line(name, "%s", d)
		return d
	}
}

// late says when what a server gave up arrives all the same: half of that does, as far as ten seconds after.
func (s *sim) late(server string) func() (time.Duration, bool) {
	return func() (time.Duration, bool) {
		rng := rand.New(rand.NewPCG(s.seed<<32^uint64(server[1]), uint64(time.Now().UnixNano())))
		after, arrives := time.Duration(rng.Int64N(int64(10*time.Second))), rng.IntN(2) == 0
		s.trace.line(server, "late by %s: %t", after, arrives)
		return after, arrives
	}
}

// note says what happens now.
func (s *sim) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf("%8.3f ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

func (s *sim) clockOf(h *simHost) time.Time {
	h.still.pass()
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(h.skew + h.step)
}

// works is a process: most are over at once, and some take seconds.
func (s *sim) works(ctx context.Context, h *simHost, a *attempt, rng *rand.Rand) crony.RunState {
	s.mu.Lock()
	n := len(s.starts)
	s.trace.line(h.id, "starts %s, %d", a.run, a.number)
	s.starts = append(s.starts, simStart{job: a.job.Name, agent: h.id, run: a.run, attempt: a.number, due: a.due, at: time.Now()})
	s.mu.Unlock()
	takes := time.Duration(rng.Int64N(int64(200 * time.Millisecond)))
	if rng.IntN(10) == 0 && a.job.Slots() == 0 { // else it would be in the way of the next
		takes += time.Duration(rng.Int64N(int64(4 * time.Second)))
	}
	state := crony.Succeeded
	if a.job.Retry != nil && rng.IntN(2) == 0 {
		state = crony.Failed
	}
	if sleep(ctx, takes) != nil {
		state = crony.Killed
	}
	s.mu.Lock()
	s.starts[n].end = time.Now()
	s.mu.Unlock()
	return state
}

// dial connects to a server, the wires to which are good.
func (s *sim) dial(ctx context.Context, h *simHost) *dialled {
	for _, n := range h.dials.Perm(len(s.servers)) {
		v := s.servers[n]
		over := h.wires[v.id]
		if cut, _ := over.State(); cut {
			if sleep(ctx, connectTime) != nil {
				return nil
			}
			continue
		}
		if d := v.accept(ctx, h, over); d != nil {
			return d
		}
	}
	return nil
}

// quietly is a logger of what should not happen.
func (s *sim) quietly() *slog.Logger { return slog.New(s.log) }
