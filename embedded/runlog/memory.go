package runlog

import (
	"bytes"
	"context"
	"sync"

	"go.etcd.io/bbolt"

	"crony"
)

// memory is what the log knows without its files: the runs that go on, each job's newest run, and who listens. The writer
// alone changes what is known, after the files.
type memory struct {
	mu        sync.RWMutex
	live      map[runKey]*record
	byAgent   map[string]map[runKey]*record
	newest    map[string]newest
	listeners map[*listener]struct{}
	followers map[runKey]map[*follower]struct{}
	closed    bool
}

// record is a run with its facts. It is never changed, but replaced.
type record struct {
	facts   []crony.Fact
	run     crony.Run
	summary []byte // run as it is stored; nil while its first fact is missing
}

// newest is the newest run of a job that is known of: of all its runs if sure, else of those that changed since Open.
type newest struct {
	run  runKey
	any  bool
	sure bool
}

func newMemory() *memory {
	return &memory{
		live: map[runKey]*record{}, byAgent: map[string]map[runKey]*record{}, newest: map[string]newest{},
		listeners: map[*listener]struct{}{}, followers: map[runKey]map[*follower]struct{}{},
	}
}

// recover reads the runs of a day that go on.
func (m *memory) recover(tx *bbolt.Tx) error {
	for _, state := range []crony.RunState{crony.Claimed, crony.Running} {
		prefix := indexPrefix(indexState, string(state))
		c := tx.Bucket([]byte(bucketIndex)).Cursor()
		for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = c.Next() {
			k := runKey(key[len(prefix):])
			rec, err := readRecord(tx, k)
			if err != nil {
				return err
			}
			m.set(k, rec)
		}
	}
	return nil
}

// readRecord reads a run's facts and summary; a run that is not there has neither.
func readRecord(tx *bbolt.Tx, k runKey) (*record, error) {
	rec := &record{}
	c := tx.Bucket([]byte(bucketFacts)).Cursor()
	for key, value := c.Seek(k[:]); bytes.HasPrefix(key, k[:]); key, value = c.Next() {
		var f crony.Fact
		if err := decodeJSON(value, &f); err != nil {
			return nil, unreadable(k, err)
		}
		rec.facts = append(rec.facts, f)
	}
	if rec.summary = bytes.Clone(tx.Bucket([]byte(bucketRuns)).Get(k[:])); rec.summary == nil {
		return rec, nil
	}
	if err := decodeJSON(rec.summary, &rec.run); err != nil {
		return nil, unreadable(k, err)
	}
	return rec, nil
}

// record returns what is known of a run, from memory if it goes on.
func (m *memory) record(tx *bbolt.Tx, k runKey) (*record, error) {
	m.mu.RLock()
	rec := m.live[k]
	m.mu.RUnlock()
	if rec != nil {
		return rec, nil
	}
	return readRecord(tx, k)
}

// set notes how a run stands. The caller holds mu, or is alone.
func (m *memory) set(k runKey, rec *record) {
	agent := rec.run.Agent
	if rec.run.State.Ended() {
		m.unset(k, agent)
		return
	}
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
	m.relearn()
}

// adopt reads the runs of a new day that go on, and tells those who listen that there is much that they do not know.
func (m *memory) adopt(tx *bbolt.Tx) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.relearn()
	return m.recover(tx)
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
		m.sawRun(c.now.run.Job, c.run)
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
