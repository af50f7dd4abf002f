//go:build linux

package agent

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/internal/wire"
)

// retries changes a job to be tried again every ten seconds, five times in all.
func retries(j *crony.Job) { j.Retry = &crony.Retry{Attempts: 5} }

// ordersRetried has a job ordered that is tried again, and returns its run. Chance is as it is on average.
func (l *loopRig) ordersRetried(change ...func(*crony.Job)) crony.RunID {
	l.runner.chance = func(below time.Duration) time.Duration { return below / 2 }
	def := definition("m", "0 0 1 1 *", append(change, retries)...)
	l.say(assigned(def, 1, midnight, ""), synced(), ordered(def, crony.StartRequest{Run: runAt(1), At: time.Now()}))
	return runAt(1)
}

// attempt takes the only attempt that waits for a starter.
func (l *loopRig) attempt(number int) *attempt {
	l.t.Helper()
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	if len(l.runner.waiting) != 1 || l.runner.waiting[0].number != number {
		l.t.Fatalf("%d attempts are to start; want the %d. of the run", len(l.runner.waiting), number)
	}
	return shift(&l.runner.waiting)
}

// ends starts an attempt and ends it.
func (l *loopRig) ends(number int, state crony.RunState) {
	l.t.Helper()
	a, code := l.attempt(number), 7
	l.runner.keep(entry{Birth: &birth{Boot: "another", Ticks: 1}, Fact: &crony.Fact{Run: a.run, At: l.runner.now().UTC(),
		Started: &crony.StartedFact{Attempt: number, PID: 1 << 22}}})
	l.runner.keep(entry{Fact: &crony.Fact{Run: a.run, At: l.runner.now().UTC(),
		Exited: &crony.ExitedFact{Attempt: number, ExitCode: &code}}})
	l.runner.attempted(a.run, number, state, "exit code 7")
	synctest.Wait()
}

// folded returns a run as its journal has it.
func (l *loopRig) folded(id crony.RunID) crony.Run {
	rec, _ := l.journal.record(id)
	run, _ := crony.Fold(rec.facts)
	return run
}

func TestRetries(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		run := l.ordersRetried(func(j *crony.Job) { j.Overlap = crony.OverlapForbid })
		l.say(&wire.FromServer{Kind: &wire.FromServer_Lock{Lock: &wire.LockReply{Places: []*wire.Place{{Run: string(run)}}}}})
		for n := 1; n < 5; n++ {
			l.ends(n, pickState(n))
			began := time.Now()
			r := l.folded(run)
			if want := fmt.Sprintf("attempt %d of 5 %s: exit code 7", n, []string{"timed out", "failed"}[n%2]); r.State != crony.Waiting ||
				r.Reason != want || !r.Until.Equal(began.Add(10*time.Second)) || len(r.Attempts) != n {
				t.Fatalf("%+v, want it to wait, as %s", r, want)
			}
			if first(l.journal.holders("m", 1)) != run {
				t.Error("another run of the job may start meanwhile")
			}
			l.sleep(10*time.Second - 1)
			l.expectStarts()
			l.sleep(1)
			l.expectStarts("m@00:00:00")
		}
		a := l.attempt(5)
		if a.epoch != 77 || !a.due.Equal(midnight) || a.job.Name != "m" || !a.first.Equal(midnight) {
			t.Errorf("%+v", a)
		}
		l.runner.start(a)
		l.ends(5, crony.Failed)
		if r := l.folded(run); r.State != crony.Failed || r.Reason != "exit code 7" || len(r.Attempts) != 5 {
			t.Errorf("%+v", r)
		}
		l.sleep(time.Hour)
		l.expectStarts()
	})
}

func pickState(n int) crony.RunState { return []crony.RunState{crony.TimedOut, crony.Failed}[n%2] }

