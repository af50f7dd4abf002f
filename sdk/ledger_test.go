package sdk

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// answerAs answers with v as the server writes it.
func answerAs(t *testing.T, v any) http.HandlerFunc {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return answer(200, "application/json", string(body))
}

func TestLedgerAnswers(t *testing.T) {
	noon := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	entry := crony.LedgerEntry{From: noon, To: noon.Add(time.Hour), Count: 61, End: crony.EndMissed, Reason: "no agent had it"}
	page := crony.LedgerPage{Items: []crony.LedgerEntry{entry}, Next: "more"}
	explanation := crony.Explanation{Job: "j", At: noon, Occurrence: true, Entry: &entry, Words: "It was missed.", Generation: 3}
	shown := crony.Verification{Job: "j", From: noon, To: noon.Add(time.Hour), Expected: 61, Faulty: 1, Complete: true,
		Ends:   map[crony.End]int64{crony.EndMissed: 60, crony.EndUnrecorded: 1},
		Faults: []crony.LedgerFault{{At: noon, Kind: crony.FaultGap, Text: "nothing is recorded"}}}
	calendar := crony.CalendarStatus{Calendar: crony.Calendar{Name: "cn"}, UpdatedAt: noon, Jobs: []string{"j"}}
	c := serve(t, map[string]http.HandlerFunc{
		"GET /api/v1/jobs/j/ledger":   answerAs(t, page),
		"GET /api/v1/jobs/j/explain":  answerAs(t, explanation),
		"GET /api/v1/jobs/j/verify":   answerAs(t, shown),
		"GET /api/v1/calendars":       answerAs(t, map[string]any{"items": []crony.CalendarStatus{calendar}}),
		"GET /api/v1/calendars/cn":    answerAs(t, calendar),
		"DELETE /api/v1/calendars/cn": answer(204, "", ""),
		"DELETE /api/v1/calendars/kept": answer(409, "application/problem+json",
			`{"code":"conflict","detail":"2 jobs keep it","hint":"take it from them first"}`),
	})
	gotPage, err := c.ListLedger(t.Context(), crony.LedgerQuery{Job: "j"})
	equal(t, page, gotPage, err)
	gotExplanation, err := c.ExplainOccurrence(t.Context(), crony.ExplainQuery{Job: "j", At: noon})
	equal(t, explanation, gotExplanation, err)
	gotShown, err := c.VerifyLedger(t.Context(), crony.VerifyQuery{Job: "j"})
	equal(t, shown, gotShown, err)
	gotCalendars, err := c.ListCalendars(t.Context())
	equal(t, []crony.CalendarStatus{calendar}, gotCalendars, err)
	gotCalendar, err := c.Calendar(t.Context(), "cn")
	equal(t, calendar, gotCalendar, err)
	if err := c.DeleteCalendar(t.Context(), "cn"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteCalendar(t.Context(), "kept"); crony.CodeOf(err) != crony.Conflict ||
		err.Error() != "2 jobs keep it (take it from them first)" {
		t.Errorf("got %v", err)
	}
}

func equal(t *testing.T, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
