package runlog

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// The bounds of one transaction. A larger Append has one of its own.
const (
	batchRecords = 2000
	batchBytes   = 4 << 20
	slowCommit   = time.Second

	ascending = 0.9 // how full pages are made of keys that mostly grow
)

// errNothingNew ends a transaction that would change nothing, and spares the disk.
var errNothingNew = errors.New("nothing new")

// write is the writer: it alone changes files, and what the log remembers of them.
func (l *Log) write() {
	for {
		select {
		case r := <-l.queue:
			l.commit(l.batch(r))
		case task := <-l.tasks:
			task()
		case <-l.days.wake:
			l.mend()
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

// part is what a batch has for one day.
type part struct {
	day       dayNumber
	facts     []*factRecord
	chunks    []*chunkRecord
	stretches []*stretchRecord
	from      []*request
}

func split(batch []*request) []*part {
	var parts []*part
	byDay := map[dayNumber]*part{}
	of := func(day dayNumber, from *request) *part {
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
			p := of(r.facts[i].run.day(), r)
			p.facts = append(p.facts, &r.facts[i])
		}
		for i := range r.chunks {
			p := of(r.chunks[i].run.day(), r)
			p.chunks = append(p.chunks, &r.chunks[i])
		}
		for i := range r.stretches {
			p := of(r.stretches[i].day, r)
			p.stretches = append(p.stretches, &r.stretches[i])
		}
	}
	return parts
}

func (l *Log) commit(batch []*request) {
	for _, p := range l.bounds.Load().admit(split(batch)) {
		start := time.Now()
		w, err := l.transact(p)
		if took := time.Since(start); took > slowCommit {
			l.log.Warn("slow commit", "day", p.day.String(),
				"facts", len(p.facts), "chunks", len(p.chunks), "stretches", len(p.stretches), "took", took)
		}
		if err != nil && !errors.Is(err, errNothingNew) {
			for _, r := range p.from {
				r.err = fmt.Errorf("append to run log: %w", err)
			}
			continue
		}
		for _, c := range w.conflicts {
			c.from.conflicts = append(c.from.conflicts, c.text)
		}
		l.mem.commit(w)
	}
	for _, r := range batch {
		r.done <- r.outcome()
	}
}

// transact stores a part. If that finds the day's file damaged, it is set aside, and the part is the first in a new one.
func (l *Log) transact(p *part) (w *writing, err error) {
	for range 2 {
		l.mend()
		w = &writing{mem: l.mem, touched: map[runKey]*touched{}}
		err = l.days.update(p.day, func(tx *bbolt.Tx) error { return w.store(tx, p) })
		if err == nil || !l.days.isCondemned(p.day) {
			break
		}
	}
	return w, err
}

// writing is one transaction of the writer and, until it is known to be on the disk, all that follows from it.
type writing struct {
	mem       *memory
	facts     *bbolt.Bucket
	runs      *bbolt.Bucket
	index     *bbolt.Bucket
	chunks    *bbolt.Bucket
	touched   map[runKey]*touched
	changes   []change
	arrived   []arrival
	conflicts []conflict
	stored    int
}

// touched is a run with new facts: as it was, and its facts as they are now.
type touched struct {
	was   *record
	facts []crony.Fact
}

// change is a run that has new facts. Unseen are those that its fold does not show, or not yet: an exit whose start is
// missing.
type change struct {
	run    runKey
	now    *record
	unseen bool
}

// conflict is a record that differs from the one that is stored in its place.
type conflict struct {
	from *request
	text string
}

// arrival is a chunk that is new, or longer than it was.
type arrival struct {
	run runKey
	ref chunkRef
}

func (w *writing) store(tx *bbolt.Tx, p *part) error {
	w.facts, w.runs = tx.Bucket([]byte(bucketFacts)), tx.Bucket([]byte(bucketRuns))
	w.index, w.chunks = tx.Bucket([]byte(bucketIndex)), tx.Bucket([]byte(bucketChunks))
	w.facts.FillPercent, w.runs.FillPercent, w.chunks.FillPercent = ascending, ascending, ascending
	for _, f := range p.facts {
		if err := w.fact(tx, f); err != nil {
			return err
		}
	}
	for _, c := range p.chunks {
		if err := w.chunk(c); err != nil {
			return err
		}
	}
	for _, s := range p.stretches {
		if err := w.stretch(tx, s); err != nil {
			return err
		}
	}
	for run, t := range w.touched {
		if err := w.fold(run, t); err != nil {
			return err
		}
	}
	if w.stored == 0 {
		return errNothingNew
	}
	return nil
}

func (w *writing) fact(tx *bbolt.Tx, f *factRecord) error {
	if there := w.facts.Get(f.key); there != nil {
		if !same[crony.Fact](there, f.value) {
			w.conflicts = append(w.conflicts,
				conflict{f.from, fmt.Sprintf("run %s has another fact under number %d", f.fact.Run, f.fact.Seq)})
		}
		return nil
	}
	t := w.touched[f.run]
	if t == nil {
		was, err := w.mem.record(tx, f.run)
		if err != nil {
			return err
		}
		t = &touched{was: was, facts: was.facts[:len(was.facts):len(was.facts)]}
		w.touched[f.run] = t
	}
	t.facts = append(t.facts, f.fact)
	w.stored++
	return w.facts.Put(f.key, f.value)
}

func (w *writing) chunk(c *chunkRecord) error {
	if there := w.chunks.Get(c.key); there != nil && plainSize(there) >= plainSize(c.value) {
		return nil
	}
	w.arrived = append(w.arrived, arrival{run: c.run, ref: c.ref})
	w.stored++
	return w.chunks.Put(c.key, c.value)
}

// fold writes what is derived from a run's facts.
func (w *writing) fold(k runKey, t *touched) error {
	run, ok := crony.Fold(t.facts)
	if !ok {
		return nil
	}
	now := &record{facts: t.facts, run: run}
	var err error
	if now.summary, err = encodeJSON(&run); err != nil {
		return err
	}
	unseen := bytes.Equal(now.summary, t.was.summary)
	w.changes = append(w.changes, change{run: k, now: now, unseen: unseen})
	if unseen {
		return nil
	}
	if err := w.runs.Put(k[:], now.summary); err != nil {
		return err
	}
	return w.reindex(k, &t.was.run, &run)
}

func (w *writing) reindex(k runKey, was, now *crony.Run) error {
	for _, x := range []struct {
		kind     byte
		was, now string
	}{{indexJob, was.Job, now.Job}, {indexAgent, was.Agent, now.Agent}, {indexState, string(was.State), string(now.State)}} {
		if x.was == x.now {
			continue
		}
		if x.was != "" {
			if err := w.index.Delete(indexKey(x.kind, x.was, k)); err != nil {
				return err
			}
		}
		if err := w.index.Put(indexKey(x.kind, x.now, k), []byte{1}); err != nil {
			return err
		}
	}
	return nil
}
