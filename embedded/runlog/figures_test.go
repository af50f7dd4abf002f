package runlog

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

var _ crony.Figures = (*Log)(nil)

// tally is figures made by looking at each run.
type tally struct {
	counts crony.RunCounts
	cpu    float64
	took   []time.Duration
}

func (y *tally) add(r *crony.Run) {
	if !r.State.Ended() {
		return
	}
	*y.counts.Of(r.State)++
	for _, a := range r.Attempts {
		y.cpu += a.CPUSeconds
	}
	if !r.StartedAt.IsZero() {
		y.took = append(y.took, r.EndedAt.Sub(r.StartedAt))
	}
}

func tallyOf(runs []crony.Run, of func(*crony.Run) bool) *tally {
	y := &tally{}
	for i := range runs {
		if of(&runs[i]) {
			y.add(&runs[i])
		}
	}
	slices.Sort(y.took)
	return y
}

// want holds a day's figures against the tally.
func (y *tally) want(t *testing.T, what string, got crony.DayFigures) {
	t.Helper()
	if diff := gocmp.Diff(y.counts, got.Counts); diff != "" || math.Abs(got.CPUSeconds-y.cpu) > 1e-6*float64(1+len(y.took)) {
		t.Errorf("%s: %v CPU seconds, want %v\n%s", what, got.CPUSeconds, y.cpu, diff)
	}
	if (got.Durations == nil) != (len(y.took) == 0) {
		t.Errorf("%s: durations %+v of %d", what, got.Durations, len(y.took))
	}
	if got.Durations == nil || len(y.took) == 0 {
		return
	}
	for _, p := range []struct {
		of  int
		got float64
	}{{50, got.Durations.P50}, {90, got.Durations.P90}, {99, got.Durations.P99}, {100, got.Durations.Max}} {
		exact := y.took[(len(y.took)*p.of+99)/100-1].Seconds()
		if p.got < exact-1e-9 || p.got > exact*1.05+2e-6 {
			t.Errorf("%s: p%d is %v, want %v", what, p.of, p.got, exact)
		}
	}
}

