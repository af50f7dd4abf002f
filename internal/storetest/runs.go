// Package storetest holds the contracts of crony's stores as tests. Every implementation of a store's interface is run
// through the same ones, whatever stands behind it: a file, a cluster, or a server at the other end of a connection.
//
// The one thing to know: a suite uses the interface only, and the one function that fills the store. What it can't see
// through the interface is no part of the contract.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

// patience is how long a test waits for what must come; only a failing test waits so long.
const patience = 20 * time.Second

// AppendRuns stores facts and chunks in the store that is tested, and returns when the store shows them. It ends the test if
// it can't. It is called from several goroutines.
type AppendRuns func(facts []crony.Fact, chunks []crony.Chunk)

// Runs tests a [crony.RunRecords]. Open returns an empty one, for the time of the test that it is given.
func Runs(t *testing.T, open func(t *testing.T) (crony.RunRecords, AppendRuns)) {
	for name, test := range map[string]func(*runsTest, context.Context){
		"unknown run":           (*runsTest).unknown,
		"life of a run":         (*runsTest).life,
		"facts in any order":    (*runsTest).anyOrder,
		"filters":               (*runsTest).filters,
		"pages":                 (*runsTest).pages,
		"pages while runs come": (*runsTest).pagesWhileRunsCome,
		"wrong queries":         (*runsTest).wrongQueries,
		"output in order":       (*runsTest).outputInOrder,
		"output in bulk":        (*runsTest).outputInBulk,
		"follow to the end":     (*runsTest).followToTheEnd,
		"follow an ended run":   (*runsTest).followEnded,
		"follow without loss":   (*runsTest).followWithoutLoss,
		"stop reading":          (*runsTest).stopReading,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			store, add := open(t)
			test(&runsTest{T: t, store: store, add: add}, ctx)
		})
	}
}

// Life returns the facts of a run from its claim to its end: claimed, started, exited, ended. It takes a second; the instant
// in its id is when it was due.
func Life(id crony.RunID, job, agent string, end crony.RunState) []crony.Fact {
	due, code := id.Time(), 0
	if end != crony.Succeeded {
		code = 1
	}
	return []crony.Fact{
		{Run: id, Seq: 1, At: due.Add(-time.Second), Claimed: &crony.ClaimedFact{
			Job: job, JobUID: "uid-" + job, Generation: 3, Group: crony.DefaultGroup, Agent: agent,
			Trigger: crony.BySchedule, ScheduledAt: due, Epoch: 7,
		}},
		{Run: id, Seq: 2, At: due.Add(time.Millisecond), Started: &crony.StartedFact{Attempt: 1, PID: 4711}},
		{Run: id, Seq: 3, At: due.Add(time.Second), Exited: &crony.ExitedFact{
			Attempt: 1, ExitCode: &code, CPUSeconds: 0.25, MaxRSS: 1 << 20, StdoutBytes: 12,
		}},
		{Run: id, Seq: 4, At: due.Add(time.Second + time.Microsecond), Ended: &crony.EndedFact{
			State: end, Reason: "it " + string(end),
		}},
	}
}

// runsTest is one test of the suite.
type runsTest struct {
	*testing.T
	store crony.RunRecords
	add   AppendRuns
}

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// runAt returns the id of a run that is due n minutes after noon.
func runAt(n int) crony.RunID {
	return crony.OccurrenceRunID("uid", noon().Add(time.Duration(n)*time.Minute), "")
}

func (t *runsTest) unknown(ctx context.Context) {
	t.add(Life(runAt(1), "backup", "a1", crony.Succeeded), nil)
	if _, err := t.store.Run(ctx, runAt(0)); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("an unknown run: %v, want not_found", err)
	}
	for _, follow := range []bool{false, true} {
		n := 0
		for c, err := range t.store.Output(ctx, runAt(0), follow) {
			if n++; crony.CodeOf(err) != crony.NotFound {
				t.Errorf("output of an unknown run (follow %v): %v, %v, want not_found", follow, c, err)
			}
		}
		if n != 1 {
			t.Errorf("output of an unknown run (follow %v) has %d pairs, want the error alone", follow, n)
		}
	}
}

func (t *runsTest) life(ctx context.Context) {
	facts := Life(runAt(0), "backup", "a1", crony.Failed)
	for n := range facts {
		t.add(facts[n:n+1], nil)
		t.wantRun(ctx, facts[:n+1])
	}
	t.add(facts, nil)
	t.wantRun(ctx, facts)
}

func (t *runsTest) anyOrder(ctx context.Context) {
	facts := Life(runAt(0), "backup", "a1", crony.Succeeded)
	t.add([]crony.Fact{facts[3], facts[1]}, nil)
	if r, err := t.store.Run(ctx, runAt(0)); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a run without its first fact is %+v, %v, want not_found", r, err)
	}
	if got := t.all(ctx, crony.RunQuery{}); len(got) != 0 {
		t.Errorf("a run without its first fact is listed: %+v", got)
	}
	t.add([]crony.Fact{facts[2], facts[0], facts[1]}, nil)
	t.wantRun(ctx, facts)
}

