package runlog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/storetest"
)

// withResult is a run's life that ends with a result, which is to be handled.
func withResult(job string, at time.Time) []crony.Fact {
	facts := storetest.Life(crony.OccurrenceRunID(job, at, ""), job, "a1", crony.Succeeded)
	facts[0].Claimed.Handle = true
	return append(facts, crony.Fact{
		Run: facts[0].Run, Seq: crony.CalleeSeq, At: at, Result: &crony.ResultFact{Data: []byte(`{"rows":3}`)},
	})
}

func wantToHandle(t *testing.T, l *Log, what string, want int64) {
	t.Helper()
	q := crony.RunQuery{ToHandle: true, Count: true, Limit: crony.MaxLimit}
	p, err := l.ListRuns(t.Context(), q)
	if err != nil || p.Count.Runs != want || p.Count.More || want == 0 && p.Next != "" {
		t.Errorf("%s: counted %+v, next %q, %v; want %d", what, p.Count, p.Next, err, want)
	}
	found := int64(len(p.Items))
	for q.Count = false; p.Next != "" && err == nil; found += int64(len(p.Items)) {
		q.Cursor = p.Next
		p, err = l.ListRuns(t.Context(), q)
	}
	if err != nil || found != want {
		t.Errorf("%s: %d runs to handle, %v; want %d", what, found, err, want)
	}
}

// TestToHandle lists what is to be handled among many runs and over many days, at the price of what is found.
func TestToHandle(t *testing.T) {
	for _, settle := range []int{1, 1 << 20} {
		l := openTest(t, Options{settle: settle})
		for day := range 90 { // the days that are kept, most of which have nothing to handle
			at := noon().AddDate(0, 0, -day)
			mustAppend(t, l, storetest.Life(crony.OccurrenceRunID("other", at, ""), "other", "a1", crony.Succeeded), nil)
		}
		wantToHandle(t, l, "nothing", 0)
		var facts []crony.Fact
		for n := range 300 {
			facts = append(facts, withResult("job", noon().Add(-time.Duration(n)*8*time.Hour))...)
		}
		mustAppend(t, l, facts[:len(facts)-len(withResult("job", noon()))], nil)
		wantToHandle(t, l, "all but the last", 299)
		first := withResult("job", noon())
		handled := (&crony.Handled{By: "alice", At: noon(), Request: "r1"}).Fact(first[0].Run)
		mustAppend(t, l, []crony.Fact{handled, handled}, nil)
		wantToHandle(t, l, "one is handled", 298)
		other := (&crony.Handled{By: "bob", At: noon(), Request: "r2"}).Fact(first[0].Run)
		if err := l.Append(t.Context(), []crony.Fact{other}, nil); crony.CodeOf(err) != crony.Conflict {
			t.Errorf("handled once more: %v", err)
		}
		if run, err := l.Run(t.Context(), first[0].Run); err != nil || run.ToHandle || run.Handled == nil || run.Handled.By != "alice" {
			t.Errorf("%+v, %v", run, err)
		}
		l.sound(t)
	}
}

// TestHandledIsHeardOf tells those who listen of a result, and that it is handled, though the run has ended long before.
func TestHandledIsHeardOf(t *testing.T) {
	l := openTest(t, Options{})
	changes := l.Subscribe(t.Context())
	facts := withResult("job", noon())
	end := len(facts) - 1
	mustAppend(t, l, facts[:end], nil)
	mustAppend(t, l, facts[end:], nil)
	mustAppend(t, l, []crony.Fact{(&crony.Handled{By: "alice", At: noon(), Request: "r1"}).Fact(facts[0].Run)}, nil)
	var seen []string
	for len(seen) < 3 {
		run := (<-changes).Run
		seen = append(seen, fmt.Sprintf("%s %v %v", run.State, run.ToHandle, run.Handled != nil))
	}
	if got, want := fmt.Sprint(seen), "[succeeded false false succeeded true false succeeded false true]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestRetentionTakesResults removes runs whose results nobody has handled, and with them that they wait.
func TestRetentionTakesResults(t *testing.T) {
	l := openTest(t, Options{Now: func() time.Time { return noon().AddDate(0, 0, 2) }})
	for n := range 5 {
		mustAppend(t, l, withResult("job", noon().Add(time.Duration(n)*time.Hour)), nil)
	}
	k := &keeping{log: l, policy: Policy{Jobs: keeps(map[string]crony.Retention{"job": {Runs: 2}})}}
	if err := k.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantToHandle(t, l, "after retention", 2)
	gone := withResult("job", noon())[0].Run
	mustAppend(t, l, []crony.Fact{(&crony.Handled{By: "alice", At: noon(), Request: "r1"}).Fact(gone)}, nil)
	if _, err := l.Run(t.Context(), gone); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a run that is not kept is back: %v", err)
	}
	wantToHandle(t, l, "after one of before is marked", 2)
	l.sound(t)
}

// TestLargeResults makes pages shorter whose results would be a lot to hold at once.
func TestLargeResults(t *testing.T) {
	l := openTest(t, Options{})
	var facts []crony.Fact
	for n := range 200 {
		own := withResult("job", noon().Add(time.Duration(n)*time.Second))
		own[len(own)-1].Result.Data = []byte(`"` + strings.Repeat("x", crony.MaxResult-2) + `"`)
		facts = append(facts, own...)
	}
	mustAppend(t, l, facts, nil)
	p, err := l.ListRuns(t.Context(), crony.RunQuery{Limit: crony.MaxLimit})
	if n := len(p.Items) * crony.MaxResult; err != nil || p.Next == "" || n < pageResults || n > pageResults+crony.MaxResult {
		t.Errorf("a page of %d runs, next %q, %v", len(p.Items), p.Next, err)
	}
	wantToHandle(t, l, "on all pages", 200)
}