// TestFiguresAgainstRuns holds history and overview against counting all runs, while runs come, end and are corrected, and
// while some of them are pending and some are not.
func TestFiguresAgainstRuns(t *testing.T) {
	for _, settle := range []int{1, 70, 1 << 20} {
		t.Run(fmt.Sprint("settled at ", settle), func(t *testing.T) {
			h := newHistory(uint64(settle))
			dir := filepath.Join(t.TempDir(), "runs")
			now := noon().Add(13*time.Hour + 20*time.Minute) // of the next day
			for range 4 {
				l := openTest(t, Options{Dir: dir, settle: settle, OpenDays: 2})
				l.now = func() time.Time { return now }
				mustAppend(t, l, h.grow(100), nil)
				mustAppend(t, l, h.grow(100), nil)
				wantHistory(t, l, h.all(), now)
				wantOverview(t, l, h.all(), now)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func wantHistory(t *testing.T, l *Log, runs []crony.Run, now time.Time) {
	t.Helper()
	for _, job := range []string{"", "job-0", "job-4", "job-9", "job-7"} {
		for _, days := range []int{1, 2, 3, crony.MaxHistory} {
			got, err := l.History(t.Context(), job, days)
			if err != nil {
				t.Fatal(err)
			}
			for n := range min(days, 5) {
				day := now.AddDate(0, 0, -n).Format(time.DateOnly)
				y := tallyOf(runs, func(r *crony.Run) bool {
					return (job == "" || r.Job == job) && r.ScheduledAt.Format(time.DateOnly) == day
				})
				at := slices.IndexFunc(got, func(d crony.DayFigures) bool { return d.Day == day })
				if at < 0 {
					if y.counts.Total() > 0 {
						t.Errorf("no figures of %q on %s", job, day)
					}
					continue
				}
				y.want(t, fmt.Sprintf("%q on %s", job, day), got[at])
			}
			if len(got) > days || !slices.IsSortedFunc(got, func(a, b crony.DayFigures) int { return -cmp.Compare(a.Day, b.Day) }) {
				t.Errorf("history of %d days: %+v", days, got)
			}
		}
	}
}

func wantOverview(t *testing.T, l *Log, runs []crony.Run, now time.Time) {
	t.Helper()
	got, err := l.Overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	on := tallyOf(runs, func(r *crony.Run) bool { return r.ScheduledAt.Format(time.DateOnly) == now.Format(time.DateOnly) })
	on.want(t, "today", got.Day)
	goOn := 0
	var hours []crony.HourFigures
	first := now.Truncate(time.Hour).Add(-24 * time.Hour)
	for n := range 25 {
		from := first.Add(time.Duration(n) * time.Hour)
		y := tallyOf(runs, func(r *crony.Run) bool { return r.ScheduledAt.Truncate(time.Hour).Equal(from) })
		hours = append(hours, crony.HourFigures{From: from, Counts: y.counts})
	}
	bad := map[string]*tally{}
	for i, r := range runs {
		if !r.State.Ended() {
			goOn++
		}
		if r.ScheduledAt.Format(time.DateOnly) == now.Format(time.DateOnly) {
			if bad[r.Job] == nil {
				bad[r.Job] = &tally{}
			}
			bad[r.Job].add(&runs[i])
		}
	}
	var worst []crony.JobFigures
	for job, y := range bad {
		if y.counts.Succeeded+y.counts.Skipped < y.counts.Total() {
			worst = append(worst, crony.JobFigures{Job: job, Counts: y.counts})
		}
	}
	fails := func(f crony.JobFigures) int64 { return f.Counts.Total() - f.Counts.Succeeded - f.Counts.Skipped }
	slices.SortFunc(worst, func(a, b crony.JobFigures) int {
		return cmp.Or(-cmp.Compare(fails(a), fails(b)), cmp.Compare(a.Job, b.Job))
	})
	want := crony.Overview{Running: goOn, Hours: hours, Day: got.Day, Worst: worst[:min(len(worst), worstJobs)]}
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("overview (-want +got):\n%s", diff)
	}
}

func TestFiguresOfNothing(t *testing.T) {
	l := openTest(t, Options{})
	for _, days := range []int{0, crony.MaxHistory + 1} {
		if _, err := l.History(t.Context(), "", days); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("history of %d days: %v, want invalid", days, err)
		}
	}
	list, err := l.History(t.Context(), "backup", 7)
	if err != nil || list == nil || len(list) != 0 {
		t.Errorf("history of no runs: %v, %v", list, err)
	}
	o, err := l.Overview(t.Context())
	if err != nil || len(o.Hours) != 25 || o.Running != 0 || len(o.Worst) != 0 || o.Day.Counts.Total() != 0 {
		t.Errorf("overview of no runs: %+v, %v", o, err)
	}
	l.Close()
	_, errHistory := l.History(t.Context(), "", 7)
	_, errOverview := l.Overview(t.Context())
	for _, err := range []error{errHistory, errOverview} {
		if crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("after Close: %v, want unavailable", err)
		}
	}
}

// TestDurationBuckets has each duration in a bucket that ends little after it.
func TestDurationBuckets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	last := -1
	for d := time.Duration(0); d < 300*time.Microsecond; d += 500 {
		if b := durationBucket(d); b < last {
			t.Fatalf("%v is in bucket %d, what is less in %d", d, b, last)
		} else {
			last = b
		}
	}
	for range 100_000 {
		d := time.Duration(rng.Uint64() >> (1 + rng.IntN(63)))
		b := durationBucket(d)
		if end := bucketEnd(b); end <= d && b < durationBucket(math.MaxInt64) || float64(end) > float64(d)*(1+1.0/32)+2000 {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, b, end)
		}
	}
}

func BenchmarkOverview(b *testing.B) {
	l, total := million(b)
	now := noon().Add(time.Duration(total) * time.Millisecond)
	l.now = func() time.Time { return now }
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		o, err := l.Overview(b.Context())
		if err != nil || o.Day.Counts.Total() == 0 {
			b.Fatalf("%+v, %v", o, err)
		}
		took = append(took, time.Since(start))
	}
	reportTimes(b, took)
}
