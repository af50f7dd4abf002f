package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// HandOver is who makes the attempts of a run from one on, as its agent has asked for another to do that. There is one of a run
// at a time, the newest, until the run has ended: so whoever looks for the run's agent finds it here first.
//
// Also that there is no other agent is written down: a transaction for the same attempt that comes late, as its server stood
// still, then changes nothing. The agent that is chosen is told until it has written it down; who chose it may be gone by then.
type HandOver struct {
	crony.Continuation

	Run   crony.RunID `json:"-"`
	From  string      `json:"from"`
	To    string      `json:"to"` // the agent itself, if there is no other
	Made  time.Time   `json:"made"`
	Taken bool        `json:"taken,omitempty"` // the agent answers for the run
	// Definition is what the run is of, until it is taken.
	Definition *crony.Definition `json:"definition,omitempty"`

	rev int64
}

func (h *HandOver) key() string { return handOvers + string(h.Run) }

// Moved returns the fact that says that the run goes on with another agent. It is the same whoever stores it.
func (h *HandOver) Moved() crony.Fact {
	return crony.Fact{Run: h.Run, Seq: h.Seq, At: h.Made, Moved: &crony.MovedFact{Agent: h.To, Attempt: h.Attempt}}
}

// Request returns the run as an agent is told of one that it is to start.
func (h *HandOver) Request() crony.StartRequest {
	c := &h.Claimed
	return crony.StartRequest{Run: h.Run, Job: c.Job, Agent: h.To, By: c.By, At: c.ScheduledAt, Params: c.Params, RerunOf: c.RerunOf}
}

func (m *mirror) putHandOver(name string, kv *mvccpb.KeyValue) error {
	h, err := decode[HandOver](kv.Value)
	if err != nil {
		return err
	}
	h.Run, h.rev = crony.RunID(name), kv.ModRevision
	m.handOvers[h.Run] = &h
	if !h.Taken {
		m.touchJob(h.Claimed.Job, h.To)
	}
	return nil
}

// HandOverOf returns who makes a run's attempts, and whether it was ever asked for another to do that.
func (s *Store) HandOverOf(run crony.RunID) (HandOver, bool) {
	if h := s.mirror.handOver(run); h != nil {
		return *h, true
	}
	return HandOver{}, false
}

func (m *mirror) handOver(run crony.RunID) *HandOver {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.handOvers[run]
}

// HandOvers returns those that there are; of a job, and of those the ones that an agent is to take, if these are not "".
func (s *Store) HandOvers(job, to string) []HandOver {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []HandOver
	for _, h := range m.handOvers {
		if (job == "" || h.Claimed.Job == job) && (to == "" || h.To == to && !h.Taken) {
			list = append(list, *h)
		}
	}
	slices.SortFunc(list, func(a, b HandOver) int { return cmp.Compare(a.Run, b.Run) })
	return list
}

// HandOver decides which agent makes a run's next attempt, for the run's agent, which says how the run goes on. It is decided
// once: the same asked again, or asked of an attempt of before, has the newest answer. It is another agent if one that the
// job's placement means takes jobs now, and the definition is known by which the run was claimed, and the run is not to be
// ended. Its place in the job's lock goes with it.
func (s *Store) HandOver(ctx context.Context, r *crony.Run, c crony.Continuation) (h HandOver, err error) {
	err = s.change(ctx, "hand over "+string(r.ID), func() (*txn, error) {
		t := s.newTxn(ctx)
		h = HandOver{Continuation: c, Run: r.ID, From: r.Agent, To: r.Agent, Made: t.now, Taken: true}
		if was := s.mirror.handOver(r.ID); was != nil {
			if was.Attempt >= c.Attempt {
				h = *was
				return t, nil
			}
			h.rev = was.rev
		}
		stays, err := s.moveOn(ctx, t, r, &h)
		if err != nil {
			return nil, err
		}
		if stays != "" {
			s.log.Info("run is tried again by the same agent", "run", r.ID, "job", r.Job, "agent", r.Agent, "reason", stays)
		}
		t.expect(h.key(), h.rev)
		t.put(h.key(), encode(h)) // without a lease: it outlasts this server
		return t, nil
	})
	return h, err
}

