package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"crony"
	"crony/internal/boltfile"
	"crony/internal/durable"
)

// Snapshot calls put for each day file, the oldest first, and at last for one with the log's bounds if it has any, with the
// name that the file has in a log's directory and its size in bytes. What write then writes is the file as it was at one
// moment, whole: such files in a directory are a log that [Open] opens. All that was acknowledged before Snapshot was called
// is in them. What is appended meanwhile may be, but no run is there by halves of a transaction, as a run is in one file. A
// day that is dropped meanwhile is left out.
//
// Put may take its time: it reads a copy that has no name any more, not the file. So the log's disk must have room for the
// largest day once more. While that is copied its transaction is held, the longest of all readers': an append to that day
// can wait for it, seconds for a gigabyte.
//
// The error is put's, or why a day can't be copied; Unavailable once the log is closed.
func (l *Log) Snapshot(ctx context.Context, put func(name string, size int64, write func(io.Writer) error) error) error {
	for _, day := range slices.Backward(l.days.newestFirst()) {
		name := filepath.Base(l.days.path(day))
		_, err := l.putDay(ctx, day, func(size int64, write func(io.Writer) error) error { return put(name, size, write) })
		if err != nil {
			return fmt.Errorf("snapshot run log: %w", err)
		}
	}
	b := l.bounds.Load() // after the days: what was dropped meanwhile stays dropped
	if b.floor == 0 && len(b.marks) == 0 {
		return nil
	}
	bounds, err := b.bytes()
	if err != nil {
		return fmt.Errorf("snapshot run log: %w", err)
	}
	return put(boundsFile, int64(len(bounds)), func(w io.Writer) error {
		_, err := w.Write(bounds)
		return err
	})
}

// CopyDay calls put once with the day's file, as [Log.Snapshot] does, for another server's [Log.AdoptDay]. The error is put's,
// or why the day can't be copied; NotFound if there is nothing of it, Invalid if day is none, Unavailable once the log is
// closed.
func (l *Log) CopyDay(ctx context.Context, day string, put func(size int64, write func(io.Writer) error) error) error {
	number, err := dayFrom(day)
	if err != nil {
		return err
	}
	found, err := l.putDay(ctx, number, put)
	if err != nil {
		return fmt.Errorf("copy a day of the run log: %w", err)
	}
	if !found {
		return crony.Errorf(crony.NotFound, "the run log holds nothing of %s", day)
	}
	return nil
}

func (l *Log) putDay(
	ctx context.Context, day dayNumber, put func(int64, func(io.Writer) error) error,
) (found bool, err error) {
	dayCopy, size, err := l.copyDay(ctx, day)
	if err != nil || dayCopy == nil {
		return false, err
	}
	defer func() { err = errors.Join(err, dayCopy.Close()) }()
	return true, put(size, func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(dayCopy, 0, size))
		return err
	})
}

// copyDay returns a file with a copy of the day's, or nil if the day was dropped. Nobody else can find the file, and closing
// it frees its room.
func (l *Log) copyDay(ctx context.Context, day dayNumber) (_ *os.File, size int64, err error) {
	f, err := unnamed(l.days.dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil || size == 0 {
			err = errors.Join(err, f.Close())
		}
	}()
	err = l.days.view(day, func(tx *bbolt.Tx) error {
		var err error
		size, err = tx.WriteTo(checked{f, func() error { return l.alive(ctx) }})
		return err
	})
	stopped := l.alive(ctx) // asked again: bbolt does not pass on every error as it is
	switch {
	case stopped != nil:
		return nil, 0, stopped
	case errors.Is(err, fs.ErrNotExist) && !slices.Contains(l.days.newestFirst(), day):
		return nil, 0, nil // its file went while it was being opened
	case err != nil:
		return nil, 0, fmt.Errorf("copy day %s: %w", day, err)
	case size == 0:
		return nil, 0, nil
	}
	return f, size, nil
}

