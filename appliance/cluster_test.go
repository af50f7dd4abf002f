package appliance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/testcluster"
)

// ended waits until a run has ended and returns it.
func ended(c *testcluster.Cluster, t *testing.T, id crony.RunID) crony.Run {
	t.Helper()
	var run crony.Run
	c.Wait("run "+string(id)+" to end", func() bool {
		var err error
		run, err = c.Run(t.Context(), id)
		return err == nil && run.State.Ended()
	})
	return run
}

// start starts a job once it is placed.
func start(c *testcluster.Cluster, t *testing.T, job string) crony.RunID {
	t.Helper()
	var id crony.RunID
	c.Wait("an agent to take "+job, func() bool {
		var err error
		id, err = c.StartJob(t.Context(), job)
		return err == nil
	})
	return id
}

func TestLifeOfAJob(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.Apply(`jobs:
  - name: tick
    schedule: "@every 1s"
    shell: {command: 'echo "out $CRONY_SCHEDULED_AT"; echo "err $CRONY_RUN_ID" >&2'}
`)
	c.Wait("three runs", func() bool { return finished(c.AllRuns("tick")) >= 3 })
	if _, err := c.PauseJob(t.Context(), "tick", true); err != nil {
		t.Fatal(err)
	}
	c.Wait("the last run to end", func() bool { runs := c.AllRuns("tick"); return finished(runs) == len(runs) })
	paused := time.Now()
	for _, r := range c.AllRuns("tick") {
		if r.ScheduledAt.After(paused.Add(time.Second)) && r.State != crony.Skipped {
			t.Errorf("a run due at %s, after the pause: %s", r.ScheduledAt, r.State)
		}
		if r.State == crony.Skipped {
			continue
		}
		want := "out " + r.ScheduledAt.Format(time.RFC3339Nano) + "\n"
		if got := c.Text(r.ID, crony.Stdout); got != want {
			t.Errorf("run %s wrote %q, want %q", r.ID, got, want)
		}
		if got, want := c.Text(r.ID, crony.Stderr), "err "+string(r.ID)+"\n"; got != want {
			t.Errorf("run %s wrote %q to stderr, want %q", r.ID, got, want)
		}
	}
	if _, err := c.PauseJob(t.Context(), "tick", false); err != nil {
		t.Fatal(err)
	}
	resumed := time.Now()
	c.Wait("runs after resuming", func() bool { return newest(c.AllRuns("tick")).After(resumed.Add(time.Second)) })
	distinct(t, c.AllRuns("tick"))
	if err := c.DeleteJob(t.Context(), "tick"); err != nil {
		t.Fatal(err)
	}
	c.Wait("its last run to end", func() bool { runs := c.AllRuns("tick"); return finished(runs) == len(runs) })
	left := len(c.AllRuns("tick"))
	if left < 4 {
		t.Errorf("deleting the job left %d of its runs", left)
	}
}

func finished(runs []crony.Run) int {
	n := 0
	for _, r := range runs {
		if r.State.Ended() {
			n++
		}
	}
	return n
}

func newest(runs []crony.Run) time.Time {
	var at time.Time
	for _, r := range runs {
		if r.ScheduledAt.After(at) {
			at = r.ScheduledAt
		}
	}
	return at
}

// distinct checks that no occurrence has two runs.
func distinct(t *testing.T, runs []crony.Run) {
	t.Helper()
	seen := map[string]crony.RunID{}
	for _, r := range runs {
		if r.Trigger != crony.BySchedule {
			continue
		}
		key := fmt.Sprint(r.Job, r.ScheduledAt)
		if before, twice := seen[key]; twice {
			t.Errorf("%s has the runs %s and %s for %s", r.Job, before, r.ID, r.ScheduledAt)
		}
		seen[key] = r.ID
	}
}

func TestHowRunsEnd(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.Apply(`jobs:
  - {name: ok, shell: {command: 'exit 0'}}
  - {name: fails, shell: {command: 'exit 7'}}
  - {name: missing, shell: {argv: [/no/such/program]}}
  - {name: slow, timeout: 300ms, kill_grace: 200ms, shell: {script: "trap '' TERM\nsleep 60 & sleep 60"}}
  - {name: self, shell: {command: 'kill -9 $$'}}
  - {name: input, shell: {interpreter: /bin/sh, script: 'cat; echo "$GREETING $PWD"', stdin: "from stdin\n", cwd: /, env: {GREETING: hi}}}
`)
	code := func(n int) *int { return &n }
	for _, tt := range []struct {
		job    string
		state  crony.RunState
		code   *int
		signal string
		reason string
	}{
		{"ok", crony.Succeeded, code(0), "", ""},
		{"fails", crony.Failed, code(7), "", "exit code 7"},
		{"missing", crony.Failed, nil, "", "start the run: fork/exec /no/such/program: no such file or directory"},
		{"slow", crony.TimedOut, nil, "SIGKILL", "it ran longer than its timeout of 300ms"},
		{"self", crony.Failed, nil, "SIGKILL", "ended by SIGKILL"},
		{"input", crony.Succeeded, code(0), "", ""},
	} {
		run := ended(c, t, start(c, t, tt.job))
		got, has := run.ExitCode()
		signal := ""
		if len(run.Attempts) > 0 {
			signal = run.Attempts[0].Signal
		}
		if run.State != tt.state || run.Reason != tt.reason || signal != tt.signal || has != (tt.code != nil) || has && got != *tt.code {
			t.Errorf("%s: %s, code %d (%v), signal %q, reason %q", tt.job, run.State, got, has, signal, run.Reason)
		}
		if run.Trigger != crony.ByHand || run.By != "tester" {
			t.Errorf("%s: triggered %s by %q", tt.job, run.Trigger, run.By)
		}
		if tt.job == "input" {
			if got := c.Text(run.ID, crony.Stdout); got != "from stdin\nhi /\n" {
				t.Errorf("%s wrote %q", tt.job, got)
			}
		}
	}
}

