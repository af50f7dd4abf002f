package replica_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"crony"
	"crony/embedded/runlog"
	"crony/internal/storetest"
)

// BenchmarkQuorum appends from many agents on three servers at once, a hundred records each time, and in turn with it puts as
// many bytes, a hundred records a commit, into a bare bbolt file on the same disk. Its ratio is the records a second that are
// on the disks of most servers by those of the bare file. All three servers share this machine.
func BenchmarkQuorum(b *testing.B) {
	for name, batch := range map[string]func(n int) []crony.Fact{"whole runs": wholeRuns, "by stage": byStage} {
		b.Run(name, func(b *testing.B) { benchmarkQuorum(b, batch) })
	}
}

const (
	appenders = 16 // on each server
	rounds    = 5  // of each, between two measurements of the bare file
	rawRounds = 30
)

func benchmarkQuorum(b *testing.B, batch func(n int) []crony.Fact) {
	s := startServers(b)
	raw, err := bbolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	sample, err := s.all[0].own.Encode(runlog.Records{Facts: batch(0)})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, len(sample.Bytes())/len(batch(0)))
	var (
		next          atomic.Int64
		took, floor   time.Duration
		records, bare int
	)
	for b.Loop() {
		start := time.Now()
		var work sync.WaitGroup
		for i := range 3 * appenders {
			server := s.all[i%3]
			work.Go(func() {
				for range rounds {
					if err := server.Append(b.Context(), batch(int(next.Add(1))), nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		took += time.Since(start)
		records += 3 * appenders * rounds * 100
		start = time.Now()
		for range rawRounds {
			if err := rawCommit(raw, &bare, value); err != nil {
				b.Fatal(err)
			}
		}
		floor += time.Since(start)
	}
	b.ReportMetric(0, "ns/op")
	perSecond, rawPerSecond := float64(records)/took.Seconds(), float64(bare)/floor.Seconds()
	b.ReportMetric(perSecond, "records/s")
	b.ReportMetric(rawPerSecond, "raw-records/s")
	b.ReportMetric(perSecond/rawPerSecond, "ratio")
	b.ReportMetric(float64(len(value)), "bytes/record")
	for _, x := range s.all {
		for _, o := range x.Status().Others {
			if o.Behind > 3*appenders {
				b.Logf("%s: %s is %d behind", x.id, o.Server, o.Behind)
			}
		}
	}
}

// rawCommit puts a hundred records as long as the log's, in the order of their keys.
func rawCommit(raw *bbolt.DB, n *int, value []byte) error {
	return raw.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("facts"))
		if err != nil {
			return err
		}
		bucket.FillPercent = 0.9
		for range 100 {
			*n++
			key := binary.BigEndian.AppendUint64(make([]byte, 12, 20), uint64(*n))
			if err := bucket.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// benchLife is the n-th run, of one of a hundred jobs.
func benchLife(n int) []crony.Fact {
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
	return storetest.Life(crony.OccurrenceRunID("uid", at, ""), fmt.Sprintf("job-%d", n%100), fmt.Sprintf("a%d", n%10), crony.Succeeded)
}

// wholeRuns is 25 runs from claim to end: short jobs, whose facts an agent sends together.
func wholeRuns(n int) (facts []crony.Fact) {
	for i := range 25 {
		facts = append(facts, benchLife(25*n+i)...)
	}
	return facts
}

// byStage is one fact of each of 100 runs; three more batches have their other facts.
func byStage(n int) (facts []crony.Fact) {
	for i := range 100 {
		facts = append(facts, benchLife(n/4*100 + i)[n%4])
	}
	return facts
}
