package runlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"crony"
	"crony/internal/boltfile"
	"crony/internal/durable"
)

// days is the set of day files. A file is opened when it is needed, for reading only if that will do (opening for writing
// reads the whole file to find its free pages), and stays open until others are used more.
type days struct {
	dir     string
	log     *slog.Logger
	maxOpen int // may be passed for a moment while all open files are in use

	mu        sync.Mutex
	closed    bool
	files     map[dayNumber]*dayFile // every file that exists and can be used
	order     []dayNumber            // their days, newest first; replaced, never changed
	opened    map[*dayFile]use
	clock     uint64
	condemned []*dayFile    // no day's any more, and not set aside yet
	wake      chan struct{} // of one: there are condemned files
}

type use struct {
	at       uint64
	writable bool
}

// dayFile is one file. Whoever uses db holds mu for reading; whoever opens or closes it holds mu for writing, and takes
// days.mu after it. Nobody waits for mu with days.mu held.
type dayFile struct {
	day      dayNumber
	path     string
	mu       sync.RWMutex
	db       *bbolt.DB // nil while it is closed
	writable bool
	stuck    bool    // a transaction of the writer never ended: db can't be closed
	damage   *damage // why it is condemned; days.mu guards it
}

const (
	filePrefix = "runs-"
	fileSuffix = ".db"
	newSuffix  = ".new"

	lockWait    = time.Second // for another process to let go of a day file
	initialMmap = 64 << 20    // address space, not memory: growing the mapping makes the writer wait for the readers
)

func openDays(dir string, maxOpen int, log *slog.Logger) (*days, error) {
	s := &days{
		dir: dir, log: log, maxOpen: maxOpen, files: map[dayNumber]*dayFile{}, opened: map[*dayFile]use{},
		wake: make(chan struct{}, 1),
	}
	if err := takeBack(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), filePrefix)
		if !ok {
			continue
		}
		if strings.HasSuffix(name, fileSuffix+newSuffix) { // half made when the process ended; it holds nothing yet
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		day, err := parseDay(strings.TrimSuffix(name, fileSuffix))
		if err == nil && strings.HasSuffix(name, fileSuffix) {
			s.add(day)
		}
	}
	return s, nil
}

// newestFirst returns the days that have a file. The slice must not be changed.
func (s *days) newestFirst() []dayNumber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

func (s *days) path(day dayNumber) string {
	return filepath.Join(s.dir, filePrefix+day.String()+fileSuffix)
}

func (s *days) add(day dayNumber) *dayFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &dayFile{day: day, path: s.path(day)}
	s.files[day] = d
	s.order = append(slices.Clone(s.order), day)
	slices.SortFunc(s.order, func(a, b dayNumber) int { return cmp.Compare(b, a) })
	return d
}

func (s *days) file(day dayNumber) (*dayFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed()
	}
	return s.files[day], nil
}

// view calls fn in a reading transaction, or not at all if the day has no file. Fn must not call view.
func (s *days) view(day dayNumber, fn func(*bbolt.Tx) error) error {
	d, err := s.file(day)
	if err != nil || d == nil {
		return err
	}
	return s.with(d, false, func(db *bbolt.DB) error { return db.View(fn) })
}

// update calls fn in a writing transaction, and makes the day's file if it is missing. When update returns nil, what fn did
// is on the disk. Only the writer calls it.
func (s *days) update(day dayNumber, fn func(*bbolt.Tx) error) error {
	d, err := s.file(day)
	if err != nil {
		return err
	}
	if d == nil && s.isCondemned(day) {
		return crony.Errorf(crony.Unavailable, "day file %s is damaged, and could not be set aside yet", s.path(day))
	}
	if d == nil {
		if err := s.create(day); err != nil {
			return fmt.Errorf("make day file %s: %w", s.path(day), err)
		}
		d = s.add(day)
	}
	return s.with(d, true, func(db *bbolt.DB) error {
		var last *bbolt.Tx
		defer func() { d.stuck = d.stuck || (last != nil && last.DB() != nil) }()
		return db.Update(func(tx *bbolt.Tx) error {
			last = tx
			return fn(tx)
		})
	})
}

// with calls fn with the file open. If that finds the file damaged, the error says so, and from then on there is no such file.
func (s *days) with(d *dayFile, write bool, fn func(*bbolt.DB) error) error {
	for {
		done, err := d.with(write, fn)
		if err == nil && !done {
			s.makeRoom()
			err = s.open(d, write)
		}
		if err != nil {
			return s.judge(d, fmt.Errorf("day file %s: %w", d.path, err))
		}
		if done {
			return nil
		}
	}
}

