package runlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"crony"
)

// holding is what a log shows, as a reader gets it.
type holding struct {
	runs      map[crony.RunID]crony.Run
	output    map[crony.RunID]string
	stretches []crony.Stretch
}

// holdingOf reads all of a log, in every way. Errors are counted and no more: what is read is held against what it should be.
func holdingOf(t *testing.T, l *Log) (h holding, errs int) {
	t.Helper()
	h = holding{runs: map[crony.RunID]crony.Run{}, output: map[crony.RunID]string{}}
	count := func(err error) {
		if err != nil && crony.CodeOf(err) != crony.NotFound {
			errs++
		}
	}
	for _, q := range []crony.RunQuery{{}, {Job: "job-1"}, {Agent: "a1"}, {State: crony.Succeeded}, {State: crony.Running}, {Group: "default"}} {
		for q.Limit = 500; ; {
			page, err := l.ListRuns(t.Context(), q)
			count(err)
			for _, r := range page.Items {
				h.runs[r.ID] = r
			}
			if q.Cursor = page.Next; err != nil || page.Next == "" {
				break
			}
		}
	}
	for id := range h.runs {
		run, err := l.Run(t.Context(), id)
		count(err)
		if err == nil {
			h.runs[id] = run
		}
		var text strings.Builder
		for c, err := range l.Output(t.Context(), id, false) {
			count(err)
			text.Write(c.Data)
		}
		h.output[id] = text.String()
	}
	for job := range 5 {
		list, _, err := l.Stretches(t.Context(), fmt.Sprintf("job-%d", job), noon().AddDate(0, 0, -9), noon().AddDate(0, 0, 9), 1000)
		count(err)
		h.stretches = append(h.stretches, list...)
		_, err = l.Days(t.Context())
		count(err)
		l.LastRun(fmt.Sprintf("job-%d", job))
	}
	for minute := 12 * 60; minute < 12*60+4; minute++ {
		_, err := l.Items(t.Context(), "2026-11-21", minute)
		count(err)
	}
	return h, errs
}

// within says what of h is not as it is in want.
func (h holding) within(want holding) error {
	for id, run := range h.runs {
		if !reflect.DeepEqual(want.runs[id], run) { // by far faster than what says how they differ
			return fmt.Errorf("run %s (-want +got):\n%s", id, cmp.Diff(want.runs[id], run))
		}
		if text := h.output[id]; text != "" && text != want.output[id] {
			return fmt.Errorf("run %s wrote %.40q", id, text)
		}
	}
	for _, s := range h.stretches {
		if !slices.Contains(want.stretches, s) {
			return fmt.Errorf("there was no stretch %+v", s)
		}
	}
	return nil
}

// damagedLog is a log of two days of some dozens of runs, one of which goes on; the first is the one that is damaged.
type damagedLog struct {
	want  holding
	first []byte // the first day's file
	dir   string
}

