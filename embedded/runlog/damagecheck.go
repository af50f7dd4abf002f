package runlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"

	"crony/internal/boltfile"
)

// audit reads the records of a day and sums them up as they should have been summed up when they were stored. It finds what
// the pages' form does not show: a record that is not what it was.
type audit struct {
	day   dayNumber
	codec *codec
	sums  [dayMinutes]Sum
	room  []byte
	bytes int // read of the file so far
}

// buckets returns what is audited, and how. The errors are damage.
func (t *audit) buckets() map[string]func(n *names, key, value []byte) error {
	buckets := map[string]func(*names, []byte, []byte) error{
		bucketRuns: t.run, bucketChunks: t.chunk, bucketStretches: t.stretch,
	}
	for name, fn := range buckets {
		buckets[name] = func(n *names, key, value []byte) error {
			if err := fn(n, key, value); err != nil {
				return &damage{what: err.Error(), err: err}
			}
			t.bytes += len(key) + len(value)
			return nil
		}
	}
	return buckets
}

func (t *audit) add(minute int, hash uint64) { t.sums[minute] = t.sums[minute].plus(Sum{1, hash}) }

func (t *audit) run(n *names, key, value []byte) error {
	if len(key) != runSize || runKey(key).day() != t.day {
		return errors.New("a run is where it can't be")
	}
	k := runKey(key)
	facts, err := factsOf(k, value, n)
	if err != nil {
		return err
	}
	for i := range facts {
		t.room = appendFact(append(t.room[:0], key...), k.millis(), (*spelled)(nil), &facts[i])
		t.add(k.minute(), xxhash.Sum64(t.room))
	}
	return nil
}

func (t *audit) chunk(_ *names, key, value []byte) error {
	k, _, ok := refOf(key)
	if !ok || k.day() != t.day {
		return errors.New("output is where it can't be")
	}
	h, err := chunkHeaderOf(key, value)
	if err == nil && !h.givenUp() {
		_, err = t.codec.plain(&h)
		t.add(k.minute(), chunkHash(key, &h))
	}
	if err != nil {
		return unreadableChunk(k.id(), err)
	}
	return nil
}

func (t *audit) stretch(n *names, key, value []byte) error {
	s, err := stretchOf(key, value, n)
	if err != nil {
		return err
	}
	rec, err := newStretchRecord(&s)
	if err != nil {
		return err
	}
	if rec.day != t.day || !bytes.Equal(rec.key, key) {
		return errors.New("a stretch is where it can't be")
	}
	t.add(rec.minute(), rec.hash)
	return nil
}

// against says which minute does not add up; nil if all do.
func (t *audit) against(kept []Sum) error {
	for minute := range t.sums {
		if t.sums[minute] != kept[minute] {
			return fmt.Errorf("%d records of %02d:%02d are not the %d that were stored", t.sums[minute].Records,
				minute/60, minute%60, kept[minute].Records)
		}
	}
	return nil
}

// verifyRecords reads each record of a file that nobody writes.
func (l *Log) verifyRecords(ctx context.Context, tx *bbolt.Tx, day dayNumber) error {
	t := &audit{day: day, codec: l.codec}
	n, read := namesOf(tx), 0
	for name, fn := range t.buckets() {
		err := tx.Bucket([]byte(name)).ForEach(func(key, value []byte) error {
			if read++; read%1000 == 0 {
				if err := l.alive(ctx); err != nil {
					return err
				}
			}
			return fn(n, key, value)
		})
		if err != nil {
			return err
		}
	}
	return t.against(sumsOf(tx))
}

// sumsOf returns the sums that a file keeps, by minute.
func sumsOf(tx *bbolt.Tx) []Sum {
	list := make([]Sum, dayMinutes)
	c := tx.Bucket([]byte(bucketSums)).Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if len(key) == 2 && binary.BigEndian.Uint16(key) < dayMinutes {
			list[binary.BigEndian.Uint16(key)] = readSum(value)
		}
	}
	return list
}

// checkDay reads all of a day, slowly, and condemns its file if it is damaged. A day that is written meanwhile is checked as
// far as that goes. The error says that it could not be checked.
func (l *Log) checkDay(ctx context.Context, day dayNumber, rate int) error {
	p := &pacer{log: l, rate: rate}
	d, err := l.days.file(day)
	if err != nil || d == nil {
		return err
	}
	if err := l.checkPages(ctx, d, p); err != nil {
		return err
	}
	err = l.checkRecords(ctx, day, p)
	if found, ok := errors.AsType[*damage](err); ok {
		l.days.condemn(d, found)
		return nil
	}
	return err
}

// checkPages looks the file through as it is on the disk. It is not held on to for that: if it was written meanwhile, what was
// found says nothing.
func (l *Log) checkPages(ctx context.Context, d *dayFile, p *pacer) (err error) {
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	before, err := boltfile.Read(f)
	if err != nil {
		return nil // it will be seen when it is opened
	}
	before.Pace(func(bytes int) error { return p.wait(ctx, bytes) })
	found := before.Check(boltfile.Whole)
	if stopped := l.alive(ctx); stopped != nil {
		return stopped
	}
	if found == nil {
		return nil
	}
	d.mu.Lock() // so that it is not written now
	after, err := boltfile.Read(f)
	d.mu.Unlock()
	if err == nil && after.Transaction() != before.Transaction() {
		return nil
	}
	l.days.condemn(d, &damage{what: found.Error(), err: found})
	return nil
}

// checkRecords tallies the records of a day. What was stored meanwhile makes its minute say nothing.
func (l *Log) checkRecords(ctx context.Context, day dayNumber, p *pacer) error {
	before, err := l.keptSums(day)
	if err != nil {
		return err
	}
	t := &audit{day: day, codec: l.codec}
	for name, fn := range t.buckets() {
		for from := []byte(nil); ; {
			if err := l.alive(ctx); err != nil {
				return err
			}
			read := t.bytes
			if from, err = l.step(day, name, from, fn); err != nil {
				return err
			}
			if from == nil {
				break
			}
			if err := p.wait(ctx, t.bytes-read); err != nil {
				return err
			}
		}
	}
	after, err := l.keptSums(day)
	if err != nil {
		return err
	}
	for minute := range before {
		if before[minute] != after[minute] {
			after[minute] = t.sums[minute]
		}
	}
	if err := t.against(after); err != nil {
		return &damage{what: err.Error(), err: err}
	}
	return nil
}

func (l *Log) keptSums(day dayNumber) (kept []Sum, err error) {
	kept = make([]Sum, dayMinutes)
	err = l.days.view(day, func(tx *bbolt.Tx) error {
		kept = sumsOf(tx)
		return nil
	})
	return kept, err
}

// pacer makes a check take its time.
type pacer struct {
	log  *Log
	rate int // bytes a second; 0: as fast as it goes
	owed int // bytes that were not waited for yet
}

// wait waits as long as it may take to read so many bytes, when they have become worth it.
func (p *pacer) wait(ctx context.Context, bytes int) error {
	if p.owed += bytes; p.rate == 0 || p.owed < p.rate/32 {
		return p.log.alive(ctx)
	}
	pause := time.NewTimer(time.Duration(float64(p.owed) / float64(p.rate) * float64(time.Second)))
	defer pause.Stop()
	p.owed = 0
	select {
	case <-pause.C:
	case <-p.log.closing:
	case <-ctx.Done():
	}
	return p.log.alive(ctx)
}
