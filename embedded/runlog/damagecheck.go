package runlog

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"crony"
)

// verifyRecords reads each record of a day's file.
func (l *Log) verifyRecords(ctx context.Context, tx *bbolt.Tx, day dayNumber) error {
	n := 0
	return tx.ForEach(func(bucket []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(key, value []byte) error {
			if n++; n%1000 == 0 {
				if err := l.alive(ctx); err != nil {
					return err
				}
			}
			return l.verifyRecord(string(bucket), key, value, day)
		})
	})
}

func (l *Log) verifyRecord(bucket string, key, value []byte, day dayNumber) error {
	var k runKey
	if bucket == bucketFacts || bucket == bucketRuns || bucket == bucketChunks {
		if k = runKey(key[:len(k)]); k.day() != day {
			return fmt.Errorf("run %s is of another day", k.id())
		}
	}
	switch bucket {
	case bucketFacts:
		var f crony.Fact
		if err := decodeJSON(value, &f); err != nil {
			return err
		}
		if f.Run != k.id() || !bytes.Equal(key, factKey(k, f.Seq)) {
			return fmt.Errorf("a fact of run %s is not where it should be", f.Run)
		}
	case bucketRuns:
		var r crony.Run
		return decodeJSON(value, &r)
	case bucketChunks:
		_, err := l.codec.decodeChunk(k.id(), key, value)
		return err
	case bucketStretches:
		var s crony.Stretch
		if err := decodeJSON(value, &s); err != nil {
			return err
		}
		if dayOf(s.To) != day || !bytes.Equal(key, stretchKey(s.Job, s.To, s.From, s.JobUID)) {
			return fmt.Errorf("a stretch of job %.80q is not where it should be", s.Job)
		}
	}
	return nil
}
