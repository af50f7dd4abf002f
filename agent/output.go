package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crony"
)

// outputDir is where runs' outputs and scripts lie, in the agent's directory.
const outputDir = "runs"

// output is one stream of an attempt: the file that the process writes to, and how much of it has been queued. The agent
// opens it when it reads: however many runs go on, or wait to be delivered, they hold no file open.
//
// Of a long stream the first half of the limit is delivered while it is written, and the last half of the limit at the end.
// What lies between is given back to the file system while the process goes on, and so is what a server has acknowledged. The
// next life of the agent takes for output what the file has, and not its holes.
type output struct {
	run     crony.RunID
	attempt int
	stream  crony.Stream
	limit   int64
	path    string
	none    bool  // there is no file: nothing is kept
	holes   bool  // an earlier life may have given back what this one queues
	dropped bool  // the file was given up
	queued  int64 // bytes from the start that were queued or given up
	acked   int64 // bytes from the start that are acknowledged or given up
	freed   int64 // bytes from the start that were given back
	punched int64 // end of what was given back of the middle

	given int64     // end of the last part that was given up for want of disk
	early []span    // acknowledged, and something before is not
	quiet int       // rounds since something of it was queued
	disk  int64     // bytes that the file takes of the disk, when last looked at
	waits time.Time // since when something of it waits to be queued; zero if nothing does
}

// span is a part of a stream.
type span struct{ off, end int64 }

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
// leaves the process where it is. What is not kept goes nowhere.
func (o *output) open() (int, error) {
	if o.none {
		return openFD(os.DevNull, os.O_WRONLY)
	}
	return openFD(o.path, os.O_WRONLY|os.O_APPEND)
}

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

func (o *output) markBegun(stdout int) error {
	if o.none {
		return nil // the journal says so
	}
	if err := setMode(stdout, readable); err != nil {
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

// size returns how much the process has written, and looks how much of the disk that takes; what was queued if the file does
// not say.
func (o *output) size() int64 {
	if !o.none {
		if size, disk, err := sizeOf(o.path); err == nil {
			o.disk = disk
			return size
		}
	}
	o.disk = 0
	return o.queued
}

// resume takes up an output of an earlier life: what was given back of its beginning was delivered or given up.
func (o *output) resume() {
	fd, err := openFD(o.path, os.O_RDONLY)
	if err != nil {
		return
	}
	defer closeFD(fd)
	o.holes = true
	if from := firstData(fd); from > 0 {
		from = min(from, o.head())
		o.queued, o.acked, o.freed = from, from, from
	}
}

// stretch is a part of an output.
type stretch struct {
	from     *output
	off, end int64
}

// grown returns what there is of the beginning that was not returned before; empty if there is nothing.
func (o *output) grown(size int64) stretch { return o.upTo(min(size, o.head())) }

// rest returns what of the whole stream was not returned before, the last of the beginning and the end, and the size that it
// came to. Lost is how much of that was given up for want of disk.
func (o *output) rest() (left []stretch, size, lost int64) {
	size = o.size()
	first := o.upTo(min(size, o.head()))
	lost = max(min(o.given, size)-max(o.head(), size-o.tail()), 0)
	o.queued = max(o.queued, size-o.tail())
	return []stretch{first, o.upTo(size)}, size, lost
}

// ack notes that a part is on the servers, or given up. Parts may come in any order.
func (o *output) ack(off, end int64) {
	if off > o.acked {
		o.early = append(o.early, span{off, end})
		return
	}
	o.acked = max(o.acked, end)
	for i := 0; i < len(o.early); i++ {
		if o.early[i].off <= o.acked {
			o.acked = max(o.acked, o.early[i].end)
			o.early = slices.Delete(o.early, i, i+1)
			i = -1 // the others may follow now
		}
	}
}

func (o *output) upTo(end int64) stretch {
	s := stretch{o, o.queued, max(end, o.queued)}
	o.queued = s.end
	return s
}

const (
	slack    = 4 << 20  // bytes: how much more than the limit a file may hold before the middle is given back
	freeStep = 1 << 20  // bytes: how much of the beginning is given back at once
	lossStep = 64 << 10 // bytes: how much is given up at once
	block    = 64 << 10 // bytes: of no file system a block is larger, and less than one can't be given back
)

// giveBack frees the disk of what is delivered, and of what will never be.
func (o *output) giveBack(size int64) {
	if until := min(o.acked, size) &^ (block - 1); until-o.freed >= freeStep && o.punch(o.freed, until) {
		o.freed = until
	}
	from := max(o.head(), o.punched)
	if until := size - o.tail(); until-from >= slack && o.punch(from, until) {
		o.punched = until
	}
}

// giveUp frees the disk of what was not queued. It returns how many bytes of the beginning are lost by that.
func (o *output) giveUp(size int64) int64 {
	from, until := o.queued, size&^(block-1)
	if until-from < lossStep || !o.punch(from, until) {
		return 0
	}
	o.queued, o.given = until, until
	o.ack(from, until)
	return max(min(until, o.head())-from, 0)
}

// punch gives a part of the file back, all whole blocks in it, and reports whether it did. A file system that can't leaves it
// there.
func (o *output) punch(from, until int64) bool {
	from, until = (from+block-1)&^(block-1), until&^(block-1)
	if from >= until {
		return false
	}
	fd, err := openFD(o.path, os.O_WRONLY)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	return punchHole(fd, from, until) == nil
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
		if err := os.RemoveAll(filepath.Join(dir, outputDir, e.Name())); err != nil { // a process may have made a directory
			errs = append(errs, fmt.Errorf("remove an old output: %w", err))
		}
	}
	return errors.Join(errs...)
}
