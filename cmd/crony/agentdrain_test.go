package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/testcluster"
)

// drained is a fake fleet of which the agent A1 is drained, and has jobs of every kind.
func drained(t *testing.T) (*fake, *session) {
	t.Helper()
	no := false
	f := &fake{jobs: map[string]*crony.JobStatus{}, agents: []crony.AgentStatus{
		{Agent: crony.Agent{ID: "A1", Name: "db-1"}, Up: true, Cordon: &crony.Cordon{At: noon, Drain: true}},
		{Agent: crony.Agent{ID: "A2", Name: "db-2"}, Up: true}}}
	for name, p := range map[string]*crony.Placement{"free": nil, "elsewhere": {Exclude: []string{"db-1"}}, "each": {Mode: crony.PlaceEach},
		"pinned": {Agent: "db-1"}, "kept": {Failover: &no}} {
		j := &crony.JobStatus{Assignments: []crony.Assignment{{Job: name, Agent: "A1"}}}
		j.Job = crony.Job{Name: name, Placement: p, Shell: &crony.Shell{Command: "true"}}
		f.jobs[name] = j
	}
	f.agents[0].Jobs = len(f.jobs)
	return f, start(t, f)
}

// becomes has an agent run something of jobs, as runs of their names.
func (f *fake) becomes(running ...string) func(*crony.AgentStatus) {
	return func(a *crony.AgentStatus) {
		a.Running, a.Jobs, f.runs = len(running), len(f.jobs), nil
		for _, name := range running {
			job, _, _ := strings.Cut(name, "-")
			state := crony.Running
			if strings.HasSuffix(name, "2") { // for its next attempt
				state = crony.Waiting
			}
			f.runs = append(f.runs, crony.Run{ID: crony.RunID(name), Job: job, Agent: a.ID, State: state})
		}
	}
}

// lets has jobs gone as well.
func (f *fake) lets(go1 string, then func(*crony.AgentStatus)) func(*crony.AgentStatus) {
	return func(a *crony.AgentStatus) {
		delete(f.jobs, go1)
		then(a)
	}
}

const staysOfDrained = `crony: db-1: 1 job stays: each (every agent that it means runs it)
crony: db-1: 1 job stays: kept (its failover is false)
crony: db-1: 1 job stays: pinned (it is pinned to this agent)
`

// TestAgentDrainWait: it says what is left each time that this is something else, which jobs stay and why, and ends when no more
// go and the runs have ended that went on then, whatever of the jobs that stay begins later.
func TestAgentDrainWait(t *testing.T) {
	f, s := drained(t)
	busy := f.becomes("free-1", "free-2", "pinned-1")
	f.next = []func(*crony.AgentStatus){busy, busy, f.becomes("free-2", "pinned-1"), f.lets("elsewhere", f.becomes("pinned-1", "free-2")),
		func(a *crony.AgentStatus) { f.becomes("free-2", "pinned-1")(a); a.Up = false },
		func(a *crony.AgentStatus) { f.becomes("pinned-2")(a); a.Up = true },
		f.lets("free", f.becomes("pinned-2", "each-1")), f.becomes("pinned-2", "each-2"), f.becomes("pinned-3", "each-2")}
	r := s.run("agent", "drain", "db-1", "--wait")
	want := staysOfDrained + `crony: db-1: yet to go elsewhere: elsewhere, free (2 runs going on)
crony: db-1: yet to go elsewhere: elsewhere, free (1 run going on)
crony: db-1: yet to go elsewhere: free (1 run going on)
crony: db-1: yet to go elsewhere: free (1 run going on); the agent is not connected
crony: db-1: yet to go elsewhere: free
crony: db-1: waiting for run each-1 of each, run pinned-2 of pinned
crony: db-1: waiting for run pinned-2 of pinned
`
	if diff := cmp.Diff(want, r.stderr); diff != "" || r.code != 0 || !strings.Contains(r.stdout, "drained") {
		t.Errorf("%d, %s\n%s", r.code, r.stdout, diff)
	}
	f.next = []func(*crony.AgentStatus){f.becomes()}
	if again := s.run("agent", "drain", "db-1", "--wait", "-o", "json"); again.stderr != staysOfDrained || again.code != 0 {
		t.Errorf("again: %+v", again)
	}
}

