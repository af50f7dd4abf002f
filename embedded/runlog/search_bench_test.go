package runlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"crony"
	"crony/internal/storetest"
)

// BenchmarkSearch searches output for what is in none of it, and in turn with that does the least that finds it: unpacks the
// same chunks into one buffer and looks for the same bytes. CRONY_BENCH_BYTES is how much output there is; 64 MiB if not set.
func BenchmarkSearch(b *testing.B) {
	total := int64(64 << 20)
	if text := os.Getenv("CRONY_BENCH_BYTES"); text != "" {
		var err error
		if total, err = strconv.ParseInt(text, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	l := openTest(b, Options{})
	fillWithOutput(b, l, total)
	for name, q := range map[string]crony.OutputQuery{
		"text":                {Text: "connection reset by peer"},
		"pattern with text":   {Pattern: `status=5\d\d .*timeout after [0-9]+ms`},
		"pattern of anything": {Pattern: `(?i)out of memory`},
	} {
		b.Run(name, func(b *testing.B) { benchmarkSearch(b, l, q, total) })
	}
}

func benchmarkSearch(b *testing.B, l *Log, q crony.OutputQuery, total int64) {
	var took, floor time.Duration
	for b.Loop() {
		start := time.Now()
		seen := int64(0)
		for next := q; ; {
			page, err := l.SearchOutput(b.Context(), next)
			if err != nil || len(page.Items) > 0 {
				b.Fatalf("%d hits, %v", len(page.Items), err)
			}
			seen += page.Bytes
			if next.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		took += time.Since(start)
		if seen < total {
			b.Fatalf("looked at %d bytes of %d", seen, total)
		}
		start = time.Now()
		leastSearch(b, l, []byte("connection reset by peer"))
		floor += time.Since(start)
	}
	mb := float64(total) * float64(b.N) / 1e6
	b.ReportMetric(mb/took.Seconds(), "MB/s")
	b.ReportMetric(mb/floor.Seconds(), "floor-MB/s")
	b.ReportMetric(floor.Seconds()/took.Seconds(), "ratio")
}

func leastSearch(b *testing.B, l *Log, text []byte) {
	var buf []byte
	for _, day := range l.days.newestFirst() {
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			runs := tx.Bucket([]byte(bucketRuns)).Cursor()
			for k, _ := runs.First(); k != nil; k, _ = runs.Next() {
				eachChunk(tx, runKey(k), chunkRef{}, func(chunkRef, error) { b.Error("unreadable") }, func(c *packedChunk) bool {
					var err error
					if buf, err = l.codec.unpack(buf[:0], &c.chunkHeader); err != nil || bytes.Contains(buf, text) {
						b.Errorf("found, or %v", err)
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// fillWithOutput appends runs of 1 MiB of lines of a web server's log each, in chunks as an agent sends them.
func fillWithOutput(tb testing.TB, l *Log, total int64) {
	rng := rand.New(rand.NewPCG(1, 2))
	const size, chunk = 1 << 20, 64 << 10
	var text []byte
	for n := range int((total + size - 1) / size) {
		at := noon().Add(-time.Duration(n) * time.Minute)
		for text = text[:0]; len(text) < size; {
			text = fmt.Appendf(text, "%s INFO request id=%08x path=/api/v1/items/%d status=%d took=%dms user=u%d\n",
				at.Format(time.RFC3339Nano), rng.Uint32(), rng.IntN(10_000), 200+rng.IntN(4), rng.IntN(900), rng.IntN(500))
			at = at.Add(time.Duration(rng.IntN(1e7)))
		}
		var chunks []crony.Chunk
		id := runAt(noon().Add(-time.Duration(n) * time.Minute))
		for from := 0; from < size; from += chunk {
			chunks = append(chunks, crony.Chunk{Run: id, Attempt: 1, Stream: crony.Stdout, Offset: int64(from),
				At: at, Data: text[from : from+chunk]})
		}
		mustAppend(tb, l, storetest.Life(id, "web", "a1", crony.Succeeded), chunks)
	}
}
