//go:build linux

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// needing returns a job that names scripts, each given as name=text.
func needing(name, cron string, scripts ...string) crony.Definition {
	def := definition(name, cron)
	for _, s := range scripts {
		script, text, _ := strings.Cut(s, "=")
		def.Job.Scripts = append(def.Job.Scripts, script)
		def.Scripts = append(def.Scripts, crony.Script{Name: script, Script: text})
	}
	return def
}

// prepareIn is a loop in a bubble, on a directory.
func prepareIn(t *testing.T, dir string, test func(t *testing.T, l *scriptRig)) {
	t.Helper()
	loopIn(t, dir, boots{}, nil, func(t *testing.T, l *loopRig) { test(t, &scriptRig{loopRig: l}) })
}

func inPrepare(t *testing.T, test func(t *testing.T, l *scriptRig)) {
	t.Helper()
	prepareIn(t, t.TempDir(), test)
}

// scriptRig is a loop whose scripts end when the test says so.
type scriptRig struct {
	*loopRig
	seen int // attempts that the test has looked at
}

// begun returns the scripts that were started since it was last called, as name=text.
func (l *scriptRig) begun() (list []string, runs []crony.RunID) {
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	for ; l.seen < len(l.runner.waiting); l.seen++ {
		a := l.runner.waiting[l.seen]
		if name := a.job.Shell.Env["CRONY_SCRIPT"]; name != "" {
			list = append(list, name+"="+a.job.Shell.Script)
			runs = append(runs, a.run)
		}
	}
	return list, runs
}

// tries checks which scripts were started since it was last called, and returns their runs.
func (l *scriptRig) tries(want ...string) []crony.RunID {
	l.t.Helper()
	got, runs := l.begun()
	if !slices.Equal(got, want) {
		l.t.Fatalf("at %s the scripts %v began, want %v", time.Now().UTC().Format(time.TimeOnly), got, want)
	}
	return runs
}

func (l *scriptRig) end(run crony.RunID, state crony.RunState, reason string) {
	l.runner.end(run, state, reason)
	l.sleep(0)
}

func (l *scriptRig) succeed(runs ...crony.RunID) {
	for _, run := range runs {
		l.end(run, crony.Succeeded, "")
	}
}

// own returns what was started that is no script, and is not told by starts alone.
func (l *scriptRig) own() []string {
	var list []string
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	for _, a := range l.runner.waiting {
		if a.job.Shell.Env["CRONY_SCRIPT"] == "" {
			list = append(list, a.job.Name+"@"+a.due.UTC().Format(time.TimeOnly))
		}
	}
	return list
}

func (l *scriptRig) expectOwn(want ...string) {
	l.t.Helper()
	if got := l.own(); !slices.Equal(got, want) {
		l.t.Errorf("started %v, want %v", got, want)
	}
}

// live lets time pass, a second at a time, grants all that is asked for, and returns what was passed over, as
// "until reason", and the occurrences that were claimed.
func (l *scriptRig) live(d time.Duration, each func()) (passed, claimed []string) {
	l.t.Helper()
	for range int(d / time.Second) {
		l.sleep(time.Second)
		for list := l.asks(); len(list) > 0; list = l.asks() {
			for _, req := range list {
				for _, o := range req.GetOccurrences() {
					if p := o.GetPass(); p != nil {
						passed = append(passed, wire.Time(o.GetAt()).Format(time.TimeOnly)+" "+p.GetReason())
					} else {
						claimed = append(claimed, o.GetJob()+"@"+wire.Time(o.GetAt()).Format(time.TimeOnly))
					}
				}
				l.say(grantAll(req))
			}
		}
		if each != nil {
			each()
		}
	}
	return passed, claimed
}

func (l *loopRig) endOf(run crony.RunID) crony.EndedFact {
	l.t.Helper()
	for _, r := range l.journal.records() {
		if last := r.last(); last.Run == run && last.Ended != nil {
			return *last.Ended
		}
	}
	return crony.EndedFact{}
}

