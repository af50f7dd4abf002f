package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// lock is which runs of a job hold it, and which wait for it. All of that is one key's value, and whoever changes it compares
// the key's revision: so the order of those that wait, and how many there are, is as certain as who holds it, and the change
// that takes an ended run out lets the next one in.
//
// The key is not leased: it must outlive the server and the agent that it was made by, as the run does.
type lock struct {
	Runs []crony.Lock `json:"runs"` // in the order in which they came

	rev int64 // of the key; 0: it is not there
}

// room is what the lock of a job has place for.
type room struct {
	slots  int // runs that may hold it at once; 0: any number
	policy crony.Overlap
}

// single says whether one run at a time may go on, and what finds another is given up.
func (r room) single() bool {
	return r.slots == 1 && r.policy != crony.OverlapQueue && r.policy != crony.OverlapReplace
}

func roomOf(def *crony.Definition) room { return room{def.Job.Slots(), def.Job.Overlap} }

// at returns where in the lock a run is; -1 if it is not in it.
func (l *lock) at(run crony.RunID) int {
	return slices.IndexFunc(l.Runs, func(r crony.Lock) bool { return r.Run == run })
}

// find returns the place of a run; false if it has none.
func (l *lock) find(run crony.RunID) (crony.Lock, bool) {
	i := l.at(run)
	if i < 0 {
		return crony.Lock{}, false
	}
	return l.Runs[i], true
}

// clone returns a lock that can be changed.
func (l *lock) clone() lock { return lock{Runs: slices.Clone(l.Runs), rev: l.rev} }

// holder returns the run that has held the lock for longest, or that is to have it next; "" if there is none.
func (l *lock) holder() crony.RunID {
	if i := slices.IndexFunc(l.Runs, func(r crony.Lock) bool { return !r.Waits }); i >= 0 {
		return l.Runs[i].Run
	}
	if len(l.Runs) > 0 {
		return l.Runs[0].Run
	}
	return ""
}

// free says whether a run that comes now holds the lock at once.
func (l *lock) free(r room) bool {
	holding, waiting := l.count()
	return r.slots == 0 || holding < r.slots && waiting == 0
}

// count returns how many runs hold the lock, and how many are to get it.
func (l *lock) count() (holding, waiting int) {
	for i := range l.Runs {
		switch run := &l.Runs[i]; {
		case !run.Waits:
			holding++
		case run.ReplacedBy == "":
			waiting++
		}
	}
	return holding, waiting
}

// enter returns the lock with a run that has come, or why the run has no place in it.
func (l *lock) enter(run crony.Lock, r room) (lock, string) {
	next := l.clone()
	holding, waiting := l.count()
	switch {
	case l.free(r):
	case r.policy == crony.OverlapQueue && waiting >= crony.MaxQueue, len(l.Runs) >= crony.MaxParallel+crony.MaxQueue:
		return *l, fmt.Sprintf("the queue is full: %d runs of the job wait", len(l.Runs)-holding)
	case r.policy == crony.OverlapQueue:
		run.Waits = true
	case r.policy == crony.OverlapReplace:
		run.Waits = true
		for i := range next.Runs {
			if next.Runs[i].ReplacedBy == "" {
				next.Runs[i].ReplacedBy = run.Run
			}
		}
	default:
		return *l, crony.HolderReason(l.holder())
	}
	next.Runs = append(next.Runs, run)
	return next, ""
}

// behind returns the lock with a run that has it when those that are in it have ended.
func (l *lock) behind(run crony.Lock) lock {
	next := l.clone()
	run.Waits = true
	next.Runs = append(next.Runs, run)
	return next
}

// leave returns the lock without runs that have ended, and with those that have it in their place.
func (l *lock) leave(ended []crony.RunID, r room, now time.Time) lock {
	next := lock{rev: l.rev, Runs: slices.DeleteFunc(slices.Clone(l.Runs), func(run crony.Lock) bool {
		return slices.Contains(ended, run.Run)
	})}
	holding, _ := next.count()
	for i := range next.Runs {
		run := &next.Runs[i]
		if run.Waits && run.ReplacedBy == "" && (r.slots == 0 || holding < r.slots) {
			run.Waits, run.Since = false, now
			holding++
		}
	}
	return next
}

// op returns the operation that stores the lock.
func (l *lock) op(key string) clientv3.Op {
	if len(l.Runs) == 0 {
		return clientv3.OpDelete(key)
	}
	return clientv3.OpPut(key, encode(lock{Runs: l.Runs}))
}

// is is the condition that the lock stands as it was seen.
func (l *lock) is(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", l.rev)
}

// lockFrom reads a lock from what was found under its key.
func lockFrom(resp *etcdserverpb.RangeResponse) (lock, error) {
	if len(resp.Kvs) == 0 {
		return lock{}, nil
	}
	l, err := decode[lock](resp.Kvs[0].Value)
	if err != nil {
		return lock{}, fmt.Errorf("read %s: %w", resp.Kvs[0].Key, err)
	}
	l.rev = resp.Kvs[0].ModRevision
	return l, nil
}

// lockKey returns the key of the lock that a job's runs on an agent share: with all others, but for a job that runs on each
// agent, which has one for each.
func (j *job) lockKey(agent string) string {
	if j.each() {
		return locks + j.name + "/" + agent
	}
	return locks + j.name
}

// Ending is a run that has ended, in whatever state.
type Ending struct {
	Job, Agent string
	Run        crony.RunID
}

