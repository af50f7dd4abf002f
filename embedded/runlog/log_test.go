package runlog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"crony"
	"crony/internal/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, childMain(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func openTest(tb testing.TB, o Options) *Log {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(tb.TempDir(), "runs")
	}
	if o.Now == nil {
		o.Now = func() time.Time { return noon().AddDate(0, 0, 1) }
	}
	l, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func mustAppend(tb testing.TB, l *Log, facts []crony.Fact, chunks []crony.Chunk) {
	tb.Helper()
	if err := l.Append(context.WithoutCancel(tb.Context()), facts, chunks); err != nil {
		tb.Fatal(err)
	}
}

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func runAt(at time.Time) crony.RunID { return crony.OccurrenceRunID("uid", at, "") }

func life(at time.Time) []crony.Fact {
	return storetest.Life(runAt(at), "backup", "a1", crony.Succeeded)
}

func TestConformance(t *testing.T) {
	storetest.Runs(t, func(t *testing.T) (crony.RunRecords, storetest.AppendRuns) {
		l := openTest(t, Options{OpenDays: 2})
		return l, func(facts []crony.Fact, chunks []crony.Chunk) {
			t.Helper()
			if err := l.Append(t.Context(), facts, chunks); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no directory":   {},
		"open days":      {Dir: t.TempDir(), OpenDays: -1},
		"missing parent": {Dir: filepath.Join(t.TempDir(), "gone", "runs")},
	} {
		if l, err := Open(o); err == nil {
			t.Errorf("%s: opened", name)
			l.Close()
		}
	}
}

func TestOpenTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	start := time.Now()
	if _, err := Open(Options{Dir: dir}); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("a second Open: %v, want a conflict", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("a second Open took %v", took)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, Options{Dir: dir})
}

// TestLockedDay has a day file open elsewhere, as by a tool that looks into it.
func TestLockedDay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir, OpenDays: 1})
	mustAppend(t, l, life(noon()), nil)
	mustAppend(t, l, life(noon().AddDate(0, 0, 1)), nil) // closes the first day's file
	path := filepath.Join(dir, "runs-2026-11-21.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), life(noon().Add(time.Hour)), nil); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("append to a locked day: %v, want unavailable", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, life(noon().Add(time.Hour)), nil)
	if _, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Millisecond}); err == nil {
		t.Error("an open day file is not locked")
	}
}

func TestOtherFormats(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	mustAppend(t, l, life(noon()), nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "runs-2026-11-21.db")
	writeFormat(t, path, format+1)
	l = openTest(t, Options{Dir: dir})
	if _, err := l.Run(t.Context(), runAt(noon())); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a run of a newer format: %v, want not found", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	aside := fmt.Sprintf("%s%s%d", path, newerMark, format+1)
	if diff := cmp.Diff([]string{"lock", filepath.Base(aside)}, files(t, dir)); diff != "" {
		t.Errorf("the log's directory (-want +got):\n%s", diff)
	}
	// What that format is is known one day: then the file is found under its name again.
	writeFormat(t, aside, format)
	if err := os.Rename(aside, fmt.Sprintf("%s%s%d", path, newerMark, format)); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: dir})
	if _, err := l.Run(t.Context(), runAt(noon())); err != nil {
		t.Errorf("a run of a format that was newer once: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	writeFormat(t, path, format-1)
	l = openTest(t, Options{Dir: dir})
	if list := l.SetAside(); len(list) != 1 || !strings.Contains(list[0].Found, "format 1") {
		t.Errorf("the format that was never released: %+v", list)
	}
}

func writeFormat(t *testing.T, path string, version byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, boltOptions(true))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), []byte{0, 0, 0, version})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHalfMadeDay leaves what a process leaves that ends while it makes a day's file.
func TestHalfMadeDay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "runs-2026-11-21.db.new")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openTest(t, Options{Dir: dir})
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("half a file is still there: %v", err)
	}
	mustAppend(t, l, life(noon()), nil)
}

func TestClosed(t *testing.T) {
	l := openTest(t, Options{})
	facts := life(noon())
	mustAppend(t, l, facts[:2], nil)
	changes := l.Subscribe(t.Context())
	followed := make(chan error, 1)
	following := make(chan struct{})
	go func() {
		var last error
		for _, err := range l.Output(context.WithoutCancel(t.Context()), runAt(noon()), true) {
			if last = err; err == nil {
				close(following)
			}
		}
		followed <- last
	}()
	chunk := crony.Chunk{Run: runAt(noon()), Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("x")}
	mustAppend(t, l, nil, []crony.Chunk{chunk})
	<-following
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if err := <-followed; crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("follower: %v, want unavailable", err)
	}
	for c := range changes {
		t.Errorf("a change after Subscribe: %+v", c)
	}
	if _, open := <-l.Subscribe(t.Context()); open {
		t.Error("a subscription to a closed log is open")
	}
	_, errRun := l.Run(t.Context(), runAt(noon()))
	_, errList := l.ListRuns(t.Context(), crony.RunQuery{})
	for what, err := range map[string]error{
		"append": l.Append(t.Context(), facts, nil), "append nothing": l.Append(t.Context(), nil, nil),
		"run": errRun, "list": errList,
	} {
		if crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("%s: %v, want unavailable", what, err)
		}
	}
	if r, ok := l.LastRun("backup"); ok {
		t.Errorf("last run: %+v", r)
	}
}
