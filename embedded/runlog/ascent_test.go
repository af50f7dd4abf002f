package runlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/storetest"
)

func midnight() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

// runFor is the claim of a job's run, by schedule or by hand, and for an agent if there is one.
func runFor(job, agent string, trigger crony.Trigger, at time.Time) crony.Fact {
	id := crony.OccurrenceRunID("uid-"+job, at, agent+string(trigger))
	return crony.Fact{Run: id, Seq: 1, At: at, Claimed: &crony.ClaimedFact{
		Job: job, JobUID: "uid-" + job, Generation: 1, Agent: "a" + agent, Trigger: trigger, ScheduledAt: at,
	}}
}

func dues(runs []crony.Run) (list []time.Time) {
	for i := range runs {
		list = append(list, runs[i].ScheduledAt)
	}
	return list
}

// TestPagesOfMidnights has all that a job did at the first instant of a day: a page's limit holds from day to day.
func TestPagesOfMidnights(t *testing.T) {
	l := openTest(t, Options{OpenDays: 2})
	const total = 7
	for n := range total {
		at := midnight().AddDate(0, 0, n)
		mustAppend(t, l, []crony.Fact{runFor("daily", "", crony.BySchedule, at)}, nil)
		mustStore(t, l, stretchAt("daily", "u", at, 1))
	}
	from, to := midnight().AddDate(0, 0, -3), midnight().AddDate(0, 0, total)
	for limit := 1; limit <= total+1; limit++ {
		var runs, stretches []int
		paged(t, from, func(from time.Time) ([]crony.Run, time.Time, error) {
			list, next, err := l.Occurrences(t.Context(), "daily", from, to, limit)
			runs = append(runs, len(list))
			return list, next, err
		})
		paged(t, from, func(from time.Time) ([]crony.Stretch, time.Time, error) {
			list, next, err := l.Stretches(t.Context(), "daily", from, to, limit)
			stretches = append(stretches, len(list))
			return list, next, err
		})
		want := slices.Repeat([]int{limit}, total/limit)
		if total%limit > 0 {
			want = append(want, total%limit)
		}
		if !slices.Equal(runs, want) || !slices.Equal(stretches, want) {
			t.Errorf("by %d: pages of %v runs and %v stretches, want %v", limit, runs, stretches, want)
		}
	}
}

// TestPagesKeepInstantsTogether has more at each instant than a page may hold: what comes at one instant is on one page, and
// nothing is given twice.
func TestPagesKeepInstantsTogether(t *testing.T) {
	l := openTest(t, Options{})
	const instants, each = 4, 5
	for n := range instants {
		at := midnight().Add(time.Duration(n) * 12 * time.Hour)
		for i := range each {
			// Within a millisecond the order of the ids is not that of the times.
			run := runFor("everywhere", fmt.Sprint(i), crony.BySchedule, at.Add(time.Duration(i)*time.Microsecond))
			mustAppend(t, l, []crony.Fact{run}, nil)
			s := stretchAt("everywhere", fmt.Sprint("u", i), at.Add(-time.Duration(i)*time.Minute), int64(i+1))
			mustStore(t, l, s)
		}
	}
	from, to := midnight(), midnight().AddDate(0, 0, 9)
	for limit := 1; limit <= 2*each+1; limit++ {
		want := max(1, (limit+each-1)/each) * each // on a page that is full
		runs := paged(t, from, func(from time.Time) ([]crony.Run, time.Time, error) {
			list, next, err := l.Occurrences(t.Context(), "everywhere", from, to, limit)
			if !next.IsZero() && len(list) != want {
				t.Errorf("by %d: a page of %d runs, want %d", limit, len(list), want)
			}
			return list, next, err
		})
		stretches := paged(t, from, func(from time.Time) ([]crony.Stretch, time.Time, error) {
			list, next, err := l.Stretches(t.Context(), "everywhere", from, to, limit)
			if !next.IsZero() && len(list) != want {
				t.Errorf("by %d: a page of %d stretches, want %d", limit, len(list), want)
			}
			return list, next, err
		})
		if len(runs) != instants*each || len(stretches) != instants*each {
			t.Errorf("by %d: %d runs and %d stretches, want %d", limit, len(runs), len(stretches), instants*each)
		}
	}
}