// TestPrepare runs a job's scripts in their order before anything else; what came due meanwhile and is not late runs.
func TestPrepare(t *testing.T) {
	inPrepare(t, func(t *testing.T, l *scriptRig) {
		l.say(assigned(needing("j", "*/5 * * * * *", "b=1", "a=2"), 7, midnight, ""), synced())
		run := l.tries("b=1")[0]
		l.live(4*time.Second, nil)
		l.tries()
		l.succeed(run)
		second := l.tries("a=2")[0]
		if passed, claimed := l.live(10*time.Second, nil); len(passed)+len(claimed) > 0 {
			t.Errorf("asked before the host was prepared: %v, %v", passed, claimed)
		}
		l.succeed(second)
		passed, claimed := l.live(2*time.Second, nil)
		if want := []string{"j@00:00:05", "j@00:00:10", "j@00:00:15"}; len(passed) > 0 || !slices.Equal(claimed, want) {
			t.Errorf("passed over %v, claimed %v; want %v", passed, claimed, want)
		}
		l.expectOwn("j@00:00:05", "j@00:00:10", "j@00:00:15")
		for _, r := range l.journal.records() {
			c := r.facts[0].Claimed
			if c.CatchUp || c.Job != "j" || c.Epoch != 7 || (r.last().Run == run) != (c.Trigger == crony.ByPrepare && c.By == "b") {
				if c.By != "a" {
					t.Errorf("%+v", c)
				}
			}
		}
	})
}

// TestPrepareSlowly has a script that takes longer than occurrences may be late: they are missed, by few passes, whatever the
// misfire policy, and the rest run.
func TestPrepareSlowly(t *testing.T) {
	for _, policy := range []crony.MisfirePolicy{"", crony.MisfireAll, crony.MisfireSkip} {
		inPrepare(t, func(t *testing.T, l *scriptRig) {
			def := needing("j", "* * * * * *", "s=1")
			def.Job.Misfire = &crony.Misfire{Policy: policy}
			l.say(assigned(def, 1, midnight, ""), synced())
			run := l.tries("s=1")[0]
			passed, claimed := l.live(time.Hour, nil)
			if len(passed) == 0 || len(passed) > 12 || len(claimed) > 0 || !strings.HasPrefix(passed[0], "00:00:01 ") {
				t.Errorf("in an hour: passed over %v, claimed %v", passed, claimed)
			}
			for _, p := range passed {
				if !strings.HasSuffix(p, " not prepared yet: script s runs") {
					t.Errorf("passed over %s", p)
				}
			}
			l.succeed(run)
			passed, claimed = l.live(time.Second, nil)
			why := "not prepared yet: script s runs"
			if want := []string{"00:59:50 " + why, "00:59:51 " + why}; !slices.Equal(passed, want) || claimed[0] != "j@00:59:52" || len(claimed) != 12 {
				t.Errorf("then: passed over %v, claimed %v", passed, claimed)
			}
			for _, r := range l.journal.records() {
				if r.facts[0].Claimed.CatchUp {
					t.Error("a run makes up for another")
				}
			}
		})
	}
}

// TestPrepareFails tries a script again ever more seldom. What the job misses is a few stretches, all with the same reason.
func TestPrepareFails(t *testing.T) {
	inPrepare(t, func(t *testing.T, l *scriptRig) {
		l.say(assigned(needing("j", "* * * * * *", "s=1"), 1, midnight, ""), synced())
		l.end(l.tries("s=1")[0], crony.Failed, "exit code 3")
		var at []int
		passed, claimed := l.live(time.Hour, func() {
			if _, runs := l.begun(); len(runs) == 1 {
				at = append(at, int(time.Since(midnight).Seconds()))
				l.end(runs[0], crony.Failed, "exit code 3")
			}
		})
		if want := []int{10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030}; !slices.Equal(at, want) {
			t.Errorf("tried after %v seconds, want %v", at, want)
		}
		if len(passed) > 12 || len(claimed) > 0 {
			t.Errorf("passed over %v, claimed %v", passed, claimed)
		}
		for _, p := range passed {
			if !strings.HasSuffix(p, " not prepared: script s failed: exit code 3") {
				t.Errorf("passed over %s", p)
			}
		}
		l.say(newStream(), assigned(needing("j", "* * * * * *", "s=1"), 1, midnight, ""), synced()) // nothing has changed
		l.tries()
		changed := needing("j", "* * * * * *", "s=1")
		changed.Generation = 2
		l.say(assigned(changed, 2, midnight, "")) // the job has
		l.succeed(l.tries("s=1")...)
		passed, claimed = l.live(2*time.Second, nil)
		if len(passed) != 2 || len(claimed) < 10 {
			t.Errorf("prepared: passed over %v, claimed %v", passed, claimed)
		}
	})
}

