//go:build linux

package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
)

// leave makes the directory of an agent that was killed: a run in its journal, and what there is of its output.
func leave(t *testing.T, dir string, id crony.RunID, stdout string, entries ...entry) {
	t.Helper()
	r := newRig(t, dir)
	if stdout != "" {
		if err := os.WriteFile(outputPath(dir, id, 1, "stdout"), []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustAdd(t, r.journal, entries...)
	if err := r.journal.close(); err != nil {
		t.Fatal(err)
	}
}

func claimedBy(id crony.RunID) entry {
	e := claimed(id)
	e.Terms = &terms{Limit: 1 << 20, Grace: crony.Duration(100 * time.Millisecond)}
	return e
}

func TestRecover(t *testing.T) {
	t.Parallel()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	id := crony.NewRunID(noon)
	zero := 0
	begun := func(b birth, pid int) entry {
		return entry{Birth: &b, Fact: &crony.Fact{Run: id, At: noon, Started: &crony.StartedFact{Attempt: 1, PID: pid}}}
	}
	exited := entry{Fact: &crony.Fact{Run: id, At: noon, Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &zero}}}
	ended := entry{Fact: &crony.Fact{Run: id, At: noon, Ended: &crony.EndedFact{State: crony.Succeeded}}}
	self, err := startTicks(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		stdout  string
		entries []entry
		state   crony.RunState // "" : it is returned as a claim
		reason  string
	}{
		"claimed":                {"", []entry{claimedBy(id)}, "", ""},
		"being started":          {"some", []entry{claimedBy(id)}, crony.Lost, "while it started the run"},
		"gone":                   {"some", []entry{claimedBy(id), begun(birth{boot, 1}, 1<<22)}, crony.Lost, "was restarted while it ran"},
		"ended at once":          {"some", []entry{claimedBy(id), begun(birth{boot, 0}, os.Getpid())}, crony.Lost, "was restarted"},
		"pid of another":         {"some", []entry{claimedBy(id), begun(birth{boot, self + 1}, os.Getpid())}, crony.Lost, "was restarted"},
		"pid of before the boot": {"some", []entry{claimedBy(id), begun(birth{"another", self}, os.Getpid())}, crony.Lost, "was restarted"},
		"exited":                 {"some", []entry{claimedBy(id), begun(birth{boot, 1}, 1<<22), exited}, crony.Succeeded, ""},
		"ended":                  {"some", []entry{claimedBy(id), begun(birth{boot, 1}, 1<<22), exited, ended}, crony.Succeeded, ""},
		"skipped":                {"", []entry{claimedBy(id), ended}, crony.Succeeded, ""},
		"lost before":            {"some", []entry{claimedBy(id), ended}, crony.Succeeded, ""},
		"output is gone":         {"", []entry{claimedBy(id), begun(birth{boot, 1}, 1<<22), exited, ended}, crony.Succeeded, ""},
	} {
		dir := t.TempDir()
		leave(t, dir, id, c.stdout, c.entries...)
		if err := os.WriteFile(outputPath(dir, runAt(2), 1, "stderr"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, dir)
		claims := r.runner.recover()
		r.begin()
		if c.state == "" {
			if len(claims) != 1 || claims[0].Run != id || !r.journal.knows(id) {
				t.Errorf("%s: claims %v", name, claims)
			}
			continue
		}
		got := r.ended(id)
		if len(claims) > 0 || got.State != c.state || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s, %s, and claims %v", name, got.State, got.Reason, claims)
		}
		if text := r.desk.text(t, id, crony.Stdout); text != c.stdout {
			t.Errorf("%s: output %q", name, text)
		}
		if left, err := os.ReadDir(dir + "/" + outputDir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind %v, %v", name, left, err)
		}
	}
}

// TestRecoverBegun finds the process of a run that was started right before the agent was killed, before it could note its pid,
// and holds it to its terms.
func TestRecoverBegun(t *testing.T) {
	t.Parallel()
	dir, id := t.TempDir(), crony.NewRunID(noon)
	e := claimedBy(id)
	e.Terms.Timeout = crony.Duration(300 * time.Millisecond)
	leave(t, dir, id, "before ", e)
	file, err := os.OpenFile(outputPath(dir, id, 1, "stdout"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "printf after; exec sleep 100")
	cmd.Env = []string{runEnv + string(id), "CRONY_ATTEMPT=1"}
	cmd.Stdout, cmd.SysProcAttr = file, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() { syscall.Kill(-pid, syscall.SIGKILL) })
	go cmd.Wait()
	r := newRig(t, dir)
	if claims := r.runner.recover(); len(claims) > 0 {
		t.Fatal("it would be started twice")
	}
	r.begin()
	got := r.ended(id)
	if text := r.desk.text(t, id, crony.Stdout); got.State != crony.TimedOut || text != "before after" || len(got.Attempts) != 1 || got.Attempts[0].PID != pid {
		t.Errorf("%+v, %q", got, text)
	}
}

// TestRecoverPrepared finds the files of a claimed run as an agent leaves them that is killed at one moment or another: it starts,
// once, unless the earlier life may have come to start it.
func TestRecoverPrepared(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(list []*output) error // the kill
		starts bool
	}{
		"no file":    {func([]*output) error { return nil }, true},
		"one file":   {func(list []*output) error { return createAll(list[:1]) }, true},
		"both files": {createAll, true},
		"right before the fork": {func(list []*output) error {
			if err := createAll(list); err != nil {
				return err
			}
			fd, err := list[0].open()
			if err != nil {
				return err
			}
			return errors.Join(list[0].markBegun(fd), syscall.Close(fd))
		}, false},
	} {
		dir, id := t.TempDir(), crony.NewRunID(noon)
		leave(t, dir, id, "", claimedBy(id))
		if err := c.before(outputs(dir, id, 1, 1<<20)); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, dir)
		claims := r.runner.recover()
		r.begin()
		want := crony.Lost
		if c.starts {
			want = crony.Succeeded
			if len(claims) != 1 || claims[0].Run != id {
				t.Fatalf("%s: claims %v", name, claims)
			}
			r.runner.start(newAttempt(id, testJob(sh("echo once")), noon))
		} else if len(claims) > 0 {
			t.Fatalf("%s: it would be started twice", name)
		}
		if got := r.ended(id); got.State != want || c.starts != (r.desk.text(t, id, crony.Stdout) == "once\n") {
			t.Errorf("%s: %s, %q", name, got.State, r.desk.text(t, id, crony.Stdout))
		}
		if left, err := os.ReadDir(filepath.Join(dir, outputDir)); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind %v, %v", name, left, err)
		}
	}
}

// TestMarkedBeforeFork holds that no process begins before its output says so: each looks at the mode of its own.
func TestMarkedBeforeFork(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	for range 20 {
		id := r.start(sh("stat -L -c %a /dev/stdout"))
		r.ended(id)
		if text := r.desk.text(t, id, crony.Stdout); text != "600\n" {
			t.Fatalf("it ran while its output said %q", text)
		}
	}
}
