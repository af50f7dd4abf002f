package webui

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// TestEveryConditionOfAList brings each parameter to the store.
func TestEveryConditionOfAList(t *testing.T) {
	r := newRig(t)
	r.runs.count = &crony.RunCount{Runs: 7, More: true}
	got := r.do(t, call{method: "GET", as: "viewer", path: apiBase + "/runs?job=j&agent=a&state=lost&group=g&trigger=manual" +
		"&label=team%3Da%3Db&label=tier%3D&from=2027-01-01T01:00:00%2B01:00&to=2027-02-01T00:00:00Z" +
		"&longer=1d&shorter=36h&count=true&limit=5&cursor=c"})
	want := crony.RunQuery{
		Job: "j", Agent: "a", State: crony.Lost, Group: "g", Trigger: crony.ByHand,
		Labels: map[string]string{"team": "a=b", "tier": ""},
		From:   time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
		Longer: 24 * time.Hour, Shorter: 36 * time.Hour, Count: true, Limit: 5, Cursor: "c",
	}
	if diff := cmp.Diff(want, r.runs.query); diff != "" {
		t.Errorf("the query (-want +got):\n%s", diff)
	}
	var page crony.RunPage
	if err := json.Unmarshal(got.body, &page); err != nil || page.Count == nil || *page.Count != *r.runs.count {
		t.Errorf("%v: %s", err, got.body)
	}
	r.do(t, call{method: "GET", as: "viewer", path: apiBase + "/runs"})
	if diff := cmp.Diff(crony.RunQuery{Limit: crony.DefaultLimit}, r.runs.query); diff != "" {
		t.Errorf("without any (-want +got):\n%s", diff)
	}
}

// TestSearchOutput brings each parameter to the store, and its answer back.
func TestSearchOutput(t *testing.T) {
	r := newRig(t)
	r.finds.page = crony.OutputPage{Next: "more", Runs: 2, Bytes: 9, Reached: noon, Items: []crony.OutputHit{{
		Run: r.runs.run.ID, Job: "hello", Agent: "agent-1", Attempt: 1, Stream: crony.Stderr, Offset: 5, At: noon,
		Line: "a <b>", Match: [2]int{2, 5}, Before: []string{""}, After: []string{"x", "y"},
	}}}
	got := r.do(t, call{method: "GET", as: "viewer", path: apiBase + "/outputs/search?pattern=a%2B%20b&context=2&limit=7&cursor=c" +
		"&job=j&agent=a&state=lost&group=g&trigger=manual&label=x%3Dy&from=2027-01-01T00:00:00Z&to=2027-02-01T00:00:00Z" +
		"&longer=1m&shorter=1h"})
	want := crony.OutputQuery{
		Pattern: "a+ b", Limit: 7, Cursor: "c", Context: 2, Runs: crony.RunQuery{
			Job: "j", Agent: "a", State: crony.Lost, Group: "g", Trigger: crony.ByHand, Labels: map[string]string{"x": "y"},
			From: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
			Longer: time.Minute, Shorter: time.Hour,
		},
	}
	if diff := cmp.Diff(want, r.finds.query); diff != "" {
		t.Errorf("the query (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(r.finds.page, decode[crony.OutputPage](t, got.body)); diff != "" {
		t.Errorf("the page (-want +got):\n%s", diff)
	}
	r.finds.page = crony.OutputPage{}
	got = r.do(t, call{method: "GET", as: "viewer", path: apiBase + "/outputs/search?text=%E4%B8%96+%0A"})
	if r.finds.query.Text != "世 \n" || r.finds.query.Limit != crony.DefaultLimit {
		t.Errorf("asked for %+v", r.finds.query)
	}
	if want := `{"items":[],"runs":0,"bytes":0}`; string(bytes.TrimSpace(got.body)) != want {
		t.Errorf("%s, want %s", got.body, want)
	}
}

func TestFigures(t *testing.T) {
	r := newRig(t)
	r.finds.history = []crony.DayFigures{{Day: "2027-01-31", Counts: crony.RunCounts{Failed: 3}, CPUSeconds: 1.5,
		Durations: &crony.Durations{P50: 1, P90: 2, P99: 3, Max: 4}}}
	for path, want := range map[string]struct {
		job  string
		days int
	}{"/history": {"", 30}, "/history?days=400": {"", 400}, "/jobs/hello/history?days=7": {"hello", 7}} {
		got := r.do(t, call{method: "GET", as: "viewer", path: apiBase + path})
		answer := decode[struct{ Items []crony.DayFigures }](t, got.body)
		if diff := cmp.Diff(r.finds.history, answer.Items); diff != "" || r.finds.job != want.job || r.finds.days != want.days {
			t.Errorf("%s asked for %q, %d days:\n%s", path, r.finds.job, r.finds.days, diff)
		}
	}
	got := r.do(t, call{method: "GET", as: "viewer", path: apiBase + "/overview"})
	if !bytes.Contains(got.body, []byte(`"hours":[]`)) || !bytes.Contains(got.body, []byte(`"worst":[]`)) {
		t.Errorf("null where a list should be: %s", got.body)
	}
	r.finds.figures = crony.Overview{Running: 2, Hours: []crony.HourFigures{{From: noon}},
		Day: r.finds.history[0], Worst: []crony.JobFigures{{Job: "hello", Counts: crony.RunCounts{Lost: 1}}}}
	got = r.do(t, call{method: "GET", as: "viewer", path: apiBase + "/overview"})
	if diff := cmp.Diff(r.finds.figures, decode[crony.Overview](t, got.body)); diff != "" {
		t.Errorf("the overview (-want +got):\n%s", diff)
	}
	r.finds.err = crony.Errorf(crony.Unavailable, "not now")
	for _, path := range []string{"/overview", "/history", "/outputs/search?text=a"} {
		if got := r.do(t, call{method: "GET", as: "viewer", path: apiBase + path}); got.StatusCode != 503 {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}