func newDamagedLog(t *testing.T) *damagedLog {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	var facts []crony.Fact
	var chunks []crony.Chunk
	var stretches []crony.Stretch
	for n := range 160 {
		f, c := crashed(n)
		if n == 80 {
			f = f[:2]
		}
		facts, chunks, stretches = append(facts, f...), append(chunks, c...), append(stretches, crashedStretch(n))
	}
	mustAppend(t, l, facts, chunks)
	if err := l.AppendStretches(t.Context(), stretches); err != nil {
		t.Fatal(err)
	}
	err := l.exclusively(t.Context(), func(w *writer) error { // so that index and counters have something
		return w.update(dayOf(noon()), func(tx *bbolt.Tx) error {
			own, err := w.day(tx, dayOf(noon()))
			if err != nil {
				return err
			}
			return own.settle(tx, dayOf(noon()))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &damagedLog{dir: dir}
	var errs int
	if d.want, errs = holdingOf(t, l); errs > 0 || len(d.want.runs) != 160 || len(d.want.stretches) != 160 {
		t.Fatalf("%d runs, %d stretches, %d errors", len(d.want.runs), len(d.want.stretches), errs)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if d.first, err = os.ReadFile(d.path()); err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(d.first, "\x00")) // the rest is room to grow, and a hole
	d.first = d.first[:(used+4095)/4096*4096]
	return d
}

func (d *damagedLog) path() string { return filepath.Join(d.dir, "runs-2026-11-21.db") }

// reset puts the first day's file in place, and nothing beside it.
func (d *damagedLog) reset(t *testing.T, data []byte) {
	t.Helper()
	asides, err := filepath.Glob(d.path() + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range asides {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.path(), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// survive opens the log and uses it. It must open, show the second day whole, show nothing of the first that was not there,
// take records for both, and, after what can be is read of what was set aside, show nothing wrong either. It returns how many
// runs of the first day were there in the end, and whether the file was found to be damaged.
func (d *damagedLog) survive(t *testing.T, what string) (runs int, found bool) {
	t.Helper()
	l, err := Open(Options{Dir: d.dir, Now: func() time.Time { return noon().AddDate(0, 0, 1) }})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}()
	look := func(when string) holding {
		t.Helper()
		h, _ := holdingOf(t, l)
		if err := h.within(d.want); err != nil {
			t.Errorf("%s, %s: %v", what, when, err)
		}
		second := 0
		for id := range h.runs {
			if dayOf(id.Time()) > dayOf(noon()) {
				second++
			}
		}
		if second != 80 {
			t.Errorf("%s, %s: %d runs of the second day, want 80", what, when, second)
		}
		return h
	}
	look("opened")
	for _, n := range []int{0, 1} { // they are there already, or come back so
		f, c := crashed(n)
		if err := l.Append(t.Context(), f, c); err != nil && crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("%s: append: %v", what, err)
		}
	}
	if err := l.checkDay(t.Context(), dayOf(noon()), 0); err != nil && crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("%s: check: %v", what, err)
	}
	if err := l.exclusively(t.Context(), func(*writer) error { l.mend(); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := l.salvage(t.Context()); err != nil && crony.CodeOf(err) != crony.Internal {
		t.Errorf("%s: salvage: %v", what, err)
	}
	h := look("mended")
	asides, err := filepath.Glob(d.path() + ".*")
	if err != nil {
		t.Fatal(err)
	}
	if sums, err := l.Days(t.Context()); err != nil || len(asides) > 0 && sums["2026-11-21"].Records == 0 {
		t.Errorf("%s: the days add up to %v, %v", what, sums, err)
	}
	if got := len(l.SetAside()); (got > 0) != (len(asides) > 0) {
		t.Errorf("%s: %d files are said to be set aside, and %d are", what, got, len(asides))
	}
	if err := l.checkDay(t.Context(), dayOf(noon()), 0); err != nil || l.days.isCondemned(dayOf(noon())) {
		t.Errorf("%s: the day's new file: %v", what, err)
	}
	return len(h.runs) - 80, len(asides) > 0
}

// TestFlippedBytes changes a byte here and there.
func TestFlippedBytes(t *testing.T) {
	d := newDamagedLog(t)
	random := rand.New(rand.NewPCG(5, 6))
	step := len(d.first) / 250
	if testing.Short() {
		step = len(d.first) / 60
	}
	tried, found, runs := 0, 0, 0
	for at := 0; at < len(d.first); at += 1 + random.IntN(2*step) {
		data := bytes.Clone(d.first)
		data[at] ^= byte(1 + random.IntN(255))
		d.reset(t, data)
		n, was := d.survive(t, fmt.Sprintf("byte %d", at))
		if tried++; was {
			found++
			runs += n
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d files of %d were found to be damaged; of their runs %.1f%% were saved", found, tried, 100*float64(runs)/float64(80*found))
	if found == 0 || float64(runs) < 0.9*float64(80*found) {
		t.Error("that is not what damage does")
	}
}

// TestCutShort cuts the file at every page, and in the middle of some.
func TestCutShort(t *testing.T) {
	d := newDamagedLog(t)
	for at := 0; at < len(d.first); at += 2048 {
		d.reset(t, d.first[:at])
		if _, found := d.survive(t, fmt.Sprintf("cut at %d", at)); !found {
			t.Errorf("cut at %d of %d: that was not found", at, len(d.first))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// TestNoDayFile puts other things in a day file's place.
func TestNoDayFile(t *testing.T) {
	d := newDamagedLog(t)
	other := filepath.Join(t.TempDir(), "other.db")
	db, err := bbolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func() error{
		"empty":           func() error { return os.WriteFile(d.path(), nil, 0o600) },
		"text":            func() error { return os.WriteFile(d.path(), []byte(strings.Repeat("text\n", 5000)), 0o600) },
		"another program": func() error { return os.Rename(other, d.path()) },
		"directory":       func() error { return os.MkdirAll(filepath.Join(d.path(), "full"), 0o700) },
		"pipe":            func() error { return syscall.Mkfifo(d.path(), 0o600) },
		"dangling link":   func() error { return os.Symlink("nowhere", d.path()) },
		"no permission": func() error {
			if os.Geteuid() == 0 {
				return nil // root may read everything
			}
			return os.WriteFile(d.path(), d.first, 0)
		},
	} {
		d.reset(t, nil)
		if err := errors.Join(os.Remove(d.path()), put()); err != nil {
			t.Fatal(err)
		}
		_, err := os.Lstat(d.path())
		if _, found := d.survive(t, name); found != (err == nil) {
			t.Errorf("%s: found: %t", name, found)
		}
	}
}

// TestDamagedWhileOpen damages a file under a log that has it open.
func TestDamagedWhileOpen(t *testing.T) {
	for name, harm := range map[string]func(f *os.File) error{
		"cut short": func(f *os.File) error { return f.Truncate(3 * 4096) },
		"overwritten": func(f *os.File) error {
			_, err := f.WriteAt(bytes.Repeat([]byte{0xee}, 200<<10), 2*4096)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamagedLog(t)
			l := openTest(t, Options{Dir: d.dir})
			fact, _ := crashed(500) // opens it for writing
			mustAppend(t, l, fact, nil)
			f, err := os.OpenFile(d.path(), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(harm(f), f.Close()); err != nil {
				t.Fatal(err)
			}
			_, errs := holdingOf(t, l)
			if errs == 0 && len(l.SetAside()) == 0 { // the writer may have come by it first
				t.Error("nobody noticed")
			}
			f0, c0 := crashed(502)
			mustAppend(t, l, f0, c0) // into a new file
			if run, err := l.Run(t.Context(), f0[0].Run); err != nil || !run.State.Ended() {
				t.Errorf("the run of after that: %v, %v", run.State, err)
			}
			if h, errs := holdingOf(t, l); errs > 0 || len(h.runs) != 81 {
				t.Errorf("%d runs, %d errors; want the second day's and the new one", len(h.runs), errs)
			}
			if list := l.SetAside(); len(list) != 1 || list[0].Day != "2026-11-21" || list[0].Found == "" {
				t.Errorf("set aside: %+v", list)
			}
		})
	}
}

// TestOwnFault has a reader panic over a file that is sound. That is its own fault: the caller is told, and the file stays.
func TestOwnFault(t *testing.T) {
	l := openTest(t, Options{})
	mustAppend(t, l, life(noon()), nil)
	for what, use := range map[string]func(dayNumber, func(*bbolt.Tx) error) error{
		"view": l.days.view,
		"update": func(day dayNumber, fn func(*bbolt.Tx) error) error {
			return l.exclusively(t.Context(), func(w *writer) error { return w.update(day, fn) })
		},
	} {
		err := use(dayOf(noon()), func(*bbolt.Tx) error { panic("own fault") })
		if crony.CodeOf(err) != crony.Internal || !strings.Contains(err.Error(), "own fault") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !exists(t, l, noon()) || len(l.SetAside()) > 0 {
		t.Error("the file was set aside")
	}
	mustAppend(t, l, life(noon().Add(time.Hour)), nil)
}
