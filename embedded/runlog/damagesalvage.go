package runlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cespare/xxhash/v2"

	"crony"
	"crony/internal/boltfile"
	"crony/internal/durable"
)

// salvaging reads what can be read of a file that was set aside. Only what proves itself counts: a run by its checksum, its
// texts by the hashes under which they are filed, a chunk by that of its data. What comes of it is merged as if another server
// had sent it, so that it does no harm if the day has it already, or has begun anew.
type salvaging struct {
	log     *Log
	day     dayNumber
	texts   map[uint32]string
	batch   *Batch
	records int
	lost    int   // pages and records that could not be read
	first   error // why the first of them could not
}

// salvage merges what can be read of all files that were set aside and not read yet.
func (l *Log) salvage(ctx context.Context) error {
	entries, err := os.ReadDir(l.days.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		day, ok := setAsideDay(name)
		if !ok || strings.HasSuffix(name, doneSuffix) || newerFormat(name) > format {
			continue
		}
		if err := l.salvageFile(ctx, filepath.Join(l.days.dir, name), day); err != nil {
			errs = append(errs, fmt.Errorf("read %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// newerFormat returns the format for which a file was set aside; 0 if that is not why.
func newerFormat(name string) (found uint32) {
	_, number, _ := strings.Cut(name, newerMark)
	if _, err := fmt.Sscanf(number, "%d", &found); err != nil {
		return 0
	}
	return found
}

// salvageFile merges what can be read of one. A file that can't be read at all is left as it is: it may only be a permission
// that is missing.
func (l *Log) salvageFile(ctx context.Context, path string, day dayNumber) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := &salvaging{log: l, day: day, texts: map[uint32]string{}, batch: l.newBatch()}
	switch file, found := boltfile.Read(f); {
	case found != nil:
		s.skip(found)
	case checkFormat(file) != nil:
		s.skip(checkFormat(file))
	default:
		if err := s.read(ctx, file); err != nil {
			return err
		}
	}
	args := []any{"day", day.String(), "path", path + doneSuffix, "records", s.records, "lost", s.lost}
	if s.first != nil {
		args = append(args, "first", s.first.Error())
	}
	l.log.Info("what can be read of a file that was set aside is taken over", args...)
	if err := os.Rename(path, path+doneSuffix); err != nil {
		return err
	}
	return durable.SyncDir(l.days.dir)
}

func (s *salvaging) skip(err error) {
	if s.lost++; s.first == nil {
		s.first = err
	}
}

func (s *salvaging) read(ctx context.Context, file *boltfile.File) error {
	names := salvagedNames{texts: map[uint32]string{}, filed: map[uint32]uint64{}}
	whole := true
	err := file.Records(func(bucket string, key, value []byte) error {
		if bucket == bucketNames || bucket == bucketIDs {
			names.see(key, value)
		}
		return s.log.alive(ctx)
	}, func(error) { whole = false }) // they are counted below
	if err == nil && !whole {
		err = file.Strays(func(key, value []byte) error {
			names.see(key, value)
			return s.log.alive(ctx)
		})
	}
	if err != nil {
		return err
	}
	s.texts = names.proven()
	err = file.Records(func(bucket string, key, value []byte) error {
		if err := s.record(bucket, key, value); err != nil {
			s.skip(err)
		}
		return s.flushSome(ctx)
	}, s.skip)
	if err == nil && !whole {
		err = file.Strays(func(key, value []byte) error {
			s.stray(key, value)
			return s.flushSome(ctx)
		})
	}
	if err != nil {
		return err
	}
	return s.flush(ctx)
}

// stray takes an element of no known bucket into the batch if it proves to be a record.
func (s *salvaging) stray(key, value []byte) {
	for _, bucket := range []string{bucketRuns, bucketChunks, bucketStretches} {
		if s.record(bucket, key, value) == nil {
			return
		}
	}
}

func (s *salvaging) flushSome(ctx context.Context) error {
	if s.batch.size < recordsSize {
		return s.log.alive(ctx)
	}
	return s.flush(ctx)
}

// salvagedNames are a damaged file's texts in the making. An id stands for one text for as long as the file is there, so that
// old copies do as well.
type salvagedNames struct {
	texts map[uint32]string
	filed map[uint32]uint64
}

func (n *salvagedNames) see(key, value []byte) {
	switch len(key) {
	case 4:
		n.texts[binary.BigEndian.Uint32(key)] = string(value)
	case 8:
		for ; len(value) >= 4; value = value[4:] {
			n.filed[binary.BigEndian.Uint32(value)] = binary.BigEndian.Uint64(key)
		}
	}
}

// proven returns the texts that are filed under their own hashes.
func (n *salvagedNames) proven() map[uint32]string {
	maps.DeleteFunc(n.texts, func(id uint32, text string) bool {
		hash, ok := n.filed[id]
		return !ok || hash != xxhash.Sum64String(text)
	})
	return n.texts
}

func (s *salvaging) flush(ctx context.Context) error {
	batch := s.batch
	s.batch = s.log.newBatch()
	if batch.records() == 0 {
		return s.log.alive(ctx)
	}
	s.records += batch.records()
	return s.log.Merge(ctx, batch)
}

// record takes one into the batch. The error says that it can't be read.
func (s *salvaging) record(bucket string, key, value []byte) error {
	switch bucket {
	case bucketRuns:
		return s.run(slices.Clone(key), slices.Clone(value))
	case bucketChunks:
		rec, err := s.log.codec.storedChunk(key, value)
		if err == nil && !rec.givenUp() && rec.run.day() == s.day {
			s.batch.addChunk(rec)
		}
		return err
	case bucketStretches:
		return s.stretch(slices.Clone(key), slices.Clone(value))
	}
	return nil
}

func (s *salvaging) run(key, value []byte) error {
	if len(key) != runSize || runKey(key).day() != s.day {
		return errUnknownRecord
	}
	k := runKey(key)
	facts, err := factsOf(k, value, salvagedTexts(s.texts))
	if err != nil {
		return err
	}
	recs := make([]factRecord, len(facts))
	for i := range facts {
		if wrong := faultOfFact(&facts[i]); wrong != "" {
			return fmt.Errorf("fact %d of run %s: %s", facts[i].Seq, k.id(), wrong)
		}
		if _, recs[i], err = newFactRecord(nil, k, &facts[i]); err != nil {
			return err
		}
	}
	for _, rec := range recs {
		s.batch.addFact(rec)
	}
	return nil
}

func (s *salvaging) stretch(key, value []byte) error {
	stretch, err := stretchOf(key, value, salvagedTexts(s.texts))
	if err != nil {
		return err
	}
	rec, err := newStretchRecord(&stretch)
	if err == nil && rec.day == s.day {
		s.batch.addStretch(rec)
	}
	return err
}

// salvagedTexts are the texts of a damaged file that could be read.
type salvagedTexts map[uint32]string

func (t salvagedTexts) appendRef(b []byte, s string, _ bool) []byte { return appendSpelled(b, s) }

func (t salvagedTexts) text(u *unpacker) string {
	ref := u.uvarint()
	if ref&1 == 1 {
		return string(u.bytes(ref >> 1))
	}
	s, ok := t[uint32(ref>>1)]
	if ref == 0 {
		return ""
	}
	if !ok || ref>>33 != 0 {
		u.fail()
	}
	return s
}

func (l *Log) newBatch() *Batch { return &Batch{table: l.codec.table} }

var _ = crony.Internal
