package runlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"crony"
	"crony/internal/boltfile"
	"crony/internal/durable"
)

// damage is an error that says why a day file can't be used.
type damage struct {
	what  string // what was found, in plain words
	newer uint32 // the file's format, if that is all: a newer crony wrote it
	err   error
}

// Error implements error.
func (d *damage) Error() string { return "it can't be used: " + d.what }

// Unwrap returns the cause.
func (d *damage) Unwrap() error { return d.err }

// thrown is an error that was a panic.
type thrown struct {
	value any
	stack []byte
}

// Error implements error.
func (t *thrown) Error() string { return fmt.Sprintf("reading it threw %v", t.value) }

// guarded calls fn and makes an error of a panic in it: a bbolt that reads a damaged page panics, and so may those who read
// what it gives them. So does reading a page that the disk does not give, or that was cut off since the file was opened.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &thrown{value: p, stack: debug.Stack()}
		}
	}()
	return fn()
}

// inspect looks a file through. The error is damage, or says why the file can't be looked at at all, which is for a while: a
// want of memory or of descriptors.
func inspect(path string, depth boltfile.Depth) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe in its place must not be waited for
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isThere(path), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return err
	case err != nil:
		return &damage{what: err.Error(), err: err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	file, err := boltfile.Read(f)
	if err != nil {
		return &damage{what: err.Error(), err: err}
	}
	if err := checkFormat(file); err != nil {
		return err
	}
	if err := file.Check(depth); err != nil {
		return &damage{what: err.Error(), err: err}
	}
	return nil
}

// isThere says whether a name is, if only that of a link to nothing.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func checkFormat(file *boltfile.File) error {
	value, err := file.Value(bucketMeta, keyFormat)
	switch {
	case err != nil:
		return &damage{what: err.Error(), err: err}
	case len(value) != 4:
		return &damage{what: "it is not a run log's file"}
	}
	found := binary.BigEndian.Uint32(value)
	if found > format {
		return &damage{
			what: fmt.Sprintf("it has format %d, and this crony knows none above %d", found, format), newer: found,
		}
	}
	if found < format {
		return &damage{what: fmt.Sprintf("it has format %d, which no released crony has written", found)}
	}
	names, err := file.Buckets()
	if err != nil {
		return &damage{what: err.Error(), err: err}
	}
	for _, name := range buckets() {
		if !slices.Contains(names, name) {
			return &damage{what: "it has no bucket of " + name}
		}
	}
	return nil
}

// judge returns err as it is meant for the caller, after using a file came to it, and condemns the file if it is damaged. A
// panic is only a suspicion: where nothing is wrong with the file it is a fault of ours, or a bad moment.
func (s *days) judge(d *dayFile, err error) error {
	found, isDamage := errors.AsType[*damage](err)
	if !isDamage && errors.Is(err, errUnknownRecord) {
		found, isDamage = &damage{what: err.Error(), err: err}, true
	}
	if panicked, ok := errors.AsType[*thrown](err); ok && !isDamage {
		if found, isDamage = d.examine(panicked); !isDamage {
			s.log.Error("using a day file threw, and nothing is wrong with the file",
				"path", d.path, "thrown", fmt.Sprint(panicked.value), "stack", string(panicked.stack))
			return &crony.Error{Code: crony.Internal, Message: "the run log can't be used as it should: " + err.Error(), Err: err}
		}
	}
	if !isDamage {
		return err
	}
	s.condemn(d, found)
	return &crony.Error{
		Code: crony.Unavailable, Message: fmt.Sprintf("the run log of %s is damaged, and set aside", d.day),
		Hint: "ask again: what other servers have of it comes back", Err: err,
	}
}

// examine looks through a file that panicked while nobody uses it.
func (d *dayFile) examine(panicked *thrown) (*damage, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if found, ok := errors.AsType[*damage](inspect(d.path, boltfile.Whole)); ok {
		return found, true
	}
	if d.stuck {
		return &damage{what: "a write to it never ended: " + panicked.Error()}, true
	}
	return nil, false
}

// condemn takes a file out of use. Whoever uses it now may finish.
func (s *days) condemn(d *dayFile, why *damage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[d.day] != d {
		return
	}
	d.damage = why
	s.forget(d)
	s.condemned = append(s.condemned, d)
	signal(s.wake)
}

