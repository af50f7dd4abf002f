//go:build linux

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
)

func TestRuns(t *testing.T) {
	t.Setenv("PATH", "/nowhere") // the agent's own counts for nothing
	t.Setenv("SECRET_OF_THE_AGENT", "x")
	r := newRig(t, t.TempDir()).begin()
	programs := t.TempDir()
	if err := os.WriteFile(filepath.Join(programs, "own"), []byte("#!/bin/sh\necho own $1"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(programs, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shell := func(s crony.Shell) func(*crony.Job) { return func(j *crony.Job) { j.Shell = &s } }
	for name, c := range map[string]struct {
		job    func(*crony.Job)
		state  crony.RunState
		reason string // part of it
		stdout string
		stderr string
	}{
		"succeeds":        {sh("echo out; echo err >&2"), crony.Succeeded, "", "out\n", "err\n"},
		"fails":           {sh("exit 3"), crony.Failed, "exit code 3", "", ""},
		"is killed":       {sh("kill -9 $$"), crony.Failed, "ended by SIGKILL", "", ""},
		"argv":            {shell(crony.Shell{Argv: []string{"echo", "a b", "*"}}), crony.Succeeded, "", "a b *\n", ""},
		"own path":        {shell(crony.Shell{Argv: []string{"own", "x"}, Env: map[string]string{"PATH": programs}}), crony.Succeeded, "", "own x\n", ""},
		"no program":      {shell(crony.Shell{Argv: []string{"own"}}), crony.Failed, `no program "own"`, "", ""},
		"no file":         {shell(crony.Shell{Argv: []string{"/no/such"}}), crony.Failed, "/no/such: no such file", "", ""},
		"not executable":  {shell(crony.Shell{Argv: []string{file}}), crony.Failed, "permission denied", "", ""},
		"no interpreter":  {shell(crony.Shell{Interpreter: "/no/bash", Command: "true"}), crony.Failed, "/no/bash: no such file", "", ""},
		"long name":       {shell(crony.Shell{Argv: []string{"/" + strings.Repeat("é", 100_000)}}), crony.Failed, "start the run", "", ""},
		"cwd":             {shell(crony.Shell{Command: "pwd", Cwd: "/usr"}), crony.Succeeded, "", "/usr\n", ""},
		"no cwd":          {shell(crony.Shell{Command: "pwd", Cwd: "/no/dir"}), crony.Failed, "the working directory: stat /no/dir: no such", "", ""},
		"cwd is a file":   {shell(crony.Shell{Command: "pwd", Cwd: file}), crony.Failed, "not a directory", "", ""},
		"script":          {shell(crony.Shell{Script: "echo $0 | sed 's,.*/,,; s,^[^.]*,ID,'\n"}), crony.Succeeded, "", "ID.1.script\n", ""},
		"script, awk":     {shell(crony.Shell{Interpreter: "/usr/bin/env", Script: "#!/bin/cat\nthe script\n"}), crony.Succeeded, "", "#!/bin/cat\nthe script\n", ""},
		"stdin":           {shell(crony.Shell{Command: "cat; echo .", Stdin: "given\n"}), crony.Succeeded, "", "given\n.\n", ""},
		"no stdin":        {shell(crony.Shell{Command: "cat; echo ."}), crony.Succeeded, "", ".\n", ""},
		"environment":     {shell(crony.Shell{Command: `echo $CRONY_JOB $CRONY_ATTEMPT $CRONY_EPOCH $SHELL $MINE $SECRET_OF_THE_AGENT; test ${#CRONY_RUN_ID} = 26`, Env: map[string]string{"MINE": "m"}}), crony.Succeeded, "", "job 1 7 /bin/sh m\n", ""},
		"own session":     {sh("read -r pid comm state ppid pgrp session rest < /proc/$$/stat; test $pid = $pgrp && test $pid = $session"), crony.Succeeded, "", "", ""},
		"bytes":           {sh(`printf '\000\377\001\n\r'`), crony.Succeeded, "", "\x00\xff\x01\n\r", ""},
		"no call":         {func(j *crony.Job) { j.Shell, j.HTTP = nil, &crony.HTTP{} }, crony.Failed, `"" is not the URL of a call`, "", ""},
		"cuts its output": {sh("echo aaaa; echo b > /dev/stdout; exit 5"), crony.Failed, "exit code 5", "b\n", ""},
	} {
		id := r.start(c.job)
		got := r.ended(id)
		if got.State != c.state || !strings.Contains(got.Reason, c.reason) || len(got.Reason) > 2*maxReason || got.EndedAt.IsZero() {
			t.Errorf("%s: %s, %.300q, want %s, %q", name, got.State, got.Reason, c.state, c.reason)
		}
		out, err := r.desk.text(t, id, crony.Stdout), r.desk.text(t, id, crony.Stderr)
		if out != c.stdout && name != "cuts its output" || err != c.stderr {
			t.Errorf("%s: %q and %q, want %q and %q", name, out, err, c.stdout, c.stderr)
		}
		if a := got.Attempts; len(a) == 1 && (a[0].PID == 0 || a[0].EndedAt.IsZero() || a[0].StdoutBytes != int64(len(c.stdout))) {
			t.Errorf("%s: attempt %+v", name, a[0])
		}
	}
	if left, err := os.ReadDir(filepath.Join(r.dir, outputDir)); err != nil || len(left) > 0 || r.journal.count() > 0 {
		t.Errorf("left behind: %v, %v, %d runs", left, err, r.journal.count())
	}
}

// A run that takes more memory than its agent ever had is measured; of another, nothing is said rather than the agent's own.
func TestPeakMemory(t *testing.T) {
	r := newRig(t, t.TempDir()).begin()
	sh := func(command string) func(*crony.Job) {
		return func(j *crony.Job) { j.Shell = &crony.Shell{Command: command} }
	}
	small, large := r.start(sh("true")), r.start(sh("head -c 700000000 /dev/zero | tail -c 600000000 | wc -c"))
	if got := r.ended(small).Attempts[0].MaxRSS; got != 0 {
		t.Errorf("true took %d bytes", got)
	}
	if got := r.ended(large).Attempts[0].MaxRSS; got < 600_000_000 || got > 900_000_000 {
		t.Errorf("to hold 600 MB took %d bytes", got)
	}
}

// pidOf waits until a run has written a process's id to its output.
func (r *rig) pidOf(id crony.RunID) int {
	r.t.Helper()
	var text string
	eventually(r.t, "a pid in the output", func() bool {
		text = r.desk.text(r.t, id, crony.Stdout)
		return strings.HasSuffix(text, "\n")
	})
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return pid
}

func isThere(pid int) bool {
	_, err := stat(pid)
	return err == nil
}

// TestTimeout has a child that ignores TERM: the whole group goes after the grace, and the run has ended only then.
func TestTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	id := r.start(func(j *crony.Job) {
		j.Shell.Command = `sh -c 'trap "" TERM; echo $$; while :; do sleep 1; done' & wait`
		j.Timeout, j.KillGrace = crony.Duration(300*time.Millisecond), crony.Duration(500*time.Millisecond)
	})
	pid := r.pidOf(id)
	got := r.ended(id)
	if got.State != crony.TimedOut || !strings.Contains(got.Reason, "timeout of 300ms") {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	if took := got.EndedAt.Sub(got.StartedAt); took < 800*time.Millisecond {
		t.Errorf("ended after %s, before the grace was over", took)
	}
	eventually(t, "the child to be gone", func() bool { return !isThere(pid) })
}

// TestGrace has a child that needs a moment after TERM, while the leader goes at once.
func TestGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	id := r.start(func(j *crony.Job) {
		j.Shell.Command = `sh -c 'trap "sleep 0.3; echo cleaned up; exit" TERM; echo up; while :; do sleep 0.05; done' & wait`
		j.Timeout = crony.Duration(500 * time.Millisecond)
	})
	got := r.ended(id)
	if text := r.desk.text(t, id, crony.Stdout); got.State != crony.TimedOut || text != "up\ncleaned up\n" {
		t.Errorf("%s, %q: the child was not given its grace", got.State, text)
	}
	if took := got.EndedAt.Sub(got.StartedAt); took > 8*time.Second {
		t.Errorf("the group was gone, and the run went on for its whole grace: %s", took)
	}
}

// TestBackground leaves a process behind that holds the outputs open: it is ended, and the run with it.
func TestBackground(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	began := time.Now()
	id := r.start(sh("sleep 100 & echo $!"))
	got := r.ended(id)
	if got.State != crony.Succeeded || got.Reason != "a process that it left behind was ended" || time.Since(began) > 50*time.Second {
		t.Errorf("%s, %q, after %s", got.State, got.Reason, time.Since(began))
	}
	if isThere(r.pidOf(id)) {
		t.Error("what the run left behind goes on")
	}
}

// TestDrain stops the agent: what goes on is killed, whole, and what waits does not start.
func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	id := r.start(func(j *crony.Job) {
		j.Shell.Command = `sh -c 'trap "" TERM; echo $$; while :; do sleep 1; done' & wait`
		j.KillGrace = crony.Duration(200 * time.Millisecond)
	})
	pid := r.pidOf(id)
	r.runner.drain(10 * time.Millisecond)
	if isThere(pid) {
		eventually(t, "the child to be gone", func() bool { return !isThere(pid) })
	}
	if got := r.ended(id); got.State != crony.Killed || got.Reason != "its agent was stopped" {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	late := r.start(sh("true"))
	r.stop()
	again := newRig(t, r.dir)
	if claims := again.runner.recover(); len(claims) != 1 || claims[0].Run != late {
		t.Errorf("what had no time to start is not there for the next agent: %v", claims)
	}
}

// TestVisible holds that output is delivered within a second while the process goes on.
func TestVisible(t *testing.T) {
	r := newRig(t, t.TempDir()).begin()
	id := r.start(sh("echo now; exec sleep 100"))
	eventually(t, "output", func() bool { return r.desk.text(t, id, crony.Stdout) != "" })
	if took := time.Since(r.desk.run(id).StartedAt); took > time.Second {
		t.Errorf("visible after %s", took)
	}
	if r.desk.run(id).State != crony.Running {
		t.Error("the run has ended")
	}
}

// TestLargeOutput writes far over the limit: the head and the tail are kept, to the byte, and the disk is given back while
// the process goes on.
func TestLargeOutput(t *testing.T) {
	t.Parallel()
	const limit, total = 300_000, 40 << 20
	r := newRig(t, t.TempDir()).begin()
	flag := filepath.Join(t.TempDir(), "go on")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	id := r.start(func(j *crony.Job) {
		j.Shell.Limits = &crony.Limits{Output: limit}
		j.Shell.Command = fmt.Sprintf("yes 0123456789abcde | head -c %d; while test -e '%s'; do sleep 0.02; done", total, flag)
	})
	path := outputPath(r.dir, id, 1, "stdout")
	eventually(t, "the disk to be given back", func() bool {
		var info syscall.Stat_t
		return syscall.Stat(path, &info) == nil && info.Size == total && info.Blocks*512 < slack+2*limit
	})
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	got := r.ended(id)
	line := "0123456789abcde\n"
	whole := strings.Repeat(line, limit/len(line)+2)
	want := whole[:limit/2] + fmt.Sprintf("<%d bytes>", total-limit) + whole[len(line)-(limit/2)%len(line):][:limit/2]
	if text := r.desk.text(t, id, crony.Stdout); text != want {
		t.Errorf("%d bytes delivered, want %d; they differ", len(text), len(want))
	}
	if n := got.Attempts[0].StdoutBytes; n != total {
		t.Errorf("%d bytes were written, by the run", n)
	}
}

// TestLongLine is delivered whole: output is bytes, not lines.
func TestLongLine(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	id := r.start(sh("head -c 3000000 /dev/zero | tr '\\000' x"))
	r.ended(id)
	if text := r.desk.text(t, id, crony.Stdout); text != strings.Repeat("x", 3_000_000) {
		t.Errorf("%d bytes of 3,000,000", len(text))
	}
}

// claimOnly claims a run that is not started.
func (r *rig) claimOnly() (crony.RunID, *assignment) {
	r.t.Helper()
	id, j := crony.NewRunID(time.Now()), testJob(sh("true"))
	if err := r.runner.claim(id, j, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: time.Now()}); err != nil {
		r.t.Fatal(err)
	}
	return id, j
}

func (r *rig) files() int {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.dir, outputDir))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(entries)
}

