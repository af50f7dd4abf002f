package runlog

import (
	"bytes"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// selection is which runs a query selects. It is made once, and walked day by day.
type selection struct {
	q    crony.RunQuery
	now  time.Time // till when runs that go on have taken
	low  runKey    // the smallest that can be selected
	high runKey    // one above the greatest
}

// newSelection checks all conditions of a query. Its Limit, Cursor and Count are for the caller.
func newSelection(q crony.RunQuery, now time.Time) (*selection, error) {
	if q.State != "" && !knownState(q.State) {
		return nil, crony.Errorf(crony.Invalid, "no run is in state %.40q", q.State).WithHint("one of %v", q.State.Allowed())
	}
	if q.Longer < 0 || q.Shorter < 0 {
		return nil, crony.Errorf(crony.Invalid, "no run takes less than no time")
	}
	s := &selection{q: q, now: now, high: highest()}
	// A run's id has the millisecond in which it was due.
	if !q.From.IsZero() {
		s.low = firstOf(q.From.UnixMilli())
		if q.From.Before(time.UnixMilli(0)) {
			s.low = runKey{}
		}
	}
	switch last := q.To.Add(-1); {
	case q.To.IsZero() || last.UnixMilli() >= int64(lastDay+1)*dayMillis:
	case last.Before(time.UnixMilli(0)):
		s.high = runKey{}
	default:
		s.high = firstOf(last.UnixMilli() + 1)
	}
	return s, nil
}

// has says whether runs of a day, below a run, can be selected.
func (s *selection) has(day dayNumber, before runKey) bool {
	first, last := day.first(), day.last()
	return bytes.Compare(first[:], before[:]) < 0 && bytes.Compare(s.low[:], last[:]) <= 0
}

// budget is what a walk may still cost: a step is about what it costs to look at the next run's header.
type budget struct{ left int }

func unbounded() *budget { return &budget{left: math.MaxInt} }

const seekCost = 3 // steps, of going to a place in a tree

// walk goes down a day's runs that a selection selects, the newest first, within one transaction. Where an index has the
// runs of a job, an agent, a group or a state, the walk goes along all of those lists at once, from one run that is in all
// of them to the next, and along the pending runs beside them. What it comes by is held against the run's header, which
// alone decides.
type walk struct {
	*selection
	names  *names
	runs   *bbolt.Bucket
	ways   []descent
	scan   *keys  // the way, if it is down all runs
	before runKey // what is not below it has been looked at

	state                       byte // and these: zero if any will do
	job, agent, group, triggers uint32
	labels                      map[uint32]bool // whether a set of labels has those that are asked for
}

// descent is a way down some runs of a day.
type descent interface {
	// atOrBelow returns the greatest of them that is not above k, which never grows; false if there is none. When the budget
	// is used up it may return another run on the way to that.
	atOrBelow(k runKey, b *budget) (runKey, bool)
}

// on returns the walk down a day's runs below one; false if the day can have none.
func (s *selection) on(tx *bbolt.Tx, day dayNumber, before runKey) (*walk, bool) {
	w := &walk{
		selection: s, names: namesOf(tx), runs: tx.Bucket([]byte(bucketRuns)), before: before, state: stateByte(s.q.State),
		labels: map[uint32]bool{},
	}
	if bytes.Compare(w.before[:], s.high[:]) > 0 {
		w.before = s.high
	}
	if end, ok := day.last().above(); ok && bytes.Compare(w.before[:], end[:]) > 0 {
		w.before = end
	}
	for _, name := range []struct {
		text string
		id   *uint32
	}{{s.q.Job, &w.job}, {s.q.Agent, &w.agent}, {s.q.Group, &w.group}, {string(s.q.Trigger), &w.triggers}} {
		var ok bool
		if *name.id, ok = w.names.find(name.text); !ok {
			return nil, false
		}
	}
	w.choose(tx, day)
	return w, true
}

func (w *walk) choose(tx *bbolt.Tx, day dayNumber) {
	if w.state != 0 && !w.q.State.Ended() { // few go on at any time
		w.ways = []descent{&keys{c: tx.Bucket([]byte(bucketLive)).Cursor()}}
		return
	}
	var along common
	if w.low.day() == day {
		along.low = w.low
	} else {
		along.low = day.first()
	}
	for _, id := range []listID{{indexJob, w.job}, {indexAgent, w.agent}, {indexGroup, w.group}, {indexState, uint32(w.state)}} {
		if id.name != 0 && !(id.kind == indexState && w.q.State == crony.Succeeded) {
			along.lists = append(along.lists, newList(tx, day, id))
		}
	}
	if w.q.ToHandle {
		along.lists = append(along.lists, newList(tx, day, listID{indexWaits, waitsName}))
		along.end = readWaits(tx.Bucket([]byte(bucketCounters))) == 0
	}
	if w.state != 0 { // a day on which no run ended so has an empty list, and the counters know
		counts, err := readCounts(tx.Bucket([]byte(bucketCounters)).Get([]byte{counterDay}))
		along.end = along.end || err == nil && *counts.Of(w.q.State) == 0
	}
	if len(along.lists) == 0 {
		w.scan = &keys{c: w.runs.Cursor()}
		w.ways = []descent{w.scan}
		return
	}
	w.ways = []descent{&along, &keys{c: tx.Bucket([]byte(bucketPending)).Cursor()}}
}

// next returns the next run that is selected, and its value; false if there is none, or if the budget is used up. Then
// another call goes on.
func (w *walk) next(b *budget) (k runKey, value []byte, ok bool, err error) {
	for b.left > 0 {
		k, ok := w.candidate(b)
		if !ok {
			w.before = runKey{}
			return k, nil, false, nil
		}
		w.before = k
		if value = w.value(k, b); value == nil {
			continue
		}
		h, _, err := headerOf(k, value)
		if err != nil {
			return k, nil, false, err
		}
		if w.matches(&h) {
			return k, value, true, nil
		}
	}
	return k, nil, false, nil
}

func (w *walk) candidate(b *budget) (best runKey, found bool) {
	at, ok := w.before.below()
	if !ok {
		return best, false
	}
	for _, way := range w.ways {
		k, ok := way.atOrBelow(at, b)
		if ok && bytes.Compare(k[:], w.low[:]) >= 0 && (!found || bytes.Compare(k[:], best[:]) > 0) {
			best, found = k, true
		}
	}
	return best, found
}

// value returns a run's value, or nil if its state alone says that it is not selected.
func (w *walk) value(k runKey, b *budget) []byte {
	b.left--
	var value []byte
	if w.scan != nil {
		value = w.scan.value
	} else {
		b.left -= seekCost
		value = w.runs.Get(k[:])
	}
	if len(value) < 2 || w.state != 0 && value[1] != w.state {
		return nil
	}
	return value
}

func (w *walk) matches(h *header) bool {
	q := &w.q
	switch {
	case !h.claimed(), q.State != "" && h.state != q.State, q.ToHandle && !h.handle:
		return false
	case w.job != 0 && h.job != w.job, w.agent != 0 && h.agent != w.agent, w.group != 0 && h.group != w.group:
		return false
	case w.triggers != 0 && h.trigger != w.triggers:
		return false
	case !q.From.IsZero() && h.due.Before(q.From), !q.To.IsZero() && !h.due.Before(q.To):
		return false
	case q.Shorter > 0 && (h.took < 0 || h.took >= q.Shorter):
		return false
	case q.Longer > 0 && !w.longer(h):
		return false
	}
	return len(q.Labels) == 0 || w.labelled(h.labels)
}

func (w *walk) longer(h *header) bool {
	if h.started.IsZero() {
		return false
	}
	if h.ended() {
		return h.took >= w.q.Longer
	}
	return w.now.Sub(h.started) >= w.q.Longer
}

// labelled says whether a set of labels has all that are asked for.
func (w *walk) labelled(set uint32) bool {
	if has, known := w.labels[set]; known {
		return has
	}
	text, _ := w.names.name(set)
	u := unpacker{}
	labels := u.labels(text)
	has := true
	for key, value := range w.q.Labels {
		found, ok := labels[key]
		has = has && ok && found == value
	}
	w.labels[set] = has
	return has
}

// keys is the way down the runs that are the keys of a bucket.
type keys struct {
	c     *bbolt.Cursor
	begun bool
	key   []byte
	value []byte
}

func (d *keys) atOrBelow(k runKey, b *budget) (runKey, bool) {
	if d.begun && bytes.Compare(d.key, k[:]) > 0 {
		d.key, d.value = d.c.Prev()
	}
	if !d.begun || bytes.Compare(d.key, k[:]) > 0 {
		b.left -= seekCost
		d.begun = true
		if d.key, d.value = d.c.Seek(k[:]); d.key == nil {
			d.key, d.value = d.c.Last()
		} else if !bytes.Equal(d.key, k[:]) {
			d.key, d.value = d.c.Prev()
		}
	}
	if len(d.key) != runSize {
		return runKey{}, false
	}
	return runKey(d.key), true
}

// common is the way down the runs that are in all of some lists.
type common struct {
	lists []*list
	low   runKey
	at    runKey // what was found last
	known bool
	end   bool
}

func (d *common) atOrBelow(k runKey, b *budget) (runKey, bool) {
	if d.known && bytes.Compare(d.at[:], k[:]) <= 0 || d.end {
		return d.at, !d.end
	}
	d.known = true
	for agree, i := 0, 0; agree < len(d.lists) && b.left > 0; i = (i + 1) % len(d.lists) {
		l := d.lists[i]
		before := l.seeks
		found, ok := l.atOrBelow(k, d.low)
		b.left -= 1 + seekCost*(l.seeks-before)
		if !ok {
			d.end = true
			return runKey{}, false
		}
		if agree++; found != k {
			k, agree = found, 1
		}
	}
	d.at = k
	return k, true
}
