package runlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"crony"
)

// settledIndex settles the day files of a closed log and holds their lists against the runs.
func settledIndex(t *testing.T, dir string) {
	t.Helper()
	l := openTest(t, Options{Dir: dir})
	for _, day := range l.days.newestFirst() {
		wantIndex(t, l, day)
	}
}

func wantIndex(t *testing.T, l *Log, day dayNumber) {
	t.Helper()
	err := l.days.update(day, func(tx *bbolt.Tx) error {
		own, err := (&writer{log: l, days: map[dayNumber]*writtenDay{}}).day(tx, day)
		if err != nil {
			return err
		}
		if err := own.settle(tx, day); err != nil {
			return err
		}
		want, got := map[listID][]runKey{}, map[listID][]runKey{}
		err = tx.Bucket([]byte(bucketRuns)).ForEach(func(key, value []byte) error {
			h, _, err := headerOf(runKey(key), value)
			for _, id := range h.lists(nil) {
				want[id] = append(want[id], runKey(key))
			}
			return err
		})
		if err != nil {
			return err
		}
		err = tx.Bucket([]byte(bucketIndex)).ForEach(func(key, value []byte) error {
			id := listID{key[1], binary.BigEndian.Uint32(key[2:])}
			for b := block(value); b.len() > 0; b = b[runSize:] {
				got[id] = append(got[id], b.run(0))
			}
			return nil
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("index of %s (-want +got):\n%s", day, diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantSums holds the sums that are kept against those computed from the records.
func wantSums(t *testing.T, l *Log) {
	t.Helper()
	days, err := l.Days(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, day := range l.days.newestFirst() {
		minutes, err := l.Minutes(t.Context(), day.String())
		if err != nil {
			t.Fatal(err)
		}
		var total Sum
		for minute, kept := range minutes {
			items, err := l.Items(t.Context(), day.String(), minute)
			if err != nil {
				t.Fatal(err)
			}
			var sum Sum
			for _, s := range items {
				sum = sum.plus(s)
			}
			if sum != kept {
				t.Errorf("minute %d of %s: kept %v, computed %v", minute, day, kept, sum)
			}
			total = total.plus(kept)
		}
		if total != days[day.String()] {
			t.Errorf("%s: %v, its minutes %v", day, days[day.String()], total)
		}
	}
}

// TestSumsAreOfRecords computes sums from what was appended alone, as another server would that got it in another order.
func TestSumsAreOfRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	l := openTest(t, Options{})
	facts, chunks := randomRecords(rng)
	stretches := []crony.Stretch{stretchAt("a", "u", noon(), 3), stretchAt("b", "u", noon().AddDate(0, 0, 2), 1)}
	mustStore(t, l, stretches...)
	shuffledAppends(t, rng, l, facts, nil)
	longest := map[string]crony.Chunk{}
	for _, c := range chunks {
		key := fmt.Sprint(c.Run, c.Attempt, c.Offset)
		if len(c.Data) > len(longest[key].Data) {
			longest[key] = c
		}
		mustAppend(t, l, nil, []crony.Chunk{c})
	}
	b := encoded(t, l, Records{facts, slices.Collect(maps.Values(longest)), stretches})
	want := map[string]Sum{}
	for i := range b.facts {
		day := b.facts[i].run.day().String()
		want[day] = want[day].plus(Sum{1, b.facts[i].hash})
	}
	for i := range b.chunks {
		day := b.chunks[i].run.day().String()
		want[day] = want[day].plus(Sum{1, chunkHash(b.chunks[i].key, &b.chunks[i].chunkHeader)})
	}
	for i := range b.stretches {
		day := b.stretches[i].day.String()
		want[day] = want[day].plus(Sum{1, b.stretches[i].hash})
	}
	got, err := l.Days(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestRecordsOfMuch reads more than one batch, of a run that has more than fits in one.
func TestRecordsOfMuch(t *testing.T) {
	l, to := openTest(t, Options{}), openTest(t, Options{})
	noise := make([]byte, MaxChunk)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	chunk := crony.Chunk{Run: runAt(noon()), Attempt: 1, Stream: crony.Stdout, At: noon(), Data: noise}
	for n := range 3 {
		chunk.Offset = int64(n) * MaxChunk
		mustAppend(t, l, nil, []crony.Chunk{chunk})
	}
	mustAppend(t, l, life(noon()), nil)
	mustAppend(t, l, life(noon().Add(time.Second)), nil)
	items, err := l.Items(t.Context(), "2026-11-21", 12*60)
	if err != nil || len(items) != 2 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	batches, records := 0, 0
	for b, err := range l.Records(t.Context(), "2026-11-21", append(slices.Sorted(maps.Keys(items)), "0123456789abcdef", "x")) {
		if err != nil {
			t.Fatal(err)
		}
		batches++
		records += b.records()
		if err := to.Merge(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if got := b.Items(); len(got) == 0 || got[0].Day != "2026-11-21" {
			t.Errorf("items of a batch: %v", got)
		}
	}
	if batches < 3 || records != 4+4+3 {
		t.Errorf("%d batches, %d records", batches, records)
	}
	if diff := cmp.Diff(whole(t, l), whole(t, to)); diff != "" {
		t.Error(diff)
	}
	for _, day := range []string{"2026-11-20", "yesterday"} {
		for b, err := range l.Records(t.Context(), day, []string{"0123456789abcdef"}) {
			if err == nil || crony.CodeOf(err) != crony.Invalid || day != "yesterday" {
				t.Errorf("%s: %v, %v", day, b, err)
			}
		}
	}
}

func TestSumsRefuse(t *testing.T) {
	l := openTest(t, Options{})
	_, errDay := l.Minutes(t.Context(), "2026-13-01")
	_, errMinute := l.Items(t.Context(), "2026-11-21", dayMinutes)
	for _, err := range []error{errDay, errMinute} {
		if crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%v, want invalid", err)
		}
	}
	if days, err := l.Days(t.Context()); err != nil || len(days) != 0 {
		t.Errorf("days of an empty log: %v, %v", days, err)
	}
	l.Close()
	_, errDays := l.Days(t.Context())
	_, errMinutes := l.Minutes(t.Context(), "2026-11-21")
	errMerge := l.Merge(t.Context(), &Batch{})
	for _, err := range errors.Join(errDays, errMinutes, errMerge).(interface{ Unwrap() []error }).Unwrap() {
		if crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("after Close: %v", err)
		}
	}
}
