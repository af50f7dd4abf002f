package runlog

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

// extremes are records at the edges of what can be.
func extremes() Records {
	id, code, low := runAt(noon()), -7, math.MinInt64
	last := crony.RunID("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
	if k, err := parseID(crony.OccurrenceRunID("x", time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), "")); err == nil {
		last = k.id()
	}
	return Records{
		Facts: []crony.Fact{
			{Run: id, Seq: 1, At: time.Time{}, Claimed: &crony.ClaimedFact{
				Job: "ü", JobUID: strings.Repeat("u", 300), Generation: math.MaxInt64, Agent: "a", Group: "g", Trigger: "whim",
				By: "me", Epoch: math.MinInt64, CatchUp: true, Unclaimed: true,
				Doubles: crony.NewRunID(time.Unix(1e9, 0)), ScheduledAt: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
				Labels: map[string]string{"": "", "a": "b", "zone": strings.Repeat("long ", 100)},
			}},
			{Run: last, Seq: 1, At: noon(), Claimed: &crony.ClaimedFact{Job: "j", Agent: "a", ScheduledAt: noon(),
				RerunOf: crony.NewRunID(time.Unix(1e9, 0)), Params: map[string]string{"day": "monday"}, Handle: true}},
			{Run: id, Seq: 2, At: time.Date(0, 1, 1, 0, 0, 0, 1, time.UTC), Started: &crony.StartedFact{Attempt: math.MaxInt32, PID: -1}},
			{Run: last, Seq: 2, At: noon(), Started: &crony.StartedFact{Attempt: 1, Callback: strings.Repeat("f", 64)}},
			{Run: last, Seq: 3, At: noon(), Waiting: &crony.WaitingFact{Attempt: 1, Until: noon().Add(time.Hour), Reason: "accepted"}},
			{Run: id, Seq: 3, At: noon().Add(-1), Exited: &crony.ExitedFact{
				Attempt: 1, ExitCode: &low, Signal: "SIGKILL", CPUSeconds: math.MaxFloat64, MaxRSS: -1, StdoutBytes: math.MaxInt64,
			}},
			{Run: id, Seq: 4, At: noon().Add(35 * 365 * 24 * time.Hour), Exited: &crony.ExitedFact{
				Attempt: 2, ExitCode: &code, CPUSeconds: 1.0 / 3, StderrBytes: math.MinInt64, ReadBytes: math.MaxInt64, WriteBytes: -1,
				OOM: true, Status: "HTTP 503",
			}},
			{Run: last, Seq: 4, At: noon(), Exited: &crony.ExitedFact{Attempt: 1, Status: "UNAVAILABLE"}},
			{Run: last, Seq: crony.VerdictSeq, At: noon(), Ended: &crony.EndedFact{State: crony.Skipped, Reason: strings.Repeat("r", 60_000)}},
			{Run: last, Seq: 5, At: noon(), Exited: &crony.ExitedFact{Attempt: 1, CPUSeconds: math.Copysign(0, -1)}},
			{Run: last, Seq: 6, At: noon(), Moved: &crony.MovedFact{Agent: strings.Repeat("a", 255), Attempt: math.MaxInt32}},
			{Run: last, Seq: crony.CalleeSeq, At: noon(), Result: &crony.ResultFact{Attempt: math.MaxInt32,
				Data: []byte(`"` + strings.Repeat("x", crony.MaxResult-2) + `"`)}},
			{Run: last, Seq: crony.HandledSeq, At: noon(), Handled: &crony.HandledFact{By: "ü", Note: "booked", Request: "r1"}},
		},
		Chunks: []crony.Chunk{
			{Run: id, Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte{0}},
			{Run: last, Attempt: math.MaxInt32, Stream: crony.Stderr, Offset: math.MaxInt64 - 1000, At: time.Time{}, Data: make([]byte, 1000)},
		},
		Stretches: []crony.Stretch{stretchAt("j", strings.Repeat("u", 255), noon(), 1), stretchAt("j", "u", time.Unix(0, 0).UTC(), 99)},
	}
}

