package runlog

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"crony"
)

// recordsSize is about how large the batches of [Log.Records] are, in bytes; the last record may pass it.
const recordsSize = 1 << 20

// Records returns all that the log holds of some items of a day, by [Item.Key], in batches of about a mebibyte. What is
// stored meanwhile may be there or not; an item of which there is nothing is left out. Chunks are held against their
// checksums: Internal if one has changed on the disk. The last pair has the error if there was one.
func (l *Log) Records(ctx context.Context, day string, keys []string) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		d, err := dayFrom(day)
		if err != nil {
			yield(nil, err)
			return
		}
		r := &recording{log: l, keys: keys}
		for len(r.keys) > 0 {
			if err := l.alive(ctx); err != nil {
				yield(nil, err)
				return
			}
			r.batch = &Batch{table: l.codec.table}
			if err := l.days.view(d, r.fill); err != nil {
				yield(nil, fmt.Errorf("read records of day %s: %w", d, err))
				return
			}
			if r.batch.records() == 0 { // nothing was there, or the day has no file
				if !r.seen {
					return
				}
				continue
			}
			if !yield(r.batch, nil) {
				return
			}
		}
	}
}

// recording is one reading of items' records.
type recording struct {
	log   *Log
	keys  []string // what is left
	chunk []byte   // where to go on with the chunks of the first of them; nil if it has not begun
	seen  bool     // the day has a file
	batch *Batch
}

func (r *recording) fill(tx *bbolt.Tx) error {
	r.seen = true
	n := namesOf(tx)
	for len(r.keys) > 0 && r.batch.size < recordsSize {
		key := []byte(r.keys[0])
		if len(key) != runSize {
			if err := r.stretch(tx, n, key); err != nil {
				return err
			}
			r.keys = r.keys[1:]
			continue
		}
		if r.chunk == nil {
			if err := r.facts(tx, n, runKey(key)); err != nil {
				return err
			}
			r.chunk = key
		}
		if err := r.chunks(tx, runKey(key)); err != nil {
			return err
		}
		if r.chunk == nil {
			r.keys = r.keys[1:]
		}
	}
	return nil
}

func (r *recording) facts(tx *bbolt.Tx, n *names, k runKey) error {
	value := tx.Bucket([]byte(bucketRuns)).Get(k[:])
	if value == nil {
		return nil
	}
	facts, err := factsOf(k, value, n)
	if err != nil {
		return err
	}
	for i := range facts {
		_, rec, err := newFactRecord(nil, k, &facts[i])
		if err != nil {
			return unreadable(k, err)
		}
		r.batch.addFact(rec)
	}
	return nil
}

// chunks adds a run's chunks from r.chunk on, and says there where to go on.
func (r *recording) chunks(tx *bbolt.Tx, k runKey) error {
	c := tx.Bucket([]byte(bucketChunks)).Cursor()
	key, value := c.Seek(r.chunk)
	for ; bytes.HasPrefix(key, k[:]); key, value = c.Next() {
		if r.batch.size >= recordsSize {
			r.chunk = bytes.Clone(key)
			return nil
		}
		rec, err := r.log.codec.storedChunk(key, value)
		if err != nil {
			return err
		}
		if rec.givenUp() {
			continue
		}
		r.batch.addChunk(rec)
	}
	r.chunk = nil
	return nil
}

// storedChunk makes a record of a chunk that is stored, and checks its data.
func (c *codec) storedChunk(key, value []byte) (rec chunkRecord, err error) {
	rec.key, rec.value = bytes.Clone(key), bytes.Clone(value)
	var ok bool
	rec.run, rec.ref, ok = refOf(rec.key)
	rec.chunkHeader, err = chunkHeaderOf(rec.key, rec.value)
	if err == nil && !ok {
		err = errUnknownRecord
	}
	if err == nil && !rec.givenUp() {
		_, err = c.plain(&rec.chunkHeader)
	}
	if err != nil {
		return chunkRecord{}, unreadableChunk(rec.run.id(), err)
	}
	return rec, nil
}

func unreadableChunk(id crony.RunID, err error) error {
	return &crony.Error{
		Code: crony.Internal, Message: fmt.Sprintf("a chunk of the output of run %s can't be read", id), Err: err,
	}
}

func (r *recording) stretch(tx *bbolt.Tx, n *names, key []byte) error {
	value := tx.Bucket([]byte(bucketStretches)).Get(key)
	if value == nil {
		return nil
	}
	s, err := stretchOf(key, value, n)
	if err != nil {
		return err
	}
	rec, err := newStretchRecord(&s)
	if err != nil {
		return err
	}
	r.batch.addStretch(rec)
	return nil
}