// TestOccurrencesAreExact asks for times within a millisecond, of which ids know nothing.
func TestOccurrencesAreExact(t *testing.T) {
	l := openTest(t, Options{})
	at := noon().Add(500 * time.Microsecond)
	mustAppend(t, l, []crony.Fact{runFor("a", "", crony.BySchedule, at)}, nil)
	for _, tt := range []struct {
		from, to time.Duration
		want     int
	}{{0, 0, 1}, {-1, -1, 0}, {1, 1, 0}, {-1, 1, 1}, {0, time.Hour, 1}, {-time.Hour, 0, 1}, {1, 0, 0}} {
		list, next, err := l.Occurrences(t.Context(), "a", at.Add(tt.from), at.Add(tt.to), 0)
		if err != nil || len(list) != tt.want || !next.IsZero() {
			t.Errorf("from %v to %v: %d runs, next %v, %v; want %d", tt.from, tt.to, len(list), next, err, tt.want)
		}
	}
}

// TestPagesCostLittle goes over more days than a page may cost, and over more runs: it comes to the end all the same, by
// pages that may be empty.
func TestPagesCostLittle(t *testing.T) {
	l := openTest(t, Options{OpenDays: 3})
	const days = 2*pageBudget/dayCost + 10
	for n := range days {
		mustAppend(t, l, []crony.Fact{runFor("other", "", crony.BySchedule, noon().AddDate(0, 0, n))}, nil)
	}
	last := noon().AddDate(0, 0, days-1)
	mustAppend(t, l, []crony.Fact{runFor("rare", "", crony.BySchedule, last)}, nil)
	mustStore(t, l, stretchAt("rare", "u", noon().Add(-time.Hour), days*24*60))
	var manual []crony.Fact
	for n := range pageBudget + 10 {
		manual = append(manual, runFor("busy", "", crony.ByHand, noon().Add(time.Duration(n)*time.Millisecond)))
	}
	mustAppend(t, l, append(manual, runFor("busy", "", crony.BySchedule, noon().Add(time.Hour))), nil)
	for _, tt := range []struct {
		job   string
		pages int
		due   time.Time
	}{{"rare", 3, last}, {"busy", 4, noon().Add(time.Hour)}} { // the busy one's day, and the days after it
		pages := 0
		runs := paged(t, time.Time{}, func(from time.Time) ([]crony.Run, time.Time, error) {
			pages++
			return l.Occurrences(t.Context(), tt.job, from, last, 0)
		})
		if !slices.EqualFunc(dues(runs), []time.Time{tt.due}, time.Time.Equal) || pages != tt.pages {
			t.Errorf("%s: %v in %d pages, want %v in %d", tt.job, dues(runs), pages, tt.due, tt.pages)
		}
	}
	if got := everyStretch(t, l, "rare", noon(), noon(), 1); len(got) != 1 {
		t.Errorf("a stretch that ends after %d days: %v", days, got)
	}
	if open := len(l.days.opened); open > 3 {
		t.Errorf("%d day files are open, want at most 3", open)
	}
}