// moveOn chooses another agent for a run, or says why it stays where it is.
func (s *Store) moveOn(ctx context.Context, t *txn, r *crony.Run, h *HandOver) (stays string, err error) {
	if r.State != crony.Waiting { // a verdict may have ended it
		return "the run is " + string(r.State), nil
	}
	p := s.mirror.proc(r.Agent, r.Job, r.ID)
	if p.Kill != nil {
		return "it is to be ended", nil
	}
	def, err := s.definition(ctx, t, r)
	if err != nil {
		return "", err
	}
	if def == nil {
		return "what it was claimed by is not kept any more", nil
	}
	to := s.another(&def.Job, r)
	if to == "" {
		return "no other agent takes it", nil
	}
	key, l := s.mirror.lockOf(r.Job, r.ID)
	if i := l.at(r.ID); i >= 0 {
		if l.Runs[i].ReplacedBy != "" {
			return "it is to be replaced", nil
		}
		next := l.clone()
		next.Runs[i].Agent = to
		t.expect(key, l.rev)
		t.ops = append(t.ops, next.op(key))
	}
	t.expect(p.key(), p.rev)
	t.expect(tombstones+to, 0)
	h.To, h.Taken, h.Definition = to, false, def
	return "", nil
}

// definition returns the one by which a run was claimed; nil if it is not kept any more.
func (s *Store) definition(ctx context.Context, t *txn, r *crony.Run) (*crony.Definition, error) {
	j := t.look(r.Job)
	switch {
	case j.def == nil || j.def.UID != r.JobUID:
		return nil, nil //nolint:nilnil // see above
	case j.def.Generation == r.Generation:
		return j.def, nil
	}
	defs, err := s.generations(ctx, &j)
	if err != nil {
		return nil, err
	}
	for i := range defs {
		if defs[i].Generation == r.Generation {
			return &defs[i], nil
		}
	}
	return nil, nil //nolint:nilnil // see above
}

// another returns the agent that is to make the next attempt of a run: of those that its job means and that take jobs now, one
// that has had it least often, and of these the one with the fewest runs. It is not the agent that has it; "": there is none.
func (s *Store) another(j *crony.Job, r *crony.Run) string {
	terms, had := j.Terms(), map[string]int{}
	for _, agent := range r.Former {
		had[agent]++
	}
	best := ""
	for _, a := range s.mirror.all()() {
		if _, buried := s.Buried(a.ID); buried || a.ID == r.Agent || !terms.Admit(&a) {
			continue
		}
		if best == "" || cmp.Or(cmp.Compare(had[a.ID], had[best]), cmp.Compare(s.burden(a.ID), s.burden(best))) < 0 {
			best = a.ID
		}
	}
	return best
}

// lockOf returns the lock in which a run has a place, and its key; "" if there is none.
func (m *mirror) lockOf(job string, run crony.RunID) (string, lock) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for key := range m.lockKeys[job] {
		l := m.locks[key]
		if l.at(run) >= 0 {
			return key, l
		}
	}
	return "", lock{}
}

// TakeHandOver notes that an agent has written down that a run goes on with it, from an attempt up to this one on. What it was
// not chosen for changes nothing.
func (s *Store) TakeHandOver(ctx context.Context, agent string, run crony.RunID, attempt int) error {
	return s.change(ctx, "take over "+string(run), func() (*txn, error) {
		t := s.newTxn(ctx)
		if h := s.mirror.handOver(run); h != nil && h.To == agent && !h.Taken && h.Attempt <= attempt {
			next := *h
			next.Taken, next.Definition = true, nil
			t.expect(h.key(), h.rev)
			t.put(h.key(), encode(next))
		}
		return t, nil
	})
}

// EndHandOvers forgets who made the attempts of runs that have ended.
func (s *Store) EndHandOvers(ctx context.Context, runs []crony.RunID) error {
	var ops []clientv3.Op
	for _, run := range runs {
		if h := s.mirror.handOver(run); h != nil {
			ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(h.key()), "=", h.rev)},
				[]clientv3.Op{clientv3.OpDelete(h.key())}, nil))
		}
	}
	for batch := range slices.Chunk(ops, maxPlace) {
		if _, err := s.transact(ctx, nil, batch); err != nil {
			return fmt.Errorf("forget who made the attempts of runs: %w", err)
		}
	}
	return nil
}

// comes says whether a run is about to go on with an agent that is connected, and has not said so yet.
func (m *mirror) comes(run crony.RunID) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	h := m.handOvers[run]
	if h == nil || h.Taken {
		return false
	}
	_, up := m.agents[h.To]
	return up
}
