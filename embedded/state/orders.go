package state

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"crony"
)

// order is a request to run a job now: one run, or one for each of several agents. It is a person's, but if it is for a run in
// the place of one that was lost.
//
// A run is given to an agent before the agent is told of it, by a transaction, and to one only. Until then it is nobody's:
// it follows its job, unless its agent was chosen, and can be withdrawn. From then on the agent may have begun it, whatever
// is heard of that. It is done when its agent has taken it, or when it is on record why none did; when all are, the order stays
// a while, so that the same request asked again has the same answer.
type order struct {
	What   crony.ClaimedFact `json:"what"`             // of each run, but for its agent and its epoch
	Digest string            `json:"digest"`           // of what was asked for
	Chosen bool              `json:"chosen,omitempty"` // the runs are for these agents, whoever has the job by then
	Made   time.Time         `json:"made,omitzero"`    // if that is not when the runs are due
	Runs   []orderedRun      `json:"runs"`

	job, request string
	rev          int64
}

type orderedRun struct {
	Run   crony.RunID      `json:"run"`
	Agent string           `json:"agent"`
	Given bool             `json:"given,omitempty"`
	Done  bool             `json:"done,omitempty"`
	Kill  *crony.KillOrder `json:"kill,omitempty"` // it was withdrawn before it was given
}

// waits says whether the run is nobody's yet, and may become somebody's.
func (r *orderedRun) waits() bool { return !r.Done && !r.Given && r.Kill == nil }

func (o *order) key() string { return starts + o.job + "/" + o.request }

func (o *order) made() time.Time {
	if o.Made.IsZero() {
		return o.What.ScheduledAt
	}
	return o.Made
}

func (o *order) ids() []crony.RunID {
	ids := make([]crony.RunID, len(o.Runs))
	for i := range o.Runs {
		ids[i] = o.Runs[i].Run
	}
	return ids
}

func (o *order) done() bool {
	return !slices.ContainsFunc(o.Runs, func(r orderedRun) bool { return !r.Done })
}

// find returns the place of a run in the order, -1 if it has none.
func (o *order) find(run crony.RunID) int {
	return slices.IndexFunc(o.Runs, func(r orderedRun) bool { return r.Run == run })
}

// with returns the order with one of its runs changed.
func (o *order) with(i int, change func(*orderedRun)) *order {
	next := *o
	next.Runs = slices.Clone(o.Runs)
	change(&next.Runs[i])
	return &next
}

// told returns a run of the order as its agent is told of it.
func (o *order) told(r *orderedRun) crony.StartRequest {
	return crony.StartRequest{Run: r.Run, Job: o.job, Agent: r.Agent, By: o.What.By, At: o.What.ScheduledAt,
		Params: o.What.Params, RerunOf: o.What.RerunOf}
}

// mayGive says whether a run that waits may be given to an agent now. M.mu is held.
func (m *mirror) mayGive(o *order, r *orderedRun, agent string) bool {
	j := m.jobs.byName[o.job]
	switch {
	case !r.waits() || j == nil || j.def == nil || j.def.UID != o.What.JobUID:
		return false
	case o.Chosen || r.Agent == agent && j.has(agent):
		return r.Agent == agent
	}
	return j.has(agent) && !j.has(r.Agent)
}

// Ordered is a run that was ordered, and what its agent needs to begin it.
type Ordered struct {
	Request    crony.StartRequest
	Definition crony.Definition
	Epoch      int64 // of the assignment; of the order, if the agent has not the job
	Given      bool  // to the agent, which may have begun it
}

// Orders returns the runs of a job that an agent has been given and has not taken, and those that it may be given.
func (s *Store) Orders(agent, job string) []Ordered {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Ordered
	for _, o := range m.ordersOf(job) {
		for i := range o.Runs {
			r := &o.Runs[i]
			if given := r.Given && !r.Done && r.Agent == agent; given || m.mayGive(o, r, agent) {
				if next, ok := m.ordered(o, r, agent); ok {
					list = append(list, next)
				}
			}
		}
	}
	return list
}

// ordered returns a run as an agent is told of it; false if its job is gone. M.mu is held.
func (m *mirror) ordered(o *order, r *orderedRun, agent string) (Ordered, bool) {
	j := m.jobs.byName[o.job]
	if j == nil || j.def == nil || j.def.UID != o.What.JobUID {
		return Ordered{}, false
	}
	next := Ordered{Request: o.told(r), Definition: *j.def, Epoch: o.rev, Given: r.Given}
	next.Request.Agent = agent
	if a := j.of(agent); a != nil {
		next.Epoch = a.Epoch
	}
	return next, true
}

