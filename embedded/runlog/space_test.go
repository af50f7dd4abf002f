package runlog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"crony"
)

func outputOf(t *testing.T, l *Log, id crony.RunID) (text string) {
	t.Helper()
	for c, err := range l.Output(t.Context(), id, false) {
		if err != nil {
			t.Fatal(err)
		}
		text += string(c.Data)
	}
	return text
}

func said(at time.Time, offset int64, text string) []crony.Chunk {
	return []crony.Chunk{{
		Run: runAt(at), Attempt: 1, Stream: crony.Stdout, Offset: offset, At: at, Data: []byte(text),
	}}
}

// TestDiskBounds has the disk fill up and empty.
func TestDiskBounds(t *testing.T) {
	var s space
	for _, step := range []struct {
		used           float64
		alert, refusal bool
	}{
		{0.5, false, false}, {0.8, true, false}, {0.79, true, false}, {0.95, true, true}, {0.94, true, true}, {0.92, true, false},
		{0.78, true, false}, {0.77, false, false}, {1, true, true}, {0, false, false},
	} {
		if _, is := s.see(step.used, 0); is.Alert != step.alert || is.Refusal != step.refusal {
			t.Errorf("at %v: %+v", step.used, is)
		}
	}
}

// TestOutputGivenUp has output come while there is no room for it, to one of two logs.
func TestOutputGivenUp(t *testing.T) {
	full, other := openTest(t, Options{}), openTest(t, Options{})
	logs := []*Log{full, other}
	full.space.see(0.96, 0)
	for _, l := range logs {
		mustAppend(t, l, life(noon()), said(noon(), 0, "one "))
		if err := l.checkDay(t.Context(), dayOf(noon()), 0); err != nil || l.days.isCondemned(dayOf(noon())) {
			t.Fatalf("check: %v", err)
		}
	}
	mustAppend(t, full, nil, said(noon(), 0, "one ")) // it may come again
	if !exists(t, full, noon()) {
		t.Error("the run was given up, not its output alone")
	}
	if text := outputOf(t, full, runAt(noon())); text != "" {
		t.Errorf("kept of the output: %q", text)
	}
	if got := full.Space(); got.GivenUp != 4 || !got.Refusal {
		t.Errorf("the space is %+v", got)
	}
	sums := func() (of [2]Sum) {
		for i, l := range logs {
			days, err := l.Days(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			of[i] = days["2026-11-21"]
		}
		return of
	}
	if of := sums(); of[0] == of[1] {
		t.Error("the logs are said to be alike")
	}
	heal := func(from, to *Log) {
		t.Helper()
		k, err := parseID(runAt(noon()))
		if err != nil {
			t.Fatal(err)
		}
		for batch, err := range from.Records(t.Context(), "2026-11-21", []string{string(k[:])}) {
			if err == nil {
				err = to.Merge(t.Context(), batch)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	heal(full, other) // what was given up goes nowhere
	if text := outputOf(t, other, runAt(noon())); text != "one " {
		t.Errorf("the other has %q", text)
	}
	heal(other, full) // there is no room yet
	if text := outputOf(t, full, runAt(noon())); text != "" {
		t.Errorf("kept of the output: %q", text)
	}
	full.space.see(0.5, 0)
	heal(other, full)
	if text := outputOf(t, full, runAt(noon())); text != "one " {
		t.Errorf("the output after there was room is %q", text)
	}
	if of := sums(); of[0] != of[1] {
		t.Errorf("the logs differ: %v", of)
	}
	if err := full.checkDay(t.Context(), dayOf(noon()), 0); err != nil || full.days.isCondemned(dayOf(noon())) {
		t.Errorf("check: %v", err)
	}
}

// TestFullDisk fills a small disk with output, until it takes nothing at all, and makes room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skip("only root can mount a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l := openTest(t, Options{Dir: filepath.Join(dir, "runs")})
	if err := l.measure(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "runs", reserveFile)); err != nil || onDisk(info) != reserveSize {
		t.Fatalf("the reserve: %v, %v", info, err)
	}
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 256<<10)
	kept, refusedAt := map[int64]string{}, 0
	n := 0
	for ; n < 400; n++ { // 100 MiB
		random.Read(noise)
		err := l.Append(t.Context(), nil, said(noon(), int64(n*len(noise)), string(noise)))
		if err != nil {
			if crony.CodeOf(err) != crony.Unavailable || !isFull(err) {
				t.Fatalf("append %d: %v", n, err)
			}
			break
		}
		if l.Space().GivenUp > 0 {
			refusedAt = n
			break
		}
		kept[int64(n*len(noise))] = string(noise)
		if n%8 == 0 {
			if err := l.measure(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d chunks kept; refused at %d; %+v", len(kept), refusedAt, l.Space())
	// Somebody else takes what is left.
	hog := filepath.Join(dir, "hog")
	f, err := os.Create(hog)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(noise)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	stored, reserve := 0, true
	for err = nil; err == nil && stored < 200_000; stored++ {
		err = l.Append(t.Context(), life(noon().Add(time.Duration(stored)*time.Second/10)), nil)
		if _, gone := os.Stat(filepath.Join(dir, "runs", reserveFile)); reserve && gone != nil {
			reserve = false
			hogMore(t, hog, noise)
		}
	}
	if reserve {
		t.Error("the reserve was not used")
	}
	if crony.CodeOf(err) != crony.Unavailable || !l.Space().Full {
		t.Fatalf("after %d runs: %v", stored, err)
	}
	t.Logf("%d runs stored before the disk took nothing more: %v", stored-1, err)
	for at, want := range kept { // reading goes on
		found := false
		for c, err := range l.Output(t.Context(), runAt(noon()), false) {
			if err != nil {
				t.Fatal(err)
			}
			found = found || c.Offset == at && bytes.Equal(c.Data, []byte(want))
		}
		if !found && exists(t, l, noon()) {
			t.Errorf("the output at %d is not there", at)
		}
		break
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		mustAppend(t, l, life(noon().Add(20*time.Hour/2+time.Duration(i)*time.Second)), nil)
	}
	if err := l.measure(); err != nil || l.Space().Full {
		t.Errorf("the disk is still said to be full: %+v, %v", l.Space(), err)
	}
	if err := l.checkDay(t.Context(), dayOf(noon()), 0); err != nil || l.days.isCondemned(dayOf(noon())) {
		t.Errorf("check: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, Options{Dir: filepath.Join(dir, "runs")})
	for i := range stored - 1 {
		if i%97 == 0 && !exists(t, l, noon().Add(time.Duration(i)*time.Second/10)) {
			t.Fatalf("run %d of %d was acknowledged, and is not there", i, stored)
		}
	}
}

// hogMore takes the room that the reserve left.
func hogMore(t *testing.T, hog string, noise []byte) {
	t.Helper()
	f, err := os.OpenFile(hog, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(noise)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