// forget takes a file from those that exist. The caller holds mu.
func (s *days) forget(d *dayFile) {
	delete(s.files, d.day)
	delete(s.opened, d)
	s.order = slices.DeleteFunc(slices.Clone(s.order), func(day dayNumber) bool { return day == d.day })
}

func (s *days) isCondemned(day dayNumber) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.condemned, func(d *dayFile) bool { return d.day == day })
}

// takeCondemned returns the condemned files, which are the caller's to set aside.
func (s *days) takeCondemned() []*dayFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.condemned
	s.condemned = nil
	return list
}

// giveBack takes a condemned file back that could not be set aside.
func (s *days) giveBack(d *dayFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.condemned = append(s.condemned, d)
}

// The names of files that are set aside: a day file's, one of these, and when or of which format it is. A file that has been
// read for what it still holds has doneSuffix after that.
const (
	damagedMark = ".damaged-"
	newerMark   = ".format-"
	doneSuffix  = "-read"

	asideTime = "20060102T150405.000Z"
)

// mend sets condemned files aside. Their days have no file after it. Only the writer calls it, or who is alone.
func (l *Log) mend() {
	for _, d := range l.days.takeCondemned() {
		aside, err := l.days.setAside(d)
		if err != nil {
			l.log.Error("a day file is damaged, and can't be set aside: nothing of the day is kept until it is",
				"path", d.path, "found", d.damage.what, "err", err)
			l.days.giveBack(d)
			continue
		}
		l.mem.forgetDays(func(day dayNumber) bool { return day == d.day })
		signal(l.mended)
		l.setAside.note(SetAside{Day: d.day.String(), Path: aside, Found: d.damage.what})
		if d.damage.newer > 0 {
			l.log.Error("a day file was written by a newer crony and is set aside, untouched: that one takes it back, and the "+
				"other servers have what is in it", "day", d.day.String(), "path", aside, "found", d.damage.what)
			continue
		}
		l.log.Error("a day file is damaged and is set aside: what can be read of it is taken over, and the rest comes from the "+
			"other servers if they have it", "day", d.day.String(), "path", aside, "found", d.damage.what)
	}
}

// setAside closes a file and gives it another name.
func (s *days) setAside(d *dayFile) (aside string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.close(); err != nil {
		s.log.Warn("damaged day file did not close well", "path", d.path, "err", err)
	}
	aside = d.path + damagedMark + time.Now().UTC().Format(asideTime)
	if d.damage.newer > 0 {
		aside = fmt.Sprintf("%s%s%d", d.path, newerMark, d.damage.newer)
	}
	for n, free := 2, aside; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s.%d", free, n)
	}
	if err := os.Rename(d.path, aside); err != nil {
		return "", err
	}
	return aside, durable.SyncDir(s.dir)
}

// takeBack gives files their names back that were set aside for a format that is known now. Where the day has begun anew,
// the file is left to be read.
func takeBack(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, number, ok := strings.Cut(e.Name(), newerMark)
		var found uint32
		if _, err := fmt.Sscanf(number, "%d", &found); !ok || err != nil || found > format || strings.HasSuffix(number, doneSuffix) {
			continue
		}
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), path); err != nil {
			return err
		}
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// SetAside is a file that was taken out of use.
type SetAside struct {
	Day   string // as 2026-11-21
	Path  string // as it is named now
	Found string // what is wrong with it, in plain words
}

// setAside is what was set aside since the log was opened, and what was found so then.
type setAside struct {
	mu    sync.Mutex
	list  []SetAside
	total int // ever, since the log was opened
}

// SetAside returns the files that were taken out of use since the log was opened, and whose days it still keeps.
func (l *Log) SetAside() []SetAside {
	l.setAside.mu.Lock()
	defer l.setAside.mu.Unlock()
	return slices.Clone(l.setAside.list)
}

// SetAsideTotal returns how many files were taken out of use since the log was opened.
func (l *Log) SetAsideTotal() int {
	l.setAside.mu.Lock()
	defer l.setAside.mu.Unlock()
	return l.setAside.total
}

func (s *setAside) note(a SetAside) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, a)
	s.total++
}

func (s *setAside) dropBefore(day string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(a SetAside) bool { return a.Day < day })
}
