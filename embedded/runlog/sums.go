package runlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"

	"crony"
)

// Sum says what a log holds of something: how many records, and the sum of their hashes. The same records make the same sum,
// in whatever order they came and whatever version of crony stored them: a record's hash is that of its plain form, and for a
// chunk that of its place and of the length and checksum of its data.
type Sum struct {
	Records uint64
	Hash    uint64
}

func (s Sum) plus(o Sum) Sum { return Sum{s.Records + o.Records, s.Hash + o.Hash} }

func (s Sum) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.Records), s.Hash)
}

func readSum(value []byte) (s Sum) {
	if len(value) == 16 {
		s.Records, s.Hash = binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])
	}
	return s
}

// sumStep is how many records a reader of a minute looks at in one transaction.
const sumStep = 4096

// Days returns what the log holds of each day of which it holds anything. It reads no file.
func (l *Log) Days(ctx context.Context) (map[string]Sum, error) {
	if err := l.alive(ctx); err != nil {
		return nil, err
	}
	return l.mem.daySums(), nil
}

// Minutes returns what the log holds of each minute of a day, in UTC, by its number. A run belongs to the minute of the
// instant in its id, and so does its output; a stretch to that of its To.
func (l *Log) Minutes(ctx context.Context, day string) ([]Sum, error) {
	if err := l.alive(ctx); err != nil {
		return nil, err
	}
	d, err := dayFrom(day)
	if err != nil {
		return nil, err
	}
	list := make([]Sum, dayMinutes)
	err = l.days.view(d, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketSums)).ForEach(func(key, value []byte) error {
			if len(key) == 2 && binary.BigEndian.Uint16(key) < dayMinutes {
				list[binary.BigEndian.Uint16(key)] = readSum(value)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read sums: %w", err)
	}
	return list, nil
}

func dayFrom(text string) (dayNumber, error) {
	day, err := parseDay(text)
	if err != nil || day < 0 || day > lastDay {
		return 0, crony.Errorf(crony.Invalid, "%.40q is not a day", text).WithHint("write it as 2026-11-21")
	}
	return day, nil
}

// Items returns what the log holds of each run and stretch of a minute, by [Item.Key]. It is computed from the records.
func (l *Log) Items(ctx context.Context, day string, minute int) (map[string]Sum, error) {
	d, err := dayFrom(day)
	if err != nil {
		return nil, err
	}
	if minute < 0 || minute >= dayMinutes {
		return nil, crony.Errorf(crony.Invalid, "a day has no minute %d", minute)
	}
	s := summing{minute: minute, sums: map[string]Sum{}}
	from := firstOf(int64(d)*dayMillis + int64(minute)*minuteMillis)
	s.end = firstOf(from.millis() + minuteMillis)
	for _, walk := range []struct {
		bucket string
		from   []byte
		fn     func(n *names, key, value []byte) error
	}{{bucketRuns, from[:], s.run}, {bucketChunks, from[:], s.chunk}, {bucketStretches, nil, s.stretch}} {
		for at := walk.from; ; {
			if err := l.alive(ctx); err != nil {
				return nil, err
			}
			if at, err = l.step(d, walk.bucket, at, walk.fn); err != nil {
				return nil, fmt.Errorf("sum records: %w", err)
			}
			if at == nil {
				break
			}
		}
	}
	return s.sums, nil
}

// errEnough ends a walk.
var errEnough = fmt.Errorf("enough")

// step calls fn for a bounded number of a bucket's entries, and returns where to go on; nil is the end.
func (l *Log) step(day dayNumber, bucket string, from []byte, fn func(*names, []byte, []byte) error) (next []byte, err error) {
	err = l.days.view(day, func(tx *bbolt.Tx) error {
		n, left := namesOf(tx), sumStep
		c := tx.Bucket([]byte(bucket)).Cursor()
		for key, value := c.Seek(from); key != nil; key, value = c.Next() {
			if left--; left < 0 {
				next = bytes.Clone(key)
				return nil
			}
			switch err := fn(n, key, value); {
			case err == errEnough: //nolint:errorlint // it is never wrapped
				return nil
			case err != nil:
				return err
			}
		}
		return nil
	})
	return next, err
}

// summing sums the records of a minute by their items.
type summing struct {
	minute int
	end    runKey // the first after the minute
	sums   map[string]Sum
	room   []byte
}

func (s *summing) add(key []byte, hash uint64) {
	s.sums[string(key)] = s.sums[string(key)].plus(Sum{1, hash})
}

func (s *summing) run(n *names, key, value []byte) error {
	if bytes.Compare(key, s.end[:]) >= 0 {
		return errEnough
	}
	facts, err := factsOf(runKey(key), value, n)
	if err != nil {
		return err
	}
	for i := range facts {
		s.room = appendFact(append(s.room[:0], key...), runKey(key).millis(), (*spelled)(nil), &facts[i])
		s.add(key, xxhash.Sum64(s.room))
	}
	return nil
}

func (s *summing) chunk(_ *names, key, value []byte) error {
	if bytes.Compare(key, s.end[:]) >= 0 {
		return errEnough
	}
	h, err := chunkHeaderOf(key, value)
	if err != nil {
		return unreadable(runKey(key), err)
	}
	if !h.givenUp() {
		s.add(key[:runSize], chunkHash(key, &h))
	}
	return nil
}

func (s *summing) stretch(n *names, key, value []byte) error {
	_, rest, _ := bytes.Cut(key, []byte{0})
	if _, to, ok := timesOf(rest); ok && minuteOf(to) != s.minute {
		return nil
	}
	stretch, err := stretchOf(key, value, n)
	if err != nil {
		return err
	}
	rec, err := newStretchRecord(&stretch)
	if err != nil {
		return err
	}
	s.add(key, rec.hash)
	return nil
}
