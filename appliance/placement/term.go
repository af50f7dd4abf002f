package placement

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"crony"
	"crony/embedded/state"
)

// How often things are looked at.
const (
	fleetPace = 100 * time.Millisecond // agents that come and go, at most, unless there are jobs to be placed
	drainPace = time.Second            // whether the runs have ended that hold jobs back, and whether there is room again
	retryPace = 100 * time.Millisecond // what was outrun by another change
	never     = time.Hour
)

// term is what the leader remembers from one look to the next. What is looked at follows from what has changed: a job that
// has changed is looked at alone, and only what concerns all agents has all be looked at.
type term struct {
	*Placement

	term     state.Term
	absences *absences
	turns    Turns
	agents   []crony.AgentStatus  // as they were last looked at, by id; nil: not yet
	stale    bool                 // they have changed since
	lookAt   time.Time            // when they are looked at again, at the earliest
	down     map[string]time.Time // who is down, and since when
	restless map[string]bool      // agents that have jobs which are to go and could not yet
	full     bool                 // there are jobs for which no agent has room
	againAt  time.Time            // when those are looked at again though nothing changes; zero: only if something does
	stuck    map[string]int       // how many jobs each agent keeps that is down or drained
	told     map[string][3]int    // what was logged of that
	next     time.Time            // when there is something to do though nothing changes
}

func (p *Placement) newTerm(number state.Term) *term {
	return &term{Placement: p, term: number, absences: newAbsences(p.opts.Server, p.opts.Grace),
		restless: map[string]bool{}, stuck: map[string]int{}, told: map[string][3]int{}}
}

// round does what there is to do now.
func (t *term) round(ctx context.Context, c state.Changes) error {
	now := t.opts.Now().UTC()
	t.next = now.Add(never)
	scope := state.Scope{Jobs: c.Jobs, Open: c.Reset, Wide: c.Reset, All: t.agents == nil}
	t.stale = t.stale || c.Reset || c.Cluster || len(c.Agents) > 0
	if t.stale && (!now.Before(t.lookAt) || len(c.Jobs) > 0) { // what is decided of a job goes by the agents as they are
		if err := t.look(ctx, &scope, now); err != nil {
			return err
		}
	}
	t.judge(&scope, now)
	if err := t.settle(ctx, scope, now); err != nil {
		return err
	}
	if err := t.rebalance(ctx, now); err != nil {
		return err
	}
	if t.stale {
		t.by(t.lookAt)
	}
	if !t.againAt.IsZero() {
		t.by(t.againAt)
	}
	return nil
}

// by has the next round be at a time, if it would be later.
func (t *term) by(at time.Time) {
	if at.Before(t.next) {
		t.next = at
	}
}

// look takes in the fleet, and adds to the scope what its changes concern.
func (t *term) look(ctx context.Context, scope *state.Scope, now time.Time) error {
	agents, err := t.opts.Store.ListAgents(ctx)
	if err != nil {
		return fmt.Errorf("list the agents: %w", err)
	}
	slices.SortFunc(agents, func(a, b crony.AgentStatus) int { return strings.Compare(a.ID, b.ID) })
	first := t.agents == nil
	changed, strange := differences(t.agents, agents)
	t.absences.look(agents, t.opts.Store.Strays(), t.opts.Store.Servers(), now)
	if changed || first {
		scope.Open, scope.Wide = true, true
		scope.Of = slices.AppendSeq(append(scope.Of, strange...), maps.Keys(t.restless))
	}
	if first {
		load := make(map[string]int, len(agents))
		for i := range agents {
			load[agents[i].ID] = agents[i].Jobs
		}
		t.turns = startTurns(agents, load)
	}
	t.forget(agents)
	t.agents, t.stale, t.lookAt = append([]crony.AgentStatus{}, agents...), false, now.Add(fleetPace)
	return nil
}

// forget lets go of what was remembered of agents that there are no more.
func (t *term) forget(agents []crony.AgentStatus) {
	t.turns.keep(agents)
	for i, j := 0, 0; i < len(t.agents); i++ {
		for j < len(agents) && agents[j].ID < t.agents[i].ID {
			j++
		}
		if id := t.agents[i].ID; j == len(agents) || agents[j].ID != id {
			delete(t.restless, id)
			delete(t.stuck, id)
			delete(t.told, id)
		}
	}
}

