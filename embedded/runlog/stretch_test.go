package runlog

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"crony"
)

// stretchAt is a job's row of n minutes from an instant on.
func stretchAt(job, uid string, from time.Time, n int64) crony.Stretch {
	return crony.Stretch{Job: job, JobUID: uid, Generation: 1, From: from, To: from.Add(time.Duration(n-1) * time.Minute), Count: n,
		End: crony.EndMissed, Reason: "its agent was not running", DecidedAt: from}
}

func mustStore(t *testing.T, l *Log, list ...crony.Stretch) {
	t.Helper()
	if err := l.AppendStretches(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

// everyStretch reads all of a job's stretches in a time, page by page.
func everyStretch(t *testing.T, l *Log, job string, from, to time.Time, limit int) []crony.Stretch {
	t.Helper()
	return paged(t, from, func(from time.Time) ([]crony.Stretch, time.Time, error) {
		return l.Stretches(t.Context(), job, from, to, limit)
	})
}

// paged follows a list to its end, and checks that each page begins where the one before said.
func paged[T any](t *testing.T, from time.Time, read func(time.Time) ([]T, time.Time, error)) []T {
	t.Helper()
	var all []T
	for range 10_000 {
		list, next, err := read(from)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
		if next.IsZero() {
			return all
		}
		if !next.After(from) {
			t.Fatalf("a page from %s goes on at %s", from, next)
		}
		from = next
	}
	t.Fatal("the pages come to no end")
	return nil
}

// TestStretchesOfAgents: of a job that each agent runs, each has its own, and they are told apart by that alone.
func TestStretchesOfAgents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	shared, one, two := stretchAt("a", "u1", noon(), 3), stretchAt("a", "u1", noon(), 3), stretchAt("a", "u1", noon(), 3)
	one.Of, one.Agent, two.Of, two.Reason = "a1", "a1", "a2", "another"
	for range 2 {
		mustStore(t, l, shared, one, two)
	}
	want := []crony.Stretch{shared, one, two}
	if diff := gocmp.Diff(want, everyStretch(t, l, "a", noon(), noon(), 10)); diff != "" {
		t.Error(diff)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: dir})
	if diff := gocmp.Diff(want, everyStretch(t, l, "a", noon(), noon(), 10)); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}
	for _, of := range []string{"a\x00b", strings.Repeat("a", maxName+1), "\xff"} {
		bad := one
		bad.Of = of
		if err := l.AppendStretches(t.Context(), []crony.Stretch{bad}); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("of %.10q: %v", of, err)
		}
	}
}

func TestStretches(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	a, other := stretchAt("a", "u1", noon(), 3), stretchAt("a", "u2", noon(), 3)
	long := stretchAt("a", "u1", noon().Add(time.Hour), 5*24*60)
	for range 2 { // the same again changes nothing
		mustStore(t, l, a, other, long, stretchAt("ab", "u3", noon(), 1))
	}
	changed := a
	changed.Reason = "another"
	err := l.AppendStretches(t.Context(), []crony.Stretch{changed, stretchAt("b", "u4", noon(), 1)})
	if crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), `job "a"`) {
		t.Errorf("%v", err)
	}
	if got := everyStretch(t, l, "b", noon(), noon(), 10); len(got) != 1 {
		t.Errorf("what was sent with a conflict is not stored: %v", got)
	}
	for _, tt := range []struct {
		name     string
		from, to time.Time
		want     []crony.Stretch
	}{
		{"before", noon().Add(-time.Hour), noon().Add(-1), nil},
		{"the first instant", noon().Add(-time.Hour), noon(), []crony.Stretch{a, other}},
		{"within", noon().Add(time.Second), noon().Add(2 * time.Second), []crony.Stretch{a, other}},
		{"the last instant", a.To, a.To, []crony.Stretch{a, other}},
		{"between", a.To.Add(1), a.To.Add(2), nil},
		{"within one that ends days later", noon().Add(48 * time.Hour), noon().Add(49 * time.Hour), []crony.Stretch{long}},
		{"all", time.Time{}, noon().AddDate(100, 0, 0), []crony.Stretch{a, other, long}},
	} {
		if got := everyStretch(t, l, "a", tt.from, tt.to, 1000); !gocmp.Equal(got, tt.want) {
			t.Errorf("%s: %s", tt.name, gocmp.Diff(tt.want, got))
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, Options{Dir: dir})
	if got := everyStretch(t, again, "a", noon(), long.To, 1000); len(got) != 3 {
		t.Errorf("after a restart: %v", got)
	}
}

