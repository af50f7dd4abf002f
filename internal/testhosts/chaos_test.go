package testhosts_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"crony/internal/judge"
	"crony/internal/testhosts"
)

// TestChaos runs jobs of every kind on three servers and four agents, to which a nemesis does all sorts of things, and then has all
// that was written down judged by what is promised. CRONY_CHAOS_FOR is for how long (a minute), CRONY_CHAOS_SEED replays what is
// done.
func TestChaos(t *testing.T) {
	if os.Getenv("CRONY_CHAOS_ONLY") == "servers" {
		t.Skip("only servers are to fail")
	}
	chaos(t, false)
}

// TestServersFail is the same with one server at a time failing, and no agent: nothing may be left out then, and nothing be late.
func TestServersFail(t *testing.T) { chaos(t, true) }

func chaos(t *testing.T, onlyServers bool) {
	t.Helper()
	long(t)
	seed := seedOf(t, "CRONY_CHAOS_SEED")
	f := newChaosFleet(t, 3, 4)
	o := f.observer
	jobs := f.applyChaos(chaosJobs(onlyServers))
	f.allRun(jobs)

	n := &nemesis{fleet: f, stop: time.Now().Add(durationOf(t, "CRONY_CHAOS_FOR", time.Minute))}
	ticking := stalls(t)
	h := &judge.History{From: time.Now(), Ledger: map[string][]judge.Entry{}, Runs: map[string][]judge.Run{}}
	n.run(seed, onlyServers)

	n.tell("settling")
	f.Wait(2*time.Minute, "the cluster to be whole", f.whole)
	h.To = time.Now().Add(3 * time.Second).Truncate(time.Second)
	for i := range jobs {
		h.Jobs = append(h.Jobs, jobs[i].Job)
	}
	o.settle(h)
	stood := ticking()
	n.tell("settled")
	h.Lines, h.Troubles = o.lines(f.lines()), n.troubles
	h.Claims = o.claims()

	found := judge.Judge(h)
	if onlyServers {
		found = append(found, judge.Ran(h)...)
	}
	late := judge.Late(h, stood)
	t.Logf("%d occurrences of %d jobs, %d lines, %d changes of claims; %d starts were late by %s (median), %s (99 %%), %s (most); "+
		"%d left out for %d stalls of the machine", counted(h), len(h.Jobs), len(h.Lines), len(h.Claims), late.Starts, late.P50, late.P99,
		late.Most, late.LeftOut, len(stood))
	if onlyServers && late.P99 > 50*time.Millisecond {
		t.Errorf("one in a hundred starts was late by %s or more; the latest: %v", late.P99, late.Worst)
	}
	report(t, h, found)
}

// newChaosFleet makes a fleet with clocks of its own, and an observer.
func newChaosFleet(t *testing.T, servers, agents int) *fleet {
	t.Helper()
	f := &fleet{t: t, Lab: testhosts.New(t, servers+agents), bin: t.TempDir(), clocks: map[string]*testhosts.Clock{}}
	testhosts.SteppedPrograms(t, filepath.Join("..", ".."), f.bin, "./cmd/crony", "./cmd/crony-agent")
	build(t, f.bin, "./internal/testhosts/witness")
	for _, h := range f.Hosts() {
		f.clocks[h.Name] = testhosts.NewClock(t, filepath.Join(h.Dir, "clock"))
	}
	f.judged(servers, agents)
	return f
}

// judged forms the cluster, and has it observed. Its store is open to etcd's own tool.
func (f *fleet) judged(servers, agents int) {
	f.t.Helper()
	f.extra = "etcd: {client_listen: 'HOST:2379'}\n"
	f.form(servers, agents)
	f.Wait(time.Minute, "the cluster to be whole", func() bool { return f.up() == servers && f.connected() == agents })
	f.observer = f.observe()
	f.observer.follow()
}

// run has both hands at work until the time is over.
func (n *nemesis) run(seed uint64, onlyServers bool) {
	kinds := toServers
	if onlyServers {
		kinds = toOneServer
	}
	var hands sync.WaitGroup
	hands.Go(func() {
		n.againstServers(strokes(rand.New(rand.NewPCG(seed, 1)), kinds, len(n.fleet.servers), 8*time.Second), onlyServers)
	})
	if !onlyServers {
		hands.Go(func() {
			n.againstAgents(strokes(rand.New(rand.NewPCG(seed, 2)), toAgents, len(n.fleet.agents), 10*time.Second))
		})
	}
	hands.Wait()
}

// allRun waits until each job has run, in mode each on each agent.
func (f *fleet) allRun(jobs []chaosJob) {
	f.t.Helper()
	f.Wait(90*time.Second, "all jobs to run", func() bool {
		ran := map[[2]string]bool{}
		for _, l := range f.observer.lines(f.lines()) {
			ran[[2]string{l.Job, ""}], ran[[2]string{l.Job, l.Agent}] = true, true
		}
		for _, j := range jobs {
			for _, a := range append([]string{""}, j.Agents...) {
				if !ran[[2]string{j.Name, a}] {
					return false
				}
			}
		}
		return true
	})
}

// settle waits until the ledger has nothing open of the history's time, for two minutes: longer than it takes to call a run lost. What is
// still open then is for the judge.
func (o *observer) settle(h *judge.History) {
	time.Sleep(time.Until(h.To.Add(time.Second)))
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		open := false
		for _, j := range h.Jobs {
			h.Ledger[j.Name], h.Runs[j.Name] = o.ledger(j.Name, h.From, h.To), o.runs(j.Name)
			open = open || slices.ContainsFunc(h.Ledger[j.Name], func(e judge.Entry) bool {
				return e.End == "open" || e.End == "unrecorded" || e.State == "claimed" || e.State == "running"
			})
		}
		if !open || time.Now().After(end) {
			return
		}
	}
}

func counted(h *judge.History) (n int64) {
	for _, list := range h.Ledger {
		for _, e := range list {
			n += e.Count
		}
	}
	return n
}

// report fails the test with what must not have been, and all that is known of it.
func report(t *testing.T, h *judge.History, found []judge.Violation) {
	t.Helper()
	const most = 20
	for i, v := range found {
		if i == most {
			t.Errorf("and %d more", len(found)-most)
			break
		}
		t.Errorf("%s\n%s", v, h.About(v))
	}
}

func seedOf(t *testing.T, name string) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(name); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("%s=%d", name, seed)
	return seed
}

func durationOf(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