// OrderedOf returns the names of the jobs of which an agent has runs to begin or to go on with, or may be given some; sorted.
func (s *Store) OrderedOf(agent string) []string {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var names []string
	for name, orders := range m.orders {
		for _, o := range orders {
			if slices.ContainsFunc(o.Runs, func(r orderedRun) bool {
				return r.Given && !r.Done && r.Agent == agent || m.mayGive(o, &r, agent)
			}) {
				names = append(names, name)
				break
			}
		}
	}
	for _, h := range m.handOvers {
		if h.To == agent && !h.Taken {
			names = append(names, h.Claimed.Job)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ordersOf returns the orders of a job, the earliest first. M.mu is held.
func (m *mirror) ordersOf(job string) []*order {
	return slices.SortedFunc(maps.Values(m.orders[job]), func(a, b *order) int {
		return cmp.Or(a.made().Compare(b.made()), cmp.Compare(a.request, b.request))
	})
}

// order returns an order, nil if there is none.
func (m *mirror) order(job, request string) *order {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.orders[job][request]
}

// orderOf returns the order that a run is of, and the run's place in it; nil if there is none.
func (m *mirror) orderOf(job string, run crony.RunID) (*order, int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, o := range m.orders[job] {
		if i := o.find(run); i >= 0 {
			return o, i
		}
	}
	return nil, -1
}

// waiting returns the first runs of a job that were ordered and not taken.
func (m *mirror) waiting(job string) []crony.StartRequest {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []crony.StartRequest
	for _, o := range m.ordersOf(job) {
		for i := range o.Runs {
			if r := &o.Runs[i]; !r.Done && r.Kill == nil && len(list) < crony.MaxOrders {
				list = append(list, o.told(r))
			}
		}
	}
	return list
}

// countWaiting returns how many orders of a job are not done.
func (m *mirror) countWaiting(job string) (n int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, o := range m.orders[job] {
		if !o.done() {
			n++
		}
	}
	return n
}

func (m *mirror) putOrder(name string, kv *mvccpb.KeyValue) error {
	o, err := decode[order](kv.Value)
	if err != nil {
		return err
	}
	o.job, o.request, _ = strings.Cut(name, "/")
	if o.request == "" {
		return errors.New("the key is not JOB/REQUEST")
	}
	o.rev = kv.ModRevision
	if m.orders[o.job] == nil {
		m.orders[o.job] = map[string]*order{}
	}
	m.orders[o.job][o.request] = &o
	if !o.done() {
		m.touchJob(o.job, m.concerned(&o)...)
	}
	return nil
}

func (m *mirror) removeOrder(name string) {
	job, request, _ := strings.Cut(name, "/")
	if delete(m.orders[job], request); len(m.orders[job]) == 0 {
		delete(m.orders, job)
	}
}

// concerned returns the agents that an order may be for.
func (m *mirror) concerned(o *order) []string {
	var agents []string
	for i := range o.Runs {
		if !o.Runs[i].Done {
			agents = append(agents, o.Runs[i].Agent)
		}
	}
	if j := m.jobs.byName[o.job]; j != nil && !o.Chosen {
		agents = append(agents, j.agents()...)
	}
	return agents
}

// touchOrders tells the agents that have a job, one of which has just lost it, of orders that may be theirs now.
func (m *mirror) touchOrders(job string) {
	for _, o := range m.orders[job] {
		if !o.Chosen && slices.ContainsFunc(o.Runs, func(r orderedRun) bool { return r.waits() }) {
			m.touchJob(job, m.concerned(o)...)
		}
	}
}

// orderLife is how long an order waits for its agent to take it.
const orderLife = time.Hour

// Unstarted is a run that was ordered and that nobody will begin any more, or, if it is lost, of which nobody knows whether
// somebody has. Once that is in the run log, [Store.DropOrder] ends the order.
type Unstarted struct {
	Run   crony.RunID
	What  crony.ClaimedFact
	State crony.RunState // skipped, or lost
	Why   string
	At    time.Time
}

// Unstarted returns the runs that are to be put on record: those that were withdrawn, or whose job or agent was removed, and
// those that have waited for an hour.
func (s *Store) Unstarted() []Unstarted {
	m, now := s.mirror, s.now().UTC()
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Unstarted
	for _, name := range slices.Sorted(maps.Keys(m.orders)) {
		for _, o := range m.ordersOf(name) {
			for i := range o.Runs {
				if u, ok := m.unstarted(o, &o.Runs[i], now); ok {
					list = append(list, u)
				}
			}
		}
	}
	return list
}

// unstarted says what becomes of a run that is not begun, if anything is to. M.mu is held.
func (m *mirror) unstarted(o *order, r *orderedRun, now time.Time) (Unstarted, bool) {
	u := Unstarted{Run: r.Run, What: o.What, State: crony.Skipped, At: now}
	u.What.Agent = r.Agent
	stone, buried := m.cluster.tombstones[r.Agent]
	j, until := m.jobs.byName[o.job], o.made().Add(orderLife)
	switch {
	case r.Done:
		return u, false
	case r.Kill != nil:
		u.Why, u.At = r.Kill.WordsUnstarted(), r.Kill.At
	case r.Given && buried:
		u.State, u.At = crony.Lost, stone.At
		u.Why = "its agent was given the order, and was removed from the cluster before it had said anything of it"
	case r.Given && now.After(until):
		u.State, u.At = crony.Lost, until
		u.Why = "its agent was given the order, and has said nothing of it for an hour"
	case r.Given:
		return u, false
	case j == nil || j.def == nil || j.def.UID != o.What.JobUID:
		u.Why = "the job was removed before the run was begun"
	case buried && o.Chosen:
		u.Why, u.At = "its agent was removed from the cluster before it was given the order", stone.At
	case now.After(until):
		u.Why, u.At = "no agent took the order within an hour", until
	default:
		return u, false
	}
	return u, true
}
