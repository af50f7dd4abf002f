package webui

import (
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
