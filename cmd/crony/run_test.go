package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	yaml "go.yaml.in/yaml/v3"

	"crony"
)

const id = crony.RunID("01KABCDEFGHJKMNPQRSTVWXYZ0")

func code(n int) *int { return &n }

func manyRuns(n int) []crony.Run {
	runs := make([]crony.Run, n)
	for i := range runs {
		runs[i] = crony.Run{ID: crony.RunID(fmt.Sprintf("R%05d", n-i)), Job: "hello", Agent: "A1", State: crony.Succeeded}
	}
	return runs
}

func TestRunListAsTable(t *testing.T) {
	runs := []crony.Run{
		{ID: "R3", Job: "hello", Agent: "A1", State: crony.Running, ScheduledAt: noon.Add(-time.Second), StartedAt: noon.Add(-time.Second),
			Attempts: []crony.Attempt{{Number: 1}}},
		{ID: "R2", Job: "hello", Agent: "A2", State: crony.Failed, ScheduledAt: noon.Add(-time.Minute), StartedAt: noon.Add(-time.Minute),
			EndedAt: noon.Add(-time.Minute + 12*time.Millisecond), Attempts: []crony.Attempt{{Number: 1, ExitCode: code(7)}}},
		{ID: "R1", Job: "hello", Agent: "A2", State: crony.Skipped, ScheduledAt: noon.Add(-3 * time.Hour)},
	}
	s := start(t, &fake{runs: runs, agents: []crony.AgentStatus{{Agent: crony.Agent{ID: "A1", Name: "db-1"}}}})
	want := `ID  JOB    STATE    EXIT  DUE     TOOK  AGENT
R3  hello  running  -     1s ago  1s    db-1
R2  hello  failed   7     1m ago  12ms  A2
R1  hello  skipped  -     3h ago  -     A2
`
	if diff := cmp.Diff(want, s.want("run", "list")); diff != "" {
		t.Error(diff)
	}
	for _, filter := range [][]string{{"--agent", "db-1"}, {"--agent", "A1"}, {"--state", "running"}} {
		if got := s.want(append([]string{"run", "list"}, filter...)...); strings.Count(got, "\n") != 2 || !strings.Contains(got, "R3") {
			t.Errorf("%v:\n%s", filter, got)
		}
	}
	if got := s.want("run", "list", "--job", "none"); strings.Count(got, "\n") != 1 {
		t.Errorf("got\n%s", got)
	}
}

func TestRunListLimits(t *testing.T) {
	f := &fake{runs: manyRuns(2*pageSize + 7)}
	s := start(t, f)
	for _, tt := range []struct {
		args   []string
		rows   int
		notice bool
	}{
		{nil, tableLimit, true},
		{[]string{"--limit", "3"}, 3, false},
		{[]string{"--limit", "0"}, len(f.runs), false},
	} {
		r := s.run(append([]string{"run", "list"}, tt.args...)...)
		if rows := strings.Count(r.stdout, "\n") - 1; rows != tt.rows || strings.Contains(r.stderr, "--limit 0") != tt.notice {
			t.Errorf("%v: %d rows, want %d; stderr %q", tt.args, rows, tt.rows, r.stderr)
		}
	}
	f.runs = f.runs[:tableLimit]
	if r := s.run("run", "list"); r.stderr != "" || strings.Count(r.stdout, "\n") != tableLimit+1 {
		t.Errorf("%d runs are all: %+v", tableLimit, r)
	}
}