func TestStretchFaults(t *testing.T) {
	l := openTest(t, Options{})
	for what, change := range map[string]func(*crony.Stretch){
		"job's name": func(s *crony.Stretch) { s.Job = "" }, "a NUL": func(s *crony.Stretch) { s.JobUID = "a\x00" },
		"long name": func(s *crony.Stretch) { s.Job = strings.Repeat("a", 256) }, "not UTF-8": func(s *crony.Stretch) { s.Reason = "\xff" },
		"long reason": func(s *crony.Stretch) { s.Reason = strings.Repeat("a", maxReason+1) },
		"none":        func(s *crony.Stretch) { s.Count = 0 }, "backwards": func(s *crony.Stretch) { s.To = s.From.Add(-1) },
		"two at once": func(s *crony.Stretch) { s.To = s.From }, "one for long": func(s *crony.Stretch) { s.Count = 1 },
		"ran": func(s *crony.Stretch) { s.End = crony.EndRan }, "no end": func(s *crony.Stretch) { s.End = "" },
		"ancient": func(s *crony.Stretch) { s.From = time.Time{} }, "far": func(s *crony.Stretch) { s.To = noon().AddDate(300, 0, 0) },
	} {
		s := stretchAt("a", "u", noon(), 3)
		change(&s)
		if err := l.AppendStretches(t.Context(), []crony.Stretch{stretchAt("b", "u", noon(), 3), s}); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := everyStretch(t, l, "b", noon(), noon(), 10); len(got) > 0 {
		t.Errorf("stored beside what can't be right: %v", got)
	}
}

// TestLedgerAgainstAModel holds both lists, at every size of page, against looking at everything.
func TestLedgerAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	l := openTest(t, Options{OpenDays: 2})
	var stretches []crony.Stretch
	due := map[string][]time.Time{}
	when := func() time.Time { return noon().Add(time.Duration(rng.IntN(6*24*60)) * time.Minute) }
	for range 300 {
		job, at := fmt.Sprint("job", rng.IntN(3)), when()
		s := stretchAt(job, fmt.Sprint("u", rng.IntN(2)), at, 1+rng.Int64N(2000))
		if !slices.ContainsFunc(stretches, func(o crony.Stretch) bool { return o.JobUID == s.JobUID && o.From.Equal(s.From) && o.Job == s.Job }) {
			stretches = append(stretches, s)
		}
		if at = when(); slices.ContainsFunc(due[job], at.Equal) {
			continue
		}
		due[job] = append(due[job], at)
		trigger := crony.BySchedule
		if rng.IntN(4) == 0 {
			trigger = crony.ByHand
			due[job] = due[job][:len(due[job])-1]
		}
		mustAppend(t, l, []crony.Fact{{Run: crony.OccurrenceRunID(job, at, ""), Seq: 1, At: at,
			Claimed: &crony.ClaimedFact{Job: job, JobUID: job, Agent: "a1", Trigger: trigger, ScheduledAt: at}}}, nil)
	}
	mustStore(t, l, stretches...)
	for range 200 {
		job, from, limit := fmt.Sprint("job", rng.IntN(3)), when(), 1+rng.IntN(40)
		to := from.Add(time.Duration(rng.IntN(3*24*60)) * time.Minute)
		var want []crony.Stretch
		for _, s := range stretches {
			if s.Job == job && !s.To.Before(from) && !s.From.After(to) {
				want = append(want, s)
			}
		}
		order := func(a, b crony.Stretch) int {
			return cmp.Or(a.To.Compare(b.To), a.From.Compare(b.From), cmp.Compare(a.JobUID, b.JobUID))
		}
		slices.SortFunc(want, order)
		if got := everyStretch(t, l, job, from, to, limit); !gocmp.Equal(got, want) {
			t.Fatalf("stretches of %s from %s to %s by %d: %s", job, from, to, limit, gocmp.Diff(want, got))
		}
		var instants, wanted []time.Time
		for _, r := range paged(t, from, func(from time.Time) ([]crony.Run, time.Time, error) {
			return l.Occurrences(t.Context(), job, from, to, limit)
		}) {
			instants = append(instants, r.ScheduledAt)
		}
		for _, at := range due[job] {
			if !at.Before(from) && !at.After(to) {
				wanted = append(wanted, at)
			}
		}
		slices.SortFunc(wanted, time.Time.Compare)
		if !slices.EqualFunc(instants, wanted, time.Time.Equal) {
			t.Fatalf("occurrences of %s from %s to %s by %d: %v, want %v", job, from, to, limit, instants, wanted)
		}
	}
}

func BenchmarkOccurrences(b *testing.B) {
	l := openTest(b, Options{})
	fill(b, l, 100_000)
	for b.Loop() {
		list, _, err := l.Occurrences(b.Context(), "job-0", time.Time{}, noon().AddDate(1, 0, 0), 100)
		if err != nil || len(list) != 100 {
			b.Fatalf("%d runs, %v", len(list), err)
		}
	}
}