// TestBatchTravels encodes and decodes records, stores what arrives, and reads it again from the file.
func TestBatchTravels(t *testing.T) {
	l := openTest(t, Options{})
	records := extremes()
	b, err := l.Encode(records)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Decode(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i := range records.Facts {
		if diff := cmp.Diff(records.Facts[i], got.facts[i].fact); diff != "" || got.facts[i].hash != b.facts[i].hash {
			t.Errorf("fact %d: %s", i, diff)
		}
	}
	if diff := cmp.Diff(b.Items(), got.Items()); diff != "" || len(b.Items()) != 4 {
		t.Errorf("items %v: %s", b.Items(), diff)
	}
	if err := l.Store(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	want, _ := crony.Fold(records.Facts[:4])
	if r, err := l.Run(t.Context(), want.ID); err != nil || !cmp.Equal(want, r) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, r))
	}
	if err := l.Store(t.Context(), b); err != nil { // all the same again
		t.Error(err)
	}
	for i, item := range b.Items() {
		for again, err := range l.Records(t.Context(), item.Day, []string{item.Key}) {
			if err != nil {
				t.Fatal(err)
			}
			for j := range again.facts {
				same := func(f factRecord) bool { return f.run == again.facts[j].run && f.fact.Seq == again.facts[j].fact.Seq }
				at := slices.IndexFunc(b.facts, same)
				if diff := cmp.Diff(b.facts[at].fact, again.facts[j].fact); diff != "" || b.facts[at].hash != again.facts[j].hash {
					t.Errorf("item %d, from the file: %s", i, diff)
				}
			}
			for j := range again.stretches {
				if !slices.ContainsFunc(records.Stretches, func(s crony.Stretch) bool { return cmp.Equal(s, again.stretches[j].stretch) }) {
					t.Errorf("item %d: %+v", i, again.stretches[j].stretch)
				}
			}
		}
	}
	wantSums(t, l)
}

// TestBatchDamaged changes each byte of a batch, and cuts it everywhere.
func TestBatchDamaged(t *testing.T) {
	l := openTest(t, Options{})
	b, err := l.Encode(Records{Facts: life(noon()), Stretches: []crony.Stretch{stretchAt("a", "u", noon(), 2)}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Bytes() {
		bad := slices.Clone(b.Bytes())
		bad[i] ^= 1 << rand.IntN(8)
		if _, err := l.Decode(bad); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("byte %d changed: %v, want invalid", i, err)
		}
		if _, err := l.Decode(b.Bytes()[:i]); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("cut to %d: %v, want invalid", i, err)
		}
	}
	newer := slices.Clone(b.Bytes())
	newer[0]++
	if _, err := l.Decode(summed(l, newer[:len(newer)-4])); crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a newer version: %v", err)
	}
}

// summed appends the checksum that a batch has.
func summed(l *Log, body []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clip(body), crc32.Checksum(body, l.codec.table))
}

// FuzzDecode decodes anything, with a checksum that is right. What can be decoded can be stored, and is what comes back.
func FuzzDecode(f *testing.F) {
	l := openTest(f, Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	for _, r := range []Records{{}, extremes(), variants(rng)} {
		b, err := l.Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes()[:len(b.Bytes())-4])
	}
	f.Add([]byte{batchVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := l.Decode(summed(l, body))
		if err != nil {
			if crony.CodeOf(err) != crony.Invalid {
				t.Fatalf("%v, want invalid", err)
			}
			return
		}
		r := Records{}
		for i := range b.facts {
			r.Facts = append(r.Facts, b.facts[i].fact)
		}
		for i := range b.stretches {
			r.Stretches = append(r.Stretches, b.stretches[i].stretch)
		}
		again, err := l.Encode(r)
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		for i := range b.facts {
			if again.facts[i].hash != b.facts[i].hash || !cmp.Equal(again.facts[i].fact, b.facts[i].fact, cmpopts.EquateNaNs()) {
				t.Fatalf("fact %d: %+v, then %+v", i, b.facts[i].fact, again.facts[i].fact)
			}
		}
		for i := range b.stretches {
			if again.stretches[i].hash != b.stretches[i].hash {
				t.Fatalf("stretch %d: %+v, then %+v", i, b.stretches[i].stretch, again.stretches[i].stretch)
			}
		}
	})
}