// TestRetryNoMore has ends that are the run's.
func TestRetryNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		state  crony.RunState
		change func(*crony.Job)
		reason string
	}{
		"succeeded":      {crony.Succeeded, func(*crony.Job) {}, "exit code 7"},
		"killed":         {crony.Killed, func(*crony.Job) {}, "exit code 7"},
		"not by default": {crony.Lost, func(*crony.Job) {}, "exit code 7"},
		"the whole run is bounded": {crony.Failed, func(j *crony.Job) { j.RunTimeout = crony.Duration(10 * time.Second) },
			"exit code 7; it is not tried again, as the whole run may take 10s"},
	} {
		inBubble(t, nil, func(t *testing.T, l *loopRig) {
			run := l.ordersRetried(c.change)
			l.ends(1, c.state)
			l.sleep(time.Hour)
			l.expectStarts()
			if r := l.folded(run); r.State != c.state || r.Reason != c.reason {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}

// TestRetryWaits has what can happen while a run waits for its next attempt, ten seconds.
func TestRetryWaits(t *testing.T) {
	cutOff := func(l *loopRig) { l.say(&wire.FromServer{}) }
	on := func(how crony.OnDisconnect) func(*crony.Job) {
		return func(j *crony.Job) { j.OnDisconnect = how }
	}
	for name, c := range map[string]struct {
		policy  crony.OnDisconnect
		happens func(l *loopRig)
		wait    time.Duration // after it, until the attempt starts; 0: it does not
		reason  string
	}{
		"the clock is set back":       {"", func(l *loopRig) { l.stepBy(-24 * time.Hour) }, 10 * time.Second, ""},
		"the clock is set on":         {"", func(l *loopRig) { l.stepBy(24 * time.Hour) }, 10 * time.Second, ""},
		"the host is suspended":       {"", func(l *loopRig) { l.sleepHost(time.Hour) }, tick, ""},
		"the job is removed":          {"", func(l *loopRig) { l.say(unassigned("m")) }, 10 * time.Second, ""},
		"it is cut off":               {"", cutOff, 10 * time.Second, ""},
		"it is cut off, and holds":    {crony.DisconnectHold, cutOff, 0, ""},
		"it is cut off, and stops":    {crony.DisconnectStop, cutOff, 0, stopReason},
		"it is suspended, and stops":  {crony.DisconnectStop, func(l *loopRig) { l.sleepHost(time.Hour) }, 0, stopReason},
		"it is suspended, and holds":  {crony.DisconnectHold, func(l *loopRig) { l.sleepHost(time.Hour) }, 0, ""},
		"it is killed":                {"", func(l *loopRig) { l.say(killed(runAt(1), "enough")) }, 0, "killed by eve: enough"},
		"it is killed, and holds":     {crony.DisconnectHold, func(l *loopRig) { l.say(killed(runAt(1), "enough")) }, 0, "killed by eve: enough"},
		"it is replaced":              {"", func(l *loopRig) { l.loop.inbox <- replaced(runAt(1), runAt(2)) }, 0, "replaced by run " + string(runAt(2))},
		"it is cut off, is back soon": {crony.DisconnectStop, func(l *loopRig) { cutOff(l); l.sleep(time.Second); l.say(newStream()) }, 9 * time.Second, ""},
	} {
		inBubble(t, nil, func(t *testing.T, l *loopRig) {
			if c.policy != "" {
				l.sleep(leaseTick)
			}
			run := l.ordersRetried(on(c.policy))
			l.sleep(leaseTick)
			l.answerPings()
			l.ends(1, crony.Failed)
			began := time.Now()
			c.happens(l)
			for time.Since(began) < time.Minute && len(l.starts()) == 0 {
				l.sleep(100 * time.Millisecond)
				if strings.HasSuffix(name, "soon") {
					l.answerPings()
				}
			}
			switch took := time.Since(began); {
			case c.wait == 0 && len(l.starts()) > 0, c.wait > 0 && (took < c.wait-tick || took > c.wait+tick):
				t.Errorf("%s: after %s started %v", name, took, l.starts())
			}
			if r := l.folded(run); c.reason != "" && (r.State != crony.Killed || r.Reason != c.reason) || c.reason == "" && r.State != crony.Waiting {
				t.Errorf("%s: %+v, want %q", name, r, c.reason)
			}
		})
	}
}

func replaced(run, by crony.RunID) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Lock{Lock: &wire.LockReply{Places: []*wire.Place{{Run: string(run), ReplacedBy: string(by)}}}}}
}

// TestRetryHolds has an agent that was cut off come back: a job that holds is tried again once a server has answered, and
// only while it may.
func TestRetryHolds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		run := l.ordersRetried(func(j *crony.Job) { j.OnDisconnect = crony.DisconnectHold })
		l.ends(1, crony.Failed)
		l.say(&wire.FromServer{})
		l.sleep(time.Hour)
		l.say(newStream())
		l.sleep(2 * tick)
		l.expectStarts()
		l.sleep(leaseTick)
		l.answerPings()
		l.sleep(tick)
		if !l.mayStart() {
			t.Error("it may not start, right after an answer")
		}
		l.sleepHost(time.Minute) // while it waits for a starter
		if l.mayStart() {
			t.Error("it starts after the host was suspended")
		}
		l.runner.endLeaseless(l.attempt(2))
		if r := l.folded(run); r.State != crony.Waiting {
			t.Errorf("%+v", r)
		}
		l.sleep(2 * leaseTick)
		l.answerPings()
		l.sleep(tick)
		l.attempt(2)
	})
}

