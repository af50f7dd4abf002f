//go:build linux

package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
	"crony/agent"
	"crony/internal/testcluster"
)

// child is an agent in a process of its own, connected through a proxy that a test can cut.
type child struct {
	t      *testing.T
	c      *testcluster.Cluster
	dir    string
	config string
	proxy  *proxy
	cmd    *exec.Cmd
}

func newChild(t *testing.T, c *testcluster.Cluster) *child {
	t.Helper()
	dir := t.TempDir()
	a := &child{t: t, c: c, dir: filepath.Join(dir, "data"), config: filepath.Join(dir, "agent.yaml"), proxy: newProxy(t, c.Address)}
	a.moveIn()
	write(t, a.config, "dir: "+a.dir+"\nmetrics: {listen: ''}\n")
	return a
}

// moveIn makes the child's directory an agent's.
func (a *child) moveIn() {
	a.t.Helper()
	root, leaf := a.c.Agent("a1")
	if err := agent.MoveIn(a.dir, root.PEM(), leaf, []string{a.proxy.address()}); err != nil {
		a.t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *child) start() {
	a.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CRONY_AGENT_TEST_CHILD=agent "+a.config)
	cmd.Stderr = logged{a.t}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.cmd = cmd
	a.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func (a *child) kill() {
	a.t.Helper()
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// placed waits until the job is the agent's.
func (a *child) placed(job string) {
	a.t.Helper()
	a.c.Wait(job+" to be placed", func() bool {
		j, err := a.c.Job(a.t.Context(), job)
		return err == nil && j.Assigned > 0
	})
}

// order starts a job by hand.
func (a *child) order(job string) crony.RunID {
	a.t.Helper()
	a.placed(job)
	ids, err := a.c.StartJob(a.t.Context(), job, crony.StartOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	return ids[0]
}

func (a *child) inState(id crony.RunID, state crony.RunState) crony.Run {
	a.t.Helper()
	var run crony.Run
	a.c.Wait(fmt.Sprintf("the run to be %s", state), func() bool {
		var err error
		run, err = a.c.Run(a.t.Context(), id)
		return err == nil && run.State == state
	})
	return run
}

// logged writes a child's log to the test's.
type logged struct{ t *testing.T }

func (l logged) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// TestKilledBeforeDue kills the agent while a claimed run waits for its time. The next agent starts it, once.
func TestKilledBeforeDue(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	marks := filepath.Join(t.TempDir(), "marks")
	c.Apply(fmt.Sprintf("jobs:\n- name: m\n  schedule: '*/4 * * * * *'\n  shell: {command: 'echo $CRONY_SCHEDULED_AT >> %s; echo ran'}\n", marks))
	var id crony.RunID
	for id == "" {
		c.Wait("a claimed run", func() bool {
			for _, r := range c.AllRuns("m") {
				if r.State == crony.Claimed && time.Until(r.ScheduledAt) > 300*time.Millisecond {
					id = r.ID
				}
			}
			return id != ""
		})
		a.kill()
		if run, err := c.Run(t.Context(), id); err != nil || run.State != crony.Claimed || time.Until(run.ScheduledAt) < 0 {
			t.Logf("the kill came too late; once more")
			id = ""
			a.start()
		}
	}
	a.start()
	run := a.inState(id, crony.Succeeded)
	text, err := os.ReadFile(marks)
	if n := strings.Count(string(text), run.ScheduledAt.UTC().Format(time.RFC3339)); err != nil || n != 1 || len(run.Attempts) != 1 {
		t.Errorf("it ran %d times, with %d attempts, %v", n, len(run.Attempts), err)
	}
	if out := c.Text(id, crony.Stdout); out != "ran\n" {
		t.Errorf("output %q", out)
	}
}

// TestKilledWhileRunning kills the agent while a run goes on. The next agent adopts it: its output is whole, and its end is
// lost, never a success.
func TestKilledWhileRunning(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	flag := filepath.Join(t.TempDir(), "flag")
	c.Apply(fmt.Sprintf("jobs:\n- name: m\n  shell: {command: 'echo before; while ! test -e %s; do sleep 0.05; done; echo after; echo err >&2'}\n", flag))
	id := a.order("m")
	c.Wait("output", func() bool {
		run, err := c.Run(t.Context(), id)
		return err == nil && run.State == crony.Running && c.Text(id, crony.Stdout) == "before\n"
	})
	a.kill()
	pid := a.inState(id, crony.Running).Attempts[0].PID
	a.start()
	c.Wait("the agent to be back", func() bool {
		agents, err := c.ListAgents(t.Context())
		return err == nil && len(testcluster.Up(agents)) == 1
	})
	if run := a.inState(id, crony.Running); run.Attempts[0].PID != pid || syscall.Kill(pid, 0) != nil {
		t.Errorf("%+v, and its process is gone", run)
	}
	write(t, flag, "")
	run := a.inState(id, crony.Lost)
	if !strings.Contains(run.Reason, "restarted") || run.EndedAt.IsZero() || len(run.Attempts) != 1 || run.Attempts[0].ExitCode != nil {
		t.Errorf("%+v", run)
	}
	if out, err := c.Text(id, crony.Stdout), c.Text(id, crony.Stderr); out != "before\nafter\n" || err != "err\n" {
		t.Errorf("output %q, %q", out, err)
	}
}

// TestKilledBeforeReport has the server away while a run ends, and then kills the agent. The next one reports it once, whole.
func TestKilledBeforeReport(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	c.Tell(a.proxy.address()) // else it finds a way around
	a.start()
	flag := filepath.Join(t.TempDir(), "flag")
	c.Apply(fmt.Sprintf("jobs:\n- name: m\n  shell: {command: 'while ! test -e %s; do sleep 0.05; done; seq 20000; rm %s; exit 4'}\n", flag, flag))
	id := a.order("m")
	a.inState(id, crony.Running)
	a.proxy.set(true)
	write(t, flag, "")
	journal := func() string {
		text, err := os.ReadFile(filepath.Join(a.dir, "journal"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	c.Wait("the run to end", func() bool { return strings.Contains(journal(), `"ended"`) })
	a.kill()
	a.proxy.set(false)
	a.start()
	run := a.inState(id, crony.Failed)
	if run.Reason != "exit code 4" || len(run.Attempts) != 1 {
		t.Errorf("%+v", run)
	}
	want, err := exec.Command("seq", "20000").Output()
	if out := c.Text(id, crony.Stdout); err != nil || out != string(want) {
		t.Errorf("%d bytes of output, want %d", len(out), len(want))
	}
	c.Wait("the agent to forget it", func() bool { return strings.Contains(journal(), `"settled"`) })
	if left, err := os.ReadDir(filepath.Join(a.dir, "runs")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestKilledWithResult kills the agent while a run goes on, which ends while no agent is there. The next one reads what it has
// given back, and it waits to be handled, once.
func TestKilledWithResult(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	flag := filepath.Join(t.TempDir(), "flag")
	c.Apply(fmt.Sprintf(`jobs: [{name: m, handle_results: true, shell: {command: 'while ! test -e %s; do sleep 0.05; done; echo "[1, 2]" > $CRONY_RESULT; rm %s'}}]`, flag, flag))
	id := a.order("m")
	a.inState(id, crony.Running)
	a.kill()
	write(t, flag, "")
	c.Wait("the process to end", func() bool { _, err := os.Stat(flag); return os.IsNotExist(err) })
	a.start()
	run := a.inState(id, crony.Lost)
	if string(run.Result) != `[1,2]` || !run.ToHandle || !strings.Contains(run.Reason, "restarted") {
		t.Errorf("%+v", run)
	}
	a.kill()
	a.start()
	c.Wait("the files to go", func() bool {
		left, err := os.ReadDir(filepath.Join(a.dir, "runs"))
		return err == nil && len(left) == 0
	})
	if again := a.inState(id, crony.Lost); string(again.Result) != `[1,2]` {
		t.Errorf("%+v", again)
	}
}

// TestAnswerLost loses the server's answer to a claim, on its way through the network: the server counts the occurrence as the
// agent's, and the agent does not know. It runs, once, when the agent has left that way for another.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	marks := filepath.Join(t.TempDir(), "marks")
	c.Apply(fmt.Sprintf("jobs:\n- name: m\n  schedule: '*/4 * * * * *'\n  shell: {command: 'echo $CRONY_SCHEDULED_AT >> %s'}\n", marks))
	var due time.Time
	c.Wait("a run, and some time until the next", func() bool {
		runs := c.AllRuns("m")
		if len(runs) == 0 || runs[0].State != crony.Succeeded {
			return false
		}
		due = runs[0].ScheduledAt.Add(4 * time.Second)
		return time.Until(due) > 2500*time.Millisecond // before it is asked for
	})
	muted := time.Now()
	a.proxy.setMute(true)
	c.Wait("the run of the lost answer", func() bool {
		return slices.ContainsFunc(c.AllRuns("m"), func(r crony.Run) bool {
			return r.ScheduledAt.Equal(due) && r.State == crony.Succeeded
		})
	})
	if agents, err := c.ListAgents(t.Context()); err != nil || !agents[0].Since.After(muted) {
		t.Errorf("the answer was not lost: %+v, %v", agents, err)
	}
	text, err := os.ReadFile(marks)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if seen[line] {
			t.Errorf("started twice: %s", line)
		}
		seen[line] = true
	}
}

// TestWiped loses all that the agent's directory holds, but for who it is: the server declares its runs lost. When the directory
// comes back, facts correct it.
func TestWiped(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	c.Tell(a.proxy.address()) // else it finds a way around
	a.start()
	flag := filepath.Join(t.TempDir(), "flag")
	c.Apply(fmt.Sprintf("jobs:\n- name: m\n  shell: {command: 'while ! test -e %s; do sleep 0.05; done; echo done'}\n", flag))
	id := a.order("m")
	a.inState(id, crony.Running)
	a.proxy.set(true)
	write(t, flag, "")
	c.Wait("the run to end", func() bool {
		text, err := os.ReadFile(filepath.Join(a.dir, "journal"))
		return err == nil && strings.Contains(string(text), `"ended"`)
	})
	a.kill()
	if err := os.Rename(a.dir, a.dir+".away"); err != nil {
		t.Fatal(err)
	}
	a.moveIn()
	a.proxy.set(false)
	a.start()
	if run := a.inState(id, crony.Lost); run.Reason != "its agent came back and knows nothing of it" {
		t.Errorf("%+v", run)
	}
	a.kill()
	if err := os.Rename(a.dir+".away", a.dir+".back"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(a.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(a.dir+".back", a.dir); err != nil {
		t.Fatal(err)
	}
	a.start()
	run := a.inState(id, crony.Succeeded)
	if code, ok := run.ExitCode(); !ok || code != 0 || run.Reason != "" {
		t.Errorf("%+v", run)
	}
}

// TestKilledWhilePreparing kills the agent while a script prepares the host. The next one finds the script's process, and does not
// run it beside that; how it ended can't be known, and so it runs again, once, before the job.
func TestKilledWhilePreparing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a script is tried again after ten seconds")
	}
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	marks, done := filepath.Join(t.TempDir(), "marks"), filepath.Join(t.TempDir(), "done")
	c.Apply(fmt.Sprintf(`scripts: [{name: s, script: "echo $CRONY_RUN_ID >> %s; while [ ! -e %s ]; do sleep 0.05; done"}]
jobs: [{name: m, scripts: [s], shell: {command: echo ran}}]
`, marks, done))
	begun := func() []string {
		text, _ := os.ReadFile(marks) // there is none until the script begins
		return strings.Fields(string(text))
	}
	c.Wait("the script to begin", func() bool { return len(begun()) == 1 })
	a.kill()
	a.start()
	id := a.order("m")
	c.Wait("the order to be taken", func() bool { r, err := c.Run(t.Context(), id); return err == nil && r.State == crony.Claimed })
	if now := begun(); len(now) != 1 {
		t.Errorf("the script runs more than once: %v", now)
	}
	write(t, done, "")
	a.inState(crony.RunID(begun()[0]), crony.Lost)
	if r := a.inState(id, crony.Failed); !strings.HasPrefix(r.Reason, "not prepared: script s failed: its agent was restarted") {
		t.Errorf("the order ended as %+v", r)
	}
	a.inState(a.order("m"), crony.Succeeded)
	if runs := begun(); len(runs) != 2 {
		t.Errorf("the script ran as %v, want twice", runs)
	}
	a.kill()
	a.start()
	a.inState(a.order("m"), crony.Succeeded)
	if runs := begun(); len(runs) != 2 {
		t.Errorf("the script ran again: %v", runs)
	}
}

// retriedJob is a job that fails twice, and marks each attempt.
const retriedJob = `jobs:
- name: m
  overlap: forbid
  retry: {attempts: 4, interval: %s}
  shell: {command: 'echo $CRONY_RUN_ID $CRONY_ATTEMPT >> %s; echo attempt $CRONY_ATTEMPT; test $CRONY_ATTEMPT = 3'}
`

// TestRetriedThroughRestarts kills the agent while a run waits for its second attempt, and restarts the server while it waits for
// the third. Each attempt is made once, what it wrote is there, and the job's lock is free in the end.
func TestRetriedThroughRestarts(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	marks := filepath.Join(t.TempDir(), "marks")
	c.Apply(fmt.Sprintf(retriedJob, "3s", marks))
	id := a.order("m")
	run := a.inState(id, crony.Waiting)
	if left := time.Until(run.Until); left <= 0 || left > 3300*time.Millisecond || run.Reason != "attempt 1 of 4 failed: exit code 1" {
		t.Errorf("it waits for %s: %+v", left, run)
	}
	a.kill()
	a.start()
	c.Wait("the second attempt to fail", func() bool {
		r, err := c.Run(t.Context(), id)
		return err == nil && r.State == crony.Waiting && len(r.Attempts) == 2
	})
	if j, err := c.Job(t.Context(), "m"); err != nil || len(j.Locks) != 1 || j.Locks[0].Run != id {
		t.Errorf("while it waits the job's lock is %+v, %v", j.Locks, err)
	}
	c.RestartServer()
	run = a.inState(id, crony.Succeeded)
	if len(run.Attempts) != 3 || run.Attempts[1].StartedAt.Sub(run.Attempts[0].EndedAt) < 2700*time.Millisecond || !run.Until.IsZero() {
		t.Errorf("%+v", run)
	}
	if text, err := os.ReadFile(marks); err != nil || string(text) != fmt.Sprintf("%s 1\n%[1]s 2\n%[1]s 3\n", id) {
		t.Errorf("it ran as %q, %v", text, err)
	}
	if out := c.Text(id, crony.Stdout); out != "attempt 1\nattempt 2\nattempt 3\n" {
		t.Errorf("output %q", out)
	}
	c.Wait("the lock to be free", func() bool { j, err := c.Job(t.Context(), "m"); return err == nil && len(j.Locks) == 0 })
}

// TestKilledWhileWaiting ends a run that waits for its next attempt: at once, by way of the server.
func TestKilledWhileWaiting(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 1)
	marks := filepath.Join(t.TempDir(), "marks")
	c.Apply(fmt.Sprintf(retriedJob, "1h", marks))
	c.Wait("the job to be placed", func() bool { j, err := c.Job(t.Context(), "m"); return err == nil && j.Assigned > 0 })
	ids, err := c.StartJob(t.Context(), "m", crony.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	state := func(want crony.RunState) (run crony.Run) {
		c.Wait("the run to be "+string(want), func() bool {
			run, err = c.Run(t.Context(), ids[0])
			return err == nil && run.State == want
		})
		return run
	}
	state(crony.Waiting)
	c.StopAgent("a1") // the wait is its next life's
	c.StartAgent("a1")
	if run := state(crony.Waiting); time.Until(run.Until) < 50*time.Minute {
		t.Errorf("%+v", run)
	}
	if err := c.KillRun(t.Context(), ids[0], "enough"); err != nil {
		t.Fatal(err)
	}
	if run := state(crony.Killed); !strings.HasSuffix(run.Reason, ": enough") || len(run.Attempts) != 1 {
		t.Errorf("%+v", run)
	}
}
