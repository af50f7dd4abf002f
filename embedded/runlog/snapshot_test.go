package runlog

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// putIn returns a put that makes the files in a directory, and holds each against its size.
func putIn(t *testing.T, dir string) func(string, int64, func(io.Writer) error) error {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return func(name string, size int64, write func(io.Writer) error) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		err = errors.Join(write(f), f.Close())
		if info, statErr := os.Stat(f.Name()); statErr != nil || info.Size() != size {
			t.Errorf("%s: %v, %v; want %d bytes", name, info, statErr, size)
		}
		return err
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestSnapshotWhileWriting has four writers append while a snapshot is taken, and looks in the snapshot for what they had
// been told was stored before it began.
func TestSnapshotWhileWriting(t *testing.T) {
	l := openTest(t, Options{OpenDays: 1}) // so that files are closed and opened all the time
	ctx, stop := context.WithCancel(t.Context())
	var (
		writers sync.WaitGroup
		mu      sync.Mutex
		acked   []int
	)
	enough := make(chan struct{})
	ackedSoFar := func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(acked)
	}
	for w := range 4 {
		writers.Go(func() {
			for n := w; ctx.Err() == nil; n += 4 {
				facts, chunks := crashed(n)
				if err := l.Append(t.Context(), facts, chunks); err != nil {
					t.Error(err)
					return
				}
				if err := l.AppendStretches(t.Context(), []crony.Stretch{crashedStretch(n)}); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if acked = append(acked, n); len(acked) == 100 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	before := ackedSoFar()
	dir := filepath.Join(t.TempDir(), "runs")
	put := putIn(t, dir)
	err := l.Snapshot(t.Context(), func(name string, size int64, write func(io.Writer) error) error {
		// An append that begins now ends now, whatever put takes: nothing waits for it.
		facts, chunks := crashed(1_000_000 + len(files(t, dir)))
		if err := l.Append(t.Context(), facts, chunks); err != nil {
			return err
		}
		return put(name, size, write)
	})
	during := len(ackedSoFar()) - len(before)
	stop()
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"runs-2026-11-21.db", "runs-2026-11-22.db"}, files(t, dir)); diff != "" {
		t.Errorf("the snapshot (-want +got):\n%s", diff)
	}
	wantCrashed(t, dir, before)
	t.Logf("%d appends acknowledged before the snapshot, %d while it was taken", len(before), during)
}

// TestSnapshotHoldsNothing writes to a day that is open for reading only while its copy is being taken away. Opening it for
// writing waits for its readers.
func TestSnapshotHoldsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	mustAppend(t, l, life(noon()), nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: dir})
	later := noon().Add(time.Hour)
	var copied strings.Builder
	err := l.Snapshot(t.Context(), func(_ string, size int64, write func(io.Writer) error) error {
		mustAppend(t, l, life(later), nil)
		if err := write(&copied); err != nil {
			return err
		}
		if int64(copied.Len()) != size {
			t.Errorf("%d bytes, want %d", copied.Len(), size)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Run(t.Context(), runAt(later)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"lock", "runs-2026-11-21.db"}, files(t, dir)); diff != "" {
		t.Errorf("the log's directory (-want +got):\n%s", diff)
	}
	copyDir := t.TempDir()
	if err := os.WriteFile(filepath.Join(copyDir, "runs-2026-11-21.db"), []byte(copied.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := openTest(t, Options{Dir: copyDir})
	if _, err := taken.Run(t.Context(), runAt(noon())); err != nil {
		t.Errorf("a run of before the snapshot: %v", err)
	}
	if _, err := taken.Run(t.Context(), runAt(later)); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a run of after the copy was made: %v, want not found", err)
	}
}

func TestSnapshotOfNothing(t *testing.T) {
	err := openTest(t, Options{}).Snapshot(t.Context(), func(name string, _ int64, _ func(io.Writer) error) error {
		t.Errorf("there is a %s", name)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSnapshotOfDroppedDay takes days away between the moment when they are listed and the one when they would be copied:
// one as it is done when its file is dropped, and one behind the log's back.
func TestSnapshotOfDroppedDay(t *testing.T) {
	for name, test := range map[string]struct {
		drop func(*days, dayNumber)
		want []string
		fail bool
	}{
		"dropped": {drop: func(s *days, day dayNumber) {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.files, day)
			s.order = slices.DeleteFunc(slices.Clone(s.order), func(d dayNumber) bool { return d == day })
		}, want: []string{"runs-2026-11-21.db", "runs-2026-11-23.db"}},
		"lost": {drop: func(*days, dayNumber) {}, want: []string{"runs-2026-11-21.db"}, fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := openTest(t, Options{OpenDays: 1})
			for n := range 3 {
				mustAppend(t, l, life(noon().AddDate(0, 0, n)), nil)
			}
			middle := l.days.newestFirst()[1]
			var got []string
			err := l.Snapshot(t.Context(), func(name string, _ int64, _ func(io.Writer) error) error {
				if got = append(got, name); len(got) > 1 {
					return nil
				}
				test.drop(l.days, middle)
				return os.Remove(l.days.path(middle))
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if test.fail != (err != nil) || err != nil && !strings.Contains(err.Error(), "runs-2026-11-22.db") {
				t.Errorf("got %v, want an error: %t", err, test.fail)
			}
		})
	}
}

func TestSnapshotStops(t *testing.T) {
	errFull := errors.New("full")
	l := openTest(t, Options{})
	for n := range 2 {
		mustAppend(t, l, life(noon().AddDate(0, 0, n)), nil)
	}
	for name, put := range map[string]func(context.CancelCauseFunc) error{
		"put's error": func(context.CancelCauseFunc) error { return errFull },
		"cancelled":   func(cancel context.CancelCauseFunc) error { cancel(errFull); return nil },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		err := l.Snapshot(ctx, func(string, int64, func(io.Writer) error) error { calls++; return put(cancel) })
		if !errors.Is(err, errFull) || calls != 1 {
			t.Errorf("%s: %v after %d calls, want %v after 1", name, err, calls, errFull)
		}
		cancel(nil)
	}
	calls := 0
	err := l.Snapshot(t.Context(), func(string, int64, func(io.Writer) error) error { calls++; return l.Close() })
	if crony.CodeOf(err) != crony.Unavailable || calls != 1 {
		t.Errorf("closed meanwhile: %v after %d calls", err, calls)
	}
	if diff := cmp.Diff([]string{"lock", "runs-2026-11-21.db", "runs-2026-11-22.db"}, files(t, l.days.dir)); diff != "" {
		t.Errorf("the log's directory (-want +got):\n%s", diff)
	}
}

// TestSnapshotLeftover has a process end between making a copy's file and taking its name away.
func TestSnapshotLeftover(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	mustAppend(t, l, life(noon()), nil)
	f, err := unnamed(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := f.Name()
	if err := errors.Join(f.Close(), l.Close(), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	openTest(t, Options{Dir: dir})
	if diff := cmp.Diff([]string{"lock", "runs-2026-11-21.db"}, files(t, dir)); diff != "" {
		t.Errorf("the log's directory (-want +got):\n%s", diff)
	}
}
