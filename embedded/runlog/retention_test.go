package runlog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func exists(t *testing.T, l *Log, at time.Time) bool {
	t.Helper()
	_, err := l.Run(t.Context(), runAt(at))
	if err != nil && crony.CodeOf(err) != crony.NotFound {
		t.Fatal(err)
	}
	return err == nil
}

func TestFloor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	opts := Options{Dir: dir}
	l := openTest(t, opts)
	for n := range 3 {
		mustAppend(t, l, life(noon().AddDate(0, 0, n))[:2], nil) // they go on
	}
	if got := l.Floor(); got != "" {
		t.Errorf("the floor of a new log is %q", got)
	}
	if _, ok := l.LastRun("backup"); !ok {
		t.Error("there is no last run")
	}
	changes := l.Subscribe(t.Context())
	for _, day := range []string{"2026-11-23", "2026-11-22", "2026-11-21"} { // it only grows
		if err := l.RaiseFloor(day); err != nil {
			t.Fatal(err)
		}
	}
	if c := <-changes; !c.Reset {
		t.Errorf("a subscriber was sent %+v", c)
	}
	check := func() {
		t.Helper()
		if got := l.Floor(); got != "2026-11-23" {
			t.Errorf("the floor is %q", got)
		}
		if exists(t, l, noon()) || exists(t, l, noon().AddDate(0, 0, 1)) || !exists(t, l, noon().AddDate(0, 0, 2)) {
			t.Error("not the days below the floor are gone")
		}
		if n := l.Running(); n != 1 {
			t.Errorf("%d runs go on, want 1", n)
		}
		if diff := cmp.Diff([]string{boundsFile, "lock", "runs-2026-11-23.db"}, files(t, dir)); diff != "" {
			t.Errorf("the log's directory (-want +got):\n%s", diff)
		}
	}
	check()
	// What is below it is taken and left out, with what is above it in the same call.
	mustAppend(t, l, append(life(noon()), life(noon().AddDate(0, 0, 2))[2:]...), nil)
	if run, err := l.Run(t.Context(), runAt(noon().AddDate(0, 0, 2))); err != nil || !run.State.Ended() {
		t.Errorf("the run above the floor is %v, %v", run.State, err)
	}
	mustAppend(t, l, life(noon().AddDate(0, 0, 2).Add(time.Hour))[:2], nil)
	check()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// A file that comes back goes again.
	if err := os.WriteFile(filepath.Join(dir, "runs-2026-11-20.db"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, opts)
	check()
	for _, day := range []string{"", "2026-11-31", "tomorrow", "2026-11-24"} {
		if err := l.RaiseFloor(day); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("a floor of %q: %v, want invalid", day, err)
		}
	}
}

// TestDamagedBounds loses the bounds, and no more: the log opens, and holds what it held.
func TestDamagedBounds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	l := openTest(t, Options{Dir: dir})
	mustAppend(t, l, life(noon()), nil)
	if err := errors.Join(l.RaiseFloor("2026-11-20"), l.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, boundsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range data {
		bad := bytes.Clone(data)
		bad[at] ^= 1
		if b, err := parseBounds(bad); err == nil {
			t.Errorf("byte %d: %+v", at, b)
		}
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte("2026-11-20"), []byte("2096-11-20"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: dir})
	if l.Floor() != "" || !exists(t, l, noon()) {
		t.Errorf("the floor is %q", l.Floor())
	}
	if names := files(t, dir); len(names) != 3 {
		t.Errorf("the log's directory: %q", names)
	}
}

func copyOf(t *testing.T, l *Log, day string) []byte {
	t.Helper()
	var data bytes.Buffer
	err := l.CopyDay(t.Context(), day, func(size int64, write func(io.Writer) error) error {
		err := write(&data)
		if int64(data.Len()) != size {
			t.Errorf("%d bytes, want %d", data.Len(), size)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func TestAdoptDay(t *testing.T) {
	from := openTest(t, Options{})
	mustAppend(t, from, life(noon())[:2], nil)
	chunk := crony.Chunk{Run: runAt(noon()), Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("said")}
	mustAppend(t, from, nil, []crony.Chunk{chunk})
	data := copyOf(t, from, "2026-11-21")
	if err := from.CopyDay(t.Context(), "2026-11-22", nil); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a copy of a day that is not there: %v", err)
	}
	if err := from.CopyDay(t.Context(), "yesterday", nil); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("a copy of no day: %v", err)
	}

	to := openTest(t, Options{})
	if _, ok := to.LastRun("backup"); ok { // which is remembered
		t.Error("there is a last run already")
	}
	broken := bytes.Clone(data)
	copy(broken[2*4096:], make([]byte, len(broken)-2*4096))
	errBroken := errors.New("broken")
	for name, test := range map[string]struct {
		day  string
		from io.Reader
		code crony.Code
	}{
		"no day":      {"noon", bytes.NewReader(data), crony.Invalid},
		"another day": {"2026-11-22", bytes.NewReader(data), crony.Invalid},
		"cut short":   {"2026-11-21", bytes.NewReader(data[:len(data)-4096]), crony.Invalid},
		"damaged":     {"2026-11-21", bytes.NewReader(broken), crony.Invalid},
		"nothing":     {"2026-11-21", bytes.NewReader(nil), crony.Invalid},
		"broken":      {"2026-11-21", io.MultiReader(bytes.NewReader(data[:5000]), brokenReader{errBroken}), crony.Internal},
	} {
		err := to.AdoptDay(t.Context(), test.day, test.from)
		if crony.CodeOf(err) != test.code || name == "broken" && !errors.Is(err, errBroken) {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
	}
	if diff := cmp.Diff([]string{"lock"}, files(t, to.days.dir)); diff != "" {
		t.Errorf("the log's directory (-want +got):\n%s", diff)
	}

	changes := to.Subscribe(t.Context())
	if err := to.AdoptDay(t.Context(), "2026-11-21", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if c := <-changes; !c.Reset {
		t.Errorf("a subscriber was sent %+v", c)
	}
	if run, ok := to.LastRun("backup"); !ok || run.ID != runAt(noon()) {
		t.Errorf("the last run is %v, %t", run.ID, ok)
	}
	if n := to.Running(); n != 1 {
		t.Errorf("%d runs go on, want 1", n)
	}
	mustAppend(t, to, life(noon()), nil)
	if n := to.Running(); n != 0 {
		t.Errorf("%d runs go on, want none", n)
	}
	if err := to.AdoptDay(t.Context(), "2026-11-21", bytes.NewReader(data)); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("a day that is there: %v, want conflict", err)
	}
	if err := to.RaiseFloor("2026-11-22"); err != nil {
		t.Fatal(err)
	}
	if err := to.AdoptDay(t.Context(), "2026-11-21", bytes.NewReader(data)); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("a day that was dropped: %v, want conflict", err)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }
