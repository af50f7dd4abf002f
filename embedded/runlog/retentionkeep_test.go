package runlog

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/storetest"
)

func keeps(jobs map[string]crony.Retention) func() iter.Seq2[string, crony.Retention] {
	return func() iter.Seq2[string, crony.Retention] { return maps.All(jobs) }
}

// every appends a job's runs, one a minute from an instant on, each with some output.
func every(t *testing.T, l *Log, job string, from time.Time, n int) {
	t.Helper()
	var facts []crony.Fact
	var chunks []crony.Chunk
	for i := range n {
		at := from.Add(time.Duration(i) * time.Minute)
		id := crony.OccurrenceRunID(job, at, "")
		facts = append(facts, storetest.Life(id, job, "a1", crony.Succeeded)...)
		for part := range 3 {
			chunks = append(chunks, crony.Chunk{
				Run: id, Attempt: 1, Stream: crony.Stdout, Offset: int64(4 * part), At: at, Data: []byte("said"),
			})
		}
	}
	mustAppend(t, l, facts, chunks)
}

// of returns how many runs of a job there are, and the first of them.
func (l *Log) of(t *testing.T, job string) (n int, first time.Time) {
	t.Helper()
	q := crony.RunQuery{Job: job, Limit: 500}
	for {
		page, err := l.ListRuns(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Items {
			n, first = n+1, r.ID.Time()
		}
		if q.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	counted, err := l.ListRuns(t.Context(), crony.RunQuery{Job: job, Count: true})
	if err != nil || counted.Count.Runs != int64(n) {
		t.Errorf("%s: %d runs are listed, and %+v counted, %v", job, n, counted.Count, err)
	}
	return n, first
}

// sound checks all days of a log.
func (l *Log) sound(t *testing.T) {
	t.Helper()
	for _, day := range l.days.newestFirst() {
		if err := l.checkDay(t.Context(), day, 0); err != nil || l.days.isCondemned(day) {
			t.Errorf("check %s: %v", day, err)
		}
	}
}

func TestKeepJobs(t *testing.T) {
	l := openTest(t, Options{Now: func() time.Time { return noon().AddDate(0, 0, 2) }})
	start := noon().Add(-6 * time.Hour)
	for _, job := range []string{"all", "last", "young", "both", "busy"} {
		every(t, l, job, start, 500)
		every(t, l, job, start.AddDate(0, 0, 1), 500)
	}
	busy := crony.OccurrenceRunID("busy", start.Add(100*time.Minute+time.Second), "")
	mustAppend(t, l, storetest.Life(busy, "busy", "a1", crony.Succeeded)[:2], nil) // it goes on
	end := dayOf(noon()).begin().AddDate(0, 0, 2)                                  // of the newest day: the log's present
	k := &keeping{log: l, policy: Policy{Jobs: keeps(map[string]crony.Retention{
		"last": {Runs: 700}, "young": {Age: crony.Duration(end.Sub(start.AddDate(0, 0, 1).Add(30 * time.Minute)))},
		"both": {Runs: 10, Age: crony.Duration(100 * 24 * time.Hour)}, "busy": {Runs: 5}, "none": {Runs: 1},
	})}}
	if err := k.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]struct {
		n     int
		first time.Time
	}{
		"all": {1000, start}, "last": {700, start.Add(300 * time.Minute)},
		"young": {470, start.AddDate(0, 0, 1).Add(30 * time.Minute)}, "both": {10, start.AddDate(0, 0, 1).Add(490 * time.Minute)},
		"busy": {900, start.Add(100*time.Minute + time.Second)},
	} {
		if n, first := l.of(t, job); n != want.n || !first.Equal(want.first) {
			t.Errorf("%s: %d runs from %s on, want %d from %s on", job, n, first, want.n, want.first)
		}
	}
	l.sound(t)
	gone := crony.OccurrenceRunID("both", start, "")
	k0, err := parseID(gone)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range l.Records(t.Context(), "2026-11-21", []string{string(k0[:])}) {
		t.Errorf("something is left of a run, %v", err)
	}
	// It does not come back, and comes with what it comes with.
	stays := crony.OccurrenceRunID("all", start.AddDate(0, 0, 1).Add(time.Second), "")
	mustAppend(t, l, append(storetest.Life(gone, "both", "a1", crony.Succeeded), storetest.Life(stays, "all", "a1", crony.Succeeded)...),
		[]crony.Chunk{{Run: gone, Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("again")}})
	if _, err := l.Run(t.Context(), gone); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a run that is not kept: %v", err)
	}
	if _, err := l.Run(t.Context(), stays); err != nil {
		t.Errorf("a run that came with it: %v", err)
	}
	// Once it has ended, the one that went on goes too.
	mustAppend(t, l, storetest.Life(busy, "busy", "a1", crony.Succeeded), nil)
	if err := k.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _ := l.of(t, "busy"); n != 5 {
		t.Errorf("busy: %d runs, want 5", n)
	}
	l.sound(t)
}