// TestKillBeforeRetry kills a run whose next attempt is with a starter already, and one that is about to wait.
func TestKillBeforeRetry(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		run := l.ordersRetried()
		l.ends(1, crony.Failed)
		l.sleep(10 * time.Second)
		l.expectStarts("m@00:00:00")
		l.say(killed(run, "enough"))
		l.runner.begin()
		l.sleep(time.Second)
		if r := l.folded(run); r.State != crony.Killed || r.Reason != "killed by eve: enough" || len(r.Attempts) != 1 {
			t.Errorf("%+v", r)
		}
		l.runner.drain(0)
	})
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		run := l.ordersRetried()
		l.attempt(1)
		l.say(killed(run, "enough"))
		l.runner.wait(run, 2, time.Second, &terms{}) // it was decided just before
		if r := l.folded(run); r.State != crony.Killed || l.runner.paused() > 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestRetryOutlivesTheAgent has the agent away for a part of the wait, for longer than that, and with another clock.
func TestRetryOutlivesTheAgent(t *testing.T) {
	for name, c := range map[string]struct {
		away, step, wait time.Duration
		change           func(*crony.Job)
		state            crony.RunState
	}{
		"for a moment":                 {4 * time.Second, 0, 6 * time.Second, retries, crony.Waiting},
		"for longer":                   {time.Hour, 0, 0, retries, crony.Waiting},
		"the clock was set back":       {4 * time.Second, -time.Hour, 10 * time.Second, retries, crony.Waiting},
		"the clock was set on":         {4 * time.Second, time.Hour, 0, retries, crony.Waiting},
		"for longer than the run may":  {time.Hour, 0, -1, func(j *crony.Job) { j.RunTimeout = crony.Duration(time.Minute) }, crony.TimedOut},
		"the job is to stop":           {time.Second, 0, -1, func(j *crony.Job) { j.OnDisconnect = crony.DisconnectStop }, crony.Killed},
		"the job is to hold, cut off ": {time.Hour, 0, -1, func(j *crony.Job) { j.OnDisconnect = crony.DisconnectHold }, crony.Waiting},
	} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			first := newLoopRig(t, dir, boots{}, func(*runner) []crony.Fact { return nil })
			first.say(newStream())
			run := first.ordersRetried(c.change)
			first.ends(1, crony.Failed)
			first.halt()
			if err := first.journal.rewrite(); err != nil {
				t.Fatal(err)
			}
			if err := first.journal.close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.away)
			l := newLoopRig(t, dir, boots{}, func(r *runner) []crony.Fact {
				now := r.now
				r.now = func() time.Time { return now().Add(c.step).Round(0) }
				return r.recover()
			})
			defer l.halt()
			began := time.Now()
			for time.Since(began) < time.Minute && len(l.starts()) == 0 {
				l.sleep(100 * time.Millisecond)
			}
			if took := time.Since(began); c.wait < 0 && len(l.starts()) > 0 || c.wait >= 0 && (took < c.wait || took > c.wait+200*time.Millisecond) {
				t.Errorf("%s: after %s started %v", name, took, l.starts())
			}
			if r := l.folded(run); r.State != c.state {
				t.Errorf("%s: %+v", name, r)
			}
			if c.wait >= 0 {
				l.attempt(2)
			}
		})
	}
}

