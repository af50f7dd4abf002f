package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func jobs(list ...crony.JobStatus) map[string]*crony.JobStatus {
	m := make(map[string]*crony.JobStatus, len(list))
	for i := range list {
		m[list[i].Job.Name] = &list[i]
	}
	return m
}

func job(name string) crony.JobStatus {
	return crony.JobStatus{Definition: crony.Definition{Generation: 1, Job: crony.Job{
		Name: name, Schedule: "*/2 * * * * *", Shell: &crony.Shell{Command: "true"}}}}
}

func TestJobApply(t *testing.T) {
	f := &fake{jobs: jobs(job("old"))}
	s := start(t, f)
	file := write(t, "jobs.yaml", "jobs:\n- {name: new, shell: {command: a}}\n- {name: old, shell: {command: b}}\n")

	dry := s.run("job", "apply", "-f", file, "--dry-run")
	if dry.code != 0 || len(f.jobs) != 1 || dry.stderr != "crony: a dry run: nothing was changed\n" {
		t.Errorf("dry run: %+v, %d jobs", dry, len(f.jobs))
	}
	const table = "NAME  ACTION   GENERATION\nnew   created  1\nold   updated  2\n"
	if dry.stdout != table {
		t.Errorf("dry run:\n%s", dry.stdout)
	}
	if got := s.want("job", "apply", "-f", file); got != table || len(f.jobs) != 2 {
		t.Errorf("got\n%s and %d jobs", got, len(f.jobs))
	}
	s.stdin = strings.NewReader(`{"jobs": [{"name": "piped", "shell": {"command": "a"}}]}`)
	if got := s.want("job", "apply", "-f", "-", "-o", "yaml"); got != "- kind: job\n  name: piped\n  action: created\n  generation: 1\n" {
		t.Errorf("got\n%s", got)
	}
}

