//go:build linux

package agent

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"crony"
)

// leaves ends the rig's life as that of an agent that begins anew in the same process.
func (r *rig) leaves() {
	r.t.Helper()
	r.runner.leave(0)
	r.stop()
}

// beginToLeave lets a rig work until leaves.
func (r *rig) beginToLeave() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	var services sync.WaitGroup
	r.runner.begin()
	services.Go(func() { r.reports.run(ctx) })
	r.reports.begin(ctx)
	r.stop = sync.OnceFunc(func() {
		cancel()
		services.Wait()
		r.desk.acks.Wait()
		if err := r.journal.close(); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() { r.stop() })
	return r
}

// begun waits until the process of a run is there, or was, and returns its id; 0 if it has ended.
func (r *rig) begun(id crony.RunID) (pid int) {
	r.t.Helper()
	eventually(r.t, "its process", func() bool {
		r.runner.mu.Lock()
		defer r.runner.mu.Unlock()
		if p := r.runner.running[id]; p != nil {
			pid = p.now().pid
		}
		return pid != 0 || !r.desk.run(id).EndedAt.IsZero()
	})
	return pid
}

// TestLeave has an agent begin anew while runs go on. They go on, also those that end in between, and how they end is known, as
// they are children of the process still.
func TestLeave(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		between time.Duration // the lives
		timeout time.Duration
		kill    bool // in the second life
		state   crony.RunState
		reason  string
		code    int // -1: none
	}{
		"ends in the second life": {"sleep 0.5; echo late; exit 3", 0, 0, false, crony.Failed, "exit code 3", 3},
		"ends in between":         {"sleep 0.1; echo late; exit 4", 400 * time.Millisecond, 0, false, crony.Failed, "exit code 4", 4},
		"succeeds":                {"sleep 0.3; echo late", 100 * time.Millisecond, 0, false, crony.Succeeded, "", 0},
		"ended by a signal":       {"sleep 0.2; echo late; kill -USR1 $$", 0, 0, false, crony.Failed, "ended by SIGUSR1", -1},
		"runs into its timeout": {"echo late; exec sleep 60", 0, 700 * time.Millisecond, false, crony.TimedOut,
			"it ran longer than its timeout of 700ms", -1},
		"is killed": {"echo late; exec sleep 60", 0, 0, true, crony.Killed, "killed by eve: enough", -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := newRig(t, dir).beginToLeave()
			id := r.start(func(j *crony.Job) {
				sh(c.command)(j)
				j.Timeout = crony.Duration(c.timeout)
			})
			pid := r.begun(id)
			r.leaves()
			time.Sleep(c.between)

			next := newRig(t, dir)
			if claims := next.runner.recover(); len(claims) > 0 {
				t.Errorf("claims %v", claims)
			}
			next.begin()
			if c.kill {
				next.runner.kill(id, crony.KillOrder{By: "eve", Reason: "enough", At: time.Now()})
			}
			run := next.ended(id)
			if run.State != c.state || run.Reason != c.reason || len(run.Attempts) != 1 {
				t.Fatalf("%s, %q, %+v", run.State, run.Reason, run.Attempts)
			}
			if code, has := run.ExitCode(); has != (c.code >= 0) || has && code != c.code {
				t.Errorf("exit code %d, %t", code, has)
			}
			if text := next.desk.text(t, id, crony.Stdout); text != "late\n" {
				t.Errorf("output %q", text)
			}
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("process %d is there", pid)
			}
		})
	}
}

// TestLeaveWritesDown has runs end at the moment at which they are left: each is written down in one life or the other, once.
func TestLeaveWritesDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, dir).beginToLeave()
	var ids []crony.RunID
	for i := range 40 {
		ids = append(ids, r.start(sh("sleep 0."+string(rune('0'+i%4))+"; exit 7")))
	}
	for _, id := range ids {
		r.begun(id)
	}
	r.leaves()
	next := newRig(t, dir)
	next.runner.recover()
	next.begin()
	for _, id := range ids {
		eventually(t, "the end of a run", func() bool {
			for _, d := range []*desk{r.desk, next.desk} {
				if run := d.run(id); run.State == crony.Failed && run.Reason == "exit code 7" {
					return true
				}
			}
			return false
		})
	}
	if left, err := os.ReadDir(dir + "/" + outputDir); err != nil || len(left) > 0 {
		eventually(t, "all files to go", func() bool { left, err := os.ReadDir(dir + "/" + outputDir); return err == nil && len(left) == 0 })
	}
}