// The agent goes on through a restart of the server; what happened meanwhile arrives, once.
func TestServerRestarts(t *testing.T) {
	c := testcluster.Start(t, 2)
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range 6 {
		fmt.Fprintf(&b, "  - {name: j%d, schedule: '@every 1s', shell: {command: 'echo $CRONY_SCHEDULED_AT'}}\n", i)
	}
	c.Apply(b.String())
	file := filepath.Join(t.TempDir(), "go")
	c.Apply("jobs: [{name: long, shell: {command: 'until [ -e " + file + " ]; do sleep 0.05; done; echo done'}}]")
	long := start(c, t, "long")
	c.Wait("runs", func() bool { return finished(c.AllRuns("j5")) >= 2 })
	before, err := c.ListJobs(t.Context(), crony.JobQuery{})
	if err != nil {
		t.Fatal(err)
	}
	c.RestartServer()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	for i := range 6 {
		job := fmt.Sprintf("j%d", i)
		c.Wait(job+" to go on", func() bool { return newest(c.AllRuns(job)).After(restarted.Add(2 * time.Second)) })
		distinct(t, c.AllRuns(job))
	}
	if run := ended(c, t, long); run.State != crony.Succeeded || c.Text(long, crony.Stdout) != "done\n" {
		t.Errorf("the run that went on ended as %s (%s)", run.State, run.Reason)
	}
	after, err := c.ListJobs(t.Context(), crony.JobQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range before.Items {
		b, a := before.Items[i], after.Items[i]
		if a.UID != b.UID || a.Generation != b.Generation || !slices.Equal(a.Assignments, b.Assignments) {
			t.Errorf("%s changed by the restart: %+v %+v", b.Job.Name, b.Assignments, a.Assignments)
		}
	}
}

func TestAgentsShareTheJobs(t *testing.T) {
	c := testcluster.Start(t, 3)
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range 30 {
		fmt.Fprintf(&b, "  - {name: j%d, shell: {command: 'true'}}\n", i)
	}
	c.Apply(b.String())
	c.Wait("every agent to have ten jobs", func() bool {
		agents, err := c.ListAgents(t.Context())
		for _, a := range agents {
			if a.Jobs != 10 {
				return false
			}
		}
		return err == nil
	})
	c.StopAgent("a2")
	c.Wait("the agent to be gone", func() bool { agents, _ := c.ListAgents(t.Context()); return len(testcluster.Up(agents)) == 2 })
	c.StartAgent("a2")
	c.Wait("the agent to have its jobs again", func() bool {
		agents, err := c.ListAgents(t.Context())
		return err == nil && len(testcluster.Up(agents)) == 3 && agents[1].ID == "a2" && agents[1].Jobs == 10
	})
}

func TestMetricsAndHealth(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.Apply("jobs: [{name: one, shell: {command: 'true'}}]")
	ended(c, t, start(c, t, "one"))
	get := func(path string) (string, *http.Response) {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), resp
	}
	metrics, _ := get("/metrics")
	for _, line := range []string{"crony_jobs 1", "crony_agents 1", "crony_agents_connected 1", "crony_leading 1",
		`crony_runs_ended_total{state="succeeded"} 1`, "crony_build_info{", "etcd_server_has_leader 1", "go_goroutines "} {
		if !strings.Contains(metrics, line) {
			t.Errorf("/metrics has no line with %q", line)
		}
	}
	if body, resp := get("/livez"); resp.StatusCode != http.StatusOK {
		t.Errorf("/livez: %s %s", resp.Status, body)
	}
	body, resp := get("/readyz")
	var ready struct {
		Ready  bool
		Checks []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(body), &ready); err != nil || resp.StatusCode != http.StatusOK || !ready.Ready || len(ready.Checks) < 2 {
		t.Errorf("/readyz: %s %s %v", resp.Status, body, err)
	}
	if _, resp := get("/api/v1/jobs"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger is answered %s", resp.Status)
	}
}
