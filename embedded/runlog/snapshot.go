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
)

// Snapshot calls put for each day file, the oldest first, with the name that the file has in a log's directory and its size
// in bytes. What write then writes is the file as it was at one moment, whole: such files in a directory are a log that
// [Open] opens. All that was acknowledged before Snapshot was called is in them. What is appended meanwhile may be, but no
// run is there by halves of a transaction, as a run is in one file. A day that is dropped meanwhile is left out.
//
// Put may take its time: it reads a copy that has no name any more, not the file. So the log's disk must have room for the
// largest day once more. While that is copied its transaction is held, the longest of all readers': an append to that day
// can wait for it, seconds for a gigabyte.
//
// The error is put's, or why a day can't be copied; Unavailable once the log is closed.
func (l *Log) Snapshot(ctx context.Context, put func(name string, size int64, write func(io.Writer) error) error) error {
	for _, day := range slices.Backward(l.days.newestFirst()) {
		if err := l.snapshotDay(ctx, day, put); err != nil {
			return fmt.Errorf("snapshot run log: %w", err)
		}
	}
	return nil
}

func (l *Log) snapshotDay(
	ctx context.Context, day dayNumber, put func(string, int64, func(io.Writer) error) error,
) (err error) {
	dayCopy, size, err := l.copyDay(ctx, day)
	if err != nil || dayCopy == nil {
		return err
	}
	defer func() { err = errors.Join(err, dayCopy.Close()) }()
	return put(filepath.Base(l.days.path(day)), size, func(w io.Writer) error {
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
