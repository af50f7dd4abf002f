package runlog

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// The bounds of one transaction. A larger batch has one of its own.
const (
	batchRecords = 2000
	batchBytes   = 4 << 20
	slowCommit   = time.Second

	growing = 0.9 // how full pages are made of keys that mostly grow

	settleAfter = 2 * time.Second // without anything to write: then days that are over are settled,
	settleEvery = time.Minute     // and one of them so often if there always is
	writtenDays = 8               // days of which the writer remembers names
)

// errNothingNew ends a transaction that would change nothing, and spares the disk.
var errNothingNew = errors.New("nothing new")

// errUnknownRecord is why a stored record can't be read.
var errUnknownRecord = errors.New("it is damaged, or of an unknown version")

// write is the writer: it alone changes files, and what the log remembers of them.
func (l *Log) write(settleAt int) {
	w := &writer{log: l, settleAt: settleAt, days: map[dayNumber]*writtenDay{}, doubtful: map[dayNumber]bool{}}
	idle := time.NewTimer(settleAfter)
	defer idle.Stop()
	for {
		select {
		case r := <-l.queue:
			w.commit(l.batch(r))
			if time.Since(w.looked) > settleEvery {
				w.settleOne()
			}
			idle.Reset(settleAfter)
		case task := <-l.tasks:
			task(w)
		case <-l.days.wake:
			l.mend()
		case <-idle.C:
			if w.settleOne() {
				idle.Reset(0)
			}
		case <-l.closing:
			return
		}
	}
}

// batch takes, with first, what else waits already.
func (l *Log) batch(first *request) []*request {
	batch := []*request{first}
	records, size := first.records(), first.size
	for records < batchRecords && size < batchBytes {
		select {
		case r := <-l.queue:
			batch = append(batch, r)
			records += r.records()
			size += r.size
		default:
			return batch
		}
	}
	return batch
}

// part is what some requests have for one day.
type part struct {
	day       dayNumber
	facts     []of[*factRecord]
	chunks    []of[*chunkRecord]
	stretches []of[*stretchRecord]
	from      []*request
}

// of is a record with the request that brought it.
type of[T any] struct {
	rec  T
	from *request
}

func split(batch []*request) []*part {
	var parts []*part
	byDay := map[dayNumber]*part{}
	find := func(day dayNumber, from *request) *part {
		p := byDay[day]
		if p == nil {
			p = &part{day: day}
			byDay[day] = p
			parts = append(parts, p)
		}
		if n := len(p.from); n == 0 || p.from[n-1] != from {
			p.from = append(p.from, from)
		}
		return p
	}
	for _, r := range batch {
		for i := range r.facts {
			p := find(r.facts[i].run.day(), r)
			p.facts = append(p.facts, of[*factRecord]{&r.facts[i], r})
		}
		for i := range r.chunks {
			p := find(r.chunks[i].run.day(), r)
			p.chunks = append(p.chunks, of[*chunkRecord]{&r.chunks[i], r})
		}
		for i := range r.stretches {
			p := find(r.stretches[i].day, r)
			p.stretches = append(p.stretches, of[*stretchRecord]{&r.stretches[i], r})
		}
	}
	return parts
}

// writer is what only the writing goroutine knows.
type writer struct {
	log      *Log
	settleAt int       // pending runs of a day
	looked   time.Time // for days that are over
	days     map[dayNumber]*writtenDay
	doubtful map[dayNumber]bool // see certain
}

// writtenDay is what is remembered of a file from one transaction to the next.
type writtenDay struct {
	db      *bbolt.DB // of which all this is true; opened again, a file is another
	names   *names
	pending map[runKey]*pendingRun
	newest  runKey // no run is above it
	room    []byte // for the values of one transaction
}

// pendingRun is a run's header as index and counters have it, and as it is.
type pendingRun struct{ was, is header }

