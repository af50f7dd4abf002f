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

// output is one stream of an attempt: the file that the process writes to, and how much of it has been queued. The agent
// opens it when it reads: however many runs go on, or wait to be delivered, they hold no file open.
//
// Of a long stream the first half of the limit is delivered while it is written, and the last half of the limit at the end.
// What lies between is given back to the file system while the process goes on.
type output struct {
	run     crony.RunID
	attempt int
	stream  crony.Stream
	limit   int64
	path    string
	queued  int64 // bytes from the start
	punched int64 // end of what was given back
}

// head returns how much is kept of the beginning; the rest of the limit is for the end.
func (o *output) head() int64 { return o.limit - o.tail() }
func (o *output) tail() int64 { return o.limit / 2 }

func outputPath(dir string, run crony.RunID, attempt int, kind string) string {
	return filepath.Join(dir, outputDir, fmt.Sprintf("%s.%d.%s", run, attempt, kind))
}

// outputs returns the streams of an attempt, stdout first. It touches no file.
func outputs(dir string, run crony.RunID, attempt int, limit int64) []*output {
	list := make([]*output, 0, 2)
	for _, stream := range []crony.Stream{crony.Stdout, crony.Stderr} {
		list = append(list, &output{run: run, attempt: attempt, stream: stream, limit: limit,
			path: outputPath(dir, run, attempt, string(stream))})
	}
	return list
}

// createAll makes the files of an attempt, or none.
func createAll(list []*output) error {
	for i, o := range list {
		file, err := o.create()
		if err != nil {
			removeAll(list[:i])
			return err
		}
		file.Close() //nolint:errcheck // nothing was written through it
	}
	return nil
}

func removeAll(list []*output) {
	for _, o := range list {
		o.remove()
	}
}

// create makes the file and opens it as open does.
func (o *output) create() (*os.File, error) {
	mode := os.FileMode(readable)
	if o.stream == crony.Stdout {
		mode = unread
	}
	return os.OpenFile(o.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, mode)
}

// open opens the file, once it is there, for a process to write to. It is opened for appending, so that what is given back
// leaves the process where it is.
func (o *output) open() (int, error) { return openFD(o.path, unix.O_WRONLY|unix.O_APPEND) }

func (o *output) remove() {
	os.Remove(o.path) //nolint:errcheck // the next start of the agent removes what is left
}

// The file of stdout can't be read until the moment before its process starts. No process starts earlier, so that after a
// crash of the agent its mode says whether one may have started. Where files have no modes, it always says so once there is
// a file.
const (
	unread   = 0o200
	readable = 0o600
)

func markBegun(stdout int) error {
	if err := unix.Fchmod(stdout, readable); err != nil {
		return fmt.Errorf("mark its output as begun: %w", err)
	}
	return nil
}

// begun says whether a process may have started that writes to the file of stdout.
func begun(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return info.Mode().Perm()&^unread != 0
}

// size returns how much the process has written; what was queued if the file does not say.
func (o *output) size() int64 {
	info, err := os.Stat(o.path)
	if err != nil {
		return o.queued
	}
	return info.Size()
}

// stretch is a part of an output.
type stretch struct {
	from     *output
	off, end int64
}

// grown returns what there is of the beginning that was not returned before; empty if there is nothing.
func (o *output) grown(size int64) stretch { return o.upTo(min(size, o.head())) }

// rest returns what of the whole stream was not returned before, the last of the beginning and the end, and the size that it
// came to.
func (o *output) rest() ([]stretch, int64) {
	size := o.size()
	first := o.upTo(min(size, o.head()))
	o.queued = max(o.queued, size-o.tail())
	return []stretch{first, o.upTo(size)}, size
}

func (o *output) upTo(end int64) stretch {
	s := stretch{o, o.queued, max(end, o.queued)}
	o.queued = s.end
	return s
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
	file, err := os.OpenFile(o.path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer file.Close()
	err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, until-from)
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
