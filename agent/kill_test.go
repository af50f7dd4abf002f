//go:build linux

package agent

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// TestKillBeforeStart ends runs that have not started: one that waits for its time, one that waits for a starter, and one of an
// earlier life that waits to be confirmed. What the agent does not know is nothing to it.
func TestKillBeforeStart(t *testing.T) {
	def := definition("m", "* * * * *")
	waiting := crony.Fact{Run: runAt(7), Seq: 1, Claimed: &crony.ClaimedFact{Job: "later", JobUID: "uid-later", Generation: 1, Agent: "a1"}}
	inBubble(t, []crony.Fact{waiting}, func(t *testing.T, l *loopRig) {
		mustAdd(t, l.journal, entry{Fact: &waiting})
		l.say(killed(runAt(7), "not now"), assigned(def, 1, midnight, ""), killed(runAt(99), "who is this"))
		l.sleep(59 * time.Second)
		run := crony.OccurrenceRunID("uid-m", at("00:01:00"), "")
		l.say(killed(run, "too early"), grantAll(l.ask("m", at("00:01:00"))), killed(run, "stuck"), killed(run, "again"))
		l.sleep(2 * time.Second)
		l.expectStarts()
		l.say(ordered(def, crony.StartRequest{Run: runAt(1), At: time.Now()}), killed(runAt(1), ""))
		l.runner.begin()
		l.sleep(time.Second)
		for run, want := range map[crony.RunID]string{
			run: "killed before it started by eve: stuck", runAt(1): "killed before it started by eve", runAt(7): "killed before it started by eve: not now",
		} {
			r := l.journal.live[run]
			if r == nil || r.last().Ended == nil || r.last().Ended.State != crony.Skipped || r.last().Ended.Reason != want || startedOf(r.facts) != nil {
				t.Errorf("%s: %+v, want %q", run, r, want)
			}
		}
		if len(l.runner.kills) > 0 || l.journal.knows(runAt(99)) {
			t.Errorf("remembered: %v", l.runner.kills)
		}
		l.runner.drain(0)
	})
}

// group returns the processes of a session.
func group(t *testing.T, session int) string {
	t.Helper()
	out, _ := exec.Command("ps", "-o", "pid=,stat=,args=", "--no-headers", "-s", strconv.Itoa(session)).Output()
	var list []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1][0] != 'Z' {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.Join(list, "; ")
}

// TestKill ends processes with all that they have started, also those that do not heed TERM.
func TestKill(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	for name, c := range map[string]struct {
		command string
		grace   time.Duration
		signal  string
	}{
		"a tree":                  {"sleep 600 & sh -c 'sleep 600; true' & echo up; wait", 30 * time.Second, "SIGTERM"},
		"one that heeds no TERM":  {"trap '' TERM; sh -c \"trap '' TERM; sleep 600; sleep 600\" & echo up; while :; do sleep 1; done", 300 * time.Millisecond, "SIGKILL"},
		"one that ends by itself": {"trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done", 30 * time.Second, ""},
	} {
		id := r.start(func(j *crony.Job) {
			j.Shell.Command, j.KillGrace = c.command, crony.Duration(c.grace)
		})
		eventually(t, name+" to be up", func() bool { return r.desk.text(t, id, crony.Stdout) == "up\n" })
		pid := r.desk.run(id).Attempts[0].PID
		if group(t, pid) == "" {
			t.Fatalf("%s: no process is there", name)
		}
		for _, reason := range []string{"stuck", "once more"} {
			if !r.runner.kill(id, crony.KillOrder{By: "eve", At: noon, Reason: reason}) {
				t.Errorf("%s: it does not go on", name)
			}
		}
		got := r.ended(id)
		if got.State != crony.Killed || got.Reason != "killed by eve: stuck" || got.Attempts[0].Signal != c.signal {
			t.Errorf("%s: %s, %s, %+v", name, got.State, got.Reason, got.Attempts[0])
		}
		if left := group(t, pid); left != "" {
			t.Errorf("%s: left are %s", name, left)
		}
		if r.runner.kill(id, crony.KillOrder{}) {
			t.Errorf("%s: it goes on after its end", name)
		}
	}
	if _, ok := r.runner.killed(""); ok || len(r.runner.kills) > 0 {
		t.Errorf("remembered: %v", r.runner.kills)
	}
}

