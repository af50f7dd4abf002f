package runlog

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"crony"
)

// memory is what the log knows without its files: the runs that go on, each job's newest run, what each day adds up to, and
// who listens. The writer alone changes what is known, after the files.
type memory struct {
	mu        sync.RWMutex
	live      map[runKey]*record
	byAgent   map[string]map[runKey]*record
	newest    map[string]newest
	sums      map[dayNumber]Sum
	unsettled map[dayNumber]struct{} // days that have pending runs
	listeners map[*listener]struct{}
	followers map[runKey]map[*follower]struct{}
	closed    bool
}

// record is a run with its facts. It is never changed, but replaced.
type record struct {
	facts []crony.Fact // in the order of their numbers
	run   crony.Run
	known bool // its first fact is there, and so run is
}

func (r *record) goesOn() bool { return r.known && !r.run.State.Ended() }

// newest is the newest run of a job that is known of: of all its runs if sure, else of those that changed since Open.
type newest struct {
	run  runKey
	any  bool
	sure bool
}

func newMemory() *memory {
	return &memory{
		live: map[runKey]*record{}, byAgent: map[string]map[runKey]*record{}, newest: map[string]newest{},
		sums: map[dayNumber]Sum{}, unsettled: map[dayNumber]struct{}{},
		listeners: map[*listener]struct{}{}, followers: map[runKey]map[*follower]struct{}{},
	}
}

// learn takes in a day that the log has: its runs that go on, and what it adds up to.
func (m *memory) learn(day dayNumber, tx *bbolt.Tx) error {
	n, runs := namesOf(tx), tx.Bucket([]byte(bucketRuns))
	live := map[runKey]*record{}
	err := tx.Bucket([]byte(bucketLive)).ForEach(func(key, _ []byte) error {
		value := runs.Get(key)
		if len(key) != runSize || value == nil {
			return errUnknownRecord
		}
		rec, err := readRecord(runKey(key), value, n)
		live[runKey(key)] = rec
		return err
	})
	if err != nil {
		return err
	}
	var sum Sum
	err = tx.Bucket([]byte(bucketSums)).ForEach(func(_, value []byte) error {
		sum = sum.plus(readSum(value))
		return nil
	})
	if err != nil {
		return err
	}
	first, _ := tx.Bucket([]byte(bucketPending)).Cursor().First()
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, rec := range live {
		m.set(k, rec)
	}
	m.sums[day] = sum
	if first != nil {
		m.unsettled[day] = struct{}{}
	}
	return nil
}

// readRecord reads a run's value.
func readRecord(k runKey, value []byte, n *names) (*record, error) {
	facts, err := factsOf(k, value, n)
	if err != nil {
		return nil, err
	}
	rec := &record{facts: facts}
	rec.run, rec.known = crony.Fold(facts)
	return rec, nil
}

// liveRecord returns what is known of a run that goes on; nil if it does not.
func (m *memory) liveRecord(k runKey) *record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.live[k]
}

// daySums returns what each day adds up to that has any records.
func (m *memory) daySums() map[string]Sum {
	m.mu.RLock()
	defer m.mu.RUnlock()
	sums := make(map[string]Sum, len(m.sums))
	for day, sum := range m.sums {
		if sum.Records > 0 {
			sums[day.String()] = sum
		}
	}
	return sums
}

// unsettledBefore returns the earliest day before another that has pending runs.
func (m *memory) unsettledBefore(newest dayNumber) (found dayNumber, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for day := range m.unsettled {
		if day < newest && (!ok || day < found) {
			found, ok = day, true
		}
	}
	return found, ok
}

func (m *memory) settled(day dayNumber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.unsettled, day)
}

// set notes how a run stands. The caller holds mu.
func (m *memory) set(k runKey, rec *record) {
	if was := m.live[k]; was != nil {
		m.unset(k, was.run.Agent)
	}
	if !rec.goesOn() {
		return
	}
	agent := rec.run.Agent
	m.live[k] = rec
	if m.byAgent[agent] == nil {
		m.byAgent[agent] = map[runKey]*record{}
	}
	m.byAgent[agent][k] = rec
}

// unset takes a run from those that go on. The caller holds mu.
func (m *memory) unset(k runKey, agent string) {
	delete(m.live, k)
	delete(m.byAgent[agent], k)
	if len(m.byAgent[agent]) == 0 {
		delete(m.byAgent, agent)
	}
}

// forgetDays forgets the runs of days whose files are gone, and tells those who listen that something is.
func (m *memory) forgetDays(gone func(dayNumber) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, rec := range m.live {
		if gone(k.day()) {
			m.unset(k, rec.run.Agent)
		}
	}
	for k, followers := range m.followers {
		for f := range followers {
			if gone(k.day()) {
				f.ended()
			}
		}
	}
	maps.DeleteFunc(m.sums, func(day dayNumber, _ Sum) bool { return gone(day) })
	maps.DeleteFunc(m.unsettled, func(day dayNumber, _ struct{}) bool { return gone(day) })
	m.relearn()
}