// TestMarksAgree has two logs with the same records, one of which lets go of some, and the other is given its bounds.
func TestMarksAgree(t *testing.T) {
	a, b := openTest(t, Options{}), openTest(t, Options{})
	for _, l := range []*Log{a, b} {
		every(t, l, "x", noon(), 50)
		every(t, l, "y", noon(), 50)
	}
	every(t, b, "x", noon().Add(-time.Hour), 5) // which the other never got
	k := &keeping{log: a, policy: Policy{Jobs: keeps(map[string]crony.Retention{"x": {Runs: 7}})}}
	if err := k.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.RaiseMarks(a.Marks()); err != nil {
		t.Fatal(err)
	}
	if err := b.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	sumsA, errA := a.Days(t.Context())
	sumsB, errB := b.Days(t.Context())
	if errA != nil || errB != nil || !maps.Equal(sumsA, sumsB) || sumsA["2026-11-21"].Records != 57*(4+3) {
		t.Errorf("one adds up to %v, the other to %v", sumsA, sumsB)
	}
	// A day that is adopted is swept as well.
	whole, late := openTest(t, Options{}), openTest(t, Options{})
	every(t, whole, "x", noon(), 50)
	if err := late.RaiseMarks(a.Marks()); err != nil {
		t.Fatal(err)
	}
	if err := late.AdoptDay(t.Context(), "2026-11-21", bytes.NewReader(copyOf(t, whole, "2026-11-21"))); err != nil {
		t.Fatal(err)
	}
	if err := late.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _ := late.of(t, "x"); n != 7 {
		t.Errorf("%d runs of an adopted day, want 7", n)
	}
	if r, ok := late.LastRun("x"); !ok || !r.ID.Time().Equal(noon().Add(49*time.Minute)) {
		t.Errorf("the last run is %v, %t", r.ID, ok)
	}
	if err := late.RaiseMarks(map[string]crony.RunID{"x": crony.NewRunID(noon().AddDate(0, 0, 9))}); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("a mark that is to come: %v", err)
	}
	if err := late.RaiseMarks(map[string]crony.RunID{"x": "X"}); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("a mark that is none: %v", err)
	}
	all := crony.NewRunID(noon().Add(10 * time.Hour))
	if err := late.RaiseMarks(map[string]crony.RunID{"x": all}); err != nil {
		t.Fatal(err)
	}
	if err := late.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, ok := late.LastRun("x"); ok {
		t.Errorf("the last run of none is %v", r.ID)
	}
	if diff := cmp.Diff(map[string]crony.RunID{"x": all}, late.Marks()); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	late.sound(t)
}

