package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// someAgents are one that is well, one that is cordoned, and one that is gone while it is drained.
func someAgents() []crony.AgentStatus {
	return []crony.AgentStatus{
		{Agent: crony.Agent{ID: "A1", Name: "db-1", Hostname: "db-1.example.com", OS: "linux", Arch: "amd64", Version: "v1", Weight: 4,
			Labels: map[string]string{"role": "db", "zone": "north", "gpu": ""}, Since: noon.Add(-time.Minute), Server: "s1"}, Up: true, Jobs: 2, Running: 1,
			Said: crony.AgentTraits{Labels: map[string]string{"role": "web", "zone": "north"}, Weight: 2},
			Set:  crony.AgentTraits{Labels: map[string]string{"role": "db", "gpu": ""}, Weight: 4}},
		{Agent: crony.Agent{ID: "A2", Name: "web-1", Hostname: "h", OS: "linux", Arch: "arm64", Version: "v1", Weight: 1, Since: noon.Add(-time.Hour), Server: "s2"},
			Up: true, Cordon: &crony.Cordon{By: "ann", At: noon.Add(-time.Hour), Reason: "new disk"}},
		{Agent: crony.Agent{ID: "A3", Name: "web-2", Hostname: "h", OS: "linux", Arch: "arm64", Version: "v1", Weight: 1},
			SeenAt: noon.Add(-3 * time.Hour), Cordon: &crony.Cordon{At: noon.Add(-time.Hour), Drain: true}},
	}
}

func TestAgentList(t *testing.T) {
	s := start(t, &fake{agents: someAgents()})
	want := `NAME   ID  STATE           SINCE   HOST              PLATFORM     VERSION  JOBS  RUNNING  LABELS
db-1   A1  up              1m ago  db-1.example.com  linux/amd64  v1       2     1        gpu, role=db, zone=north
web-1  A2  up, cordoned    1h ago  h                 linux/arm64  v1       0     0        -
web-2  A3  down, draining  3h ago  h                 linux/arm64  v1       0     0        -
`
	if diff := cmp.Diff(want, s.want("agent", "list")); diff != "" {
		t.Error(diff)
	}
	if got := s.want("agent", "list", "--selector", "role in (db,web),gpu"); !strings.Contains(got, "A1") || strings.Contains(got, "A2") {
		t.Errorf("got\n%s", got)
	}
	if got := s.want("agent", "list", "-l", "!gpu", "-o", "json"); strings.Contains(got, `"A1"`) || !strings.Contains(got, `"seen_at": "2027-03-01T09:00:00Z"`) {
		t.Errorf("got\n%s", got)
	}
	if r := s.run("agent", "list", "-l", "role in db"); r.code != exitWrong || !strings.Contains(r.stderr, "--selector") {
		t.Errorf("%+v", r)
	}
}

func TestAgentShow(t *testing.T) {
	f := &fake{agents: someAgents(), jobs: map[string]*crony.JobStatus{}, hosts: map[string]crony.HostFigures{}}
	for _, name := range []string{"backup", "report", "other"} {
		j := &crony.JobStatus{Definition: crony.Definition{Job: crony.Job{Name: name}}}
		if name != "other" {
			j.Assignments = []crony.Assignment{{Job: name, Agent: "A1"}}
		}
		f.jobs[name] = j
	}
	f.runs = []crony.Run{{ID: "01KJKY0000", Job: "backup", Agent: "A1", State: crony.Running, StartedAt: noon.Add(-time.Minute)}}
	f.hosts["A1"] = crony.HostFigures{At: noon, CPUs: 8, CPU: 0.256, Load1: 1, Load5: 0.5, Load15: 0.25, Uptime: 3600, DiskDir: "/var/lib/crony-agent",
		MemoryTotal: 16 << 30, MemoryAvailable: 12 << 30, DiskTotal: 100 << 30, DiskAvailable: 25 << 30}
	s := start(t, f)
	want := `Name:         db-1
ID:           A1
State:        up
Connected:    2027-03-01 11:59:00 UTC (1m ago), to the server s1
Host:         db-1.example.com
Platform:     linux/amd64
Version:      v1
Labels:       gpu (set by people)
              role=db (set by people; the agent says role=web)
              zone=north
Weight:       4 (set by people; the agent says 2)
Jobs (2):     backup
              report
Running (1):  01KJKY0000  backup, began 1m ago
CPU:          26% of 8 CPUs
Load:         1.00, 0.50, 0.25
Memory:       4.0GiB of 16.0GiB
Disk:         75.0GiB of 100.0GiB, where /var/lib/crony-agent is
Booted:       2027-03-01 11:00:00 UTC (1h ago)
`
	if diff := cmp.Diff(want, s.want("agent", "show", "db-1", "--figures")); diff != "" {
		t.Error(diff)
	}
	f.runs = nil
	want = `Name:       web-2
ID:         A3
State:      down, draining
Last seen:  2027-03-01 09:00:00 UTC (3h ago)
Cordon:     since 2027-03-01 11:00:00 UTC (1h ago), its jobs go elsewhere
Host:       h
Platform:   linux/arm64
Version:    v1
Weight:     1
`
	if diff := cmp.Diff(want, s.want("agent", "show", "A3")); diff != "" {
		t.Error(diff)
	}
	if got := s.want("agent", "show", "web-1"); !strings.Contains(got, "since 2027-03-01 11:00:00 UTC (1h ago) by ann: new disk") {
		t.Errorf("got\n%s", got)
	}
	if got := s.want("agent", "show", "web-1", "-o", "yaml"); !strings.Contains(got, "reason: new disk") || strings.Contains(got, "figures") {
		t.Errorf("got\n%s", got)
	}
	if r := s.run("agent", "show", "web-1", "--figures"); r.code != exitFailed || !strings.Contains(r.stderr, "not connected") {
		t.Errorf("%+v", r)
	}
	if r := s.run("agent", "show", "none"); r.code != exitNotFound {
		t.Errorf("%+v", r)
	}
}