// adopt reads the runs of a new day that go on, and tells those who listen that there is much that they do not know.
func (m *memory) adopt(day dayNumber, tx *bbolt.Tx) error {
	err := m.learn(day, tx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.relearn()
	return err
}

// relearn has all be read again that is known from files. The caller holds mu.
func (m *memory) relearn() {
	clear(m.newest)
	for l := range m.listeners {
		l.tell(Change{Reset: true})
	}
}

// commit takes over what is on the disk now, and tells those who listen.
func (m *memory) commit(w *writing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, by := range w.sums {
		m.sums[w.day] = m.sums[w.day].plus(by)
	}
	delete(m.unsettled, w.day)
	if w.unsettled {
		m.unsettled[w.day] = struct{}{}
	}
	for _, d := range w.dropped {
		m.drop(d)
	}
	for _, a := range w.arrived {
		for f := range m.followers[a.run] {
			f.arrived(a.ref)
		}
	}
	for _, c := range w.changes {
		m.set(c.run, c.now)
		if c.unseen {
			continue
		}
		if was := c.was.run.Job; was != "" && was != c.now.run.Job {
			delete(m.newest, was) // it may have been this one
		}
		if c.now.run.Trigger != crony.ByPrepare {
			m.sawRun(c.now.run.Job, c.run)
		}
		for l := range m.listeners {
			l.tell(Change{Run: c.now.run})
		}
		if c.now.run.State.Ended() {
			for f := range m.followers[c.run] {
				f.ended()
			}
		}
	}
}

func (m *memory) sawRun(job string, k runKey) {
	n := m.newest[job]
	if !n.any || bytes.Compare(k[:], n.run[:]) > 0 {
		n.run, n.any = k, true
	}
	m.newest[job] = n
}

// newestOf returns a job's newest run; sure is false if the files must be asked.
func (m *memory) newestOf(job string) newest {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.newest[job]
}

// forgetNewest has the files be asked for a job's newest run again.
func (m *memory) forgetNewest(job string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.newest, job)
}

// learnNewest takes in what the files say, and returns what is right now: a newer run may have come while they were read.
func (m *memory) learnNewest(job string, found newest) newest {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found.any {
		m.sawRun(job, found.run)
	}
	n := m.newest[job]
	n.sure = found.sure
	m.newest[job] = n
	return n
}

func (m *memory) unfinished(agent string) []crony.Run {
	m.mu.RLock()
	defer m.mu.RUnlock()
	runs := make([]crony.Run, 0, len(m.byAgent[agent]))
	for _, rec := range m.byAgent[agent] {
		runs = append(runs, rec.run)
	}
	return runs
}

func (m *memory) busy() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Keys(m.byAgent))
}

func (m *memory) running() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.live)
}

func (m *memory) runningOn(agent string) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.byAgent[agent])
}

// listenerBuffer is how many changes may wait for a subscriber.
const listenerBuffer = 256

// Change is a run whose fold changed, or the news that changes were left out.
type Change struct {
	Run   crony.Run // as it stands after the change; shared, so it must not be changed
	Reset bool      // Run is empty: changes were left out because the subscriber was slow; read again what matters
}

// listener is a subscriber's channel. Only the holder of memory.mu sends, so that room that was seen stays.
type listener struct {
	ch     chan Change
	behind bool // a reset is the last thing in ch, or was
	stop   func() bool
}

// Subscribe returns the changes of runs from now on, one for all that a transaction did to a run. A subscriber that falls
// behind is sent a reset instead of what it missed, and changes go on after it; nobody waits for it. The channel is closed
// when ctx is done or the log is closed.
func (l *Log) Subscribe(ctx context.Context) <-chan Change {
	m, s := l.mem, &listener{ch: make(chan Change, listenerBuffer)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		close(s.ch)
		return s.ch
	}
	m.listeners[s] = struct{}{}
	s.stop = context.AfterFunc(ctx, func() { m.unsubscribe(s) })
	return s.ch
}

// tell sends c. The last place in the channel is the reset's, so that it is there as soon as a change is left out; what
// comes until the subscriber has read it is left out too, for whoever reads again after it sees that.
func (s *listener) tell(c Change) {
	if s.behind && len(s.ch) > 0 {
		return
	}
	s.behind = len(s.ch) == cap(s.ch)-1
	if s.behind {
		c = Change{Reset: true}
	}
	s.ch <- c
}

func (m *memory) unsubscribe(s *listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.listeners[s]; ok {
		delete(m.listeners, s)
		close(s.ch)
	}
}

func (m *memory) closeSubscriptions() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for s := range m.listeners {
		s.stop()
		close(s.ch)
	}
	clear(m.listeners)
}
