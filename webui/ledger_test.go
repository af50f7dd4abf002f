package webui

import (
	"context"
	"net/url"
	"testing"
	"time"

	"crony"

	"github.com/google/go-cmp/cmp"
)

// fakeLedger answers what it is given, and keeps what it was asked.
type fakeLedger struct {
	page        crony.LedgerPage
	explanation crony.Explanation
	shown       crony.Verification
	err         error

	asked crony.LedgerQuery
}

func (f *fakeLedger) ListLedger(_ context.Context, q crony.LedgerQuery) (crony.LedgerPage, error) {
	f.asked = q
	return f.page, f.err
}

func (f *fakeLedger) ExplainOccurrence(_ context.Context, q crony.ExplainQuery) (crony.Explanation, error) {
	f.asked = crony.LedgerQuery{Job: q.Job, Agent: q.Agent, From: q.At}
	return f.explanation, f.err
}

func (f *fakeLedger) VerifyLedger(_ context.Context, q crony.VerifyQuery) (crony.Verification, error) {
	f.asked = crony.LedgerQuery{Job: q.Job, Agent: q.Agent, From: q.From, To: q.To}
	return f.shown, f.err
}

// look asks for something of the ledger of the job hello, as a viewer.
func (r *rig) look(t *testing.T, below string, query url.Values) answer {
	t.Helper()
	return r.do(t, call{method: "GET", path: apiBase + "/jobs/hello/" + below + "?" + query.Encode(), as: "viewer"})
}

func TestLedgerQueries(t *testing.T) {
	r := newRig(t)
	r.ledger.explanation = crony.Explanation{Job: "hello", At: noon}
	in := func(zone string) string { // noon on another clock
		at, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		return noon.In(at).Format(time.RFC3339)
	}
	later := noon.Add(1500 * time.Millisecond)
	for _, tt := range []struct {
		below string
		query url.Values
		want  crony.LedgerQuery
	}{
		{"ledger", nil, crony.LedgerQuery{Limit: crony.DefaultLimit}},
		{"ledger", url.Values{"from": {in("Asia/Kolkata")}, "to": {later.Format(time.RFC3339Nano)}, "limit": {"7"}, "cursor": {"c+/"}},
			crony.LedgerQuery{From: noon, To: later, Limit: 7, Cursor: "c+/"}},
		{"explain", url.Values{"at": {in("America/St_Johns")}}, crony.LedgerQuery{From: noon}},
		{"ledger", url.Values{"agent": {"a1"}}, crony.LedgerQuery{Agent: "a1", Limit: crony.DefaultLimit}},
		{"explain", url.Values{"at": {in("UTC")}, "agent": {"a1"}}, crony.LedgerQuery{Agent: "a1", From: noon}},
		{"verify", url.Values{"agent": {"a1"}}, crony.LedgerQuery{Agent: "a1"}},
		{"verify", nil, crony.LedgerQuery{}},
		{"verify", url.Values{"to": {in("UTC")}}, crony.LedgerQuery{To: noon}},
		{"verify", url.Values{"from": {in("Asia/Kolkata")}, "to": {in("UTC")}}, crony.LedgerQuery{From: noon, To: noon}},
	} {
		got := r.look(t, tt.below, tt.query)
		if got.StatusCode != 200 {
			t.Errorf("%s %v: %d %s", tt.below, tt.query, got.StatusCode, got.body)
		}
		tt.want.Job = "hello"
		if r.ledger.asked != tt.want { // not only the same instants: the same zone, too
			t.Errorf("%s %v: asked for %+v, want %+v", tt.below, tt.query, r.ledger.asked, tt.want)
		}
	}
}

// TestLedgerAnswers: what the ledger says arrives whole; the harness holds it against the document.
func TestLedgerAnswers(t *testing.T) {
	r := newRig(t)
	entries := []crony.LedgerEntry{
		{From: noon, To: noon, Count: 1, End: crony.EndRan, Run: r.runs.run.ID, State: crony.Succeeded, Agent: "agent-1"},
		{From: noon.Add(time.Minute), To: noon.Add(time.Hour), Count: 60, End: crony.EndSkipped, Reason: "the job was paused"},
		{From: noon.Add(2 * time.Hour), To: noon.Add(2 * time.Hour), Count: 1, End: crony.EndUnrecorded},
	}
	r.ledger.page = crony.LedgerPage{Items: entries, Next: "more"}
	if diff := cmp.Diff(r.ledger.page, decode[crony.LedgerPage](t, r.look(t, "ledger", nil).body)); diff != "" {
		t.Error(diff)
	}

	at := url.Values{"at": {noon.Format(time.RFC3339)}}
	for _, explanation := range []crony.Explanation{
		{Job: "hello", At: noon, Occurrence: true, Entry: &entries[0], Words: "It ran.", Generation: 3, Run: &r.runs.run},
		{Job: "hello", At: noon, Before: noon.Add(-time.Hour), After: noon.Add(time.Hour), Words: "Nothing was due then."},
	} {
		r.ledger.explanation = explanation
		if diff := cmp.Diff(explanation, decode[crony.Explanation](t, r.look(t, "explain", at).body)); diff != "" {
			t.Error(diff)
		}
	}

	r.ledger.shown = crony.Verification{
		Job: "hello", From: noon, To: noon.Add(time.Hour), Expected: 61, Faulty: 1,
		Ends:   map[crony.End]int64{crony.EndRan: 60, crony.EndUnrecorded: 1},
		Faults: []crony.LedgerFault{{At: noon, Kind: crony.FaultGap, Text: "nothing is recorded"}},
	}
	if diff := cmp.Diff(r.ledger.shown, decode[crony.Verification](t, r.look(t, "verify", nil).body)); diff != "" {
		t.Error(diff)
	}
}

// TestLedgerIsNeverNull: an empty page, and a verification that found nothing, have their lists.
func TestLedgerIsNeverNull(t *testing.T) {
	r := newRig(t)
	if got := r.look(t, "ledger", nil); string(got.body) != `{"items":[]}` {
		t.Errorf("%s", got.body)
	}
	r.ledger.shown = crony.Verification{Job: "hello", From: noon, To: noon, Complete: true}
	got := decode[map[string]any](t, r.look(t, "verify", nil).body)
	if diff := cmp.Diff([]any{[]any{}, map[string]any{}}, []any{got["faults"], got["ends"]}); diff != "" {
		t.Error(diff)
	}
}

func TestLedgerRefuses(t *testing.T) {
	r := newRig(t)
	r.ledger.err = crony.Errorf(crony.NotFound, "there never was a job %q", "hello")
	at := url.Values{"at": {noon.Format(time.RFC3339)}}
	for below, query := range map[string]url.Values{"ledger": nil, "explain": at, "verify": nil} {
		got := r.look(t, below, query)
		if p := got.problem(t); got.StatusCode != 404 || p.Detail != `there never was a job "hello"` {
			t.Errorf("%s: %d %s", below, got.StatusCode, got.body)
		}
	}
}