func TestKeepDays(t *testing.T) {
	for name, test := range map[string]struct {
		policy func(sizes map[dayNumber]int64) Policy
		now    time.Time
		floor  string
	}{
		"for ever":       {func(map[dayNumber]int64) Policy { return Policy{} }, noon().AddDate(0, 0, 9), ""},
		"for three days": {func(map[dayNumber]int64) Policy { return Policy{Age: 72 * time.Hour} }, noon().AddDate(0, 0, 9), "2026-11-27"},
		"a clock ahead":  {func(map[dayNumber]int64) Policy { return Policy{Age: 72 * time.Hour} }, noon().AddDate(9, 0, 0), "2026-11-28"},
		"for longer":     {func(map[dayNumber]int64) Policy { return Policy{Age: 9000 * time.Hour} }, noon().AddDate(0, 0, 9), "2025-11-20"},
		"of a size": {func(sizes map[dayNumber]int64) Policy {
			return Policy{Size: sizes[dayOf(noon())+9] + sizes[dayOf(noon())+8] + 1}
		}, noon().AddDate(0, 0, 9), "2026-11-29"},
		"too small": {func(map[dayNumber]int64) Policy { return Policy{Size: 1} }, noon().AddDate(0, 0, 9), "2026-11-30"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openTest(t, Options{Now: func() time.Time { return test.now }})
			for n := range 10 {
				mustAppend(t, l, life(noon().AddDate(0, 0, n)), nil)
			}
			sizes, err := l.days.sizes()
			if err != nil {
				t.Fatal(err)
			}
			k := &keeping{log: l, policy: test.policy(sizes)}
			if err := k.retain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := l.Floor(); got != test.floor {
				t.Errorf("the floor is %q, want %q", got, test.floor)
			}
			if !exists(t, l, noon().AddDate(0, 0, 9)) {
				t.Error("the newest day is gone")
			}
		})
	}
}

// TestCompact lets go of most of an old day.
func TestCompact(t *testing.T) {
	now := noon()
	l := openTest(t, Options{Now: func() time.Time { return now }})
	noise := bytes.Repeat([]byte("noise"), 100)
	for n := range 40 {
		at := noon().Add(time.Duration(n) * time.Second)
		for i := range noise {
			noise[i] = byte(i * i * (n + 7) >> 3)
		}
		var chunks []crony.Chunk
		for part := range 8 {
			big := bytes.Repeat(noise, 200)
			for i := range big {
				big[i] ^= byte((i * 2654435761) >> 13)
			}
			chunks = append(chunks, crony.Chunk{
				Run: runAt(at), Attempt: 1, Stream: crony.Stdout, Offset: int64(part * len(big)), At: at, Data: big,
			})
		}
		mustAppend(t, l, life(at), chunks)
	}
	if err := l.RaiseMarks(map[string]crony.RunID{"backup": runAt(noon().Add(39 * time.Second))}); err != nil {
		t.Fatal(err)
	}
	if err := l.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(l.days.path(dayOf(noon())))
		if err != nil {
			t.Fatal(err)
		}
		return onDisk(info)
	}
	before, text := size(), outputOf(t, l, runAt(noon().Add(39*time.Second)))
	if err := l.compact(t.Context(), dayOf(noon())); err != nil || size() != before {
		t.Fatalf("a day that is not over: %v, %d bytes of %d", err, size(), before)
	}
	now = noon().AddDate(0, 0, 3)
	if err := l.compact(t.Context(), dayOf(noon())); err != nil {
		t.Fatal(err)
	}
	if after := size(); after > before/4 || text == "" || outputOf(t, l, runAt(noon().Add(39*time.Second))) != text {
		t.Errorf("%d bytes are left of %d", after, before)
	}
	l.sound(t)
	mustAppend(t, l, life(noon().Add(time.Hour)), nil)
	if !exists(t, l, noon().Add(time.Hour)) {
		t.Error("what was appended after that is not there")
	}
}

// TestKeep runs all of it at once, over a log with a damaged day.
func TestKeep(t *testing.T) {
	d := newDamagedLog(t)
	data := bytes.Clone(d.first)
	for at := len(data) / 3; at < len(data)/3+512; at++ {
		data[at] ^= 0x55
	}
	d.reset(t, data)
	l := openTest(t, Options{Dir: d.dir})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Keep(ctx, Policy{Age: 1000 * time.Hour, Size: 1 << 40, Jobs: keeps(nil)}) }()
	changes := l.Subscribe(t.Context())
	for deadline := time.After(20 * time.Second); ; {
		if read, err := filepath.Glob(d.path() + ".*" + doneSuffix); err == nil && len(read) == 1 && l.Space().Used > 0 {
			break
		}
		select {
		case <-changes:
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("set aside: %+v, space: %+v", l.SetAside(), l.Space())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	h, errs := holdingOf(t, l)
	if err := h.within(d.want); err != nil || errs > 0 || len(h.runs) <= 80 {
		t.Errorf("%d runs, %d errors, %v", len(h.runs), errs, err)
	}
}
