package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"crony"
)

// outputDir is where runs' outputs and scripts lie, in the agent's directory.
const outputDir = "runs"

// output is one stream of an attempt: the file that the process writes to, and how much of it has been queued.
//
// Of a long stream the first half of the limit is delivered while it is written, and the last half of the limit at the end.
// What lies between is given back to the file system while the process goes on.
type output struct {
	run     crony.RunID
	attempt int
	stream  crony.Stream
	limit   int64
	file    *os.File
	queued  int64 // bytes from the start
	punched int64 // end of what was given back
}

// head returns how much is kept of the beginning; the rest of the limit is for the end.
func (o *output) head() int64 { return o.limit - o.tail() }
func (o *output) tail() int64 { return o.limit / 2 }

func outputName(run crony.RunID, attempt int, kind string) string {
	return fmt.Sprintf("%s.%d.%s", run, attempt, kind)
}

var streams = []crony.Stream{crony.Stdout, crony.Stderr}

// createOutputs makes the files of an attempt. They are opened for appending, so that what is given back leaves the process
// where it is.
func createOutputs(dir string, run crony.RunID, attempt int, limit int64) ([]*output, error) {
	return outputs(dir, run, attempt, limit, os.O_CREATE|os.O_EXCL)
}

// openOutputs opens the files of an attempt of an earlier life. A file that is gone is made again, empty.
func openOutputs(dir string, run crony.RunID, attempt int, limit int64) ([]*output, error) {
	return outputs(dir, run, attempt, limit, os.O_CREATE)
}

func outputs(dir string, run crony.RunID, attempt int, limit int64, flags int) ([]*output, error) {
	var files []*output
	for _, stream := range streams {
		path := filepath.Join(dir, outputDir, outputName(run, attempt, string(stream)))
		file, err := os.OpenFile(path, flags|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			for _, f := range files {
				f.remove()
			}
			return nil, err
		}
		files = append(files, &output{run: run, attempt: attempt, stream: stream, limit: limit, file: file})
	}
	return files, nil
}

func (o *output) remove() {
	os.Remove(o.file.Name()) //nolint:errcheck // the next start of the agent removes what is left
	o.file.Close()           //nolint:errcheck // nothing is left to save
}

func (o *output) size() int64 {
	info, err := o.file.Stat()
	if err != nil {
		return o.queued
	}
	return info.Size()
}

// piece is a part of an output that is to be delivered.
type piece struct {
	from *output
	off  int64
	n    int
}

// pieceSize is how much of an output is delivered at once.
const pieceSize = 64 << 10

// grown returns the pieces of the beginning that were not returned before.
func (o *output) grown() []piece {
	size := o.size()
	o.giveBack(size)
	return o.upTo(min(size, o.head()))
}

// rest returns what of the whole stream was not returned before: the last of the beginning, and the end.
func (o *output) rest() ([]piece, int64) {
	size := o.size()
	pieces := o.upTo(min(size, o.head()))
	o.queued = max(o.queued, size-o.tail())
	return append(pieces, o.upTo(size)...), size
}

func (o *output) upTo(end int64) []piece {
	var pieces []piece
	for o.queued < end {
		n := min(end-o.queued, pieceSize)
		pieces = append(pieces, piece{o, o.queued, int(n)})
		o.queued += n
	}
	return pieces
}

// slack is how much more than the limit a file may hold before the middle is given back.
const slack = 4 << 20

// giveBack frees the disk of what will never be delivered. A file system that can't leaves it there.
func (o *output) giveBack(size int64) {
	from := max(o.head(), o.punched)
	until := (size - o.tail()) &^ 4095
	if until-from < slack {
		return
	}
	err := unix.Fallocate(int(o.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, until-from)
	if err == nil {
		o.punched = until
	}
}

// removeOutputs removes the files of runs that are not kept.
func removeOutputs(dir string, kept map[crony.RunID]bool) error {
	entries, err := os.ReadDir(filepath.Join(dir, outputDir))
	if err != nil {
		return fmt.Errorf("look for old outputs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		run, _, _ := strings.Cut(e.Name(), ".")
		if kept[crony.RunID(run)] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, outputDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove an old output: %w", err))
		}
	}
	return errors.Join(errs...)
}
