package state

import (
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"crony"
)

// putLock takes in a lock, and tells the agents of those runs that have come to hold it, or are to end.
func (m *mirror) putLock(place string, kv *mvccpb.KeyValue) error {
	l, err := decode[lock](kv.Value)
	if err != nil {
		return err
	}
	l.rev = kv.ModRevision
	key := locks + place
	before := m.locks[key]
	m.locks[key] = l
	job := jobOfLock(place)
	m.lockKeys[job] = add(m.lockKeys[job], key)
	for i := range l.Runs {
		now := &l.Runs[i]
		if was, had := before.find(now.Run); had && (was.Waits != now.Waits || was.ReplacedBy != now.ReplacedBy) {
			m.touchJobOf(now.Agent, job)
		}
	}
	return nil
}

func (m *mirror) removeLock(place string) {
	key, job := locks+place, jobOfLock(place)
	delete(m.locks, key)
	if delete(m.lockKeys[job], key); len(m.lockKeys[job]) == 0 {
		delete(m.lockKeys, job)
	}
}

func jobOfLock(place string) string {
	job, _, _ := strings.Cut(place, "/")
	return job
}

// lock returns a lock, and what it has room for; a job that is gone has room for any number.
func (m *mirror) lock(key string) (lock, room) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var r room
	if j := m.jobs.byName[jobOfLock(strings.TrimPrefix(key, locks))]; j != nil && j.def != nil {
		r = roomOf(j.def)
	}
	return m.locks[key], r
}

// lockedBy returns the key of the lock that a run is in, or may be in; "" if there is none.
func (m *mirror) lockedBy(e Ending) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for key := range m.lockKeys[e.Job] {
		l := m.locks[key]
		if _, has := l.find(e.Run); has {
			return key
		}
	}
	if j := m.jobs.byName[e.Job]; j != nil && j.def != nil && j.def.Job.Slots() > 0 {
		return j.lockKey(e.Agent)
	}
	return ""
}

// places appends the places of a lock that are an agent's, or with no id all. m.mu is held.
func (m *mirror) places(list []Held, key, agent string) []Held {
	l := m.locks[key]
	job := jobOfLock(strings.TrimPrefix(key, locks))
	for _, place := range l.Runs {
		if agent != "" && place.Agent != agent {
			continue
		}
		h := l.held(job, place.Run)
		h.Expected = m.expected(job, place)
		list = append(list, h)
	}
	return list
}

// expected says whether a run is that of a claim that may be reported yet, or of an order, or is about to go on with an agent.
// m.mu is held.
func (m *mirror) expected(job string, place crony.Lock) bool {
	if p := m.jobs.part(job, place.Agent); p.claim.Run == place.Run {
		return true
	}
	if h := m.handOvers[place.Run]; h != nil && !h.Taken {
		return true
	}
	for _, o := range m.orders[job] {
		if i := o.find(place.Run); i >= 0 && !o.Runs[i].Done {
			return true
		}
	}
	for _, p := range m.passes {
		if p.Unless == place.Run {
			return true
		}
	}
	return false
}

// locksOf returns the places in the locks of a job, those that hold it first, and then in the order in which they came.
func (m *mirror) locksOf(job string) []crony.Lock {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []crony.Lock
	for key := range m.lockKeys[job] {
		l := m.locks[key]
		list = append(list, l.Runs...)
	}
	slices.SortStableFunc(list, func(a, b crony.Lock) int {
		switch {
		case a.Waits == b.Waits:
			return strings.Compare(string(a.Run), string(b.Run))
		case b.Waits:
			return -1
		}
		return 1
	})
	return list
}