// with calls fn and reports true, or reports false if the file is not open so that it can.
func (d *dayFile) with(write bool, fn func(*bbolt.DB) error) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.db == nil || (write && !d.writable) {
		return false, nil
	}
	return true, guarded(func() error { return fn(d.db) })
}

func (s *days) open(d *dayFile, write bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.db != nil && (d.writable || !write) {
		return nil
	}
	if err := d.close(); err != nil {
		return err
	}
	var db *bbolt.DB
	err := guarded(func() (err error) {
		db, err = openDay(d.path, write)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(errClosed(), db.Close())
	}
	d.db, d.writable = db, write
	s.clock++
	s.opened[d] = use{at: s.clock, writable: write}
	return nil
}

// close closes the file if it is open. The caller holds d.mu. What can't be closed is left to the end of the process.
func (d *dayFile) close() error {
	if d.db == nil {
		return nil
	}
	var err error
	if !d.stuck {
		err = guarded(d.db.Close)
	}
	d.db, d.writable, d.stuck = nil, false, false
	return err
}

// makeRoom closes the files that have been open the longest until there is room for one more. Those open for writing go
// last: they are the dearest to open again. A file that somebody uses stays.
func (s *days) makeRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.opened) < s.maxOpen {
		return
	}
	victims := make([]*dayFile, 0, len(s.opened))
	for d := range s.opened {
		victims = append(victims, d)
	}
	slices.SortFunc(victims, func(a, b *dayFile) int {
		ua, ub := s.opened[a], s.opened[b]
		switch {
		case ua.writable == ub.writable:
			return cmp.Compare(ua.at, ub.at)
		case ua.writable:
			return 1
		default:
			return -1
		}
	})
	for _, d := range victims {
		if len(s.opened) < s.maxOpen {
			return
		}
		if !d.mu.TryLock() {
			continue
		}
		if err := d.close(); err != nil {
			s.log.Warn("day file did not close well", "path", d.path, "err", err)
		}
		delete(s.opened, d)
		d.mu.Unlock()
	}
}

// drop removes the files of the days before one, the set aside as well, and returns those days, the oldest first.
func (s *days) drop(floor dayNumber) (dropped []dayNumber, err error) {
	for _, day := range s.upward(0, floor-1) {
		d, err := s.file(day)
		if err != nil {
			return dropped, err
		}
		if err := s.remove(d); err != nil {
			return dropped, err
		}
		dropped = append(dropped, day)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return dropped, err
	}
	for _, e := range entries {
		if day, ok := setAsideDay(e.Name()); ok && day < floor {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return dropped, err
			}
		}
	}
	return dropped, durable.SyncDir(s.dir)
}

func (s *days) remove(d *dayFile) error {
	s.mu.Lock()
	s.forget(d)
	s.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.close(); err != nil {
		s.log.Warn("day file did not close well", "path", d.path, "err", err)
	}
	return os.Remove(d.path)
}

// setAsideDay returns the day of a file by a name that it has for being set aside.
func setAsideDay(name string) (dayNumber, bool) {
	rest, isDay := strings.CutPrefix(name, filePrefix)
	date, mark, isAside := strings.Cut(rest, fileSuffix)
	day, err := parseDay(date)
	return day, isDay && isAside && err == nil && (strings.HasPrefix(mark, damagedMark) || strings.HasPrefix(mark, newerMark))
}

func (s *days) close() error {
	s.mu.Lock()
	s.closed = true
	files := s.files
	s.mu.Unlock()
	var errs []error
	for _, d := range files {
		d.mu.Lock()
		errs = append(errs, d.close())
		d.mu.Unlock()
	}
	return errors.Join(errs...)
}

// create makes the day's file under another name first: under its own it is whole, or is not there.
func (s *days) create(day dayNumber) error {
	path := s.path(day)
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(path+newSuffix, 0o600, boltOptions(true))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), binary.BigEndian.AppendUint32(nil, format))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	s.log.Debug("day file made", "path", path)
	return durable.SyncDir(s.dir)
}

// boltOptions has bbolt keep the list of free pages in the file. Without it every transaction that is not committed, and
// every opening for writing, would have it read the whole file, and in a goroutine that nobody can guard.
func boltOptions(write bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockWait, ReadOnly: !write, FreelistType: bbolt.FreelistMapType, InitialMmapSize: initialMmap, NoStatistics: true,
	}
}

// openDay looks at a file before bbolt may: at all of it if that is to write.
func openDay(path string, write bool) (*bbolt.DB, error) {
	depth := boltfile.Branches
	if write {
		depth = boltfile.Whole
	}
	if err := inspect(path, depth); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, boltOptions(write))
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &crony.Error{
			Code: crony.Unavailable, Message: fmt.Sprintf("day file %s is locked by another process", path),
			Hint: "end what else has it open", Err: err,
		}
	}
	return db, err
}