func TestAgentWatch(t *testing.T) {
	s := start(t, &fake{agents: someAgents(), hosts: map[string]crony.HostFigures{"A1": {At: noon, CPUs: 8, CPU: 1, Load1: 9.5,
		MemoryTotal: 16 << 30, MemoryAvailable: 12 << 30, DiskTotal: 1 << 40, DiskAvailable: 25 << 30}}})
	r := s.run("agent", "show", "A1", "--watch") // until the agent is gone
	want := `TIME        CPU   LOAD                 MEMORY                   DISK
12:00:00   100%   9.50      4.0GiB of 16.0GiB     999.0GiB of 1.0TiB
`
	if diff := cmp.Diff(want, r.stdout); diff != "" || r.code != exitFailed || !strings.Contains(r.stderr, "not connected") {
		t.Errorf("%d, %q\n%s", r.code, r.stderr, diff)
	}
	if r := s.run("agent", "show", "A1", "--watch", "-o", "json"); r.code != exitWrong {
		t.Errorf("%+v", r)
	}
}

func TestAgentSet(t *testing.T) {
	f := &fake{agents: someAgents()}
	s := start(t, f)
	for _, test := range []struct{ args, asked, says string }{
		{"cordon db-1", `PATCH /api/v1/agents/db-1 {"cordon":{"on":true}}`, "cordoned"},
		{"cordon A1 --reason disk", `PATCH /api/v1/agents/A1 {"cordon":{"on":true,"reason":"disk"}}`, "cordoned"},
		{"uncordon db-1", `PATCH /api/v1/agents/db-1 {"cordon":{"on":false}}`, "uncordoned"},
		{"drain db-1 --reason disk", `PATCH /api/v1/agents/db-1 {"cordon":{"on":true,"drain":true,"reason":"disk"}}`, "draining"},
		{"label db-1 zone=a gpu old- x=-", `PATCH /api/v1/agents/db-1 {"labels":{"gpu":"","old":null,"x":"-","zone":"a"}}`, "labelled"},
		{"weight db-1 7", `PATCH /api/v1/agents/db-1 {"weight":7}`, "weighted"},
		{"weight db-1 0", `PATCH /api/v1/agents/db-1 {"weight":0}`, "weighted"},
		{"max-jobs db-1 20", `PATCH /api/v1/agents/db-1 {"max_jobs":20}`, "bounded"},
	} {
		f.cluster.asked = nil
		got := s.want(append([]string{"agent"}, strings.Fields(test.args)...)...)
		if diff := cmp.Diff([]string{test.asked}, f.cluster.asked); diff != "" || !strings.Contains(got, test.says) {
			t.Errorf("%s: %s\n%s", test.args, got, diff)
		}
	}
	f.cluster.asked = nil
	for args, says := range map[string]string{
		"label db-1 zone=a,b":  "can't be the value of the label zone",
		"label db-1 =a":        "a label needs a key",
		"weight db-1 many":     "is no number",
		"weight db-1 1001":     "weight: 1001 is out of range",
		"label db-1":           "requires at least 2 arg",
		"cordon db-1 --drain":  "unknown flag",
		"label db-1 zone=a=b":  "can't be the value of the label zone",
		"weight db-1 -- -1":    "weight: -1 is out of range",
		"weight db-1 -1":       "-1 is taken for a flag, and no number here is negative",
		"cordon db-1 another1": "accepts 1 arg",
	} {
		if r := s.run(append([]string{"agent"}, strings.Fields(args)...)...); r.code != exitWrong || !strings.Contains(r.stderr, says) {
			t.Errorf("%s: %+v; want %q", args, r, says)
		}
	}
	if len(f.cluster.asked) > 0 {
		t.Errorf("what is wrong was asked for: %v", f.cluster.asked)
	}
	if r := s.run("agent", "cordon", "none"); r.code != exitNotFound {
		t.Errorf("%+v", r)
	}
	f.cluster.refusal = crony.Errorf(crony.Forbidden, "this takes the role operator")
	if r := s.run("agent", "cordon", "db-1"); r.code != exitFailed || !strings.Contains(r.stderr, "role operator") {
		t.Errorf("%+v", r)
	}
}
