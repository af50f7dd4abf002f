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
	"crony/internal/durable"
)

// days is the set of day files. A file is opened when it is needed, for reading only if that will do (opening for writing
// reads the whole file to find its free pages), and stays open until others are used more.
type days struct {
	dir     string
	log     *slog.Logger
	maxOpen int // may be passed for a moment while all open files are in use

	mu     sync.Mutex
	closed bool
	files  map[dayNumber]*dayFile // every file that exists
	order  []dayNumber            // their days, newest first; replaced, never changed
	opened map[*dayFile]use
	clock  uint64
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
}

const (
	filePrefix = "runs-"
	fileSuffix = ".db"
	newSuffix  = ".new"

	lockWait    = time.Second // for another process to let go of a day file
	initialMmap = 64 << 20    // address space, not memory: growing the mapping makes the writer wait for the readers
)

func openDays(dir string, maxOpen int, log *slog.Logger) (*days, error) {
	s := &days{dir: dir, log: log, maxOpen: maxOpen, files: map[dayNumber]*dayFile{}, opened: map[*dayFile]use{}}
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
	if d == nil {
		if err := s.create(day); err != nil {
			return fmt.Errorf("make day file %s: %w", s.path(day), err)
		}
		d = s.add(day)
	}
	return s.with(d, true, func(db *bbolt.DB) error { return db.Update(fn) })
}

func (s *days) with(d *dayFile, write bool, fn func(*bbolt.DB) error) error {
	for {
		done, err := d.with(write, fn)
		if err != nil {
			return fmt.Errorf("day file %s: %w", d.path, err)
		}
		if done {
			return nil
		}
		s.makeRoom()
		if err := s.open(d, write); err != nil {
			return err
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
	return true, fn(d.db)
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
	db, err := openDay(d.path, write)
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

// close closes the file if it is open. The caller holds d.mu.
func (d *dayFile) close() error {
	if d.db == nil {
		return nil
	}
	err := d.db.Close()
	d.db, d.writable = nil, false
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

func boltOptions(write bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockWait, ReadOnly: !write, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: initialMmap, NoStatistics: true,
	}
}

func openDay(path string, write bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, boltOptions(write))
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &crony.Error{
			Code: crony.Unavailable, Message: fmt.Sprintf("day file %s is locked by another process", path),
			Hint: "end what else has it open", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open day file %s: %w", path, err)
	}
	if err := db.View(checkFormat); err != nil {
		return nil, errors.Join(fmt.Errorf("open day file %s: %w", path, err), db.Close())
	}
	return db, nil
}

func checkFormat(tx *bbolt.Tx) error {
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil || len(meta.Get([]byte(keyFormat))) != 4 {
		return crony.Errorf(crony.Invalid, "this is not a run log's file")
	}
	found := binary.BigEndian.Uint32(meta.Get([]byte(keyFormat)))
	if found > format {
		return crony.Errorf(crony.Invalid, "the file has format %d, and this crony knows none above %d", found, format).
			WithHint("start the crony that wrote it, or a newer one")
	}
	if found < format {
		return crony.Errorf(crony.Invalid, "the file has format %d, which no released crony has written; this one wants %d",
			found, format).WithHint("move it away: its runs can't be shown any more")
	}
	return nil
}