// TestKillOutlivesTheAgent has the order in the journal and the agent gone: the next one carries it out.
func TestKillOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	order := crony.KillOrder{By: "eve", At: noon, Reason: "stuck"}
	child := func() (*exec.Cmd, birth) {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go cmd.Wait()
		t.Cleanup(func() { cmd.Process.Kill() })
		ticks, err := startTicks(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return cmd, birth{boot, ticks}
	}
	running, born := child()
	seven := 7
	started := func(b birth, pid int) entry {
		return entry{Birth: &b, Fact: &crony.Fact{Run: runAt(901), At: noon, Started: &crony.StartedFact{Attempt: 1, PID: pid}}}
	}
	exited := entry{Fact: &crony.Fact{Run: runAt(901), At: noon, Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &seven}}}
	kill := entry{Kill: &kill{runAt(901), order}}
	for name, c := range map[string]struct {
		stdout  string
		entries []entry
		state   crony.RunState
		reason  string
	}{
		"not started":          {"", []entry{claimedBy(runAt(901)), kill}, crony.Skipped, "killed before it started by eve: stuck"},
		"running":              {"x", []entry{claimedBy(runAt(901)), started(born, running.Process.Pid), kill}, crony.Killed, "killed by eve: stuck"},
		"gone, by that or not": {"x", []entry{claimedBy(runAt(901)), started(birth{boot, 1}, 1<<22), kill}, crony.Killed, "killed by eve: stuck"},
		"exited":               {"x", []entry{claimedBy(runAt(901)), started(birth{boot, 1}, 1<<22), kill, exited}, crony.Killed, "killed by eve: stuck"},
		"killed as it started": {"x", []entry{claimedBy(runAt(901)), kill}, crony.Lost, "while it started"},
	} {
		dir := t.TempDir()
		leave(t, dir, runAt(901), c.stdout, c.entries...)
		r := newRig(t, dir)
		if err := r.journal.rewrite(); err != nil { // the order is in what it keeps
			t.Fatal(err)
		}
		claims := r.runner.recover()
		r.begin()
		if got := r.ended(runAt(901)); got.State != c.state || !strings.Contains(got.Reason, c.reason) || len(claims) > 0 {
			t.Errorf("%s: %s, %s, and claims %v", name, got.State, got.Reason, claims)
		}
	}
	eventually(t, "the process to be gone", func() bool { return group(t, running.Process.Pid) == "" })
}

// TestOrderOutlivesTheAgent starts a run that was ordered in an earlier life, whether or not the agent has its job.
func TestOrderOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := newRig(t, dir)
	what := testJob(sh("echo $CRONY_JOB $CRONY_EPOCH $CRONY_PARAM_DAY"))
	if err := first.runner.claim(runAt(1), what, crony.ClaimedFact{Trigger: crony.ByHand, By: "eve", ScheduledAt: noon,
		Params: map[string]string{"day": "of rest"}}); err != nil {
		t.Fatal(err)
	}
	if err := first.journal.close(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dir)
	if claims := r.runner.recover(); len(claims) > 0 {
		t.Errorf("it waits for its job: %v", claims)
	}
	r.begin()
	for _, g := range r.runner.ordered {
		r.runner.start(g.attempt())
	}
	if got := r.ended(runAt(1)); got.State != crony.Succeeded || got.By != "eve" || got.Params["day"] != "of rest" {
		t.Errorf("%+v", got)
	}
	if out := r.desk.text(t, runAt(1), crony.Stdout); out != "job 7 of rest\n" {
		t.Errorf("output %q", out)
	}
}

// TestTellRunning tells of processes when they have lasted for a second, once a stream.
func TestTellRunning(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		told := func() (list []string) {
			l.desk.set(func() {
				for _, msg := range l.desk.posted {
					for _, p := range msg.GetRunning().GetProcesses() {
						list = append(list, p.GetRun()+" "+p.GetJob()+" "+strconv.Itoa(int(p.GetPid())))
					}
				}
				l.desk.posted = nil
			})
			return list
		}
		l.runner.mu.Lock()
		l.runner.running[runAt(1)] = &process{ongoing: ongoing{run: runAt(1), job: "m", pid: 7, began: time.Now()}}
		l.runner.mu.Unlock()
		l.sleep(900 * time.Millisecond)
		if list := told(); len(list) > 0 {
			t.Errorf("after 0.9 s: %v", list)
		}
		l.desk.set(func() { l.desk.refuse = true })
		l.sleep(2 * time.Second)
		l.desk.set(func() { l.desk.refuse = false })
		l.sleep(2 * time.Second)
		want := string(runAt(1)) + " m 7"
		if list := told(); len(list) != 1 || list[0] != want {
			t.Errorf("after some seconds: %q, want %q", list, want)
		}
		l.say(&wire.FromServer{}, newStream())
		l.sleep(2 * time.Second)
		if list := told(); len(list) != 1 || list[0] != want {
			t.Errorf("on the next stream: %q, want %q", list, want)
		}
	})
}
