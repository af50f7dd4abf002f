//go:build linux

package agent_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crony"
	"crony/agent"
	"crony/internal/testcluster"
)

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range list { // sockets have goroutines, and the test's own client keeps some
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// TestNothingIsLeft runs an agent with runs that end, that don't, and that could not start, and stops it: no goroutine and
// no file of it is left.
func TestNothingIsLeft(t *testing.T) {
	c := testcluster.Start(t, 0)
	root, leaf := c.Agent("a1")
	c.Apply(`jobs:
- {name: ends, schedule: '* * * * * *', shell: {command: echo}}
- {name: goes-on, shell: {command: 'trap "" TERM; echo up; while :; do sleep 1; done'}, kill_grace: 200ms}
- {name: cant-start, schedule: '* * * * * *', shell: {argv: [/no/such]}}
`)
	dir := t.TempDir()
	if err := agent.MoveIn(dir, root.PEM(), leaf, []string{c.Address}); err != nil {
		t.Fatal(err)
	}
	run := func() {
		a, err := agent.New(agent.Options{Dir: dir, Drain: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		c.Wait("the job to be placed", func() bool {
			j, err := c.Job(t.Context(), "goes-on")
			return err == nil && j.Assigned > 0
		})
		var id crony.RunID
		c.Wait("the order to be taken", func() bool {
			ids, err := c.StartJob(t.Context(), "goes-on", crony.StartOptions{})
			if err == nil {
				id = ids[0]
			}
			return err == nil
		})
		c.Wait("runs", func() bool {
			run, err := c.Run(t.Context(), id)
			return err == nil && run.State == crony.Running && c.Text(id, crony.Stdout) == "up\n" &&
				ended(c, "ends", crony.Succeeded) && ended(c, "cant-start", crony.Failed)
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got, err := c.Run(t.Context(), id); err != nil || got.State != crony.Killed {
			t.Errorf("%+v, %v", got, err)
		}
	}
	run() // so that what the first one needs is there
	before := goleak.IgnoreCurrent()
	files := openFiles(t)
	run()
	err := goleak.Find(before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*Server).serveConn")) // the other end of such a connection
	if err != nil {
		t.Error(err)
	}
	c.Wait("its files to be closed", func() bool { return openFiles(t) <= files })
}

func ended(c *testcluster.Cluster, job string, state crony.RunState) bool {
	for _, r := range c.AllRuns(job) {
		if r.State == state {
			return true
		}
	}
	return false
}