// TestPrepareOnce has several jobs name a script: it runs once for what it holds, in this life and the next, and again when it
// is changed, and when it is changed back.
func TestPrepareOnce(t *testing.T) {
	dir := t.TempDir()
	prepareIn(t, dir, func(t *testing.T, l *scriptRig) {
		l.say(assigned(needing("j", "* * * * *", "s=1"), 1, midnight, ""), assigned(needing("k", "* * * * *", "r=1", "s=1"), 2, midnight, ""), synced())
		l.succeed(l.tries("s=1", "r=1")...)
		l.say(assigned(needing("m", "* * * * *", "s=1"), 3, midnight, ""))
		l.tries()
		_, claimed := l.live(time.Minute, nil)
		slices.Sort(claimed)
		if want := []string{"j@00:01:00", "k@00:01:00", "m@00:01:00"}; !slices.Equal(claimed, want) {
			t.Errorf("claimed %v, want %v", claimed, want)
		}
	})
	prepareIn(t, dir, func(t *testing.T, l *scriptRig) {
		l.say(assigned(needing("j", "* * * * *", "s=1"), 1, midnight, ""), assigned(needing("k", "* * * * *", "r=1", "s=1"), 2, midnight, ""), synced())
		l.tries()
		for epoch, text := range []string{"2", "1", "1"} {
			l.say(assigned(needing("j", "* * * * *", "s="+text), int64(10+epoch), midnight, ""))
			if epoch < 2 {
				l.succeed(l.tries("s=" + text)...)
			}
		}
		slow := needing("j", "* * * * *", "s=1")
		slow.Scripts[0].Timeout = crony.Duration(time.Hour)
		l.say(assigned(slow, 20, midnight, ""))
		l.tries() // what it does is the same
		if _, claimed := l.live(time.Minute, nil); len(claimed) != 2 {
			t.Errorf("claimed %v", claimed)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "prepared"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	prepareIn(t, dir, func(_ *testing.T, l *scriptRig) {
		l.say(assigned(needing("j", "* * * * *", "s=1"), 1, midnight, ""), synced())
		l.succeed(l.tries("s=1")...)
	})
	prepareIn(t, dir, func(_ *testing.T, l *scriptRig) {
		l.say(assigned(needing("j", "* * * * *", "s=1"), 1, midnight, ""), synced())
		l.tries()
	})
}

// TestPrepareAtOnce bounds how many scripts run at the same time: a few, and never two versions of one.
func TestPrepareAtOnce(t *testing.T) {
	inPrepare(t, func(t *testing.T, l *scriptRig) {
		for n := range 6 {
			l.say(assigned(needing(fmt.Sprint("j", n), "* * * * *", fmt.Sprint("s", n, "=1")), int64(n+1), midnight, ""))
		}
		l.say(synced())
		runs := l.tries("s0=1", "s1=1", "s2=1", "s3=1")
		l.say(assigned(needing("j0", "* * * * *", "s0=2"), 10, midnight, ""))
		l.end(runs[1], crony.Failed, "exit code 1")
		l.succeed(l.tries("s4=1")...)
		l.tries("s5=1")
		l.succeed(runs[2])
		l.tries() // of what is left one waits for its other version, and one for its time
		l.succeed(runs[0])
		l.tries("s0=2")
		l.sleep(10 * time.Second)
		l.tries("s1=1")
		l.say(unassigned("j3"), unassigned("j5"))
		l.end(runs[3], crony.Failed, "exit code 1")
		l.sleep(time.Hour)
		l.tries() // nobody waits for it any more
		if _, known := l.loop.prep.tries[contentOf(&crony.Script{Name: "s3", Script: "1"})]; known {
			t.Error("a script that nobody waits for is remembered")
		}
	})
}

// TestPrepareNoStorm has many jobs come, one after the other, while the script that they name fails: it is tried again for the
// last of them, and not for each.
func TestPrepareNoStorm(t *testing.T) {
	inPrepare(t, func(t *testing.T, l *scriptRig) {
		tries := 0
		fail := func() {
			_, runs := l.begun()
			for _, run := range runs {
				tries++
				l.end(run, crony.Failed, "exit code 1")
			}
		}
		for n := range 200 {
			l.say(assigned(needing(fmt.Sprint("j", n), "", "s=1"), int64(n+1), midnight, ""))
			fail()
		}
		if tries != 1 {
			t.Errorf("%d tries at once", tries)
		}
		l.sleep(time.Second)
		fail()
		l.sleep(9 * time.Second)
		fail()
		if tries != 2 {
			t.Errorf("%d tries, want one when the jobs have come", tries)
		}
		l.sleep(time.Second)
		if l.tries("s=1"); len(l.loop.prep.tries) != 1 {
			t.Errorf("%d scripts are waited for", len(l.loop.prep.tries))
		}
	})
}

// TestPrepareOrders has people run a job on a host that is not prepared: the run waits for the script, and fails with it. In the
// time between two tries an order makes the next one begin.
func TestPrepareOrders(t *testing.T) {
	inPrepare(t, func(t *testing.T, l *scriptRig) {
		order := func(n int) *wire.FromServer {
			return ordered(needing("j", "", "s=1"), crony.StartRequest{Run: runAt(n), Job: "j", Agent: "a1", By: "eve", At: time.Now()})
		}
		l.say(assigned(needing("j", "", "s=1"), 1, midnight, ""), synced(), order(1))
		l.expectOwn()
		first := l.tries("s=1")[0]
		l.say(order(2), order(1))
		l.end(first, crony.TimedOut, "it ran longer than its timeout of 5m")
		for n := range 2 {
			want := crony.EndedFact{State: crony.Failed, Reason: "not prepared: script s failed: it ran longer than its timeout of 5m"}
			if got := l.endOf(runAt(n + 1)); got != want {
				t.Errorf("run %d: %+v, want %+v", n+1, got, want)
			}
		}
		l.tries()
		l.sleep(2 * time.Second)
		l.say(order(3))
		second := l.tries("s=1")[0]
		l.say(order(4))
		changed := needing("j", "", "s=1")
		changed.Generation = 2
		l.say(assigned(changed, 2, midnight, ""))
		for n := range 2 {
			if got := l.endOf(runAt(n + 3)); got.State != crony.Skipped || !strings.Contains(got.Reason, "before the run was due") {
				t.Errorf("run %d of a job that was changed: %+v", n+3, got)
			}
		}
		l.say(order(5))
		l.tries()
		l.succeed(second)
		l.say(order(6))
		l.expectOwn("j@00:00:02", "j@00:00:02")
	})
}

// TestPrepareTakenUp has claims of before, and a boot, wait for the host: after a script was changed while the agent was not
// there, or when what it knew was lost.
func TestPrepareTakenUp(t *testing.T) {
	run := crony.OccurrenceRunID("uid-j", at("00:00:30"), "")
	recovered := []crony.Fact{
		{Run: runAt(1), Seq: 1, Claimed: &crony.ClaimedFact{Job: "j", JobUID: "uid-j", Generation: 1, Agent: "a1", ScheduledAt: midnight}},
		{Run: runAt(2), Seq: 1, Claimed: &crony.ClaimedFact{Job: "j", JobUID: "uid-j", Generation: 1, Agent: "a1", ScheduledAt: midnight,
			Trigger: crony.ByPrepare, By: "s"}},
	}
	loopIn(t, t.TempDir(), newBoot(t), recovered, func(t *testing.T, rig *loopRig) {
		l := &scriptRig{loopRig: rig}
		for i := range recovered {
			mustAdd(t, l.journal, entry{Fact: &recovered[i]})
		}
		def := needing("j", "30 * * * * *", "s=1")
		def.Job.Schedules = []crony.ScheduleEntry{{Cron: "@reboot"}}
		l.say(assigned(def, 1, at("00:00:30"), run), synced())
		script := l.tries("s=1")[0]
		l.sleep(time.Minute)
		l.expectOwn()
		l.succeed(script)
		l.sleep(time.Second)
		if got := l.own(); len(got) != 3 {
			t.Errorf("started %v, want the boot's, and two that were claimed before", got)
		}
	})
}

// TestPrepareFoundAgain has an agent that died while a script ran: the run that goes on is the script's, and no other begins
// until it has ended. How it ended can't be known, so that the script runs again.
func TestPrepareFoundAgain(t *testing.T) {
	for _, order := range []string{"assigned first", "ended first"} {
		t.Run(order, func(t *testing.T) {
			dir, run := t.TempDir(), runAt(1)
			script := contentOf(&crony.Script{Name: "s", Script: "1"})
			goesOn := claimedBy(run)
			goesOn.Fact.Claimed.Trigger, goesOn.Fact.Claimed.By, goesOn.Terms.Prepares = crony.ByPrepare, "s", script.hash
			leave(t, dir, run, "", goesOn, entry{Birth: &birth{}, Fact: &crony.Fact{Run: run, Started: &crony.StartedFact{Attempt: 1}}})
			prepareIn(t, dir, func(t *testing.T, l *scriptRig) {
				lost := func() { l.end(run, crony.Lost, "its agent was restarted while it ran") }
				if order == "ended first" {
					lost()
				}
				l.say(assigned(needing("j", "* * * * * *", "s=1"), 1, midnight, ""), synced())
				if order == "ended first" {
					l.succeed(l.tries("s=1")...)
					return
				}
				passed, _ := l.live(20*time.Second, nil)
				l.tries()
				if len(passed) == 0 || !strings.HasSuffix(passed[0], "not prepared yet: script s runs") {
					t.Errorf("passed over %v", passed)
				}
				lost()
				l.tries()
				l.sleep(10 * time.Second)
				l.succeed(l.tries("s=1")...)
			})
			prepareIn(t, dir, func(_ *testing.T, l *scriptRig) {
				l.say(assigned(needing("j", "* * * * *", "s=1"), 1, midnight, ""), synced())
				l.tries()
			})
		})
	}
}

// TestPrepareKnownBeforeTheEnd has the agent die right after a script has exited: that it has is in the journal, and is enough.
func TestPrepareKnownBeforeTheEnd(t *testing.T) {
	dir, run, zero := t.TempDir(), runAt(1), 0
	goesOn := claimedBy(run)
	goesOn.Fact.Claimed.Trigger, goesOn.Fact.Claimed.By = crony.ByPrepare, "s"
	goesOn.Terms.Prepares = contentOf(&crony.Script{Name: "s", Script: "1"}).hash
	leave(t, dir, run, "", goesOn, entry{Birth: &birth{}, Fact: &crony.Fact{Run: run, Started: &crony.StartedFact{Attempt: 1, PID: 1 << 22}}},
		entry{Fact: &crony.Fact{Run: run, Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &zero}}})
	r := newRig(t, dir)
	known := openPrepared(r.runner)
	r.runner.recover()
	if !known.has(contentOf(&crony.Script{Name: "s", Script: "1"})) {
		t.Error("the script would run again")
	}
	if openPrepared(r.runner).has(contentOf(&crony.Script{Name: "s", Script: "2"})) {
		t.Error("another version of the script would not run")
	}
}

// TestPrepareAlongSchedule has jobs whose schedule ends, or is none, wait for their host.
func TestPrepareAlongSchedule(t *testing.T) {
	inPrepare(t, func(t *testing.T, l *scriptRig) {
		l.say(assigned(needing("once", "@at 2000-01-01T00:00:30Z", "s=1"), 1, midnight, ""),
			assigned(needing("none", "", "s=1"), 2, midnight, ""), synced())
		run := l.tries("s=1")[0]
		passed, claimed := l.live(time.Hour, nil)
		if want := []string{"00:00:30 not prepared yet: script s runs"}; !slices.Equal(passed, want) || len(claimed) > 0 {
			t.Errorf("passed over %v, claimed %v", passed, claimed)
		}
		l.succeed(run)
		if passed, claimed := l.live(time.Hour, nil); len(passed)+len(claimed) > 0 {
			t.Errorf("passed over %v, claimed %v", passed, claimed)
		}
	})
}

// TestPrepareRuns runs scripts as processes, under their own terms.
func TestPrepareRuns(t *testing.T) {
	r := newRig(t, t.TempDir()).begin()
	def := needing("j", "", "ok=echo $CRONY_JOB $CRONY_SCRIPT $CRONY_EPOCH", "bad=exit 3", "slow=sleep 100")
	def.Job.Shell.Env, def.Job.Timeout = map[string]string{"MINE": "x"}, crony.Duration(time.Hour)
	for i, want := range []struct {
		state          crony.RunState
		reason, stdout string
	}{
		{crony.Succeeded, "", "j ok 9\n"},
		{crony.Failed, "exit code 3", ""},
		{crony.TimedOut, "it ran longer than its timeout of 200ms", ""},
	} {
		s := def.Scripts[i]
		s.Timeout = crony.Duration(200 * time.Millisecond)
		if i == 0 {
			s.Timeout = 0
		}
		one := &try{content: contentOf(&s), script: s}
		what, run := one.assignment(newJob(&def, 9, noon)), crony.NewRunID(time.Now())
		if err := r.runner.claim(run, what, crony.ClaimedFact{Trigger: crony.ByPrepare, By: s.Name, ScheduledAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		r.runner.start(newAttempt(run, what, time.Now()))
		got := r.ended(run)
		if text := r.desk.text(t, run, crony.Stdout); got.State != want.state || got.Reason != want.reason || text != want.stdout {
			t.Errorf("%s: %s, %q, output %q", s.Name, got.State, got.Reason, text)
		}
		if got.Trigger != crony.ByPrepare || got.By != s.Name || got.Job != "j" {
			t.Errorf("%+v", got)
		}
	}
}
