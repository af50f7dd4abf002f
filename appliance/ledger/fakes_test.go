package ledger_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/appliance/ledger"
	"crony/embedded/state"
)

// historyOf is that of a job that an agent has, which is connected.
func historyOf(agent string) state.History {
	return state.History{Holders: []state.Holder{{Agent: agent, Assigned: true, Connected: true}}}
}

// world is the definitions and the records of one job, with a clock that stands still.
type world struct {
	state.History
	gone      bool
	runs      []crony.Run
	stretches []crony.Stretch
	now       time.Time
	portion   int // how many records are given at once; all if 0
}

// source is a world's definitions.
type source struct{ *world }

// History implements [ledger.Source].
func (s source) History(context.Context, string) (state.History, error) {
	if s.gone {
		return state.History{}, crony.Errorf(crony.NotFound, "there is no job backup")
	}
	return s.world.History, nil
}

// Occurrences implements [ledger.RunLog].
func (w *world) Occurrences(_ context.Context, _ string, from, to time.Time, limit int) ([]crony.Run, time.Time, error) {
	list := slices.SortedFunc(slices.Values(w.runs), func(a, b crony.Run) int {
		return cmp.Or(a.ScheduledAt.Compare(b.ScheduledAt), cmp.Compare(a.ID, b.ID))
	})
	list = slices.DeleteFunc(list, func(r crony.Run) bool { return r.ScheduledAt.Before(from) || r.ScheduledAt.After(to) })
	return some(w, list, limit, func(r *crony.Run) time.Time { return r.ScheduledAt })
}

// Stretches implements [ledger.RunLog].
func (w *world) Stretches(_ context.Context, _ string, from, to time.Time, limit int) ([]crony.Stretch, time.Time, error) {
	list := slices.SortedFunc(slices.Values(w.stretches), func(a, b crony.Stretch) int { return a.To.Compare(b.To) })
	list = slices.DeleteFunc(list, func(s crony.Stretch) bool { return s.To.Before(from) || s.From.After(to) })
	return some(w, list, limit, func(s *crony.Stretch) time.Time { return s.To })
}

func some[T any](w *world, list []T, limit int, at func(*T) time.Time) ([]T, time.Time, error) {
	if w.portion > 0 {
		limit = min(limit, w.portion)
	}
	if len(list) <= limit {
		return list, time.Time{}, nil
	}
	return list[:limit], at(&list[limit-1]), nil // the last one is given again
}

func (w *world) ledger(t testing.TB) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(ledger.Options{Jobs: source{w}, Runs: w, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// list returns all entries of a time, page by page.
func (w *world) list(t testing.TB, from, to time.Time, limit int) []crony.LedgerEntry {
	t.Helper()
	var all []crony.LedgerEntry
	q := crony.LedgerQuery{Job: "backup", From: from, To: to, Limit: limit}
	for range 10_000 {
		page, err := w.ledger(t).ListLedger(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

func (w *world) verify(t testing.TB, from, to time.Time) crony.Verification {
	t.Helper()
	v, err := w.ledger(t).VerifyLedger(t.Context(), crony.VerifyQuery{Job: "backup", From: from, To: to})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) explain(t testing.TB, at string) crony.Explanation {
	t.Helper()
	x, err := w.ledger(t).ExplainOccurrence(t.Context(), "backup", clock(at))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// clock is a time of the day of every test: 09:05, 09:05:30 or 09:05:30.5.
func clock(text string) time.Time {
	if strings.Count(text, ":") == 1 {
		text += ":00"
	}
	t, err := time.Parse(time.RFC3339Nano, "2026-11-20T"+text+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

// define adds a generation of the job, of a time of the day.
func (w *world) define(at, schedule string, changes ...func(*crony.Definition)) *world {
	d := crony.Definition{UID: "U", Generation: int64(len(w.Definitions) + 1), CreatedAt: clock(at), UpdatedAt: clock(at), PlanSince: clock(at),
		UpdatedBy: "alice", Job: crony.Job{Name: "backup", Schedule: schedule, Shell: &crony.Shell{Command: "true"}}}
	if n := len(w.Definitions); n > 0 {
		d.CreatedAt = w.Definitions[n-1].CreatedAt
	}
	for _, change := range changes {
		change(&d)
	}
	w.Definitions = append(w.Definitions, d)
	return w
}

func paused(d *crony.Definition) { d.Job.Paused = true }

// decided moves the cursor, by the generation that is in force.
func (w *world) decided(at string) *world {
	w.Claim = crony.Claim{At: clock(at), Generation: int64(len(w.Definitions))}
	return w
}

// ran adds runs by a generation.
func (w *world) ran(generation int64, times ...string) *world {
	for _, at := range times {
		w.runs = append(w.runs, runOf("U", generation, clock(at)))
	}
	return w
}

func runOf(uid string, generation int64, at time.Time) crony.Run {
	zero := 0
	return crony.Run{ID: crony.OccurrenceRunID(uid, at, ""), Job: "backup", JobUID: uid, Generation: generation, Agent: "a1", Trigger: crony.BySchedule,
		ScheduledAt: at, State: crony.Succeeded, StartedAt: at, EndedAt: at.Add(12 * time.Second),
		Attempts: []crony.Attempt{{Number: 1, StartedAt: at, EndedAt: at.Add(12 * time.Second), ExitCode: &zero}}}
}

// passed adds a stretch.
func (w *world) passed(generation, count int64, from, to string, end crony.End, reason string) *world {
	w.stretches = append(w.stretches, crony.Stretch{Job: "backup", JobUID: "U", Generation: generation, From: clock(from), To: clock(to), Count: count,
		End: end, Reason: reason})
	return w
}

// texts writes entries for comparison: 09:05-09:15 3 missed the reason [run state].
func texts(entries []crony.LedgerEntry) []string {
	var list []string
	for _, e := range entries {
		text := e.From.Format("15:04:05.999")
		if !e.To.Equal(e.From) {
			text += "-" + e.To.Format("15:04:05.999")
		}
		text += fmt.Sprintf(" %d %s", e.Count, e.End)
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		if e.Run != "" {
			text += fmt.Sprintf(" [%s]", e.State)
		}
		list = append(list, text)
	}
	return list
}