// TestPrepared has the files of a run there before it is due, and gone if it never starts.
func TestPrepared(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	skipped, _ := r.claimOnly()
	started, j := r.claimOnly()
	eventually(t, "the files of both", func() bool { return r.files() == 6 })
	for _, id := range []crony.RunID{skipped, started} {
		if begun(outputPath(r.dir, id, 1, "stdout")) {
			t.Errorf("the files say that %s may have started", id)
		}
	}
	r.runner.skip(skipped, "changed")
	if n := r.files(); n != 3 {
		t.Errorf("%d files after one was skipped", n)
	}
	r.runner.start(newAttempt(started, j, time.Now()))
	if got := r.ended(started); got.State != crony.Succeeded {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	if got := r.ended(skipped); got.State != crony.Skipped || len(got.Attempts) > 0 {
		t.Errorf("%+v", got)
	}
	if n := r.files(); n != 0 || len(r.runner.claimed) != 0 {
		t.Errorf("left behind: %d files, %v", n, r.runner.claimed)
	}
	r.claimOnly()
	eventually(t, "the files of the last", func() bool { return r.files() == 3 })
	r.stop()
	if n := r.files(); n != 0 {
		t.Errorf("an agent that stops leaves %d files of what it did not start", n)
	}
}

// TestPrepareRaces skips and starts runs while their files are being made.
func TestPrepareRaces(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	var ids []crony.RunID
	for n := range 300 {
		id, j := r.claimOnly()
		ids = append(ids, id)
		if n%2 == 0 {
			r.runner.skip(id, "changed")
		} else {
			r.runner.start(newAttempt(id, j, time.Now()))
		}
	}
	for n, id := range ids {
		want := crony.Succeeded
		if n%2 == 0 {
			want = crony.Skipped
		}
		if got := r.ended(id); got.State != want {
			t.Errorf("%s, %s, want %s", got.State, got.Reason, want)
		}
	}
	if n := r.files(); n != 0 {
		t.Errorf("%d files left behind", n)
	}
}

// TestNoThreadEach has many processes waited for at once without a thread for each.
func TestNoThreadEach(t *testing.T) {
	r := newRig(t, t.TempDir()).begin()
	const many = 60
	var ids []crony.RunID
	for range many {
		ids = append(ids, r.start(sh("exec sleep 100")))
	}
	eventually(t, "all to run", func() bool {
		r.runner.mu.Lock()
		defer r.runner.mu.Unlock()
		return len(r.runner.running) == many
	})
	blocked := 0
	threads, err := filepath.Glob("/proc/self/task/*/syscall")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		text, _ := os.ReadFile(thread) // a thread may have ended
		if number, _, _ := strings.Cut(string(text), " "); number == strconv.Itoa(syscall.SYS_WAIT4) || number == strconv.Itoa(syscall.SYS_WAITID) {
			blocked++
		}
	}
	if blocked > many/2 {
		t.Errorf("%d threads wait for %d processes", blocked, many)
	}
	r.runner.drain(0)
	for _, id := range ids {
		if got := r.ended(id); got.State != crony.Killed {
			t.Errorf("%s", got.State)
		}
	}
}

// What waits to be started is known to the reporter, until the agent stops.
func TestStartingIsKnown(t *testing.T) {
	r := newRig(t, t.TempDir())
	if r.reports.starting() {
		t.Error("something waits that nobody wants")
	}
	r.runner.start(newAttempt(runAt(0), testJob(sh("true")), time.Now()))
	if !r.reports.starting() {
		t.Error("an attempt without a starter does not wait")
	}
	r.runner.drain(0)
	if r.reports.starting() {
		t.Error("an attempt waits although nothing starts any more")
	}
}
