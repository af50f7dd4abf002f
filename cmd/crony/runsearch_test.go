package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func someHits() []crony.OutputHit {
	return []crony.OutputHit{
		{Run: "R2", Job: "etl", Agent: "A1", Attempt: 1, Stream: crony.Stderr, Offset: 70, Line: "oops \x1b[2J", Match: [2]int{0, 4},
			Before: []string{"one", ""}, After: []string{"two"}},
		{Run: "R1", Job: "etl", Agent: "A1", Attempt: 1, Stream: crony.Stdout, Line: "oops"},
	}
}

func TestRunSearch(t *testing.T) {
	f := &fake{hits: someHits()}
	s := start(t, f)
	want := "etl R2 stderr:70: oops \x1b[2J\netl R1 stdout:0: oops\n"
	f.hits[0].Before, f.hits[0].After = nil, nil
	if diff := cmp.Diff(want, s.want("run", "search", "oops")); diff != "" {
		t.Error(diff)
	}
	f.hits = someHits()
	want = `etl R2 stderr- one
etl R2 stderr- 
etl R2 stderr:70: oops ` + "\x1b[2J" + `
etl R2 stderr- two
--
etl R1 stdout:0: oops
`
	if diff := cmp.Diff(want, s.want("run", "search", "oops", "-C", "2")); diff != "" {
		t.Error(diff)
	}
	if got := f.query.Get("context"); got != "2" {
		t.Errorf("asked for context %q", got)
	}
	f.pages = 0
	if got := s.want("run", "search", "oops", "--limit", "1"); strings.Contains(got, "R1") || f.pages != 2 {
		t.Errorf("with a limit, from %d pages:\n%s", f.pages, got)
	}
	var got []crony.OutputHit
	if err := json.Unmarshal([]byte(s.want("run", "search", "oops", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(someHits(), got); diff != "" {
		t.Error(diff)
	}
	f.hits = nil
	for _, form := range []string{"table", "json"} {
		r := s.run("run", "search", "oops", "-o", form)
		if r.code != 1 || r.stderr != "" {
			t.Errorf("nothing found: %+v", r)
		}
	}
}

func TestRunSearchAsks(t *testing.T) {
	f := &fake{hits: someHits(), agents: []crony.AgentStatus{{Agent: crony.Agent{ID: "A1", Name: "db-1"}}}}
	s := start(t, f)
	s.want("run", "search", "--regexp", "o+ps", "--job", "etl", "--agent", "db-1", "--state", "failed", "--group", "g",
		"--trigger", "manual", "--label", "a=b", "--label", "c=d=e", "--since", "2027-01-01", "--until", "-1h", "--tz", "Europe/Berlin",
		"--longer", "90s", "--shorter", "1d")
	f.query.Del("cursor")
	want := "agent=A1&from=2026-12-31T23%3A00%3A00Z&group=g&job=etl&label=a%3Db&label=c%3Dd%3De&limit=500&longer=1m30s&pattern=o%2Bps" +
		"&shorter=24h0m0s&state=failed&to=2027-03-01T11%3A00%3A00Z&trigger=manual"
	if diff := cmp.Diff(want, f.query.Encode()); diff != "" {
		t.Error(diff)
	}
	f.query = nil
	for _, args := range [][]string{
		{"--label", "a"}, {"--label", "a=b", "--label", "a=c"}, {"--trigger", "boot"}, {"--state", "done"}, {"--since", "yesterday"},
		{"--since", "-1h", "--until", "-2h"}, {"--longer", "0s"}, {"--shorter", "long"}, {"--limit", "-1"},
	} {
		if r := s.run(append([]string{"run", "search", "a"}, args...)...); r.code != 2 || f.query != nil {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestRunSearchOnATerminal says how far it has come, and shows what would make a terminal do something.
func TestRunSearchOnATerminal(t *testing.T) {
	f := &fake{hits: someHits()}
	s := start(t, f)
	s.shown, s.watched = true, true
	r := s.run("run", "search", "oops")
	if !strings.Contains(r.stdout, "etl R2 stderr:70: oops ^[[2J\n") {
		t.Errorf("%q", r.stdout)
	}
	if !strings.Contains(r.stderr, "looked at 2.0MiB of output, back to 2027-03-01 11:00") || !strings.HasSuffix(r.stderr, "\r\x1b[K") {
		t.Errorf("%q", r.stderr)
	}
}

// TestRunSearchBearsWithAServer goes on where it was when the server comes back, and does not wait for one that never was.
func TestRunSearchBearsWithAServer(t *testing.T) {
	f := &fake{hits: someHits()}
	calls := 0
	s := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 3 || calls == 4 {
			refuse(w, crony.Errorf(crony.Unavailable, "the server stops"))
			return
		}
		f.ServeHTTP(w, r)
	})
	if got := s.want("run", "search", "oops"); strings.Count(got, "\n") != 5 {
		t.Errorf("got\n%s", got)
	}
	calls = 3
	if r := s.run("run", "search", "oops"); r.code != 1 || !strings.Contains(r.stderr, "the server stops") {
		t.Errorf("%+v", r)
	}
}

func TestRunListCount(t *testing.T) {
	f := &fake{runs: manyRuns(3), count: &crony.RunCount{Runs: 1234}}
	s := start(t, f)
	if got := s.want("run", "list", "--count", "--since", "-1h"); got != "1234\n" || f.query.Get("count") != "true" {
		t.Errorf("%q, asked %v", got, f.query)
	}
	f.count.More = true
	if got := s.want("run", "list", "--count"); got != "at least 1234\n" {
		t.Errorf("%q", got)
	}
	if got := s.want("run", "list", "--count", "-o", "yaml"); got != "runs: 1234\nmore: true\n" {
		t.Errorf("%q", got)
	}
	f.count = nil
	if r := s.run("run", "list", "--count"); r.code != 1 || !strings.Contains(r.stderr, "does not count") {
		t.Errorf("%+v", r)
	}
}

func TestJobHistory(t *testing.T) {
	f := &fake{jobs: map[string]*crony.JobStatus{"idle": {}}, history: []crony.DayFigures{
		{Day: "2027-03-01", Counts: crony.RunCounts{Succeeded: 99, Failed: 1, Skipped: 5}, CPUSeconds: 90,
			Durations: &crony.Durations{P50: 0.25, P90: 2, P99: 3, Max: 61.4}},
		{Day: "2027-02-27", Counts: crony.RunCounts{Lost: 1}},
		{Day: "2027-02-26", Counts: crony.RunCounts{Succeeded: 1}},
	}}
	s := start(t, f)
	want := `·▁█·▃

DAY         RUNS  SUCCEEDED  FAILED  TIMED OUT  KILLED  LOST  SKIPPED  P50    P90  MAX   CPU
2027-03-01  105   99         1       -          -       -     5        250ms  2s   1m1s  1m30s
2027-02-27  1     -          -       -          -       1     -        -      -    -     0s
2027-02-26  1     1          -       -          -       -     -        -      -    -     0s
`
	if diff := cmp.Diff(want, s.want("job", "history", "etl", "--days", "5")); diff != "" {
		t.Error(diff)
	}
	if f.query.Get("days") != "5" {
		t.Errorf("asked for %v", f.query)
	}
	var got []crony.DayFigures
	if err := json.Unmarshal([]byte(s.want("job", "history", "etl", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.history, got); diff != "" {
		t.Error(diff)
	}
	f.history = nil
	if got := s.want("job", "history", "idle", "-o", "json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
	if r := s.run("job", "history", "none"); r.code != 3 {
		t.Errorf("%+v", r)
	}
	if r := s.run("job", "history", "idle", "--days", "401"); r.code != 2 || !strings.Contains(r.stderr, "1 to 400") {
		t.Errorf("%+v", r)
	}
}

func TestHeat(t *testing.T) {
	for _, tt := range []struct {
		counts crony.RunCounts
		want   rune
	}{
		{crony.RunCounts{Skipped: 3}, '·'},
		{crony.RunCounts{Succeeded: 1, Skipped: 9}, '▁'},
		{crony.RunCounts{Succeeded: 9, Killed: 1}, '▃'},
		{crony.RunCounts{Succeeded: 1, TimedOut: 1}, '▅'},
		{crony.RunCounts{Succeeded: 1, Lost: 2}, '█'},
	} {
		if got := heat(tt.counts); got != tt.want {
			t.Errorf("%+v: %c, want %c", tt.counts, got, tt.want)
		}
	}
	if got := seconds(0.25 + time.Hour.Seconds()); got != "1h0m0s" {
		t.Errorf("got %s", got)
	}
}