func TestPagesRefuse(t *testing.T) {
	l := openTest(t, Options{})
	for _, limit := range []int{-1, crony.MaxLimit + 1} {
		if _, _, err := l.Stretches(t.Context(), "a", noon(), noon(), limit); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("stretches by %d: %v, want invalid", limit, err)
		}
		if _, _, err := l.Occurrences(t.Context(), "a", noon(), noon(), limit); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("occurrences by %d: %v, want invalid", limit, err)
		}
	}
	mustStore(t, l, stretchAt("a", "u", noon(), 1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, errStretches := l.Stretches(t.Context(), "a", noon(), noon(), 0)
	_, _, errRuns := l.Occurrences(t.Context(), "a", noon(), noon(), 0)
	errStore := l.AppendStretches(t.Context(), nil)
	for _, err := range []error{errStretches, errRuns, errStore} {
		if crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("after Close: %v, want unavailable", err)
		}
	}
}

// TestConcurrentStretches stores stretches and facts from many goroutines, which share commits; one of them conflicts with
// what is there, and only its sender is told.
func TestConcurrentStretches(t *testing.T) {
	l := openTest(t, Options{OpenDays: 1})
	const senders, each = 8, 30
	var all sync.WaitGroup
	for n := range senders {
		all.Go(func() {
			job := fmt.Sprint("job-", n)
			for i := range each {
				at := noon().Add(time.Duration(i) * time.Hour)
				s := stretchAt(job, "u", at, 3)
				if err := l.AppendStretches(t.Context(), []crony.Stretch{s}); err != nil {
					t.Error(err)
				}
				facts := storetest.Life(crony.OccurrenceRunID(job, at, ""), job, "a1", crony.Succeeded)
				if err := l.Append(t.Context(), facts, nil); err != nil {
					t.Error(err)
				}
				s.Reason = "another"
				if err := l.AppendStretches(t.Context(), []crony.Stretch{s}); crony.CodeOf(err) != crony.Conflict {
					t.Errorf("%s at %v: %v, want a conflict", job, at, err)
				}
			}
		})
	}
	all.Wait()
	for n := range senders {
		job, end := fmt.Sprint("job-", n), noon().AddDate(1, 0, 0)
		var want []crony.Stretch
		for i := range each {
			want = append(want, stretchAt(job, "u", noon().Add(time.Duration(i)*time.Hour), 3))
		}
		if diff := cmp.Diff(want, everyStretch(t, l, job, noon(), end, 7)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", job, diff)
		}
		runs, next, err := l.Occurrences(t.Context(), job, noon(), end, each+1)
		if err != nil || len(runs) != each || !next.IsZero() {
			t.Errorf("%s: %d runs, next %v, %v; want %d", job, len(runs), next, err, each)
		}
	}
}

// BenchmarkAscent reads from a place chosen at random among 100,000 runs and as many stretches of a hundred jobs: a page of a
// hundred runs, one of stretches, and the one stretch over an instant, to which those that came later are in the way.
func BenchmarkAscent(b *testing.B) {
	const total, jobs = 100_000, 100
	l := openTest(b, Options{})
	fill(b, l, total)
	for n := 0; n < total; n += 1000 {
		var list []crony.Stretch
		for i := range 1000 {
			at := noon().Add(time.Duration(n+i) * time.Millisecond)
			list = append(list, stretchAt(fmt.Sprint("job-", (n+i)%jobs), "u", at, 1))
		}
		if err := l.AppendStretches(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
	end := noon().AddDate(1, 0, 0)
	for name, read := range map[string]func(at time.Time) (int, error){
		"occurrences": func(at time.Time) (int, error) {
			list, _, err := l.Occurrences(b.Context(), "job-7", at, end, 100)
			return len(list) / 100, err
		},
		"stretches": func(at time.Time) (int, error) {
			list, _, err := l.Stretches(b.Context(), "job-7", at, end, 100)
			return len(list) / 100, err
		},
		"stretches at": func(at time.Time) (int, error) {
			list, _, err := l.Stretches(b.Context(), "job-7", at, at, 100)
			return len(list), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				at := noon().Add(time.Duration(7+jobs*rand.IntN(total/jobs/2)) * time.Millisecond)
				start := time.Now()
				if n, err := read(at); n != 1 || err != nil {
					b.Fatalf("%d, %v", n, err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