// TestAgentDrainNowhere: a job that no other agent takes, or that does not go for whatever reason, is named, and not waited for.
func TestAgentDrainNowhere(t *testing.T) {
	f, s := drained(t)
	f.agents[1].Cordon = &crony.Cordon{At: noon}
	for range 2 * stillLooks {
		f.next = append(f.next, f.lets("elsewhere", f.becomes()))
	}
	r := s.run("agent", "drain", "db-1", "--wait")
	want := staysOfDrained + `crony: db-1: yet to go elsewhere: free
crony: db-1: 1 job stays: free (no agent matches: of 2 agents, 0 are not cordoned)
`
	if diff := cmp.Diff(want, r.stderr); diff != "" || r.code != 0 {
		t.Errorf("%d\n%s", r.code, diff)
	}
	f.agents[1].Cordon = nil
	if r := s.run("agent", "drain", "db-1", "--wait"); r.code != 0 || !strings.Contains(r.stderr, "1 job stays: free (it does not go") {
		t.Errorf("%+v", r)
	}
}

// TestAgentDrainEnds: it ends with who takes back the draining, or the agent, and says that the draining outlasts it.
func TestAgentDrainEnds(t *testing.T) {
	f, s := drained(t)
	f.next = []func(*crony.AgentStatus){f.becomes("free-1"), func(a *crony.AgentStatus) { a.Cordon = nil }}
	if r := s.run("agent", "drain", "db-1", "--wait"); r.code != exitFailed || !strings.Contains(r.stderr, "somebody has ended the draining of db-1") {
		t.Errorf("%+v", r)
	}
	f.agents[0].Cordon = &crony.Cordon{At: noon, Drain: true}
	f.next = []func(*crony.AgentStatus){f.becomes("free-1"), func(*crony.AgentStatus) { f.agents = f.agents[1:] }}
	if r := s.run("agent", "drain", "db-1", "--wait"); r.code != exitFailed || !strings.Contains(r.stderr, "somebody has removed the agent db-1") {
		t.Errorf("%+v", r)
	}
	f, s = drained(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	f.next = []func(*crony.AgentStatus){f.becomes("free-1"), func(*crony.AgentStatus) { interrupt() }}
	var stderr bytes.Buffer
	code := s.cli(&bytes.Buffer{}, &stderr).run(ctx, []string{"agent", "drain", "db-1", "--wait"})
	if code == 0 || !strings.Contains(stderr.String(), "the draining of db-1 goes on; `crony agent uncordon db-1` ends it") {
		t.Errorf("interrupted: %d\n%s", code, stderr.String())
	}
}

// heard is what a command that goes on has written so far.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// TestAgentDrainOfACluster drains an agent of a real cluster. A job that comes due each second goes at once, one that runs goes
// when it has ended, and the wait ends although the jobs that stay come due all the time.
func TestAgentDrainOfACluster(t *testing.T) {
	c := testcluster.Start(t, 1)
	on := func(agent, job string) bool {
		j, err := c.Job(t.Context(), job)
		return err == nil && len(j.Assignments) > 0 && j.Assignments[0].Agent == agent
	}
	enough := filepath.Join(t.TempDir(), "enough")
	c.Apply(`
jobs:
  - {name: tick, schedule: "* * * * * *", shell: {command: "true"}}
  - {name: long, shell: {command: "until test -e ` + enough + `; do sleep 0.1; done"}}
  - {name: pinned, schedule: "* * * * * *", shell: {command: "true"}, placement: {agent: a1}}
`)
	c.Wait("the jobs to be placed", func() bool { return on("a1", "tick") && on("a1", "long") && on("a1", "pinned") })
	c.Wait("tick to run", func() bool { return len(c.AllRuns("tick")) > 0 })
	if _, err := c.StartJob(t.Context(), "long", crony.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Wait("long to run", func() bool { runs := c.AllRuns("long"); return len(runs) == 1 && runs[0].State == crony.Running })
	c.StartAgent("a2")

	var stdout bytes.Buffer
	said, code := &heard{}, make(chan int, 1)
	cli := (&session{t: t, address: c.URL, token: c.Token, patience: time.Minute}).cli(&stdout, said)
	cli.poll, cli.now = 50*time.Millisecond, time.Now
	go func() { code <- cli.run(t.Context(), []string{"agent", "drain", "a1", "--wait"}) }()
	c.Wait("tick to go", func() bool { return on("a2", "tick") })
	c.Wait("long to be waited for", func() bool { return strings.Contains(said.String(), "yet to go elsewhere: long (1 run going on)\n") })
	if !on("a1", "long") {
		t.Error("long has gone while it runs")
	}
	if err := os.WriteFile(enough, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 || !on("a2", "long") || !strings.Contains(said.String(), "1 job stays: pinned (it is pinned to this agent)") {
		t.Errorf("%d, %s\n%s", got, stdout.String(), said.String())
	}
}