// differences says whether two lists of agents, by id, differ in what decides who gets jobs, and names those agents that may
// have to give up jobs because of what they are now.
func differences(before, after []crony.AgentStatus) (changed bool, strange []string) {
	changed = len(before) != len(after)
	i := 0
	for j := range after {
		is := &after[j]
		for i < len(before) && before[i].ID < is.ID {
			i++
			changed = true
		}
		if i == len(before) || before[i].ID != is.ID {
			changed = true
			continue
		}
		was := &before[i]
		i++
		if was.Name != is.Name || !maps.Equal(was.Labels, is.Labels) || drained(was) != drained(is) {
			strange = append(strange, is.ID)
		}
		changed = changed || was.Up != is.Up || was.Weight != is.Weight || was.MaxJobs != is.MaxJobs ||
			(was.Cordon == nil) != (is.Cordon == nil)
	}
	return changed || len(strange) > 0, strange
}

func drained(a *crony.AgentStatus) bool { return a.Cordon != nil && a.Cordon.Drain }

// judge finds out who is down, and adds to the scope the jobs of those who are so only now, and of those that could not give up
// theirs when it is time to try again.
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
	for id := range before { // its jobs are where they are to be; if it is drained as well, they are looked at again
		if _, is := t.down[id]; !is {
			scope.Of = append(scope.Of, id)
		}
	}
	if !t.againAt.IsZero() && !now.Before(t.againAt) {
		scope.Of = slices.AppendSeq(scope.Of, maps.Keys(t.restless))
		scope.Open = scope.Open || t.full
		t.againAt, t.full = time.Time{}, false
	}
}

// settle decides on what is in a scope, and writes it.
func (t *term) settle(ctx context.Context, scope state.Scope, now time.Time) error {
	situation := t.situation(scope)
	d := Decide(situation, t.turns, now)
	made, err := t.opts.Store.Place(ctx, t.term, d.Moves)
	if err != nil {
		return fmt.Errorf("write assignments: %w", err)
	}
	t.remember(ctx, scope, &d, now)
	if d.Full {
		t.full = true
		t.again(now.Add(drainPace))
	}
	t.outrun(made, &d, now)
	t.tell(made, &d)
	if err := t.opts.Store.Unplace(ctx, t.term, situation.Orphans); err != nil {
		return fmt.Errorf("remove assignments: %w", err)
	}
	for _, agent := range situation.Buried {
		if err := t.opts.Store.Vacate(ctx, t.term, agent); err != nil {
			return fmt.Errorf("take the jobs of an agent that was removed: %w", err)
		}
	}
	return nil
}

// situation returns what is decided on.
func (t *term) situation(scope state.Scope) Situation {
	s := Situation{Places: t.opts.Store.Places(scope), Down: t.down, Failover: !t.opts.Stay}
	s.Agents = t.agents
	running := map[string]map[string]bool{} // jobs, by agent
	recent := t.opts.Now().Add(-soon)
	s.Busy = func(agent, job string) bool {
		jobs, known := running[agent]
		if !known {
			jobs = map[string]bool{}
			for _, run := range t.opts.Unfinished(agent) {
				// That an occurrence was claimed of a job that one agent has says the job's claim: see [decider.busy].
				claimed := run.State == crony.Claimed && run.Trigger == crony.BySchedule && !run.ScheduledAt.Before(recent)
				jobs[run.Job] = jobs[run.Job] || !claimed || s.mode(run.Job) != crony.PlaceOne
			}
			running[agent] = jobs
		}
		return jobs[job]
	}
	return s
}

// outrun has those agents looked at again whose jobs were not moved because something else was done with them at the same time.
// If it was a change of the job, that is told of; a claim is not.
func (t *term) outrun(made []string, d *Decision, now time.Time) {
	left := maps.Clone(d.Left)
	for _, job := range made {
		delete(left, job)
	}
	for _, from := range left {
		t.restless[from.Agent] = true
		t.again(now.Add(retryPace))
	}
}

// remember notes which agents have jobs that are to go and could not, and how many stay.
func (t *term) remember(ctx context.Context, scope state.Scope, d *Decision, now time.Time) {
	for _, agent := range scope.Of {
		delete(t.restless, agent)
		delete(t.stuck, agent)
		if d.Kept[agent] == nil {
			delete(t.told, agent)
		}
	}
	for agent, kept := range d.Kept {
		if scope.All || slices.Contains(scope.Of, agent) { // else not all of its jobs were looked at
			t.stuck[agent] = len(kept.Stuck) + len(kept.Waiting)
			t.tellKept(ctx, agent, kept)
		}
		if len(kept.Waiting)+len(kept.Busy) > 0 {
			t.restless[agent] = true
		}
		if len(kept.Busy) > 0 {
			t.again(now.Add(drainPace))
		}
	}
	sum := 0
	for _, n := range t.stuck {
		sum += n
	}
	t.metrics.stuck.Set(float64(sum))
}

// again has the restless be looked at at a time, if that would be later.
func (t *term) again(at time.Time) {
	if t.againAt.IsZero() || at.Before(t.againAt) {
		t.againAt = at
	}
}
