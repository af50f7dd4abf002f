package runlog

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// drop takes a run away, or as much of its output as there are records left to take. Sums, index and counters come to be as
// if it had never been there.
func (w *writing) drop(k runKey, job string, left *int) error {
	var keys [][]byte // a cursor does not stand where it stood after something was deleted
	c := w.chunks.Cursor()
	for key, value := c.Seek(k[:]); bytes.HasPrefix(key, k[:]) && len(keys) < *left; key, value = c.Next() {
		h, err := chunkHeaderOf(key, value)
		if err != nil {
			return err
		}
		if !h.givenUp() {
			w.lose(k.minute(), chunkHash(key, &h))
		}
		keys = append(keys, bytes.Clone(key))
	}
	for _, key := range keys {
		if err := w.chunks.Delete(key); err != nil {
			return err
		}
	}
	w.stored += len(keys)
	if *left -= len(keys); *left <= 0 {
		return nil
	}
	value := w.runs.Get(k[:])
	if value == nil {
		return nil
	}
	facts, err := factsOf(k, value, w.own.names)
	if err != nil {
		return err
	}
	var room []byte
	for i := range facts {
		room = appendFact(append(room[:0], k[:]...), k.millis(), (*spelled)(nil), &facts[i])
		w.lose(k.minute(), xxhash.Sum64(room))
	}
	if p := w.own.pending[k]; p != nil {
		p.is = header{}
	} else {
		was, size, err := headerOf(k, value)
		if err != nil {
			return err
		}
		w.own.pending[k] = &pendingRun{was: was}
		if err := w.pending.Put(k[:], bytes.Clone(value[:size])); err != nil {
			return err
		}
	}
	*left -= len(facts)
	w.stored++
	w.dropped = append(w.dropped, droppedRun{k, job})
	if err := w.live.Delete(k[:]); err != nil {
		return err
	}
	return w.runs.Delete(k[:])
}

func (w *writing) lose(minute int, hash uint64) {
	w.sums[minute] = w.sums[minute].plus(Sum{^uint64(0), -hash})
}

// droppedRun is a run that is gone.
type droppedRun struct {
	run runKey
	job string
}

// drop forgets a run that is gone. The caller holds mu.
func (m *memory) drop(d droppedRun) {
	if rec := m.live[d.run]; rec != nil {
		m.unset(d.run, rec.run.Agent)
	}
	delete(m.newest, d.job)
	for f := range m.followers[d.run] {
		f.ended()
	}
}

// oldestLive returns, by job, the oldest of the runs that go on.
func (m *memory) oldestLive() map[string]runKey {
	m.mu.RLock()
	defer m.mu.RUnlock()
	oldest := map[string]runKey{}
	for k, rec := range m.live {
		if at, ok := oldest[rec.run.Job]; !ok || bytes.Compare(k[:], at[:]) < 0 {
			oldest[rec.run.Job] = k
		}
	}
	return oldest
}
