package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// piece is a chunk of runAt(0) whose data is the bytes of its stream from offset from up to to: what stands at an offset
// depends on the attempt, the stream and the offset only.
func piece(attempt int, stream crony.Stream, from, to int) crony.Chunk {
	data := make([]byte, 0, to-from)
	for at := from; at < to; at++ {
		data = append(data, streamByte(attempt, stream, at))
	}
	return crony.Chunk{
		Run: runAt(0), Attempt: attempt, Stream: stream,
		Offset: int64(from), At: noon().Add(time.Duration(from)), Data: data,
	}
}

func streamByte(attempt int, stream crony.Stream, at int) byte {
	return byte('a' + (at/7+at*attempt+len(stream)*int(stream[3]))%26)
}

func (t *runsTest) outputInOrder(ctx context.Context) {
	t.add(Life(runAt(0), "backup", "a1", crony.Succeeded), []crony.Chunk{
		piece(2, crony.Stdout, 0, 10), piece(1, crony.Stderr, 5, 20), piece(1, crony.Stdout, 100, 120),
	})
	t.add(nil, []crony.Chunk{
		piece(1, crony.Stdout, 0, 30), piece(1, crony.Stdout, 20, 40), piece(1, crony.Stdout, 10, 15),
		piece(1, crony.Stderr, 5, 20), piece(1, crony.Stderr, 5, 8), piece(1, crony.Stderr, 5, 25),
	})
	t.add(Life(runAt(1), "other", "a1", crony.Succeeded), []crony.Chunk{{
		Run: runAt(1), Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("another run's"),
	}})
	got := newTranscript(t.T)
	for c, err := range t.store.Output(ctx, runAt(0), false) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Run != runAt(0) || c.At.IsZero() {
			t.Errorf("chunk of %v at %v", c.Run, c.At)
		}
		got.add(c)
	}
	want := []string{"1 stdout 0-40 100-120", "1 stderr 5-25", "2 stdout 0-10"}
	if diff := cmp.Diff(want, got.inOrder()); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
}

func (t *runsTest) outputInBulk(ctx context.Context) {
	t.add(Life(runAt(0), "backup", "a1", crony.Succeeded), nil)
	const size, total = 10_000, 300 * 10_000
	for from := 0; from < total; from += 30 * size {
		var chunks []crony.Chunk
		for at := from; at < from+30*size; at += size {
			chunks = append(chunks, piece(1, crony.Stdout, at, at+size))
		}
		t.add(nil, chunks)
	}
	got := newTranscript(t.T)
	for c, err := range t.store.Output(ctx, runAt(0), false) {
		if err != nil {
			t.Fatal(err)
		}
		got.add(c)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("1 stdout 0-%d", total)}, got.inOrder()); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
}

func (t *runsTest) followToTheEnd(ctx context.Context) {
	facts := Life(runAt(0), "backup", "a1", crony.Succeeded)
	t.add(facts[:2], []crony.Chunk{piece(1, crony.Stdout, 0, 10)})
	// Each step waits until the follower has seen the one before, so that what is seen is seen live.
	steps := []func(){
		func() { t.add(nil, []crony.Chunk{piece(1, crony.Stdout, 10, 20)}) },
		func() { t.add(nil, []crony.Chunk{piece(1, crony.Stdout, 0, 20), piece(1, crony.Stderr, 0, 5)}) },
		func() { t.add(facts[2:3], []crony.Chunk{piece(1, crony.Stdout, 30, 35)}) },
		func() { t.add(facts[3:], []crony.Chunk{piece(1, crony.Stdout, 35, 40)}) },
	}
	got := newTranscript(t.T)
	for c, err := range t.store.Output(ctx, runAt(0), true) {
		if err != nil {
			t.Fatalf("after %v: %v", got.inOrder(), err)
		}
		got.add(c)
		if len(steps) > 0 {
			steps[0]()
			steps = steps[1:]
		}
	}
	want := []string{"1 stdout 0-20", "1 stderr 0-5", "1 stdout 30-40"}
	if diff := cmp.Diff(want, got.inOrder()); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
}

func (t *runsTest) followEnded(ctx context.Context) {
	t.add(Life(runAt(0), "backup", "a1", crony.Killed), []crony.Chunk{piece(1, crony.Stdout, 0, 10)})
	got := newTranscript(t.T)
	for c, err := range t.store.Output(ctx, runAt(0), true) {
		if err != nil {
			t.Fatal(err)
		}
		got.add(c)
	}
	if diff := cmp.Diff([]string{"1 stdout 0-10"}, got.inOrder()); diff != "" {
		t.Errorf("what was read (-want +got):\n%s", diff)
	}
}