func TestJobApplyTellsEachFault(t *testing.T) {
	f := &fake{jobs: jobs()}
	s := start(t, f)
	file := write(t, "wrong.yaml", `jobs:
- name: good
  shell: {command: a}
- name: bad
  shell:
    comand: "a"
- name: worse
  timeout: soon
  shell: {command: a}
`)
	r := s.run("job", "apply", "-f", file)
	want := file + `:6: jobs[1].shell.comand: unknown key "comand" (did you mean "command"?)` + "\n" +
		file + `:8: jobs[2].timeout: "soon" is not a duration (write one like 90s, 1h30m or 30d)` + "\n"
	if diff := cmp.Diff(result{2, "", want}, r, cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
	if len(f.jobs) != 0 {
		t.Errorf("something was applied: %v", f.jobs)
	}
	s.stdin = strings.NewReader("jobs: [")
	if r := s.run("job", "apply", "-f", "-"); r.code != 2 || !strings.HasPrefix(r.stderr, "stdin:1: not readable") ||
		strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestJobApplyWithCalendars(t *testing.T) {
	f := &fake{jobs: jobs(job("old")), calendars: map[string]*crony.CalendarStatus{}}
	s := start(t, f)
	file := write(t, "all.yaml", `calendars:
- {name: cn-holidays, timezone: Asia/Shanghai, days_off: [2027-02-05/2027-02-11]}
jobs:
- {name: old, schedule: "@hourly", calendars: [{name: cn-holidays, on: skip}], shell: {command: a}}
`)
	const want = "NAME                  ACTION   GENERATION\ncalendar/cn-holidays  created  -\njob/old               updated  2\n"
	if diff := cmp.Diff(want, s.want("job", "apply", "-f", file)); diff != "" {
		t.Error(diff)
	}
	if got := s.want("job", "show", "old"); !strings.Contains(got, "Calendars:   cn-holidays (skip)\n") {
		t.Errorf("the job does not tell what it keeps:\n%s", got)
	}
}

func TestJobList(t *testing.T) {
	busy, paused, waiting := job("busy"), job("paused"), job("waiting")
	busy.Assignments, busy.Assigned = []crony.Assignment{{Agent: "A1"}}, 1
	busy.NextAt = noon.Add(2 * time.Second)
	busy.LastRun = &crony.Run{State: crony.Failed, StartedAt: noon.Add(-time.Hour), EndedAt: noon.Add(-5 * time.Minute)}
	paused.Job.Paused, paused.Job.Group = true, "ops"
	paused.Assignments, paused.Assigned = []crony.Assignment{{Agent: "A2"}}, 1
	waiting.Job.Schedule = ""
	s := start(t, &fake{jobs: jobs(busy, paused, waiting),
		agents: []crony.AgentStatus{{Agent: crony.Agent{ID: "A1", Name: "db-1"}}}})

	want := `NAME     GROUP    STATE    SCHEDULE       NEXT   LAST RUN       AGENT
busy     default  active   */2 * * * * *  in 2s  failed 5m ago  db-1
paused   ops      paused   */2 * * * * *  -      -              A2
waiting  default  waiting  -              -      -              -
`
	if diff := cmp.Diff(want, s.want("job", "list")); diff != "" {
		t.Error(diff)
	}
	var got []crony.JobStatus
	if err := json.Unmarshal([]byte(s.want("job", "list", "--group", "ops", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Job.Name != "paused" {
		t.Errorf("got %v", got)
	}
	if got := s.want("job", "list", "-q", "usy", "-o", "yaml"); !strings.HasPrefix(got, "- job:\n    name: busy\n") {
		t.Errorf("got\n%s", got)
	}
	if got := s.want("job", "list", "-q", "nothing", "-o", "json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
}

func TestJobListGoesThroughThePages(t *testing.T) {
	f := &fake{jobs: jobs()}
	for i := range 2*pageSize + 1 {
		j := job(fmt.Sprintf("job-%04d", i))
		f.jobs[j.Job.Name] = &j
	}
	s := start(t, f)
	for _, tt := range []struct {
		limit        string
		items, pages int
	}{{"0", 2*pageSize + 1, 3}, {"3", 3, 1}, {fmt.Sprint(pageSize + 1), pageSize + 1, 2}} {
		f.pages = 0
		var got []crony.JobStatus
		if err := json.Unmarshal([]byte(s.want("job", "list", "-o", "json", "--limit", tt.limit)), &got); err != nil {
			t.Fatal(err)
		}
		if len(got) != tt.items || f.pages != tt.pages {
			t.Errorf("limit %s: %d items from %d pages, want %d from %d", tt.limit, len(got), f.pages, tt.items, tt.pages)
		}
	}
}

func TestJobShow(t *testing.T) {
	j := job("hello")
	j.Job.Title, j.Job.Labels = "每日\n\x1b[2J报表", map[string]string{"tier": "gold", "team": "data"}
	j.Job.Timeout = crony.Duration(90 * time.Second)
	j.Job.Retention = &crony.Retention{Age: crony.Duration(36 * time.Hour), Runs: 50}
	j.Assignments, j.Assigned = []crony.Assignment{{Agent: "A1", Since: noon.Add(-time.Hour), Reason: "the only one that matches"}}, 1
	j.LastRun = &crony.Run{ID: "R", State: crony.Running, StartedAt: noon.Add(-3 * time.Second)}
	j.CreatedAt, j.UpdatedAt, j.UpdatedBy = noon.Add(-72*time.Hour), noon.Add(-48*time.Hour), "ada"
	s := start(t, &fake{jobs: jobs(j)})

	want := `Name:        hello
Title:       每日 �[2J报表
Group:       default
Labels:      team=data, tier=gold
State:       active
Schedule:    */2 * * * * *
Work:        true
Timeout:     1m30s
Kept:        the last 50 runs, for 1d12h
Agent:       A1
Placed:      2027-03-01 11:00:00 UTC (1h ago), the only one that matches
Last run:    R running, began 3s ago
Generation:  1
Created:     2027-02-26 12:00:00 UTC (3d ago)
Changed:     2027-02-27 12:00:00 UTC (2d ago) by ada
`
	if diff := cmp.Diff(want, s.want("job", "show", "hello")); diff != "" {
		t.Error(diff)
	}
	var status crony.JobStatus
	if err := json.Unmarshal([]byte(s.want("job", "show", "hello", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, status); diff != "" {
		t.Error(diff)
	}
	if r := s.run("job", "show", "none"); r.code != 3 || r.stderr != "crony: there is no job \"none\"\n" {
		t.Errorf("got %+v", r)
	}
}

// TestJobShowGivesBackTheManifest holds that `job show -o yaml` is what was applied: nothing lost, nothing filled in.
func TestJobShowGivesBackTheManifest(t *testing.T) {
	const manifest = `jobs:
  - name: hello
    title: "yes"
    labels:
      "on": "2027-01-01"
      zip: "0123"
    paused: true
    schedule: '@hourly'
    timeout: 1h30m
    shell:
      script: |
        set -eu
          echo "hello" # <&>
`
	f := &fake{jobs: jobs()}
	s := start(t, f)
	s.want("job", "apply", "-f", write(t, "jobs.yaml", manifest))
	got := s.want("job", "show", "hello", "-o", "yaml")
	if diff := cmp.Diff(manifest, got); diff != "" {
		t.Error(diff)
	}
	before := f.jobs["hello"].Job
	s.want("job", "apply", "-f", write(t, "again.yaml", got))
	if diff := cmp.Diff(before, f.jobs["hello"].Job); diff != "" {
		t.Error(diff)
	}
}

func TestJobDelete(t *testing.T) {
	f := &fake{jobs: jobs(job("a"), job("b"), job("c"), job("d"))}
	s := start(t, f)

	if r := s.run("job", "delete", "a"); r.code != 2 || len(f.jobs) != 4 {
		t.Errorf("without a terminal: %+v", r)
	}
	s.terminal = true
	for _, answer := range []string{"\n", "n\n", "", "yesterday\n"} {
		s.stdin = strings.NewReader(answer)
		if r := s.run("job", "delete", "a"); r.code != 1 || r.stderr != "Delete a? [y/N] crony: nothing was done\n" || len(f.jobs) != 4 {
			t.Errorf("answered %q: %+v", answer, r)
		}
	}
	s.stdin = strings.NewReader("Y\n")
	if got := s.want("job", "delete", "a", "b"); got != "NAME  ACTION\na     deleted\nb     deleted\n" || len(f.jobs) != 2 {
		t.Errorf("got\n%s and %d jobs", got, len(f.jobs))
	}
	s.terminal = false
	r := s.run("job", "delete", "c", "none", "d", "--yes")
	if r.code != 3 || !strings.Contains(r.stdout, "c     deleted\n") || f.jobs["d"] == nil || f.jobs["c"] != nil {
		t.Errorf("it did not stop at the first that is missing: %+v", r)
	}
}

func TestJobPause(t *testing.T) {
	f := &fake{jobs: jobs(job("a"), job("b"))}
	s := start(t, f)
	s.want("job", "pause", "a", "b")
	if !f.jobs["a"].Job.Paused || !f.jobs["b"].Job.Paused {
		t.Error("not paused")
	}
	if got := s.want("job", "resume", "b"); got != "NAME  STATE    NEXT\nb     waiting  -\n" || !f.jobs["a"].Job.Paused || f.jobs["b"].Job.Paused {
		t.Errorf("got\n%s", got)
	}
}

func TestWrongToken(t *testing.T) {
	s := start(t, &fake{})
	t.Setenv("CRONY_ADDRESS", s.address)
	t.Setenv("CRONY_TOKEN", "wrong")
	var stderr strings.Builder
	if code := run(t.Context(), []string{"job", "list"}, strings.NewReader(""), &strings.Builder{}, &stderr); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if stderr.String() != "crony: who are you?\n" {
		t.Errorf("got %s", stderr.String())
	}
}
