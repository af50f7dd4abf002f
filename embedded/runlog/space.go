package runlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"crony"
)

// A run log must never take the disk from whom it shares it with, and never stop what runs. So output goes first: when the
// disk is nearly full, the place of a chunk is kept and its data is given up, which is what is acknowledged then. A chunk
// that was given up is as if it were not there: it does not count in the sums, so that the servers' exchange brings its data
// back as soon as there is room, from one that had some. Facts and stretches are small, and are kept until the disk takes
// nothing more at all; a file in reserve is removed for them then.
const (
	diskAlert   = 0.80 // used of the disk: somebody should know
	diskRefusal = 0.95 // used of the disk: output is given up
	diskRelief  = 0.02 // below a bound it must come before the bound counts as not reached again

	reserveFile = "reserve"
	reserveSize = 8 << 20
)

// Space is how the disk stands on which a log is.
type Space struct {
	Used    float64 // how much of it, by whomsoever, from 0 to 1; what only root may use counts as used
	Alert   bool    // it has little room
	Refusal bool    // it has so little that output is given up
	Full    bool    // a write has just found no room at all, so that output is given up too
	Log     int64   // bytes that the log itself takes of it
	GivenUp int64   // bytes of output that were given up since the log was opened
}

// space watches the disk.
type space struct {
	mu   sync.Mutex
	last Space
}

func (s *space) now() Space {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// statDisk returns how much of the file system of a directory is used, from 0 to 1, and how many bytes are free.
func statDisk(dir string) (used float64, free int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	taken := st.Blocks - st.Bfree // as df has it: what is kept for root is neither taken nor free
	free = int64(st.Bavail) * st.Bsize
	if taken+st.Bavail == 0 {
		return 0, free, nil
	}
	return float64(taken) / float64(taken+st.Bavail), free, nil
}

func halfOfDisk(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	return int64(st.Blocks/2) * st.Bsize, nil
}

// Space says how the log's disk stands, as it was seen last.
func (l *Log) Space() Space { return l.space.now() }

// refusesOutput says whether chunks are given up. The writer asks.
func (l *Log) refusesOutput() bool {
	s := l.space.now()
	return s.Refusal || s.Full
}

// gaveUp counts output.
func (s *space) gaveUp(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.GivenUp += bytes
}

// measure looks at the disk and says once what it finds there.
func (l *Log) measure() error {
	used, free, err := statDisk(l.days.dir)
	if err != nil {
		return err
	}
	size, err := l.days.bytes()
	if err != nil {
		return err
	}
	was, is := l.space.see(used, size)
	switch {
	case is.Refusal && !was.Refusal:
		l.log.Error("the disk of the run log is nearly full: what runs write is not kept any more, only how they go",
			"dir", l.days.dir, "used", percent(used), "log", crony.Size(size))
	case is.Alert && !was.Alert:
		l.log.Warn("the disk of the run log has little room left", "dir", l.days.dir, "used", percent(used), "log", crony.Size(size))
	case was.Refusal && !is.Refusal:
		l.log.Info("the disk of the run log has room again: what runs write is kept", "dir", l.days.dir, "used", percent(used))
	case was.Alert && !is.Alert:
		l.log.Info("the disk of the run log has room again", "dir", l.days.dir, "used", percent(used))
	}
	if is.Alert || free < 3*reserveSize {
		return nil
	}
	return l.keepReserve()
}

func percent(part float64) string { return fmt.Sprintf("%.0f%%", 100*part) }

// see takes in how the disk stands, and returns what was known before and what is now.
func (s *space) see(used float64, size int64) (was, is Space) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was = s.last
	s.last.Used, s.last.Log = used, size
	s.last.Alert = used >= diskAlert || was.Alert && used >= diskAlert-diskRelief
	s.last.Full = false
	s.last.Refusal = used >= diskRefusal || was.Refusal && used >= diskRefusal-diskRelief
	return was, s.last
}

// foundFull notes that a write found no room, and says so once. It counts until the disk is looked at again.
func (l *Log) foundFull(err error) {
	l.space.mu.Lock()
	was := l.space.last.Full
	l.space.last.Full = true
	l.space.mu.Unlock()
	if !was {
		l.log.Error("the disk of the run log is full: what runs write is not kept any more, and agents keep their records if "+
			"there is no room for those either", "dir", l.days.dir, "err", err)
	}
}

// isFull says whether a write found no room. Bbolt does not wrap all that it is told.
func isFull(err error) bool {
	return err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()))
}

// keepReserve makes the file that is given up for facts when there is no room. It is really written, as a file can also be
// long and take no room.
func (l *Log) keepReserve() error {
	path := filepath.Join(l.days.dir, reserveFile)
	if info, err := os.Stat(path); err == nil && info.Size() == reserveSize {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make the run log's reserve: %w", err)
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, reserveSize))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make the run log's reserve: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// giveReserve frees the reserve's room, if it is there.
func (l *Log) giveReserve() {
	if os.Remove(filepath.Join(l.days.dir, reserveFile)) == nil {
		l.log.Warn("the run log's reserve is used up for records", "dir", l.days.dir)
	}
}

// bytes returns how much of the disk the log takes.
func (s *days) bytes() (sum int64, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += onDisk(info)
	}
	return sum, nil
}

// sizes returns how much of the disk each day takes, with what was set aside of it.
func (s *days) sizes() (map[dayNumber]int64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	sizes := map[dayNumber]int64{}
	for _, e := range entries {
		day, ok := setAsideDay(e.Name())
		if own, err := parseDay(strings.TrimSuffix(strings.TrimPrefix(e.Name(), filePrefix), fileSuffix)); err == nil {
			day, ok = own, true
		}
		info, err := e.Info()
		if err == nil && ok {
			sizes[day] += onDisk(info)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return sizes, nil
}

// onDisk returns how much of the disk a file takes: it may be longer than that.
func onDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// spaceTick is how often the disk is looked at.
const spaceTick = 5 * time.Second
