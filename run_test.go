package crony_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// TestFold: a run is the same in whatever order, and however often, its facts come; and what its agent or its callee says, even
// late, outweighs a server's verdict.
func TestFold(t *testing.T) {
	due := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	id := crony.OccurrenceRunID("uid", due, "")
	fact := func(seq int, f crony.Fact) crony.Fact {
		f.Run, f.Seq, f.At = id, seq, due.Add(time.Duration(seq%crony.CalleeSeq)*time.Second)
		return f
	}
	code := 3
	claimed := fact(1, crony.Fact{Claimed: &crony.ClaimedFact{Job: "a", JobUID: "uid", Agent: "a1", Trigger: crony.BySchedule,
		ScheduledAt: due}})
	started := fact(2, crony.Fact{Started: &crony.StartedFact{Attempt: 1, PID: 7}})
	exited := fact(3, crony.Fact{Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &code}})
	failed := fact(4, crony.Fact{Ended: &crony.EndedFact{State: crony.Failed, Reason: "exit code 3"}})
	begun := fact(crony.CalleeSeq, crony.Fact{Progress: &crony.ProgressFact{Percent: 10, Message: "begun"}})
	half := fact(crony.CalleeSeq+1, crony.Fact{Progress: &crony.ProgressFact{Percent: 50}})
	first := fact(crony.CalleeSeq+2, crony.Fact{Result: &crony.ResultFact{Data: json.RawMessage(`{"rows":3}`)}})
	second := fact(crony.CalleeSeq+3, crony.Fact{Result: &crony.ResultFact{Data: json.RawMessage(`{"rows":4}`)}})
	verdict := fact(crony.VerdictSeq, crony.Fact{Ended: &crony.EndedFact{State: crony.Lost, Reason: "not heard of"}})

	for name, c := range map[string]struct {
		facts    []crony.Fact
		state    crony.RunState
		percent  int // -1: no progress
		result   string
		attempts int
	}{
		"claimed":                   {[]crony.Fact{claimed}, crony.Claimed, -1, "", 0},
		"running":                   {[]crony.Fact{claimed, started}, crony.Running, -1, "", 1},
		"failed":                    {[]crony.Fact{claimed, started, exited, failed}, crony.Failed, -1, "", 1},
		"lost":                      {[]crony.Fact{claimed, started, verdict}, crony.Lost, -1, "", 1},
		"lost, and corrected":       {[]crony.Fact{claimed, started, exited, failed, verdict}, crony.Failed, -1, "", 1},
		"half done":                 {[]crony.Fact{claimed, started, begun, half}, crony.Running, 50, "", 1},
		"a result":                  {[]crony.Fact{claimed, started, begun, first}, crony.Running, 10, `{"rows":3}`, 1},
		"a second result":           {[]crony.Fact{claimed, started, half, first, second}, crony.Running, 50, `{"rows":3}`, 1},
		"a result of what was lost": {[]crony.Fact{claimed, started, first, verdict}, crony.Lost, -1, `{"rows":3}`, 1},
		"a result, and its agent's end": {[]crony.Fact{claimed, started, exited, failed, half, first, verdict}, crony.Failed, 50,
			`{"rows":3}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			want, known := crony.Fold(c.facts)
			percent := -1
			if want.Progress != nil {
				percent = want.Progress.Percent
			}
			if !known || want.State != c.state || percent != c.percent || string(want.Result) != c.result || len(want.Attempts) != c.attempts {
				t.Errorf("%+v, progress %d, result %s", want, percent, want.Result)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 50 {
				facts := append(slices.Clone(c.facts), c.facts[rng.IntN(len(c.facts))])
				rng.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
				if got, known := crony.Fold(facts); !known || cmp.Diff(want, got) != "" {
					t.Fatalf("in another order: %s", cmp.Diff(want, got))
				}
			}
		})
	}
	if r, known := crony.Fold([]crony.Fact{started, failed, half}); known {
		t.Errorf("a run of which nobody knows what it is: %+v", r)
	}
}

// TestFoldMoved has a run go from one agent to another, and back.
func TestFoldMoved(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	facts := []crony.Fact{
		{Claimed: &crony.ClaimedFact{Job: "a", JobUID: "uid", Agent: "a1", Trigger: crony.BySchedule, ScheduledAt: at, Generation: 3,
			Group: "default", Epoch: 7, Handle: true, Params: map[string]string{"x": "y"}}},
		{Started: &crony.StartedFact{Attempt: 1}},
		{Waiting: &crony.WaitingFact{Attempt: 1, Until: at, Reason: "it failed"}},
		{Moved: &crony.MovedFact{Agent: "a2", Attempt: 2}},
		{Waiting: &crony.WaitingFact{Attempt: 2, Until: at, Reason: "it could not be started"}},
		{Moved: &crony.MovedFact{Agent: "a1", Attempt: 3}},
		{Started: &crony.StartedFact{Attempt: 3}},
	}
	for i := range facts {
		facts[i].Run, facts[i].Seq, facts[i].At = crony.OccurrenceRunID("uid", at, ""), i+1, at
	}
	r, _ := crony.Fold(facts)
	if r.Agent != "a1" || !slices.Equal(r.Former, []string{"a1", "a2"}) || r.FirstAgent() != "a1" || len(r.Attempts) != 2 ||
		r.Attempts[0].Agent != "a1" || r.Attempts[1].Agent != "a1" || r.State != crony.Running {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(*facts[0].Claimed, r.Claim()); diff != "" {
		t.Errorf("its first fact (-want +got):\n%s", diff)
	}
	r, _ = crony.Fold(facts[:5])
	if r.Agent != "a2" || r.Attempts[0].Agent != "a1" || r.State != crony.Waiting {
		t.Errorf("%+v", r)
	}
	if r, _ = crony.Fold(facts[:3]); r.Agent != "a1" || r.Attempts[0].Agent != "" || len(r.Former) > 0 {
		t.Errorf("%+v", r)
	}
}
