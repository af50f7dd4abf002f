package runlog

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	raw := openRaw(b)
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

// BenchmarkList reads a page of a hundred by each condition, from a place chosen at random. What matches nothing costs a
// page's budget.
func BenchmarkList(b *testing.B) {
	l, total := million(b)
	for _, tt := range []struct {
		name string
		q    crony.RunQuery
	}{
		{"all", crony.RunQuery{}}, {"job", crony.RunQuery{Job: "job-7"}}, {"agent", crony.RunQuery{Agent: "a7"}},
		{"group", crony.RunQuery{Group: "group-7"}}, {"succeeded", crony.RunQuery{State: crony.Succeeded}},
		{"failed", crony.RunQuery{State: crony.Failed}}, {"running", crony.RunQuery{State: crony.Running}},
		{"trigger", crony.RunQuery{Trigger: crony.ByHand}}, {"labels", crony.RunQuery{Labels: map[string]string{"rare": "yes"}}},
		{"time", crony.RunQuery{From: noon(), To: noon().Add(time.Minute)}},
		{"longer", crony.RunQuery{Longer: time.Hour}}, {"shorter", crony.RunQuery{Shorter: time.Millisecond}},
		{"agent and failed", crony.RunQuery{Agent: "a7", State: crony.Failed}},
		{"agent and group of another", crony.RunQuery{Agent: "a8", Group: "group-7"}},
		{"no job", crony.RunQuery{Job: "nothing"}}, {"count", crony.RunQuery{Count: true}},
		{"count of a group", crony.RunQuery{Group: "group-7", Count: true}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				step := min(30*time.Millisecond, 10*time.Hour/time.Duration(total))
				tt.q.Cursor = string(runAt(noon().Add(time.Duration(total/2+rand.IntN(total/2)) * step)))
				start := time.Now()
				if _, err := l.ListRuns(b.Context(), tt.q); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			reportTimes(b, took)
		})
	}
}

// BenchmarkSize stores runs of four facts and forty bytes of output, and says what one takes on the disk.
func BenchmarkSize(b *testing.B) {
	l := openTest(b, Options{})
	runs := 0
	for b.Loop() {
		facts := wholeRuns(runs / 25)
		var chunks []crony.Chunk
		for i := 0; i < len(facts); i += 4 {
			chunks = append(chunks, crony.Chunk{
				Run: facts[i].Run, Attempt: 1, Stream: crony.Stdout, At: facts[i].At, Data: fmt.Appendf(nil, "%-39d\n", runs+i),
			})
		}
		runs += len(chunks)
		mustAppend(b, l, facts, chunks)
	}
	err := l.days.view(dayOf(noon()), func(tx *bbolt.Tx) error {
		b.ReportMetric(float64(tx.Size())/float64(runs), "B/run")
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMerge merges batches as they come from another server, a hundred facts each, and stores the same keys and values
// in a bare bbolt file in turn with it.
func BenchmarkMerge(b *testing.B) {
	from, l := openTest(b, Options{}), openTest(b, Options{})
	raw := openRaw(b)
	var took, floor time.Duration
	records := 0
	for n := 0; b.Loop(); n++ {
		facts := wholeRuns(n)
		batch, err := from.Encode(Records{Facts: facts})
		if err != nil {
			b.Fatal(err)
		}
		data := batch.Bytes()
		start := time.Now()
		if batch, err = l.Decode(data); err != nil {
			b.Fatal(err)
		}
		if err := l.Merge(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		floor += rawAppend(b, raw, l, facts)
		records += len(facts)
	}
	b.ReportMetric(float64(records)/took.Seconds(), "records/s")
	b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
}

func openRaw(b *testing.B) *bbolt.DB {
	b.Helper()
	raw, err := bbolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, boltOptions(true))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { raw.Close() })
	return raw
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

// million opens a log of as many runs as CRONY_BENCH_RUNS says, or 100,000: of 10,000 jobs in ten groups, on a hundred agents,
// of which one in a hundred failed.
func million(b *testing.B) (*Log, int) {
	b.Helper()
	total := 100_000
	if n, err := strconv.Atoi(os.Getenv("CRONY_BENCH_RUNS")); err == nil && n >= 10_000 {
		total = n
	}
	l := openTest(b, Options{})
	var facts []crony.Fact
	for n := range total {
		at := noon().Add(time.Duration(n) * min(30*time.Millisecond, 10*time.Hour/time.Duration(total)))
		state := crony.Succeeded
		if n%100 == 7 {
			state = crony.Failed
		}
		own := storetest.Life(runAt(at), fmt.Sprint("job-", n*7919%10_000), fmt.Sprint("a", n%100), state)
		own[0].Claimed.Group = fmt.Sprint("group-", n%10)
		if n%1000 == 1 {
			own[0].Claimed.Labels, own[0].Claimed.Trigger = map[string]string{"rare": "yes"}, crony.ByHand
		}
		if facts = append(facts, own...); len(facts) >= 2000 || n == total-1 {
			mustAppend(b, l, facts, nil)
			facts = facts[:0]
		}
	}
	b.ResetTimer()
	return l, total
}

func reportTimes(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