// unnamed makes a file in dir that is gone when it is closed. If the process ends before the name is taken away, opening the
// log does that: the name is one of a file that is half made.
func unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, filePrefix+"snapshot-*"+fileSuffix+newSuffix)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checked is a writer that asks before each write whether to go on.
type checked struct {
	io.Writer
	check func() error
}

// Write implements [io.Writer].
func (c checked) Write(p []byte) (int, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	return c.Writer.Write(p)
}

// AdoptDay takes another server's file for a day of which this log has none. It counts when all of it was received and found
// sound. What this log's bounds leave out of it goes by and by. Subscribers are sent a reset.
//
// The error is r's, or why the day can't be taken: Conflict if the log has something of it, or has dropped it; Invalid if day
// is none, if the file is damaged or not one of that day, or is of a newer crony.
func (l *Log) AdoptDay(ctx context.Context, day string, r io.Reader) error {
	number, err := dayFrom(day)
	if err != nil {
		return err
	}
	if err := l.canAdopt(ctx, number); err != nil {
		return err
	}
	path, err := l.receive(ctx, r)
	if err == nil {
		err = l.verify(ctx, path, number)
	}
	if err == nil {
		err = l.exclusively(ctx, func(*writer) error { return l.adopt(ctx, number, path) })
	}
	if err != nil {
		if path != "" {
			err = errors.Join(err, gone(os.Remove(path)))
		}
		return fmt.Errorf("adopt the run log of %s: %w", day, err)
	}
	l.log.Info("run log of a day adopted", "day", day)
	return nil
}

// gone takes a file for removed that is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (l *Log) canAdopt(ctx context.Context, day dayNumber) error {
	if err := l.alive(ctx); err != nil {
		return err
	}
	switch d, err := l.days.file(day); {
	case err != nil:
		return err
	case day < l.bounds.Load().floor:
		return crony.Errorf(crony.Conflict, "%s was dropped from the run log", day)
	case d != nil:
		return crony.Errorf(crony.Conflict, "the run log has something of %s", day)
	}
	return nil
}

// receive writes r to a file under a name that opening a log takes away.
func (l *Log) receive(ctx context.Context, r io.Reader) (path string, err error) {
	f, err := os.CreateTemp(l.days.dir, filePrefix+"adopted-*"+fileSuffix+newSuffix)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(checked{f, func() error { return l.alive(ctx) }}, r)
	return f.Name(), errors.Join(err, f.Sync(), f.Close())
}

// verify reads the whole of a file that is to be the day's.
func (l *Log) verify(ctx context.Context, path string, day dayNumber) (err error) {
	err = inspect(path, boltfile.Whole)
	if found, ok := errors.AsType[*damage](err); ok {
		return crony.Errorf(crony.Invalid, "the file can't be used: %s", found.what)
	}
	if err != nil {
		return err
	}
	db, err := openDay(path, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = guarded(func() error { return db.View(func(tx *bbolt.Tx) error { return l.verifyRecords(ctx, tx, day) }) })
	if err != nil && l.alive(ctx) == nil {
		return crony.Errorf(crony.Invalid, "the file's records can't be read: %v", err)
	}
	return err
}

// adopt makes a verified file the day's. Only the writer calls it.
func (l *Log) adopt(ctx context.Context, day dayNumber, path string) error {
	if err := l.canAdopt(ctx, day); err != nil {
		return err
	}
	if l.days.isCondemned(day) {
		return crony.Errorf(crony.Unavailable, "the day's damaged file could not be set aside yet")
	}
	if err := os.Rename(path, l.days.path(day)); err != nil {
		return err
	}
	if err := durable.SyncDir(l.days.dir); err != nil {
		return err
	}
	l.days.add(day)
	signal(l.raised)
	return l.days.view(day, func(tx *bbolt.Tx) error { return l.mem.adopt(day, tx) })
}
