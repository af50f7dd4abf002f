package runlog

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"crony"
	"crony/internal/storetest"
)

// BenchmarkAppend stores a hundred facts a commit, and the same keys and values in a bare bbolt file in turn with it. Its
// ratio is the log's records a second by the bare file's: what checking, folding and indexing cost.
func BenchmarkAppend(b *testing.B) {
	b.Run("whole runs", func(b *testing.B) { benchmarkAppend(b, wholeRuns) })
	b.Run("by stage", func(b *testing.B) { benchmarkAppend(b, byStage) })
}

// wholeRuns is 25 runs from claim to end: short jobs, whose facts an agent sends together.
func wholeRuns(n int) (facts []crony.Fact) {
	for i := range 25 {
		facts = append(facts, benchLife(25*n+i)...)
	}
	return facts
}

// byStage is one fact of each of 100 runs; the next three batches have their other facts.
func byStage(n int) (facts []crony.Fact) {
	for i := range 100 {
		facts = append(facts, benchLife(n/4*100 + i)[n%4])
	}
	return facts
}

func benchLife(n int) []crony.Fact {
	at := noon().Add(time.Duration(n) * time.Millisecond)
	return storetest.Life(runAt(at), fmt.Sprintf("job-%d", n%100), fmt.Sprintf("a%d", n%10), crony.Succeeded)
}

func benchmarkAppend(b *testing.B, batch func(n int) []crony.Fact) {
	l := openTest(b, Options{})
	raw, err := bbolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, boltOptions(true))
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	var took, floor time.Duration
	records := 0
	for n := 0; b.Loop(); n++ {
		facts := batch(n)
		records += len(facts)
		start := time.Now()
		if err := l.Append(b.Context(), facts, nil); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		floor += rawAppend(b, raw, l, facts)
	}
	b.ReportMetric(float64(records)/took.Seconds(), "records/s")
	b.ReportMetric(float64(records)/floor.Seconds(), "raw-records/s")
	b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
}

// rawAppend returns what bbolt alone takes for the facts as they are stored.
func rawAppend(b *testing.B, raw *bbolt.DB, l *Log, facts []crony.Fact) time.Duration {
	batch, err := l.Encode(Records{Facts: facts})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	err = raw.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("facts"))
		if err != nil {
			return err
		}
		bucket.FillPercent = growing
		for i := range batch.facts {
			f := &batch.facts[i]
			key := binary.BigEndian.AppendUint32(slices.Clone(f.run[:]), uint32(f.fact.Seq))
			if err := bucket.Put(key, f.plain); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// BenchmarkList reads a page of a hundred among 100,000 runs, from a place chosen at random.
func BenchmarkList(b *testing.B) {
	const total = 100_000
	l := openTest(b, Options{})
	fill(b, l, total)
	for name, q := range map[string]crony.RunQuery{
		"all": {}, "job": {Job: "job-7"}, "agent and state": {Agent: "a0", State: crony.Succeeded},
		"nothing found": {Agent: "a0", State: crony.Lost},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				q.Cursor = string(runAt(noon().Add(time.Duration(total/2+rand.IntN(total/2)) * time.Millisecond)))
				start := time.Now()
				if _, err := l.ListRuns(b.Context(), q); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkLastRuns is what a page of a hundred jobs asks.
func BenchmarkLastRuns(b *testing.B) {
	l := openTest(b, Options{})
	fill(b, l, 10_000)
	for b.Loop() {
		for n := range 100 {
			if _, ok := l.LastRun(fmt.Sprintf("job-%d", n)); !ok {
				b.Fatal("a job without a run")
			}
		}
	}
}

// BenchmarkOpen opens a log of a thousand days.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: filepath.Join(b.TempDir(), "runs")}
	l := openTest(b, o)
	for n := range 1000 {
		mustAppend(b, l, life(noon().AddDate(0, 0, n)), nil)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
