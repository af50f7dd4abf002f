//go:build linux

package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"crony"
	"crony/internal/testcluster"
)

// TestKilledWhileAway orders the end of a run while its agent is not there, and has the server restarted: the agent ends the
// run when it is back, with all that it has started.
func TestKilledWhileAway(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 0)
	a := newChild(t, c)
	a.start()
	c.Apply("jobs:\n- name: m\n  shell: {command: 'sleep 600 & setsid sleep 600 & echo up; wait'}\n")
	id := a.order("m")
	pid := a.inState(id, crony.Running).Attempts[0].PID
	c.Wait("output", func() bool { return c.Text(id, crony.Stdout) == "up\n" })
	a.kill()
	c.Wait("the agent to be gone", func() bool {
		agents, err := c.ListAgents(t.Context())
		return err == nil && len(agents) == 1 && !agents[0].Up
	})
	if waits, err := c.Kill(t.Context(), id, "stuck"); err != nil || !strings.Contains(waits, "not connected") {
		t.Errorf("the order waits for %q: %v", waits, err)
	}
	c.RestartServer()
	if syscall.Kill(-pid, 0) != nil {
		t.Error("the run has ended by itself")
	}
	a.start()
	run := a.inState(id, crony.Killed)
	if !strings.HasPrefix(run.Reason, "killed by ") || !strings.HasSuffix(run.Reason, ": stuck") {
		t.Errorf("%+v", run)
	}
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files { // of what has ended, and waits to be reaped, it is empty
		if env, err := os.ReadFile(file); err == nil && strings.Contains(string(env), "CRONY_RUN_ID="+string(id)) {
			t.Errorf("a process of the run is left: %s", file)
		}
	}
	c.Wait("nothing to be left of the order", func() bool { return len(c.Server().Store.Procs()) == 0 })
	if err := c.KillRun(t.Context(), id, ""); crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), "killed by") {
		t.Errorf("once more: %v", err)
	}
}
