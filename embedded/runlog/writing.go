package runlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"crony"
)

// writing is one transaction of the writer and, until it is known to be on the disk, all that follows from it.
type writing struct {
	day       dayNumber
	tx        *bbolt.Tx
	mem       *memory
	own       *writtenDay
	runs      *bbolt.Bucket
	live      *bbolt.Bucket
	pending   *bbolt.Bucket
	chunks    *bbolt.Bucket
	touched   map[runKey]*touched
	changes   []change
	arrived   []arrival
	conflicts []conflict
	sums      map[int]Sum // what minutes gain, or lose
	stored    int
	unsettled bool
	noRoom    bool  // for the data of chunks
	gaveUp    int64 // bytes of that
	dropped   []droppedRun
}

// touched is a run with new facts: as it was, and its facts as they are now.
type touched struct {
	key     runKey
	was     *record
	stored  bool
	facts   []crony.Fact // in the order of their numbers
	changed bool
}

// change is a run that has new facts. Unseen are those that its fold does not show, or not yet: an exit whose start is
// missing.
type change struct {
	run      runKey
	was, now *record
	unseen   bool
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

func newWriting(tx *bbolt.Tx, day dayNumber, mem *memory, own *writtenDay) *writing {
	w := &writing{
		day: day, tx: tx, mem: mem, own: own, runs: tx.Bucket([]byte(bucketRuns)), live: tx.Bucket([]byte(bucketLive)),
		pending: tx.Bucket([]byte(bucketPending)), chunks: tx.Bucket([]byte(bucketChunks)),
		touched: map[runKey]*touched{}, sums: map[int]Sum{},
	}
	w.runs.FillPercent, w.pending.FillPercent, w.chunks.FillPercent = growing, growing, growing
	own.room = own.room[:0]
	return w
}

func (w *writing) store(p *part, settleAt int) error {
	for _, f := range p.facts {
		if err := w.fact(f.rec, f.from); err != nil {
			return err
		}
	}
	for _, c := range p.chunks {
		if err := w.chunk(c.rec, c.from); err != nil {
			return err
		}
	}
	for _, s := range p.stretches {
		if err := w.stretch(s.rec, s.from); err != nil {
			return err
		}
	}
	if w.stored == 0 {
		return errNothingNew
	}
	inOrder := slices.SortedFunc(maps.Values(w.touched), func(a, b *touched) int { return compareRuns(a.key, b.key) })
	for _, t := range inOrder {
		if err := w.put(t); err != nil {
			return err
		}
	}
	return w.finish(settleAt)
}

// finish writes what the transaction as a whole comes to.
func (w *writing) finish(settleAt int) error {
	sums := w.tx.Bucket([]byte(bucketSums))
	for minute, by := range w.sums {
		key := minuteKey(minute)
		if err := sums.Put(key, readSum(sums.Get(key)).plus(by).append(nil)); err != nil {
			return err
		}
	}
	if len(w.own.pending) >= settleAt {
		if err := w.own.settle(w.tx, w.day); err != nil {
			return err
		}
	}
	w.unsettled = len(w.own.pending) > 0
	return w.own.names.err
}

// touch returns a run as it stands in this transaction.
func (w *writing) touch(k runKey) (*touched, error) {
	if t := w.touched[k]; t != nil {
		return t, nil
	}
	t := &touched{key: k, was: w.mem.liveRecord(k)}
	t.stored = t.was != nil
	if !t.stored && bytes.Compare(k[:], w.own.newest[:]) <= 0 {
		if value := w.runs.Get(k[:]); value != nil {
			var err error
			if t.was, err = readRecord(k, value, w.own.names); err != nil {
				return nil, err
			}
			t.stored = true
		}
	}
	if !t.stored {
		t.was = &record{}
	}
	t.facts = append(make([]crony.Fact, 0, max(4, len(t.was.facts)+1)), t.was.facts...)
	w.touched[k] = t
	return t, nil
}

func (w *writing) fact(f *factRecord, from *request) error {
	t, err := w.touch(f.run)
	if err != nil {
		return err
	}
	at, found := slices.BinarySearchFunc(t.facts, f.fact.Seq, func(a crony.Fact, seq int) int { return cmp.Compare(a.Seq, seq) })
	if !found {
		w.add(f.run.minute(), f.hash)
		t.facts = slices.Insert(t.facts, at, f.fact)
		t.changed = true
		return nil
	}
	_, there, err := newFactRecord(nil, f.run, &t.facts[at])
	switch {
	case err != nil:
		return err
	case bytes.Equal(there.plain, f.plain):
	case !from.merge:
		w.conflicts = append(w.conflicts,
			conflict{from, fmt.Sprintf("run %s has another fact under number %d", f.fact.Run, f.fact.Seq)})
	case f.outweighs(&there):
		w.replace(f.run.minute(), there.hash, f.hash)
		t.facts[at] = f.fact
		t.changed = true
	}
	return nil
}

func (w *writing) chunk(c *chunkRecord, from *request) error {
	hash := chunkHash(c.key, &c.chunkHeader)
	if stored := w.chunks.Get(c.key); stored != nil {
		there, err := chunkHeaderOf(c.key, stored)
		switch {
		case err != nil:
			return err
		case there.givenUp() && !w.noRoom:
			return w.arrive(c, hash)
		case w.noRoom:
			return nil
		case there.size == c.size && there.sum == c.sum && !from.merge:
			return nil
		case there.size == c.size && !from.merge:
			w.conflicts = append(w.conflicts, conflict{from, fmt.Sprintf(
				"run %s has other output of attempt %d at %d", c.run.id(), c.ref.attempt, c.ref.offset)})
			return nil
		case !c.outweighs(&there):
			return nil
		}
		w.replace(c.run.minute(), chunkHash(c.key, &there), hash)
		w.arrived = append(w.arrived, arrival{run: c.run, ref: c.ref})
		return w.chunks.Put(c.key, c.value)
	}
	if w.noRoom {
		w.stored++
		w.gaveUp += int64(c.size)
		return w.chunks.Put(c.key, giveUp(c.key, c.value, &c.chunkHeader))
	}
	return w.arrive(c, hash)
}

// arrive stores a chunk of which there was nothing.
func (w *writing) arrive(c *chunkRecord, hash uint64) error {
	w.add(c.run.minute(), hash)
	w.arrived = append(w.arrived, arrival{run: c.run, ref: c.ref})
	return w.chunks.Put(c.key, c.value)
}

func (w *writing) stretch(s *stretchRecord, from *request) error {
	bucket := w.tx.Bucket([]byte(bucketStretches))
	if stored := bucket.Get(s.key); stored != nil {
		old, err := stretchOf(s.key, stored, w.own.names)
		if err != nil {
			return err
		}
		there, err := newStretchRecord(&old)
		switch {
		case err != nil:
			return err
		case bytes.Equal(there.plain, s.plain):
			return nil
		case !from.merge:
			w.conflicts = append(w.conflicts, conflict{from, "there is another record in place of " + s.name()})
			return nil
		case !s.outweighs(&there):
			return nil
		}
		w.replace(s.minute(), there.hash, s.hash)
	} else {
		w.add(s.minute(), s.hash)
	}
	return bucket.Put(s.key, seal(appendStretch([]byte{valueVersion}, w.own.names, &s.stretch), 0, s.key))
}

func (w *writing) add(minute int, hash uint64) {
	w.sums[minute] = w.sums[minute].plus(Sum{1, hash})
	w.stored++
}

func (w *writing) replace(minute int, was, is uint64) {
	w.sums[minute] = w.sums[minute].plus(Sum{0, is - was})
	w.stored++
}

// put writes a run, and what must be true of it at once.
func (w *writing) put(t *touched) error {
	if !t.changed {
		return nil
	}
	now := &record{facts: t.facts}
	now.run, now.known = crony.Fold(t.facts)
	if now.known {
		unseen := t.was.known && sameRun(&t.was.run, &now.run)
		w.changes = append(w.changes, change{run: t.key, was: t.was, now: now, unseen: unseen})
	}
	if err := w.noteLive(t, now); err != nil {
		return err
	}
	start := len(w.own.room)
	w.own.room = appendRun(w.own.room, t.key, w.own.names, t.facts, &now.run, now.known)
	end := len(w.own.room)
	value := w.own.room[start:end:end]
	if err := w.notePending(t, value); err != nil {
		return err
	}
	if bytes.Compare(t.key[:], w.own.newest[:]) > 0 {
		w.own.newest = t.key
	}
	return w.runs.Put(t.key[:], value)
}

// notePending notes a run whose value changes, with the header that index and counters know.
func (w *writing) notePending(t *touched, value []byte) error {
	is, _, err := headerOf(t.key, value)
	if err != nil {
		return err
	}
	if p := w.own.pending[t.key]; p != nil {
		p.is = is
		return nil
	}
	p := &pendingRun{is: is}
	known := []byte{valueVersion}
	if t.was.known {
		old := w.runs.Get(t.key[:])
		was, size, err := headerOf(t.key, old)
		if err != nil {
			return err
		}
		p.was, known = was, bytes.Clone(old[:size])
	}
	w.own.pending[t.key] = p
	return w.pending.Put(t.key[:], known)
}

func (w *writing) noteLive(t *touched, now *record) error {
	switch was, is := t.was.goesOn(), now.goesOn(); {
	case is && !was:
		return w.live.Put(t.key[:], []byte{valueVersion})
	case was && !is:
		return w.live.Delete(t.key[:])
	}
	return nil
}

// sameRun says whether two folds of a run's facts show the same.
func sameRun(a, b *crony.Run) bool {
	return a.Until.Equal(b.Until) && sameProgress(a.Progress, b.Progress) &&
		a.Job == b.Job && a.JobUID == b.JobUID && a.Generation == b.Generation && a.Group == b.Group &&
		maps.Equal(a.Labels, b.Labels) && a.Agent == b.Agent && a.Trigger == b.Trigger && a.By == b.By &&
		a.ScheduledAt.Equal(b.ScheduledAt) && a.CatchUp == b.CatchUp &&
		a.Unclaimed == b.Unclaimed && a.Doubles == b.Doubles && a.RerunOf == b.RerunOf && a.Epoch == b.Epoch && a.State == b.State &&
		a.Reason == b.Reason && bytes.Equal(a.Result, b.Result) && a.ToHandle == b.ToHandle &&
		(a.Handled == nil) == (b.Handled == nil) && a.StartedAt.Equal(b.StartedAt) && a.EndedAt.Equal(b.EndedAt) &&
		slices.EqualFunc(a.Attempts, b.Attempts, sameAttempt)
}

func sameProgress(a, b *crony.Progress) bool {
	return a == b || a != nil && b != nil && a.Percent == b.Percent && a.Message == b.Message && a.At.Equal(b.At)
}

func sameAttempt(a, b crony.Attempt) bool {
	if (a.ExitCode == nil) != (b.ExitCode == nil) || a.ExitCode != nil && *a.ExitCode != *b.ExitCode {
		return false
	}
	if !a.StartedAt.Equal(b.StartedAt) || !a.EndedAt.Equal(b.EndedAt) {
		return false
	}
	a.ExitCode, a.StartedAt, a.EndedAt = b.ExitCode, b.StartedAt, b.EndedAt
	return a == b
}

func minuteKey(minute int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(minute)) }
