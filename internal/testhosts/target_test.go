package testhosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony/internal/judge"
	"crony/internal/testhosts"
)

// TestFailover kills an agent that has a thousand jobs, of which some come due each second. Others must have all of them within six
// seconds, the first must run there within four, and the ledger must have an answer for each occurrence.
func TestFailover(t *testing.T) {
	long(t)
	const many = 1000
	f := newObserved(t, 3, 4)
	formed := time.Now()
	o, dies, others := f.observer, f.agents[0], f.agents[1:]
	for _, a := range others {
		a.proc.Stop(20 * time.Second)
	}
	f.Wait(time.Minute, "one agent", func() bool { return f.connected() == 1 })
	h := &judge.History{Ledger: map[string][]judge.Entry{}, Runs: map[string][]judge.Run{}}
	var manifest strings.Builder
	manifest.WriteString("jobs:\n")
	for i := range many {
		j := judge.Job{Name: fmt.Sprintf("job-%d", i), Mode: "one", OnDisconnect: "run", Overlap: "allow", Every: time.Minute,
			Offset: time.Duration(i%60) * time.Second}
		h.Jobs = append(h.Jobs, j)
		fmt.Fprintf(&manifest, "  - {name: %s, schedule: '%d * * * * *', placement: {failover: true}, shell: {argv: [%s, %s, 10ms]}}\n", j.Name, i%60,
			filepath.Join(f.bin, "witness"), f.lines())
	}
	_, err := f.ask(f.first(), "job", "apply", "-f", f.file("thousand.yaml", manifest.String()))
	if err != nil && strings.Contains(err.Error(), "not supported yet") && os.Getenv("CRONY_REQUIRE_ALL") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	f.Wait(time.Minute, "it to have all jobs", func() bool { return o.jobsOf(dies) == many })
	for _, a := range others {
		f.startAgent(a)
	}
	f.Wait(time.Minute, "all agents", func() bool { return f.connected() == 4 })
	f.Wait(90*time.Second, "jobs to run", func() bool { return len(o.lines(f.lines())) > 100 })
	if n := o.jobsOf(others...); n > 0 {
		t.Errorf("%d jobs moved when nothing had happened", n)
	}

	// For ten seconds after its server has come, an agent that is gone is waited for longer: it may be on its way to another.
	time.Sleep(time.Until(formed.Add(12 * time.Second)))
	ticking := stalls(t)
	h.From = time.Now()
	dies.proc.Kill()
	killed := time.Now()
	f.Wait(time.Minute, "all jobs to be elsewhere", func() bool { return o.jobsOf(others...) == many })
	moved := time.Since(killed)
	f.Wait(90*time.Second, "all jobs to run elsewhere", func() bool { return elsewhere(o.lines(f.lines()), dies, killed) == many })
	h.To = time.Now().Truncate(time.Second)
	o.settle(h)
	h.Lines = o.lines(f.lines())
	h.Troubles = []judge.Trouble{{Agent: dies.Name, What: "kill", From: killed, To: h.To}}
	h.Claims = o.claims()
	first := time.Hour
	for _, l := range h.Lines {
		if l.Kind == judge.Start && l.Agent != dies.Name && l.Wall.After(killed) {
			first = min(first, l.Wall.Sub(killed))
		}
	}
	t.Logf("the first ran elsewhere after %s, all had moved after %s; the machine stalled %d times", first.Round(time.Millisecond),
		moved.Round(time.Millisecond), len(ticking()))
	if first > 4*time.Second || moved > 6*time.Second {
		t.Error("that is too long")
	}
	report(t, h, judge.Judge(h))
}

// elsewhere is how many jobs have run on another agent than one since an instant.
func elsewhere(lines []judge.Line, but *agent, since time.Time) int {
	jobs := map[string]bool{}
	for _, l := range lines {
		if l.Kind == judge.Start && l.Agent != but.Name && l.Wall.After(since) {
			jobs[l.Job] = true
		}
	}
	return len(jobs)
}

// jobsOf is how many jobs agents have, by the API.
func (o *observer) jobsOf(agents ...*agent) (n int) {
	o.fleet.t.Helper()
	for _, seen := range o.agents() {
		for _, a := range agents {
			if seen.Name == a.Name {
				n += seen.Jobs
			}
		}
	}
	return n
}

// TestLeaderKilled kills the leader every twenty seconds, for CRONY_CHAOS_LEADER (a minute): no occurrence may be left out, and none may
// run twice.
func TestLeaderKilled(t *testing.T) {
	long(t)
	f := newObserved(t, 3, 2)
	o := f.observer
	h := &judge.History{Ledger: map[string][]judge.Entry{}, Runs: map[string][]judge.Run{}}
	var jobs []chaosJob
	for i := range 10 {
		j := chaosJob{lasts: 10 * time.Millisecond, schedule: "* * * * * *", Job: judge.Job{Name: fmt.Sprintf("tick-%d", i), Mode: "one",
			OnDisconnect: "run", Overlap: "allow", Every: time.Second}}
		jobs, h.Jobs = append(jobs, j), append(h.Jobs, j.Job)
	}
	f.applyChaos(jobs)
	f.allRun(jobs)

	ticking := stalls(t)
	n := &nemesis{fleet: f}
	h.From = time.Now()
	kills := 0
	for end := time.Now().Add(durationOf(t, "CRONY_CHAOS_LEADER", time.Minute)); time.Now().Before(end); kills++ {
		next := time.Now().Add(20 * time.Second)
		leader, ok := o.leader()
		if !ok {
			t.Fatal("none leads of servers that are well")
		}
		n.tell("%s led, and is killed", leader.Name)
		leader.proc.Kill()
		time.Sleep(3 * time.Second)
		f.start(leader)
		f.Wait(time.Minute, "the cluster to be whole again", f.whole)
		n.tell("all is whole again")
		time.Sleep(time.Until(next))
	}
	h.To = time.Now().Truncate(time.Second)
	o.settle(h)
	stood := ticking()
	h.Lines = o.lines(f.lines())
	h.Claims = o.claims()
	late := judge.Late(h, stood)
	t.Logf("%d kills, %d occurrences; %d starts were late by %s (median), %s (99 %%), %s (most); %d left out for %d stalls of the machine",
		kills, counted(h), late.Starts, late.P50, late.P99, late.Most, late.LeftOut, len(stood))
	report(t, h, append(judge.Judge(h), judge.Ran(h)...))
}

// newObserved makes a fleet of the programs as they are, and an observer.
func newObserved(t *testing.T, servers, agents int) *fleet {
	t.Helper()
	f := &fleet{t: t, Lab: testhosts.New(t, servers+agents), bin: programs(t)}
	build(t, f.bin, "./internal/testhosts/witness")
	f.judged(servers, agents)
	return f
}