// TestRetryProcesses makes attempts of real processes: each has its number and its output, and what runs too long, or could
// not be started, is tried again.
func TestRetryProcesses(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	work := func() {
		for r.runner.paused() > 0 {
			r.runner.again(tick)
			time.Sleep(time.Millisecond)
		}
	}
	often := &crony.Retry{Attempts: 3, Interval: crony.MinRetryInterval}
	here := t.TempDir()
	for name, c := range map[string]struct {
		change func(*crony.Job)
		state  crony.RunState
		tries  int
		out    string
	}{
		"twice in vain":  {sh("echo $CRONY_ATTEMPT; test $CRONY_ATTEMPT = 3"), crony.Succeeded, 3, "1\n2\n3\n"},
		"always in vain": {sh("echo $CRONY_ATTEMPT; exit 3"), crony.Failed, 3, "1\n2\n3\n"},
		"too long, once": {func(j *crony.Job) {
			j.Shell.Command, j.Timeout = "echo $CRONY_ATTEMPT; test $CRONY_ATTEMPT = 2 || sleep 100", crony.Duration(time.Second)
		}, crony.Succeeded, 2, "1\n2\n"},
		"too long in all": {func(j *crony.Job) {
			j.Shell.Command, j.RunTimeout = "echo $CRONY_ATTEMPT; test $CRONY_ATTEMPT = 1 || sleep 100", crony.Duration(time.Second)
			j.Shell.Command += "; exit 1"
		}, crony.TimedOut, 2, "1\n2\n"},
		"not to be started": {func(j *crony.Job) {
			j.Shell.Command, j.Shell.Cwd = "echo $CRONY_ATTEMPT", filepath.Join(here, "none")
		}, crony.Failed, 0, ""},
	} {
		id := r.start(func(j *crony.Job) {
			c.change(j)
			j.Retry = often
		})
		eventually(t, name, func() bool {
			work()
			r.reports.mu.Lock()
			defer r.reports.mu.Unlock()
			return r.reports.owed[id] == nil
		})
		got, out := r.desk.run(id), r.desk.byAttempt(id)
		if got.State != c.state || len(got.Attempts) != c.tries || out != c.out {
			t.Errorf("%s: %+v, with output %q", name, got, out)
		}
		for i, a := range got.Attempts {
			if a.Number != i+1 || a.EndedAt.IsZero() {
				t.Errorf("%s: attempt %+v", name, a)
			}
		}
	}
	if left := r.files(); left > 0 {
		t.Errorf("%d files are left", left)
	}
}

// byAttempt returns what was delivered of a run's stdout, attempt by attempt.
func (d *desk) byAttempt(id crony.RunID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[int]string{}
	for _, c := range d.chunks[id] {
		if text := all[c.Attempt]; c.Stream == crony.Stdout && int(c.End()) > len(text) { // a piece may come twice
			all[c.Attempt] = text[:c.Offset] + string(c.Data)
		}
	}
	out := ""
	for _, n := range slices.Sorted(maps.Keys(all)) {
		out += all[n]
	}
	return out
}

