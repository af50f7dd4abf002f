package runlog

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// To put each run where index and counters want it would touch a dozen pages for a record of a hundred bytes. So a run that
// changes is first noted as pending, beside the header that it has in index and counters, and some thousand are settled at
// once. Who reads the index looks at the pending runs too, and who reads counters takes the old headers out and puts the new
// ones in: so both are exact at any time.
const settleRuns = 2048

// pending calls fn for each pending run: with its header as index and counters have it, and as it is.
func pending(tx *bbolt.Tx, fn func(k runKey, was, is *header) error) error {
	runs := tx.Bucket([]byte(bucketRuns)).Cursor()
	var at, stored []byte // most pending runs are neighbours: a step is cheaper than a search
	c := tx.Bucket([]byte(bucketPending)).Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if len(key) != runSize {
			return errUnknownRecord
		}
		k := runKey(key)
		was, err := pendingHeader(k, value)
		if err != nil {
			return err
		}
		if at != nil {
			at, stored = runs.Next()
		}
		if !bytes.Equal(at, key) {
			at, stored = runs.Seek(key)
		}
		is := header{}
		if bytes.Equal(at, key) {
			if is, _, err = headerOf(k, stored); err != nil {
				return err
			}
		}
		if err := fn(k, &was, &is); err != nil {
			return err
		}
	}
	return nil
}

// pendingHeader reads a pending run's old header: that of a run without one is a version byte alone.
func pendingHeader(k runKey, value []byte) (header, error) {
	if len(value) == 1 && value[0] == valueVersion {
		return header{}, nil
	}
	h, _, err := readHeader(k, value)
	return h, err
}

// settled is what settling does to a day's index and counters.
type settled struct {
	add, remove map[posting]block
	day         counter
	hours       map[int]*counter
	jobs        map[uint32]*counter
	waits       int64 // how many results more are to be handled
}

// settle brings index and counters up to what the runs are, of which these are pending.
func settle(tx *bbolt.Tx, day dayNumber, runs map[runKey]*pendingRun) error {
	s := &settled{
		add: map[posting]block{}, remove: map[posting]block{}, hours: map[int]*counter{}, jobs: map[uint32]*counter{},
	}
	for _, k := range slices.SortedFunc(maps.Keys(runs), compareRuns) {
		s.run(k, &runs[k].was, &runs[k].is)
	}
	if err := s.index(tx.Bucket([]byte(bucketIndex)), day); err != nil {
		return err
	}
	if err := s.count(tx.Bucket([]byte(bucketCounters))); err != nil {
		return err
	}
	if err := tx.DeleteBucket([]byte(bucketPending)); err != nil {
		return err
	}
	_, err := tx.CreateBucket([]byte(bucketPending))
	return err
}

func (s *settled) run(k runKey, was, is *header) {
	var room [10]listID
	before := was.lists(room[:0:5])
	after := is.lists(room[5:5])
	slot := slotOf(k)
	for _, id := range after {
		if !slices.Contains(before, id) {
			p := posting{slot, id}
			s.add[p] = append(s.add[p], k[:]...)
		}
	}
	for _, id := range before {
		if !slices.Contains(after, id) {
			p := posting{slot, id}
			s.remove[p] = append(s.remove[p], k[:]...)
		}
	}
	for _, x := range []struct {
		h *header
		n int64
	}{{was, -1}, {is, 1}} {
		if x.h.handle {
			s.waits += x.n
		}
		if x.h.ended() {
			s.day.add(x.h, x.n)
			counterOf(s.hours, hourOf(k)).add(x.h, x.n)
			counterOf(s.jobs, x.h.job).add(x.h, x.n)
		}
	}
}

func counterOf[K comparable](of map[K]*counter, key K) *counter {
	c := of[key]
	if c == nil {
		c = &counter{}
		of[key] = c
	}
	return c
}

func (s *settled) index(index *bbolt.Bucket, day dayNumber) error {
	for _, p := range slices.SortedFunc(maps.Keys(s.remove), comparePostings) {
		if err := removeFrom(index, day, p, s.remove[p]); err != nil {
			return err
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.add), comparePostings) {
		if err := addTo(index, day, p, s.add[p]); err != nil {
			return err
		}
	}
	return nil
}

func (s *settled) count(counters *bbolt.Bucket) error {
	change := func(key []byte, by *counter) error {
		c, err := readCounter(counters.Get(key))
		if err != nil {
			return err
		}
		c.merge(by)
		return counters.Put(key, c.append(nil))
	}
	if err := change([]byte{counterDay}, &s.day); err != nil {
		return err
	}
	if s.waits != 0 {
		waits := readWaits(counters) + s.waits
		if err := counters.Put([]byte{counterWaits}, binary.AppendVarint([]byte{valueVersion}, waits)); err != nil {
			return err
		}
	}
	for hour, by := range s.hours {
		by.took = nil
		if err := change(hourKey(hour), by); err != nil {
			return err
		}
	}
	for _, job := range slices.Sorted(maps.Keys(s.jobs)) {
		if err := change(jobKey(job), s.jobs[job]); err != nil {
			return err
		}
	}
	return nil
}
