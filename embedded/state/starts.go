package state

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/semaphore"

	"crony"
)

// maxWaiting is how many orders of a job may wait at once.
const maxWaiting = 1000

// StartJob implements [crony.Jobs].
func (s *Store) StartJob(ctx context.Context, name string, opts crony.StartOptions) ([]crony.RunID, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	if opts.Request == "" {
		opts.Request = rand.Text()
	}
	var o *order
	err := s.change(ctx, "start "+name, func() (*txn, error) {
		t := s.newTxn(ctx)
		if had := s.mirror.order(name, opts.Request); had != nil {
			if o = had; had.Digest != digestOf(&opts) {
				return nil, crony.Errorf(crony.Conflict, "the request %s was one for something else", opts.Request).
					WithHint("a request that is not the same has another name")
			}
			return t, nil
		}
		var err error
		if o, err = s.newOrder(ctx, t, name, &opts); err != nil {
			return nil, err
		}
		t.expect(o.key(), 0)
		t.put(o.key(), encode(o))
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	return o.ids(), nil
}

// digestOf tells requests apart that have one name.
func digestOf(opts *crony.StartOptions) string {
	text, err := json.Marshal(struct {
		Agent  string
		All    bool
		Params map[string]string
	}{opts.Agent, opts.All, opts.Params})
	if err != nil {
		panic(fmt.Sprintf("state: encode start options: %v", err)) // texts can all be encoded
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// newOrder returns the order that is asked for, and adds the condition that the job still is what it was made for.
func (s *Store) newOrder(ctx context.Context, t *txn, name string, opts *crony.StartOptions) (*order, error) {
	j := t.look(name)
	if j.rev == 0 {
		return nil, noJob(name)
	}
	if s.mirror.countWaiting(name) >= maxWaiting {
		return nil, crony.Errorf(crony.Conflict, "%d orders to start %s wait for their agents", maxWaiting, name).
			WithHint("`crony job show %s` shows the first of them; `crony run kill` withdraws one", name)
	}
	agents, err := s.targets(ctx, &j, opts)
	if err != nil {
		return nil, err
	}
	if r := roomOf(j.def); r.slots > 0 && len(agents) > r.slots && !j.each() && r.policy != crony.OverlapQueue {
		return nil, crony.Errorf(crony.Conflict, "%d agents would run %s, of which at most %d may go on at once", len(agents), name,
			r.slots).WithHint("name one agent; with overlap queue they would run it one after the other")
	}
	t.expect(specs+name, j.rev)
	o := &order{job: name, request: opts.Request, Digest: digestOf(opts), Chosen: opts.All || opts.Agent != "",
		What: crony.ClaimedFact{Job: name, JobUID: j.def.UID, Generation: j.generation(), Group: j.def.Job.InGroup(),
			Labels: j.def.Job.Labels, Trigger: crony.ByHand, By: t.actor, ScheduledAt: t.now, Params: opts.Params}}
	var places []crony.Lock
	for _, agent := range agents {
		t.expect(tombstones+agent, 0)
		run := crony.NewRunID(t.now)
		o.Runs = append(o.Runs, orderedRun{Run: run, Agent: agent})
		places = append(places, crony.Lock{Run: run, Agent: agent, Since: t.now})
	}
	if _, reason := t.enter(&j, places...); reason != "" {
		return nil, crony.Errorf(crony.Conflict, "%s", reason).
			WithHint("start it when that has ended; with overlap queue it would wait, with replace take the other's place")
	}
	return o, nil
}

// targets returns the agents that are to run a job: one that was named, of those that have it the one that is connected and
// has the fewest runs, or all.
func (s *Store) targets(ctx context.Context, j *job, opts *crony.StartOptions) ([]string, error) {
	if opts.Agent != "" {
		agent, err := s.agentNamed(ctx, opts.Agent)
		return []string{agent}, err
	}
	agents := slices.DeleteFunc(j.agents(), func(agent string) bool {
		_, buried := s.Buried(agent)
		return buried || !j.has(agent)
	})
	if opts.All {
		agents = s.all(j, agents)
	}
	switch {
	case len(agents) == 0:
		message := "no agent has the job " + j.name
		if why := j.waiting(s.mirror.all()); why != "" {
			message += ": " + why
		}
		return nil, crony.Errorf(crony.Unavailable, "%s", message).WithHint("`crony agent list` shows the agents")
	case opts.All && len(agents) > crony.MaxAssigned:
		return nil, crony.Errorf(crony.TooLarge, "%d agents would run %s; at most %d at once", len(agents), j.name, crony.MaxAssigned).
			WithHint("have its placement mean fewer, by a selector")
	case opts.All:
		return agents, nil
	}
	slices.SortStableFunc(agents, func(a, b string) int { return s.burden(a) - s.burden(b) })
	return agents[:1], nil
}

// all returns who runs a job if all are to: those that have it, connected or not, and of the others those to whom placement
// would give it, were it each one's. They are sorted.
func (s *Store) all(j *job, have []string) []string {
	terms := j.def.Job.Terms()
	for _, a := range s.mirror.all()() {
		if terms.Admit(&a) {
			have = append(have, a.ID)
		}
	}
	slices.Sort(have)
	return slices.Compact(have)
}

// burden is how many runs an agent has; more than any could, if it is not connected.
func (s *Store) burden(agent string) int {
	if !s.Connected(agent) {
		return 1 << 30
	}
	return s.running(agent)
}

// agentNamed returns the id of the connected agent of an id or a name.
func (s *Store) agentNamed(ctx context.Context, text string) (string, error) {
	a, err := s.Agent(ctx, text)
	if err == nil && !a.Up {
		err = crony.Errorf(crony.Unavailable, "the agent %.80s is not connected", text).
			WithHint("`crony agent list` shows the agents")
	}
	return a.ID, err
}

// GiveStart makes a run that was ordered an agent's, if it may be given to it, and returns it as the agent is to be told of
// it. It is no other's from then on. A run that the agent has been given before is its still. False: it is not the agent's.
func (s *Store) GiveStart(ctx context.Context, agent, job string, run crony.RunID) (Ordered, bool, error) {
	err := s.change(ctx, "give an order to start "+job, func() (*txn, error) {
		t := s.newTxn(ctx)
		o, i := s.mirror.orderOf(job, run)
		if o == nil || o.Runs[i].Given {
			return t, nil
		}
		s.mirror.mu.RLock()
		may, j := s.mirror.mayGive(o, &o.Runs[i], agent), s.mirror.jobs.byName[job]
		if may && !o.Chosen {
			t.expect(assignmentKey(agent, job), j.of(agent).Epoch)
		}
		s.mirror.mu.RUnlock()
		if may {
			t.expect(o.key(), o.rev)
			t.expect(tombstones+agent, 0)
			t.put(o.key(), encode(o.with(i, func(r *orderedRun) { r.Given, r.Agent = true, agent })))
		}
		return t, nil
	})
	if err != nil {
		return Ordered{}, false, err
	}
	for _, o := range s.Orders(agent, job) {
		if o.Request.Run == run && o.Given {
			return o, true, nil
		}
	}
	return Ordered{}, false, nil
}

// TakeStart notes that a run that was ordered is its agent's own now, which answers for it. What no order knows changes
// nothing. Forbidden if the run was given to another agent.
func (s *Store) TakeStart(ctx context.Context, agent, job string, run crony.RunID) error {
	if o, i := s.mirror.orderOf(job, run); o == nil || o.Runs[i].Done {
		return nil
	}
	return s.finish(ctx, job, run, func(r *orderedRun) error {
		if r.Agent != agent || !r.Given {
			return crony.Errorf(crony.Forbidden, "the order to start %s is another agent's", job)
		}
		return nil
	})
}

// finish notes that a run that was ordered is done, unless refused says why it is not.
func (s *Store) finish(
	ctx context.Context, job string, run crony.RunID, refused func(*orderedRun) error, conditions ...condition,
) error {
	return s.change(ctx, "end an order to start "+job, func() (*txn, error) {
		t := s.newTxn(ctx)
		o, i := s.mirror.orderOf(job, run)
		if o == nil || o.Runs[i].Done {
			return t, nil
		}
		if err := refused(&o.Runs[i]); err != nil {
			return nil, err
		}
		t.conditions = append(t.conditions, conditions...)
		t.expect(o.key(), o.rev)
		next := o.with(i, func(r *orderedRun) { r.Done, r.Kill = true, nil })
		if !next.done() {
			t.put(o.key(), encode(next))
			return t, nil
		}
		lease, err := s.markLease(ctx)
		if err != nil {
			return nil, err
		}
		t.ops = append(t.ops, clientv3.OpPut(o.key(), encode(next.mark()), clientv3.WithLease(lease)))
		return t, nil
	})
}

// mark returns what is left of an order that is done.
func (o *order) mark() *order {
	w := &o.What
	return &order{Digest: o.Digest, Chosen: o.Chosen, Runs: o.Runs,
		What: crony.ClaimedFact{Job: w.Job, JobUID: w.JobUID, Trigger: w.Trigger, ScheduledAt: w.ScheduledAt}}
}

// Withdrawal says what became of taking back a run that was ordered.
type Withdrawal struct {
	Done  bool   // nobody was given it, and nobody will be
	Job   string // "": there is no order for the run
	Agent string // that was given it, if it is not done
}

// WithdrawStart takes back a run that was ordered, unless an agent was given it. Why is put on record by the leader, see
// [Store.Unstarted].
func (s *Store) WithdrawStart(ctx context.Context, run crony.RunID, kill crony.KillOrder) (Withdrawal, error) {
	var w Withdrawal
	err := s.change(ctx, "withdraw an order", func() (*txn, error) {
		w = Withdrawal{}
		t := s.newTxn(ctx)
		o, i := s.mirror.orderOfAny(run)
		if o == nil {
			return t, nil
		}
		r := &o.Runs[i]
		w = Withdrawal{Done: r.Kill != nil || r.waits(), Job: o.job, Agent: r.Agent}
		if !r.waits() {
			return t, nil
		}
		t.expect(o.key(), o.rev)
		t.put(o.key(), encode(o.with(i, func(r *orderedRun) { r.Kill = &kill })))
		return t, nil
	})
	if err != nil {
		return Withdrawal{}, err
	}
	return w, nil
}

// IsOrdered says whether a run is of an order.
func (s *Store) IsOrdered(run crony.RunID) bool {
	o, _ := s.mirror.orderOfAny(run)
	return o != nil
}

// orderOfAny is orderOf for a run of which the job is not known.
func (m *mirror) orderOfAny(run crony.RunID) (*order, int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, orders := range m.orders {
		for _, o := range orders {
			if i := o.find(run); i >= 0 {
				return o, i
			}
		}
	}
	return nil, -1
}

// DropOrder ends the order for a run that is on record, for the leader of a term. If the term is over, nothing is written,
// and that is an error.
func (s *Store) DropOrder(ctx context.Context, term Term, u *Unstarted) error {
	return s.finish(ctx, u.What.Job, u.Run, func(*orderedRun) error {
		if s.mirror.lead().rev != term.rev {
			return errTermOver
		}
		return nil
	}, condition{leader, term.rev})
}

// How long an order that is done stays: between markTTL and markTTL less markShare.
const (
	markTTL   = 15 * time.Minute
	markShare = 5 * time.Minute // in which orders share a lease
)

// markLease is the lease of orders that are done. Nobody keeps it alive.
type markLease struct {
	turn  *semaphore.Weighted // of one, for the rest, and as long as the store is asked for it
	id    clientv3.LeaseID
	until time.Time // monotonic: when another is taken
}

func (s *Store) markLease(ctx context.Context) (clientv3.LeaseID, error) {
	m := &s.marks
	if err := m.turn.Acquire(ctx, 1); err != nil {
		return 0, context.Cause(ctx)
	}
	defer m.turn.Release(1)
	if m.id != 0 && time.Now().Before(m.until) {
		left, err := s.client.TimeToLive(ctx, m.id)
		switch {
		case err != nil:
			return 0, translate(err)
		case left.TTL > int64((markTTL - markShare).Seconds()):
			return m.id, nil
		}
	}
	lease, err := s.grant(ctx, int64(markTTL.Seconds()))
	if err != nil {
		return 0, err
	}
	m.id, m.until = lease, time.Now().Add(markShare)
	return m.id, nil
}