// wantRun checks that the run of facts is their fold, by itself and in the list of its state alone.
func (t *runsTest) wantRun(ctx context.Context, facts []crony.Fact) {
	t.Helper()
	want, _ := crony.Fold(facts)
	got, err := t.store.Run(ctx, want.ID)
	if err != nil {
		t.Fatalf("after %d facts: %v", len(facts), err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("after %d facts (-want +got):\n%s", len(facts), diff)
	}
	for _, state := range crony.Claimed.Allowed() {
		var listed []crony.Run
		if want.State == crony.RunState(state) {
			listed = append(listed, want)
		}
		got := t.all(ctx, crony.RunQuery{State: crony.RunState(state)})
		if diff := cmp.Diff(listed, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("in state %s after %d facts (-want +got):\n%s", state, len(facts), diff)
		}
	}
}

// all returns the runs of every page of q.
func (t *runsTest) all(ctx context.Context, q crony.RunQuery) (runs []crony.Run) {
	t.Helper()
	for pages := 0; ; pages++ {
		p, err := t.store.ListRuns(ctx, q)
		if err != nil {
			t.Fatalf("list %+v: %v", q, err)
		}
		if limit, _ := crony.PageLimit(q.Limit); len(p.Items) > limit {
			t.Fatalf("list %+v: %d runs on a page", q, len(p.Items))
		}
		runs = append(runs, p.Items...)
		if q.Cursor = p.Next; q.Cursor == "" {
			return runs
		}
		if pages > 10_000 {
			t.Fatalf("list %+v: the pages do not end", q)
		}
	}
}

func ids(runs []crony.Run) []crony.RunID {
	out := make([]crony.RunID, 0, len(runs))
	for _, r := range runs {
		out = append(out, r.ID)
	}
	return out
}

// populate stores n runs, hours apart, of three jobs, two agents and every state, and returns them newest first.
func (t *runsTest) populate(n int) []crony.Run {
	t.Helper()
	var facts []crony.Fact
	var runs []crony.Run
	for i := range n {
		job, agent := fmt.Sprintf("job-%d", i%3), fmt.Sprintf("a%d", i%2)
		state := crony.RunState(crony.Claimed.Allowed()[i/2%9])
		own := Life(runAt(97*i), job, agent, state)
		switch state {
		case crony.Claimed:
			own = own[:1]
		case crony.Running:
			own = own[:2]
		case crony.Waiting:
			own[3].Ended, own[3].Waiting = nil, &crony.WaitingFact{Attempt: 1, Until: own[3].At.Add(time.Minute), Reason: "it waits"}
		case crony.Skipped:
			own = []crony.Fact{own[0], own[3]}
		}
		r, _ := crony.Fold(own)
		facts, runs = append(facts, own...), append(runs, r)
	}
	t.add(facts, nil)
	slices.Reverse(runs)
	return runs
}

func (t *runsTest) filters(ctx context.Context) {
	runs := t.populate(80)
	for _, job := range []string{"", "job-1", "job-2", "job", "nothing"} {
		for _, agent := range []string{"", "a1", "a2"} {
			for _, state := range append(crony.Claimed.Allowed(), "") {
				state := crony.RunState(state)
				q := crony.RunQuery{Job: job, Agent: agent, State: state, Limit: 4}
				want := slices.DeleteFunc(slices.Clone(runs), func(r crony.Run) bool {
					return job != "" && r.Job != job || agent != "" && r.Agent != agent || state != "" && r.State != state
				})
				if diff := cmp.Diff(want, t.all(ctx, q), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%+v (-want +got):\n%s", q, diff)
				}
			}
		}
	}
}

func (t *runsTest) pages(ctx context.Context) {
	runs := t.populate(30)
	for _, limit := range []int{1, 7, 29, 30, 31, crony.MaxLimit} {
		if diff := cmp.Diff(ids(runs), ids(t.all(ctx, crony.RunQuery{Limit: limit}))); diff != "" {
			t.Errorf("by %d (-want +got):\n%s", limit, diff)
		}
	}
	t.populate(crony.DefaultLimit + 1)
	p, err := t.store.ListRuns(ctx, crony.RunQuery{})
	if err != nil || len(p.Items) != crony.DefaultLimit || p.Next == "" {
		t.Errorf("without a limit: %d runs, next %q, %v; want %d and a next", len(p.Items), p.Next, err, crony.DefaultLimit)
	}
}

func (t *runsTest) pagesWhileRunsCome(ctx context.Context) {
	before := ids(t.populate(40))
	q, got := crony.RunQuery{Limit: 3}, []crony.RunID(nil)
	for n := 0; ; n++ {
		p, err := t.store.ListRuns(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids(p.Items)...)
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
		t.add(Life(runAt(97*40+n), "late", "a9", crony.Succeeded), nil)
	}
	if diff := cmp.Diff(before, got); diff != "" {
		t.Errorf("runs that were there when the first page was read (-want +got):\n%s", diff)
	}
}

func (t *runsTest) wrongQueries(ctx context.Context) {
	t.populate(5)
	for name, q := range map[string]crony.RunQuery{
		"limit below": {Limit: -1}, "limit above": {Limit: crony.MaxLimit + 1},
		"cursor": {Cursor: "nonsense"}, "state": {State: "happy"},
	} {
		if _, err := t.store.ListRuns(ctx, q); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}