func TestRunListForScripts(t *testing.T) {
	runs := manyRuns(pageSize + 1)
	s := start(t, &fake{runs: runs})
	var fromJSON []crony.Run
	if err := json.Unmarshal([]byte(s.want("run", "list", "-o", "json")), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(runs, fromJSON); diff != "" {
		t.Error(diff)
	}
	var fromYAML []struct{ ID, Job string }
	if err := yaml.Unmarshal([]byte(s.want("run", "list", "-o", "yaml")), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if len(fromYAML) != len(runs) || fromYAML[pageSize].ID != "R00001" {
		t.Errorf("got %d runs", len(fromYAML))
	}
}

func TestRunListWithOutput(t *testing.T) {
	s := start(t, &fake{runs: manyRuns(2), output: func(w http.ResponseWriter, id crony.RunID) {
		send(w, "chunk", chunk(crony.Stdout, 0, "<I am "))
		send(w, "chunk", chunk(crony.Stdout, 6, string(id)+">\n"))
		send(w, "chunk", chunk(crony.Stderr, 0, "oops\xff"))
		send(w, "end", nil)
	}})
	var got []runWithOutput
	if err := json.Unmarshal([]byte(s.want("run", "list", "-o", "json", "--with-output")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != "R00002" || got[0].Output != "<I am R00002>\noops\ufffd" || got[1].Output != "<I am R00001>\noops\ufffd" {
		t.Errorf("got %+v", got)
	}
}

// TestListBrokenOff holds that half a list cannot be taken for the whole.
func TestListBrokenOff(t *testing.T) {
	s := start(t, &fake{runs: manyRuns(2), output: func(w http.ResponseWriter, id crony.RunID) {
		if id == "R00002" {
			send(w, "end", nil)
		}
	}})
	r := s.run("run", "list", "-o", "json", "--with-output")
	if r.code != 1 || json.Valid([]byte(r.stdout)) || !strings.Contains(r.stdout, "R00002") {
		t.Errorf("got %+v", r)
	}
}

func TestRunShow(t *testing.T) {
	run := crony.Run{ID: id, Job: "hello", Generation: 3, Group: "default", Agent: "A1", Trigger: crony.ByHand, By: "ada",
		ScheduledAt: noon.Add(-time.Minute), State: crony.Failed, Reason: "exit code 7",
		StartedAt: noon.Add(-time.Minute), EndedAt: noon.Add(-58 * time.Second),
		Attempts: []crony.Attempt{{Number: 1, PID: 42, StartedAt: noon.Add(-time.Minute), EndedAt: noon.Add(-58 * time.Second),
			ExitCode: code(7), CPUSeconds: 0.25, MaxRSS: 3 << 20, StdoutBytes: 1536}}}
	s := start(t, &fake{runs: []crony.Run{run}})
	want := `ID:       01KABCDEFGHJKMNPQRSTVWXYZ0
Job:      hello, generation 3
Group:    default
State:    failed
Reason:   exit code 7
Agent:    A1
Trigger:  manual by ada
Due:      2027-03-01 11:59:00 UTC (1m ago)
Started:  2027-03-01 11:59:00 UTC (1m ago)
Ended:    2027-03-01 11:59:02 UTC (58s ago)
Took:     2s

ATTEMPT  EXIT  STARTED       TOOK  PID  CPU    MAX RSS  STDOUT  STDERR
1        7     11:59:00.000  2s    42   0.25s  3.0MiB   1.5KiB  0B
`
	if diff := cmp.Diff(want, s.want("run", "show", string(id))); diff != "" {
		t.Error(diff)
	}
	var got crony.Run
	if err := json.Unmarshal([]byte(s.want("run", "show", string(id), "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(run, got); diff != "" {
		t.Error(diff)
	}
	run.State, run.Reason, run.EndedAt = crony.Waiting, "attempt 1 of 3 failed: exit code 7", time.Time{}
	run.Until = noon.Add(8 * time.Second)
	run.Attempts[0].MaxRSS = 0 // not known
	s = start(t, &fake{runs: []crony.Run{run}})
	if got := s.want("run", "show", string(id)); !strings.Contains(got, "attempt 1 of 3 failed: exit code 7\n") ||
		!strings.Contains(got, "0.25s  -        1.5KiB") || !strings.Contains(got, "Waits until:  2027-03-01 12:00:08 UTC (in 8s)\n") {
		t.Errorf("of a run that waits:\n%s", got)
	}
	if r := s.run("run", "show", strings.Replace(string(id), "0", "1", 1)); r.code != 2 && r.code != 3 {
		t.Errorf("got %+v", r)
	}
}

func TestRunLogs(t *testing.T) {
	run := crony.Run{ID: id, State: crony.Succeeded, Attempts: []crony.Attempt{{Number: 1, StdoutBytes: 30, StderrBytes: 5}}}
	s := start(t, &fake{runs: []crony.Run{run}, output: func(w http.ResponseWriter, _ crony.RunID) {
		send(w, "chunk", chunk(crony.Stdout, 0, "0123456789"))
		send(w, "chunk", chunk(crony.Stdout, 5, "56789ab")) // a piece that arrives again, and goes on
		send(w, "chunk", chunk(crony.Stdout, 3, "345"))     // and one that holds nothing new
		send(w, "chunk", chunk(crony.Stdout, 20, "klmn"))
		send(w, "chunk", chunk(crony.Stderr, 0, "oops\n"))
		send(w, "end", nil)
	}})
	const gaps = "crony: 8 bytes of stdout were not kept\n"
	const rest = "crony: 6 bytes of stdout were not kept\n"
	for _, tt := range []struct {
		flag, stdout, stderr string
	}{
		{"", "0123456789abklmn", gaps + "oops\n" + rest},
		{"-f", "0123456789abklmn", gaps + "oops\n" + rest},
		{"--stdout", "0123456789abklmn", gaps + rest},
		{"--stderr", "", "oops\n"},
	} {
		r := s.run(append([]string{"run", "logs", string(id)}, strings.Fields(tt.flag)...)...)
		if diff := cmp.Diff(result{0, tt.stdout, tt.stderr}, r, cmp.AllowUnexported(result{})); diff != "" {
			t.Errorf("%q: %s", tt.flag, diff)
		}
	}
	other := id[:25] + "1"
	if r := s.run("run", "logs", "-f", string(other)); r.code != 3 {
		t.Errorf("a run that is not there: %+v", r)
	}
}

func TestRunStart(t *testing.T) {
	s := start(t, &fake{started: func(job string) ([]crony.RunID, *crony.Error) {
		if job != "hello" {
			return nil, crony.Errorf(crony.NotFound, "there is no job %q", job)
		}
		return []crony.RunID{id}, nil
	}})
	if got := s.want("run", "start", "hello"); got != string(id)+"\n" {
		t.Errorf("got %q", got)
	}
	if got := s.want("run", "start", "hello", "-o", "yaml"); got != "runs:\n  - "+string(id)+"\n" {
		t.Errorf("got %q", got)
	}
	if r := s.run("run", "start", "none", "--wait"); r.code != 3 {
		t.Errorf("got %+v", r)
	}
}

// TestRunStartWait follows a run that begins late, through a stream that breaks off twice.
func TestRunStartWait(t *testing.T) {
	f := &fake{}
	f.started = func(string) ([]crony.RunID, *crony.Error) { return []crony.RunID{id}, nil }
	lists := 0
	f.output = func(w http.ResponseWriter, _ crony.RunID) {
		run := f.find(string(id))
		send(w, "chunk", chunk(crony.Stdout, 0, "one "))
		if lists++; lists == 1 {
			return // broken off
		}
		send(w, "chunk", chunk(crony.Stdout, 4, "two"))
		if lists == 2 {
			send(w, "problem", map[string]any{"code": crony.Unavailable, "detail": "the server stops"})
			return
		}
		if lists == 4 { // the third stream ends before the run has
			run.State, run.Attempts = crony.Failed, []crony.Attempt{{Number: 1, ExitCode: code(42), StdoutBytes: 7}}
		}
		send(w, "end", nil)
	}
	asked := 0
	late := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/output") {
			if asked++; asked == 3 {
				f.runs = []crony.Run{{ID: id, State: crony.Running}}
			}
		}
		f.ServeHTTP(w, r)
	}
	s := serveHandler(t, late)
	r := s.run("run", "start", "hello", "--wait")
	want := result{42, "one two", "crony: run " + string(id) + "\n"}
	if diff := cmp.Diff(want, r, cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
}

func TestRunStartWaitGivesUp(t *testing.T) {
	f := &fake{started: func(string) ([]crony.RunID, *crony.Error) { return []crony.RunID{id}, nil }}
	s := start(t, f)
	s.patience = 0
	r := s.run("run", "start", "hello", "--wait")
	if r.code != exitUnknown || !strings.Contains(r.stderr, "the run has not begun") || !strings.Contains(r.stderr, "crony job show hello") {
		t.Errorf("a run that never begins: %+v", r)
	}
	f.runs, f.output = []crony.Run{{ID: id, State: crony.Running}}, func(http.ResponseWriter, crony.RunID) {}
	if r := s.run("run", "start", "hello", "--wait"); r.code != exitUnknown || !strings.Contains(r.stderr, "broke off") {
		t.Errorf("a server that is gone: %+v", r)
	}
}

func TestRunStartWaitInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	f := &fake{runs: []crony.Run{{ID: id, State: crony.Running}}}
	f.started = func(string) ([]crony.RunID, *crony.Error) { return []crony.RunID{id}, nil }
	f.output = func(http.ResponseWriter, crony.RunID) { interrupt() }
	s := start(t, f)
	t.Setenv("CRONY_ADDRESS", s.address)
	t.Setenv("CRONY_TOKEN", token)
	var stderr bytes.Buffer
	code := run(ctx, []string{"run", "start", "hello", "--wait"}, strings.NewReader(""), io.Discard, &stderr)
	if code != exitInterrupted || !strings.Contains(stderr.String(), "crony run logs -f "+string(id)) {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
}

// TestRunStartWith says where and with what a job is to run.
func TestRunStartWith(t *testing.T) {
	f := &fake{started: func(string) ([]crony.RunID, *crony.Error) { return []crony.RunID{id, id}, nil }}
	s := start(t, f)
	if got := s.want("run", "start", "hello", "--agent", "db-1", "-p", "day=monday", "-p", "query=a=b", "--param", "empty="); got != string(id+"\n"+id+"\n") {
		t.Errorf("got %q", got)
	}
	request := f.ordered.Request
	f.ordered.Request = ""
	want := crony.StartOptions{Agent: "db-1", Params: map[string]string{"day": "monday", "query": "a=b", "empty": ""}}
	if diff := cmp.Diff(want, f.ordered); diff != "" || request == "" {
		t.Errorf("asked by %q for (-want +got):\n%s", request, diff)
	}
	s.want("run", "start", "hello", "--all")
	if !f.ordered.All || f.ordered.Request == request {
		t.Errorf("asked for %+v", f.ordered)
	}
	for _, wrong := range [][]string{{"--all", "--agent", "x"}, {"-p", "day"}, {"-p", "day=1", "-p", "day=2"}} {
		if r := s.run(append([]string{"run", "start", "hello"}, wrong...)...); r.code != exitWrong {
			t.Errorf("%v: %+v", wrong, r)
		}
	}
}

// TestRunStartWaitForAll follows several runs at once: lines are whole, and say whose they are; the highest exit code counts.
func TestRunStartWaitForAll(t *testing.T) {
	const other = "01KABCDEFGHJKMNPQRSTVWXYZ1"
	f := &fake{agents: []crony.AgentStatus{{Agent: crony.Agent{ID: "A1", Name: "db-1"}}, {Agent: crony.Agent{ID: "A2", Name: "db-2"}}},
		runs: []crony.Run{
			{ID: id, Agent: "A1", State: crony.Failed, Attempts: []crony.Attempt{{Number: 1, ExitCode: code(3), StdoutBytes: 8}}},
			{ID: other, Agent: "A2", State: crony.Skipped, Reason: "killed before it started by eve"}}}
	f.started = func(string) ([]crony.RunID, *crony.Error) { return []crony.RunID{id, other}, nil }
	f.output = func(w http.ResponseWriter, of crony.RunID) {
		if of == id {
			send(w, "chunk", chunk(crony.Stdout, 0, "one\ntw"))
			send(w, "chunk", chunk(crony.Stdout, 6, "o"))
			send(w, "chunk", chunk(crony.Stderr, 0, "oops\n"))
		}
		send(w, "end", nil)
	}
	s := start(t, f)
	r := s.run("run", "start", "hello", "--all", "--wait")
	if r.code != exitNotBegun || r.stdout != "db-1 | one\ndb-1 | two\n" {
		t.Errorf("got %+v", r)
	}
	for _, line := range []string{"crony: run " + string(id), "crony: run " + other, "db-1 | oops", "db-1 | crony: 1 bytes of stdout were not kept",
		"db-2 | crony: ended skipped: killed before it started by eve"} {
		if !strings.Contains(r.stderr, line+"\n") {
			t.Errorf("stderr lacks %q:\n%s", line, r.stderr)
		}
	}
}

func TestRunKill(t *testing.T) {
	f := &fake{runs: []crony.Run{{ID: id, State: crony.Running}}}
	s := start(t, f)
	if got := s.want("run", "kill", string(id)); got != string(id)+" is to be ended\n" || f.killed["reason"] != "" {
		t.Errorf("got %q for %v", got, f.killed)
	}
	if got := s.want("run", "kill", string(id), "--reason", "its agent is away"); got != string(id)+" is to be ended: its agent is away\n" {
		t.Errorf("got %q for %v", got, f.killed)
	}
	if r := s.run("run", "kill", "01KABCDEFGHJKMNPQRSTVWXYZ9"); r.code != 3 {
		t.Errorf("an unknown run: %+v", r)
	}
	if r := s.run("run", "kill", "what"); r.code == 0 || !strings.Contains(r.stderr, "not a run's id") {
		t.Errorf("no id: %+v", r)
	}
}

func TestExitAs(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  crony.Run
		code int
		says string
	}{
		{"succeeded", crony.Run{State: crony.Succeeded, Attempts: []crony.Attempt{{ExitCode: code(0)}}}, 0, ""},
		{"succeeded at the second try", crony.Run{State: crony.Succeeded, Attempts: []crony.Attempt{{ExitCode: code(9)}, {ExitCode: code(0)}}}, 0, ""},
		{"failed", crony.Run{State: crony.Failed, Attempts: []crony.Attempt{{ExitCode: code(3)}}}, 3, ""},
		{"by a signal", crony.Run{State: crony.Failed, Attempts: []crony.Attempt{{Signal: "SIGSEGV"}}}, 139, "the run ended failed"},
		{"not startable", crony.Run{State: crony.Failed, Reason: "no such interpreter"}, 123, "no such interpreter"},
		{"skipped", crony.Run{State: crony.Skipped}, 123, "the run ended skipped"},
		{"killed", crony.Run{State: crony.Killed, Attempts: []crony.Attempt{{Signal: "SIGKILL"}}}, 122, "the run ended killed"},
		{"timed out, though it left well", crony.Run{State: crony.TimedOut, Attempts: []crony.Attempt{{ExitCode: code(0)}}}, 124, "timed_out"},
		{"lost", crony.Run{State: crony.Lost, Reason: "its agent is gone"}, 125, "its agent is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			c := &cli{stderr: &stderr}
			got := 0
			if err := c.exitAs(&tt.run); err != nil {
				got = c.fail(t.Context(), nil, failure{err})
			}
			if got != tt.code || !strings.Contains(stderr.String(), tt.says) || (tt.says == "") != (stderr.Len() == 0) {
				t.Errorf("exit code %d, want %d; stderr %q", got, tt.code, stderr.String())
			}
		})
	}
}

func TestServerVersion(t *testing.T) {
	s := start(t, &fake{})
	if got := s.want("version"); !strings.Contains(got, "Server:  v9.9.9 at "+s.address) {
		t.Errorf("got\n%s", got)
	}
}