// Release takes runs that have ended out of their jobs' locks, and lets in those that wait for it. It is for whoever has
// stored that they ended, and may be called again. A run that has no lock costs nothing, if its job has none at all.
func (s *Store) Release(ctx context.Context, list []Ending) error {
	left := map[string][]crony.RunID{}
	var keys []string
	for _, e := range list {
		key := s.mirror.lockedBy(e)
		if key == "" {
			continue
		}
		if left[key] == nil {
			keys = append(keys, key)
		}
		left[key] = append(left[key], e.Run)
	}
	for _, key := range keys {
		if err := s.release(ctx, key, left[key]); err != nil {
			return fmt.Errorf("release %s: %w", key, err)
		}
	}
	return nil
}

func (s *Store) release(ctx context.Context, key string, ended []crony.RunID) error {
	l, r := s.mirror.lock(key)
	known := slices.ContainsFunc(ended, func(run crony.RunID) bool { _, has := l.find(run); return has })
	if !known { // the mirror may be behind
		resp, err := s.get(ctx, key)
		if err != nil {
			return err
		}
		if l, err = lockFrom((*etcdserverpb.RangeResponse)(resp)); err != nil {
			return err
		}
	}
	for range attempts {
		next := l.leave(ended, r, s.now().UTC())
		if len(next.Runs) == len(l.Runs) {
			return nil
		}
		resp, err := s.transact(ctx, nil, []clientv3.Op{
			clientv3.OpTxn([]clientv3.Cmp{l.is(key)}, []clientv3.Op{next.op(key)}, []clientv3.Op{clientv3.OpGet(key)})})
		if err != nil {
			return err
		}
		made := resp.Responses[0].GetResponseTxn()
		if made.Succeeded {
			return nil
		}
		if l, err = lockFrom(made.Responses[0].GetResponseRange()); err != nil {
			return err
		}
		_, r = s.mirror.lock(key)
	}
	return crony.Errorf(crony.Unavailable, "others keep changing it")
}

// Entrance is a run that its agent answers for, and that is to start when it holds its job's lock.
type Entrance struct {
	Job, Agent string
	Epoch      int64 // of the assignment by which the agent has the job
	Run        crony.RunID
}

// Enter returns the place that a run has in its job's lock. A run that has none gets one; if it can't, the reason says why, in
// plain words, and it is not to start. The same may be asked again.
func (s *Store) Enter(ctx context.Context, e Entrance) (place Held, reason string, err error) {
	if err := s.reach(ctx, []Ask{{Epoch: e.Epoch}}); err != nil {
		return place, "", err
	}
	err = s.change(ctx, "enter the lock of "+e.Job, func() (*txn, error) {
		t := s.newTxn(ctx)
		j := t.look(e.Job)
		place, reason = Held{}, movedMeanwhile
		if j.rev == 0 {
			return t, nil
		}
		l, _ := s.mirror.lock(j.lockKey(e.Agent))
		a := j.of(e.Agent)
		if _, has := l.find(e.Run); !has && (e.Epoch <= 0 || a == nil || a.Epoch != e.Epoch) {
			return t, nil
		}
		l, reason = t.enter(&j, crony.Lock{Run: e.Run, Agent: e.Agent, Since: t.now})
		place = l.held(e.Job, e.Run)
		if len(t.ops) > 0 && a != nil {
			t.expect(assignmentKey(e.Agent, e.Job), a.Epoch)
		}
		return t, nil
	})
	return place, reason, err
}

// enter has runs get their places in their job's lock, if they have none, and returns the last one's lock as it is then. The
// reason says why one can't. A run that an agent was chosen for may have been given to another since: the lock follows.
func (t *txn) enter(j *job, runs ...crony.Lock) (last lock, reason string) {
	r := roomOf(j.def)
	if r.slots == 0 {
		return lock{}, ""
	}
	changed := map[string]lock{}
	for _, run := range runs {
		key := j.lockKey(run.Agent)
		l, again := changed[key]
		if !again {
			l, _ = t.store.mirror.lock(key)
		}
		last = l
		i := l.at(run.Run)
		switch {
		case i < 0:
			if last, reason = l.enter(run, r); reason != "" {
				return last, reason
			}
		case l.Runs[i].Agent == run.Agent:
			continue
		default:
			last.Runs = slices.Clone(l.Runs)
			last.Runs[i].Agent = run.Agent
		}
		changed[key] = last
	}
	for key, l := range changed {
		t.expect(key, l.rev)
		t.ops = append(t.ops, l.op(key))
	}
	return last, ""
}

// Held is a place in the lock of a job.
type Held struct {
	Job string
	crony.Lock
	// Behind is the run that holds the lock, of one that waits.
	Behind crony.RunID
	// Expected says that nobody need have heard of the run yet: it is that of a claim that its agent may be told of, or of an order
	// that waits for its agent.
	Expected bool
}

// held returns the place of a run.
func (l *lock) held(job string, run crony.RunID) Held {
	place, _ := l.find(run)
	h := Held{Job: job, Lock: place}
	if h.Run = run; place.Waits {
		h.Behind = l.holder()
	}
	return h
}

// Locks returns the places in all locks, or with an agent's id in those that runs of it have, job by job.
func (s *Store) Locks(agent string) []Held {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Held
	for key := range m.locks {
		list = m.places(list, key, agent)
	}
	return list
}

// LocksOn returns the places that an agent's runs have in the locks of one job; with no agent's id, those of all.
func (s *Store) LocksOn(job, agent string) []Held {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Held
	for key := range m.lockKeys[job] {
		list = m.places(list, key, agent)
	}
	return list
}
