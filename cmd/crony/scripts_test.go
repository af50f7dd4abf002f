package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

const tools = `scripts:
  - name: install-report-tools
    interpreter: /bin/bash
    timeout: 2m
    script: |
      set -e
      command -v report >/dev/null || apt-get install -y report-tools
`

// withTools is a server on which a script is defined and named by two jobs, and another by none.
func withTools(t *testing.T) (*fake, *session) {
	t.Helper()
	f := &fake{jobs: jobs(), scripts: map[string]*crony.ScriptStatus{}}
	s := start(t, f)
	s.want("job", "apply", "-f", write(t, "tools.yaml", tools))
	used := f.scripts["install-report-tools"]
	used.Jobs, used.UpdatedBy, used.UpdatedAt = []string{"a", "b"}, "ada", noon.Add(-2*time.Hour)
	f.scripts["spare"] = &crony.ScriptStatus{Script: crony.Script{Name: "spare", Script: "true"}, UpdatedAt: noon, Jobs: []string{}}
	return f, s
}

func TestScriptList(t *testing.T) {
	_, s := withTools(t)
	want := `NAME                  INTERPRETER  TIMEOUT  JOBS  CHANGED
install-report-tools  /bin/bash    2m       2     2h ago
spare                 /bin/sh      5m       0     now
`
	if diff := cmp.Diff(want, s.want("script", "list")); diff != "" {
		t.Error(diff)
	}
	var all []crony.ScriptStatus
	if err := json.Unmarshal([]byte(s.want("script", "list", "-o", "json")), &all); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestScriptShow(t *testing.T) {
	f, s := withTools(t)
	want := `Name:         install-report-tools
Interpreter:  /bin/bash
Timeout:      2m
Named by:     a, b
Changed:      2027-03-01 10:00:00 UTC (2h ago) by ada

set -e
command -v report >/dev/null || apt-get install -y report-tools
`
	if diff := cmp.Diff(want, s.want("script", "show", "install-report-tools")); diff != "" {
		t.Error(diff)
	}
	var status crony.ScriptStatus
	if err := json.Unmarshal([]byte(s.want("script", "show", "install-report-tools", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*f.scripts["install-report-tools"], status); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(tools, s.want("script", "show", "install-report-tools", "-o", "yaml")); diff != "" {
		t.Errorf("it does not give back the manifest: %s", diff)
	}
	if r := s.run("script", "show", "none"); r != (result{3, "", "crony: there is no script \"none\"\n"}) {
		t.Errorf("got %+v", r)
	}
}

func TestScriptDelete(t *testing.T) {
	f, s := withTools(t)
	r := s.run("script", "delete", "install-report-tools")
	if r.code != 1 || r.stderr != "crony: 2 jobs name the script \"install-report-tools\"\nhint: take it from them first\n" || len(f.scripts) != 2 {
		t.Errorf("one that is named: %+v", r)
	}
	if got := s.want("script", "delete", "spare"); got != "NAME   ACTION\nspare  deleted\n" || len(f.scripts) != 1 {
		t.Errorf("got\n%s", got)
	}
}

func TestJobApplyWithScripts(t *testing.T) {
	s := start(t, &fake{jobs: jobs(job("old")), scripts: map[string]*crony.ScriptStatus{}})
	file := write(t, "all.yaml", tools+`jobs:
- {name: old, schedule: "@hourly", scripts: [install-report-tools, spare], shell: {command: a}}
`)
	const want = "NAME                         ACTION   GENERATION\nscript/install-report-tools  created  -\njob/old                      updated  2\n"
	if diff := cmp.Diff(want, s.want("job", "apply", "-f", file)); diff != "" {
		t.Error(diff)
	}
	if got := s.want("job", "show", "old"); !strings.Contains(got, "Scripts:     install-report-tools, spare\n") {
		t.Errorf("the job does not tell what it names:\n%s", got)
	}
}

// TestRunOfAScript holds that a run that prepared a host says of which script it is.
func TestRunOfAScript(t *testing.T) {
	run := crony.Run{ID: crony.NewRunID(noon), Job: "hello", Agent: "A1", Trigger: crony.ByPrepare, By: "tools", State: crony.Failed,
		Reason: "exit code 3", ScheduledAt: noon}
	s := start(t, &fake{jobs: jobs(), runs: []crony.Run{run}})
	if got := s.want("run", "show", string(run.ID)); !strings.Contains(got, "prepare, script tools\n") {
		t.Errorf("got\n%s", got)
	}
}
