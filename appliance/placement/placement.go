// Package placement decides which agent has which job. It is the leader's work, and stands in the path of no run: an agent
// that has a job goes on with it, whether or not there is a leader.
//
// The one thing to know: [Decide] is a pure function from what there is to what must change, and a term ([Placement.Run]) does
// no more than call it for what may have to change, and write the result under the term. A job stays where it is unless there
// is a reason that can be told, and the reason is written into the assignment.
//
// Who is down is decided here as well (absence.go), and by the leader alone: an agent that is not connected for longer than
// the grace. Its jobs that may be moved are, at once; it gets none of them back when it returns. Only a person's request
// spreads jobs anew ([Rebalance]).
//
// It starts and ends no run. What was claimed under an assignment that has been moved is settled when the next agent takes the
// job over.
package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/state"
)

// Options is what a Placement is made of.
type Options struct {
	Server     string                             // this server's id; required
	Store      *state.Store                       // required
	Unfinished func(agent string) []crony.Run     // the runs of an agent that go on; required
	Grace      time.Duration                      // how long an agent may be gone before it is down; [DefaultGrace] if 0
	Stay       bool                               // shell jobs that don't say stay with an agent that is down
	Registerer prometheus.Registerer              // required
	Log        *slog.Logger                       // required
	Now        func() time.Time                   // the clock; time.Now if nil
}

// Placement keeps every job placed while its server leads.
type Placement struct {
	opts    Options
	log     *slog.Logger
	metrics metrics
}

// New returns a Placement that does nothing yet.
func New(opts Options) (*Placement, error) {
	if opts.Server == "" || opts.Store == nil || opts.Unfinished == nil || opts.Registerer == nil || opts.Log == nil {
		return nil, errors.New("placement: an option is missing")
	}
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	p := &Placement{opts: opts, log: opts.Log.With("part", "placement")}
	return p, p.metrics.register(opts.Registerer)
}

// How often things are looked at.
const (
	fleetPace = 100 * time.Millisecond // that agents come and go, at most
	drainPace = time.Second            // whether runs that hold a job back have ended
	retryPace = 100 * time.Millisecond // at what was outrun by another change
)

// Run keeps every job placed until ctx, the scope of a leader's term, is done.
func (p *Placement) Run(ctx context.Context, term state.Term) error {
	defer p.metrics.stuck.Set(0)
	feed := p.opts.Store.Changes("")
	defer feed.Close()
	t := p.newTerm(term)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-feed.Ready():
		case <-timer.C:
		case <-ctx.Done():
			return nil // the term is over; nothing went wrong
		}
		next, err := t.round(ctx, feed.Take())
		if err != nil && ctx.Err() == nil {
			return err
		}
		timer.Reset(next)
	}
}

// term is what the leader remembers from one look to the next.
type term struct {
	*Placement

	term     state.Term
	absences *absences
	turns    Turns
	agents   []crony.AgentStatus // as they were last looked at, by id
	started  bool
	stale    bool                 // they have changed since
	lookAt   time.Time            // the next look at them, at the earliest
	down     map[string]time.Time // who is down, and since when
	restless map[string]bool      // agents that are down or drained and have jobs that go as soon as they can
	stuck    map[string]int       // how many jobs such agents keep
	wake     time.Time            // when to look again though nothing changes
}

func (p *Placement) newTerm(number state.Term) *term {
	return &term{Placement: p, term: number, absences: newAbsences(p.opts.Server, p.opts.Grace),
		restless: map[string]bool{}, stuck: map[string]int{}}
}

// never is the wait for nothing.
const never = time.Hour

// round does what there is to do now, and returns when to look again though nothing changes.
func (t *term) round(ctx context.Context, c state.Changes) (time.Duration, error) {
	now := t.opts.Now().UTC()
	t.wake = now.Add(never)
	scope := state.Scope{Jobs: c.Jobs, All: c.Reset && !t.started, Open: c.Reset}
	t.stale = t.stale || c.Reset || c.Cluster || len(c.Agents) > 0
	if t.stale && !now.Before(t.lookAt) {
		t.look(ctx, &scope, now)
	} else if t.stale {
		t.by(t.lookAt)
	}
	t.judge(&scope, now)
	if err := t.place(ctx, scope, now); err != nil {
		return 0, err
	}
	if err := t.rebalance(ctx, now); err != nil {
		return 0, err
	}
	return max(t.wake.Sub(now), time.Millisecond), nil
}

// by has the next look be at a time, if it would be later.
func (t *term) by(at time.Time) {
	if at.Before(t.wake) {
		t.wake = at
	}
}

// look takes in the fleet, and adds to the scope whom its changes concern.
func (t *term) look(ctx context.Context, scope *state.Scope, now time.Time) {
	agents, err := t.opts.Store.ListAgents(ctx)
	if err != nil {
		return // never: it is in memory
	}
	slices.SortFunc(agents, byID)
	changed := !t.started
	for was, is := range pairs(t.agents, agents) {
		if was != nil && is != nil && sameTraits(was, is) && was.Up == is.Up {
			continue
		}
		changed = true
		if is != nil && (was == nil || !sameTraits(was, is)) {
			scope.Of = append(scope.Of, is.ID)
		}
	}
	t.absences.look(agents, t.opts.Store.Strays(), t.opts.Store.Servers(), now)
	if changed {
		scope.Open, scope.Wide = true, true
		scope.Of = slices.AppendSeq(scope.Of, maps.Keys(t.restless))
	}
	t.turns.keep(agents)
	t.agents, t.started, t.stale, t.lookAt = agents, true, false, now.Add(fleetPace)
}

// judge finds out who is down, and adds the jobs of those who are so only now to the scope.
func (t *term) judge(scope *state.Scope, now time.Time) {
	before := t.down
	var next time.Time
	t.down, next = t.absences.down(now)
	if !next.IsZero() {
		t.by(next)
	}
	for id := range t.down {
		if _, was := before[id]; !was {
			scope.Of = append(scope.Of, id)
		}
	}
	for id := range before {
		if _, is := t.down[id]; !is {
			delete(t.stuck, id)
			delete(t.restless, id)
		}
	}
	if len(t.restless) > 0 && !now.Before(t.wake) {
		scope.Of = slices.AppendSeq(scope.Of, maps.Keys(t.restless))
	}
}
