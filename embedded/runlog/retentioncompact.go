package runlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"crony/internal/boltfile"
	"crony/internal/durable"
)

// When a day's file is written anew without its free pages: those are used again by what is still to come, but nothing comes
// to a day of the past.
const (
	compactAfter = 2                // days after a day's end
	compactGain  = 16 << 20         // bytes to be gained, at least
	compactShare = 0.5              // of the file, at least
	compactStep  = 1 << 20          // bytes of a transaction
	compactWait  = 30 * time.Second // for the writer
)

// compact writes an old day's file anew if that is worth it. It reads the file as any reader does; if the day was written
// meanwhile, what came of it is thrown away.
func (l *Log) compact(ctx context.Context, day dayNumber) (err error) {
	path := l.days.path(day)
	before, free, err := freeOf(path)
	if err != nil || dayOf(l.now()) < day+compactAfter || free < compactGain || float64(free) < compactShare*float64(before.Size()) {
		return err
	}
	fresh := path + newSuffix
	if err := gone(os.Remove(fresh)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gone(os.Remove(fresh))) }()
	if err := l.writeAnew(ctx, day, fresh); err != nil {
		return fmt.Errorf("write the day %s anew: %w", day, err)
	}
	return l.exclusively(ctx, func(*writer) error { return l.days.replace(day, fresh, before.Transaction()) })
}

// freeOf returns how a file stands, and how many bytes of it are free; nothing is of one that can't be read.
func freeOf(path string) (file *boltfile.File, free int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if file, err = boltfile.Read(f); err != nil {
		return nil, 0, nil
	}
	if free, err = file.Free(); err != nil {
		return nil, 0, nil
	}
	return file, free, nil
}

// writeAnew copies what a day holds, as it is at one moment, into a new file.
func (l *Log) writeAnew(ctx context.Context, day dayNumber, path string) (err error) {
	opts := boltOptions(true)
	opts.NoSync = true // once, at the end
	db, err := bbolt.Open(path, 0o600, opts)
	if err != nil {
		return err
	}
	err = l.days.view(day, func(from *bbolt.Tx) error { return l.copyBuckets(ctx, from, db) })
	return errors.Join(err, db.Sync(), db.Close())
}

func (l *Log) copyBuckets(ctx context.Context, from *bbolt.Tx, db *bbolt.DB) error {
	return from.ForEach(func(name []byte, b *bbolt.Bucket) error {
		c := b.Cursor()
		for key, value := c.First(); ; {
			if err := l.alive(ctx); err != nil {
				return err
			}
			err := db.Update(func(tx *bbolt.Tx) error {
				to, err := tx.CreateBucketIfNotExists(name)
				if err != nil {
					return err
				}
				to.FillPercent = 1
				for size := 0; key != nil && size < compactStep; key, value = c.Next() {
					if err := to.Put(key, value); err != nil {
						return err
					}
					size += len(key) + len(value)
				}
				return nil
			})
			if err != nil || key == nil {
				return err
			}
		}
	})
}

// replace puts a new file in the place of a day's if that is still as it was. Only the writer calls it.
func (s *days) replace(day dayNumber, fresh string, transaction uint64) error {
	d, err := s.file(day)
	if err != nil || d == nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now, _, err := freeOf(d.path)
	if err != nil || now == nil || now.Transaction() != transaction {
		return err
	}
	if err := d.close(); err != nil {
		s.log.Warn("day file did not close well", "path", d.path, "err", err)
	}
	s.mu.Lock()
	delete(s.opened, d)
	s.mu.Unlock()
	if err := os.Rename(fresh, d.path); err != nil {
		return err
	}
	s.log.Info("day file written anew without its free pages", "path", d.path, "size", now.Size())
	return durable.SyncDir(s.dir)
}