// followWithoutLoss appends from one goroutine while others start to follow: wherever one begins, it reads every byte once.
func (t *runsTest) followWithoutLoss(ctx context.Context) {
	const chunks, size, followers = 200, 40, 4
	facts := Life(runAt(0), "backup", "a1", crony.Succeeded)
	t.add(facts[:2], nil)
	start := make(chan struct{}, followers)
	var all sync.WaitGroup
	for range followers {
		all.Go(func() {
			<-start
			got := newTranscript(t.T)
			for c, err := range t.store.Output(ctx, runAt(0), true) {
				if err != nil {
					t.Errorf("after %v: %v", got.inOrder(), err)
					return
				}
				got.add(c)
			}
			if want := []string{fmt.Sprintf("1 stdout 0-%d", chunks*size)}; !slices.Equal(want, got.whole()) {
				t.Errorf("a follower read %v, want %v", got.whole(), want)
			}
		})
	}
	defer all.Wait()
	for n := range chunks {
		if n%(chunks/followers) == chunks/followers/2 {
			start <- struct{}{}
		}
		t.add(nil, []crony.Chunk{piece(1, crony.Stdout, n*size, (n+1)*size)})
	}
	t.add(facts[2:], nil)
}

func (t *runsTest) stopReading(ctx context.Context) {
	facts := Life(runAt(0), "backup", "a1", crony.Succeeded)
	t.add(facts[:2], []crony.Chunk{piece(1, crony.Stdout, 0, 10), piece(1, crony.Stdout, 20, 30)})
	for _, err := range t.store.Output(ctx, runAt(0), true) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(ctx)
	n := 0
	for _, err := range t.store.Output(ctx, runAt(0), true) {
		if n++; n == 2 {
			cancel()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("after cancelling: %v", err)
		}
	}
	cancel()
	if n < 2 {
		t.Errorf("%d pairs before cancelling, want 2", n)
	}
}

// transcript is output as it was read.
type transcript struct {
	t      *testing.T
	parts  []part
	places map[string][]part
}

type part struct {
	place    string
	from, to int
}

func newTranscript(t *testing.T) *transcript { return &transcript{t: t, places: map[string][]part{}} }

// add checks the bytes of c, and that none of them was read before.
func (r *transcript) add(c crony.Chunk) {
	p := part{fmt.Sprintf("%d %s", c.Attempt, c.Stream), int(c.Offset), int(c.End())}
	if want := piece(c.Attempt, c.Stream, p.from, p.to).Data; !bytes.Equal(want, c.Data) {
		r.t.Errorf("%v holds other bytes than were appended", p)
	}
	if len(c.Data) == 0 {
		r.t.Errorf("%v is empty", p)
	}
	for _, q := range r.places[p.place] {
		if p.from < q.to && q.from < p.to {
			r.t.Errorf("%v overlaps %v", p, q)
		}
	}
	r.places[p.place] = append(r.places[p.place], p)
	r.parts = append(r.parts, p)
}

// inOrder returns what was read, in the order in which it was, with what goes on without a gap as one.
func (r *transcript) inOrder() (lines []string) {
	var last part
	for _, p := range r.parts {
		switch {
		case len(lines) > 0 && p.place == last.place && p.from == last.to:
			line := lines[len(lines)-1]
			lines[len(lines)-1] = fmt.Sprintf("%s%d", line[:strings.LastIndexByte(line, '-')+1], p.to)
		case len(lines) > 0 && p.place == last.place:
			lines[len(lines)-1] += fmt.Sprintf(" %d-%d", p.from, p.to)
		default:
			lines = append(lines, fmt.Sprintf("%s %d-%d", p.place, p.from, p.to))
		}
		last = p
	}
	return lines
}

// whole returns what was read, place by place in the order of the offsets.
func (r *transcript) whole() []string {
	sorted := newTranscript(r.t)
	for _, name := range slices.Sorted(maps.Keys(r.places)) {
		parts := slices.Clone(r.places[name])
		slices.SortFunc(parts, func(a, b part) int { return a.from - b.from })
		sorted.parts = append(sorted.parts, parts...)
	}
	return sorted.inOrder()
}