// TestRecoverRetry has the agent killed at each step of a run that is tried again: nothing is started that may have started
// before, and the output of all attempts is delivered.
func TestRecoverRetry(t *testing.T) {
	t.Parallel()
	id, one, zero := crony.NewRunID(noon), 1, 0
	gone := birth{"another", 1}
	began := func(n int) entry {
		return entry{Birth: &gone, Fact: &crony.Fact{Run: id, At: noon, Started: &crony.StartedFact{Attempt: n, PID: 1 << 22}}}
	}
	exited := func(n int, code *int) entry {
		return entry{Fact: &crony.Fact{Run: id, At: noon, Exited: &crony.ExitedFact{Attempt: n, ExitCode: code}}}
	}
	waited := func(n int) entry {
		return entry{Fact: &crony.Fact{Run: id, At: noon, Waiting: &crony.WaitingFact{Attempt: n, Until: noon.Add(time.Minute), Reason: "x"}}}
	}
	ended := entry{Fact: &crony.Fact{Run: id, At: noon, Ended: &crony.EndedFact{State: crony.Killed}}}
	order := entry{Kill: &kill{id, crony.KillOrder{By: "eve", At: noon}}}
	onLost := []crony.RetryOn{crony.RetryFailed, crony.RetryLost}
	first := []entry{began(1), exited(1, &one), waited(1)}
	for name, c := range map[string]struct {
		on      []crony.RetryOn
		files   int  // attempts with output, from the first on
		made    bool // the next one's file is there, and it has not begun
		entries []entry
		next    int // attempt, that the run waits for; 0: it has ended
		state   crony.RunState
	}{
		"claimed and begun":            {nil, 1, false, nil, 0, crony.Lost},
		"claimed and begun, for lost":  {onLost, 1, false, nil, 2, ""},
		"gone":                         {nil, 1, false, []entry{began(1)}, 0, crony.Lost},
		"gone, for lost":               {onLost, 1, false, []entry{began(1)}, 2, ""},
		"exited":                       {nil, 1, false, []entry{began(1), exited(1, &one)}, 2, ""},
		"succeeded":                    {nil, 1, false, []entry{began(1), exited(1, &zero)}, 0, crony.Succeeded},
		"waits":                        {nil, 1, false, first, 2, ""},
		"waits, having left nothing":   {nil, 0, false, first, 2, ""},
		"never started":                {nil, 0, false, []entry{waited(1)}, 2, ""},
		"files are made":               {nil, 1, true, first, 2, ""},
		"begun":                        {nil, 2, false, first, 0, crony.Lost},
		"begun, for lost":              {onLost, 2, false, first, 3, ""},
		"begun without files":          {nil, 1, false, append(slices.Clone(first), entry{Begins: id}), 0, crony.Lost},
		"the first was without files":  {nil, 0, false, append([]entry{{Begins: id}}, first...), 2, ""},
		"the second is gone":           {nil, 2, false, append(slices.Clone(first), began(2)), 0, crony.Lost},
		"the second exited":            {nil, 2, false, append(slices.Clone(first), began(2), exited(2, &one)), 3, ""},
		"the second waits":             {nil, 2, false, append(slices.Clone(first), began(2), exited(2, &one), waited(2)), 3, ""},
		"the second could not start":   {nil, 1, false, append(slices.Clone(first), waited(2)), 3, ""},
		"the third exited":             {nil, 3, false, append(slices.Clone(first), waited(2), began(3), exited(3, &one)), 0, crony.Failed},
		"ended while it waited":        {nil, 1, false, append(slices.Clone(first), ended), 0, crony.Killed},
		"ended, the second being lost": {onLost, 2, false, append(slices.Clone(first), waited(2), ended), 0, crony.Killed},
		"to be killed":                 {nil, 1, false, append(slices.Clone(first), order), 0, crony.Killed},
		"exited, to be killed":         {nil, 1, false, []entry{began(1), order, exited(1, &one)}, 0, crony.Killed},
	} {
		for _, anew := range []bool{false, true} {
			dir := t.TempDir()
			def := definition("job", "@daily", func(j *crony.Job) { j.Retry = &crony.Retry{On: c.on} })
			claim := claimedBy(id)
			claim.Terms.Retry, claim.Job = def.Job.Retry, pack(&def)
			leave(t, dir, id, "", append([]entry{claim}, c.entries...)...)
			want := ""
			for n := 1; n <= c.files; n++ {
				text := fmt.Sprint("out of ", n, "\n")
				want += text
				mustWrite(t, outputPath(dir, id, n, "stdout"), text, readable)
			}
			if c.made {
				mustWrite(t, outputPath(dir, id, c.files+1, "stdout"), "", unread)
			}
			r := newRig(t, dir)
			if anew {
				if err := r.journal.rewrite(); err != nil {
					t.Fatal(err)
				}
			}
			r.runner.now = func() time.Time { return noon.Add(time.Hour) }
			claims := r.runner.recover()
			r.begin()
			eventually(t, name, func() bool { return r.desk.byAttempt(id) == want && r.settledOrWaits(id) })
			got := r.desk.run(id)
			switch {
			case len(claims) > 0:
				t.Errorf("%s: claims %v", name, claims)
			case c.next == 0 && (got.State != c.state || r.runner.paused() > 0):
				t.Errorf("%s: %+v, and %d wait", name, got, r.runner.paused())
			case c.next > 0 && (got.State != crony.Waiting || r.runner.paused() != 1 || r.runner.pauses[0].next != c.next):
				t.Errorf("%s: %+v, and %d wait", name, got, r.runner.paused())
			}
			if _, err := os.Stat(outputPath(dir, id, c.files+1, "stdout")); c.made && err == nil {
				t.Errorf("%s: a file is left that the next attempt can't make", name)
			}
			r.stop()
		}
	}
}

// TestRecoverRetryDamaged has a journal that was damaged: of a run that waits, the claim is gone.
func TestRecoverRetryDamaged(t *testing.T) {
	t.Parallel()
	id, one := crony.NewRunID(noon), 1
	waited := entry{Fact: &crony.Fact{Run: id, At: noon, Waiting: &crony.WaitingFact{Attempt: 1, Until: noon, Reason: "x"}}}
	exited := entry{Fact: &crony.Fact{Run: id, At: noon, Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &one}}}
	for _, entries := range [][]entry{{waited}, {exited, waited}} {
		dir := t.TempDir()
		leave(t, dir, id, "", entries...)
		r := newRig(t, dir)
		r.runner.recover()
		r.begin()
		r.ended(id)
		r.desk.set(func() {
			facts := r.desk.facts[id]
			if last := facts[len(facts)-1].Ended; last == nil || last.State != crony.Lost {
				t.Errorf("%+v", facts[len(facts)-1])
			}
		})
		r.stop()
	}
}

func mustWrite(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// settledOrWaits says whether a run is delivered as a whole, or waits and all of it so far is reported.
func (r *rig) settledOrWaits(id crony.RunID) bool {
	r.reports.mu.Lock()
	o := r.reports.owed[id]
	done := o == nil || !o.ended && o.items == 0
	r.reports.mu.Unlock()
	return done && (o == nil || r.runner.paused() == 1)
}

func first(run, _ crony.RunID) crony.RunID { return run }
