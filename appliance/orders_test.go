package appliance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"crony"
	"crony/internal/testcluster"
)

// TestRunNow runs a job on its agent, on another, and on all that have it, with parameters.
func TestRunNow(t *testing.T) {
	c := testcluster.Start(t, 2)
	c.Apply(`jobs:
  - name: m
    shell: {command: 'echo "$CRONY_PARAM_DAY, $CRONY_PARAM_who"'}
`)
	start(c, t, "m")
	own := mustJob(c, t, "m").Assignments[0].Agent
	other := map[string]string{"a1": "a2", "a2": "a1"}[own]
	for want, opts := range map[string]crony.StartOptions{
		own:   {Params: map[string]string{"day": "monday"}},
		other: {Agent: other, Params: map[string]string{"day": "monday"}},
	} {
		ids, err := c.StartJob(t.Context(), "m", opts)
		if err != nil || len(ids) != 1 {
			t.Fatal(ids, err)
		}
		run := waitEnded(c, t, ids[0])
		if run.Agent != want || run.State != crony.Succeeded || run.Params["day"] != "monday" || run.Trigger != crony.ByHand || run.Epoch <= 0 {
			t.Errorf("on %s: %+v", want, run)
		}
		if text := c.Text(ids[0], crony.Stdout); text != "monday, \n" {
			t.Errorf("on %s it says %q", want, text)
		}
	}
	if after := mustJob(c, t, "m"); after.Assignments[0].Agent != own || len(after.Orders) > 0 {
		t.Errorf("the job is at %+v, with orders %v", after.Assignments, after.Orders)
	}
	if _, err := c.StartJob(t.Context(), "m", crony.StartOptions{Agent: "a7"}); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("on an agent that there is not: %v", err)
	}
}

// TestRunNowOnTheIdle runs a job that two agents have, while one of them has a run: it is for the other.
func TestRunNowOnTheIdle(t *testing.T) {
	c := testcluster.Start(t, 2)
	c.Apply(`jobs:
  - name: m
    placement: {mode: race}
    shell: {argv: [sleep, "60"]}
`)
	c.Wait("both agents to have the job", func() bool { return len(mustJob(c, t, "m").Assignments) == 2 })
	for _, busy := range []string{"a1", "a2"} {
		first, err := c.StartJob(t.Context(), "m", crony.StartOptions{Agent: busy})
		if err != nil {
			t.Fatal(err)
		}
		c.Wait("it to run", func() bool { run, err := c.Run(t.Context(), first[0]); return err == nil && run.State == crony.Running })
		second, err := c.StartJob(t.Context(), "m", crony.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range slices.Concat(first, second) {
			if err := c.KillRun(t.Context(), id, "enough"); err != nil {
				t.Error(err)
			}
		}
		if on := waitEnded(c, t, second[0]).Agent; on == busy {
			t.Errorf("with %s busy it runs on %s", busy, on)
		}
		waitEnded(c, t, first[0])
	}
}

func waitEnded(c *testcluster.Cluster, t *testing.T, id crony.RunID) crony.Run {
	t.Helper()
	var run crony.Run
	c.Wait(fmt.Sprintf("the end of %s", id), func() bool {
		var err error
		run, err = c.Run(t.Context(), id)
		return err == nil && run.State.Ended()
	})
	return run
}

// TestKillHere ends a run of a process that heeds no TERM, and one that was never begun, as its agent is away.
func TestKillHere(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.Apply(`jobs:
  - name: deaf
    kill_grace: 300ms
    shell: {command: "trap '' TERM; echo up; while :; do sleep 0.2; done"}
`)
	id := start(c, t, "deaf")
	c.Wait("the process to be listed", func() bool { return len(c.Server().Store.Procs()) == 1 })
	for range 2 {
		if waits, err := c.Kill(t.Context(), id, "stuck"); err != nil || waits != "" {
			if crony.CodeOf(err) != crony.Conflict { // it has ended by the second time
				t.Errorf("%q, %v", waits, err)
			}
		}
	}
	if run := waitEnded(c, t, id); run.State != crony.Killed || !strings.HasSuffix(run.Reason, ": stuck") {
		t.Errorf("%+v", run)
	}
	c.Wait("nothing to be left", func() bool { return len(c.Server().Store.Procs()) == 0 })

	own := mustJob(c, t, "deaf").Assignments[0].Agent
	c.StopAgent(own)
	c.Wait("its agent to be gone", func() bool { return !c.Server().Store.Connected(own) })
	ids, err := c.StartJob(t.Context(), "deaf", crony.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if orders := mustJob(c, t, "deaf").Orders; len(orders) != 1 || orders[0].Run != ids[0] || orders[0].Agent != own {
		t.Errorf("the order is not shown: %+v", orders)
	}
	if err := c.KillRun(t.Context(), ids[0], "not needed"); err != nil {
		t.Error(err)
	}
	run := waitEnded(c, t, ids[0])
	if run.State != crony.Skipped || !strings.Contains(run.Reason, "before it started") || len(run.Attempts) > 0 {
		t.Errorf("%+v", run)
	}
}

func mustJob(c *testcluster.Cluster, t *testing.T, name string) crony.JobStatus {
	t.Helper()
	job, err := c.Job(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return job
}