// day returns what is remembered of a day's file.
func (w *writer) day(tx *bbolt.Tx, day dayNumber) (*writtenDay, error) {
	d := w.days[day]
	if d == nil || d.db != tx.DB() {
		if len(w.days) >= writtenDays {
			clear(w.days)
		}
		d = &writtenDay{db: tx.DB(), names: newNames(), pending: map[runKey]*pendingRun{}}
		err := pending(tx, func(k runKey, was, is *header) error {
			d.pending[k] = &pendingRun{*was, *is}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if last, _ := tx.Bucket([]byte(bucketRuns)).Cursor().Last(); len(last) == runSize {
			d.newest = runKey(last)
		}
		w.days[day] = d
	}
	d.names.in(tx)
	return d, nil
}

// settle brings index and counters up to what the runs are.
func (d *writtenDay) settle(tx *bbolt.Tx, day dayNumber) error {
	err := settle(tx, day, d.pending)
	clear(d.pending)
	return err
}

// update changes a day's file in a transaction. If that finds the file damaged, it is set aside, and fn is called again for a
// new one. If it finds no room, fn is called again with what was held in reserve, and with no room for output. Unavailable if
// that did not do.
func (w *writer) update(day dayNumber, fn func(*bbolt.Tx) error) (err error) {
	for range 2 {
		w.log.mend()
		if err := w.certain(day); err != nil {
			return err
		}
		committing := false
		err = w.log.days.update(day, func(tx *bbolt.Tx) error {
			err := fn(tx)
			committing = err == nil
			return err
		})
		if err == nil {
			return nil
		}
		delete(w.days, day) // what it remembers may not have come to be
		w.doubtful[day] = w.doubtful[day] || committing
		full := isFull(err)
		if full {
			w.log.foundFull(err)
			w.log.giveReserve()
			err = &crony.Error{Code: crony.Unavailable, Message: "the disk of the run log is full", Err: err}
		}
		if !full && !w.log.days.isCondemned(day) {
			return err
		}
	}
	return err
}

func (w *writer) commit(batch []*request) {
	for _, p := range w.log.bounds.Load().admit(split(batch)) {
		start := time.Now()
		var t *writing
		err := w.update(p.day, func(tx *bbolt.Tx) error {
			own, err := w.day(tx, p.day)
			if err != nil {
				return err
			}
			t = newWriting(tx, p.day, w.log.mem, own)
			t.noRoom = w.log.refusesOutput()
			return t.store(p, w.settleAt)
		})
		if took := time.Since(start); took > slowCommit {
			w.log.log.Warn("slow commit", "day", p.day.String(),
				"facts", len(p.facts), "chunks", len(p.chunks), "stretches", len(p.stretches), "took", took)
		}
		if err != nil && !errors.Is(err, errNothingNew) {
			for _, r := range p.from {
				r.err = fmt.Errorf("append to run log: %w", err)
			}
			continue
		}
		for _, c := range t.conflicts {
			c.from.conflicts = append(c.from.conflicts, c.text)
		}
		if err == nil {
			w.log.mem.commit(t)
			w.log.space.gaveUp(t.gaveUp)
		}
	}
	for _, r := range batch {
		r.done <- r.outcome()
	}
}

// settleOne settles a day that is over and has pending runs, and reports whether there may be another. The newest day is
// settled while it is written, and not for the sake of a few runs.
func (w *writer) settleOne() bool {
	w.looked = time.Now()
	days := w.log.days.newestFirst()
	if len(days) == 0 {
		return false
	}
	day, ok := w.log.mem.unsettledBefore(days[0])
	if !ok {
		return false
	}
	err := w.update(day, func(tx *bbolt.Tx) error {
		own, err := w.day(tx, day)
		if err != nil {
			return err
		}
		return own.settle(tx, day)
	})
	if err != nil {
		w.log.log.Error("index and counters of a day can't be brought up to date", "day", day.String(), "err", err)
	}
	w.log.mem.settled(day)
	return true
}
