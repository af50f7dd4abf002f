package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"crony"
)

const compactFrom = 1 << 20 // bytes: a smaller file is not written anew, unless the disk is full

func openJournal(path string, log *slog.Logger) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{log: log, path: path, file: file, live: map[crony.RunID]*record{}, going: goings{},
		past: map[origin]crony.RunID{}, compact: compactFrom}
	if err := j.replay(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if j.damaged {
		j.setAside()
	}
	return j, nil
}

// replay reads the file up to its end, or to a torn frame that nothing follows, from which on it is cut off.
func (j *journal) replay(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	for frames := newFrames(file, info.Size()); ; {
		e, n, err := frames.next()
		switch {
		case err == nil:
			j.size = frames.off
			j.note(&e, n)
			continue
		case errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, errTorn):
			return fmt.Errorf("entry at offset %d: %w", j.size, err)
		}
		more, skipped := frames.skip()
		if skipped != nil {
			return fmt.Errorf("look for entries after offset %d: %w", j.size, skipped)
		}
		if !more {
			j.log.Warn("journal cut at a torn entry", "offset", j.size, "lost", info.Size()-j.size, "err", err)
			return file.Truncate(j.size)
		}
		j.log.Error("journal damaged; what follows the damage counts", "offset", j.size, "lost", frames.off-j.size, "err", err)
		j.damaged = true
	}
}

// damagedSuffix ends the name of a journal that was damaged. The newest one stays for whoever wants to look at it.
const damagedSuffix = ".damaged"

// setAside puts what is left of a damaged file into a new one. If it can't, the agent goes on in the old one: what is damaged
// in it is skipped each time that it is read.
func (j *journal) setAside() {
	aside := j.path + damagedSuffix
	err := os.Remove(aside)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Link(j.path, aside)
	}
	if err == nil {
		err = j.rewrite()
	}
	if err != nil {
		j.log.Error("damaged journal not set aside", "err", err)
		return
	}
	j.log.Warn("damaged journal set aside", "file", aside, "runs", len(j.live))
}

// write writes what is late and then data, all of it or nothing: what is half written would hide everything after it. Noted
// says that the memory has what data says already.
func (j *journal) write(data []byte, noted bool) error {
	if j.torn {
		if err := j.cut(); err != nil {
			return err
		}
	}
	whole := data
	if len(j.late) > 0 {
		whole = slices.Concat(j.late, data)
	}
	err := j.writeAt(whole)
	if diskFull(err) && j.makeRoom() {
		j.late = nil // noted, and so in the new file
		if whole = data; noted {
			whole = nil
		}
		err = j.writeAt(whole)
	}
	if err != nil {
		return err
	}
	j.size += int64(len(whole))
	j.late, j.futile = nil, 0
	if !j.poor || len(whole) == 0 {
		j.back()
	}
	return nil
}

// makeRoom writes the file anew if most of it is of settled runs, and reports whether it did. What was in vain is tried again
// when there are much fewer others.
func (j *journal) makeRoom() bool {
	if 2*j.kept >= j.size || j.futile > 0 && j.kept > j.futile/2 {
		return false
	}
	if j.rewrite() != nil {
		j.futile = max(j.kept, 1)
		return false
	}
	return true
}

func (j *journal) writeAt(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	_, err := j.file.WriteAt(data, j.size)
	if err != nil && j.cut() != nil {
		j.torn = true
	}
	return err
}

// cut ends the file after its last whole frame. What was kept for it beyond goes back too.
func (j *journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	j.torn, j.backed = false, 0
	return nil
}

// tidy writes a file of the live runs alone in place of the old one, if that is worth it. If it can't, the old one is good.
func (j *journal) tidy() {
	if j.size < j.compact || j.kept > j.size/4 {
		return
	}
	if err := j.rewrite(); err != nil {
		j.log.Warn("journal not written anew; it goes on in the old file", "err", err)
	}
	j.compact = j.size + compactFrom
}

// newSuffix ends the name of the file that takes the journal's place. While it does not, it keeps the room for that.
const newSuffix = ".new"

// rewrite writes the live runs into a new file, and that one in place of the old.
func (j *journal) rewrite() error {
	path := j.path + newSuffix
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	size, err := writeFrames(file, j.liveEntries())
	if err == nil {
		file, err = j.replace(file, path)
	}
	j.spared = false
	if err != nil {
		err = errors.Join(err, file.Close(), os.Remove(path))
		j.back()
		return err
	}
	j.file.Close() //nolint:errcheck // replaced
	j.file, j.size, j.kept, j.torn, j.backed = file, size, size, false, 0
	j.back()
	return nil
}

const (
	reserveMost  = 8 << 20 // bytes: entries of some ten thousand runs
	reserveLeast = 16 << 10
	reservePart  = 64 // of the file system, and of the spool, at most
)

// reserve has the file system keep room for entries from now on, ahead of the last one and for a file that takes the place of
// this one: when others fill the disk, runs are written down all the same. A file system that can't do that keeps none.
func (j *journal) reserve(spool int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	disk, err := diskOf(filepath.Dir(j.path))
	if err != nil {
		j.log.Warn("no room is kept for the journal", "err", err)
		return
	}
	j.ahead = max(min(min(disk.total, spool)/reservePart, reserveMost), reserveLeast)
	j.back()
}

// back keeps room as reserve says: for the file as much as there is, once half of it is used up, and for the next file.
func (j *journal) back() {
	j.poor = false
	if j.backed-j.size < j.ahead/2 {
		j.backed = j.size + j.allocate(j.file, j.size, max(j.backed-j.size, 0))
	}
	if j.ahead == 0 || j.spared || j.poor {
		return
	}
	spare, err := os.OpenFile(j.path+newSuffix, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		j.poor = true
		return
	}
	defer spare.Close()
	j.spared = j.allocate(spare, 0, 0) > 0
}

// allocate has the file system keep room in a file from an offset on, and returns how much: as much as there is, but more than
// a number of bytes, which it has already.
func (j *journal) allocate(file journalFile, off, has int64) int64 {
	for n := j.ahead; n >= reserveLeast && n > has; n /= 2 {
		switch err := keepRoom(file, off, n); {
		case err == nil:
			return n
		case errors.Is(err, errors.ErrUnsupported):
			j.log.Info("the file system keeps no room for the journal")
			j.ahead = 0
			return has
		}
		j.poor = true
	}
	return has
}
