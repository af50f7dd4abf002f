package placement

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"crony"
	"crony/embedded/state"
)

// Situation is what is decided on.
type Situation struct {
	state.Places
	Down     map[string]time.Time         // the agents that are down, by id, and since when
	Busy     func(agent, job string) bool // whether a run of the job goes on there; nil: none does
	Failover bool                         // whether shell jobs that don't say move from an agent that is down
}

// mode returns the mode of a job that is decided on; "" of another.
func (s *Situation) mode(name string) crony.PlacementMode {
	i, found := slices.BinarySearchFunc(s.Jobs, name, func(p state.Placed, name string) int {
		return strings.Compare(p.Definition.Job.Name, name)
	})
	if !found {
		return ""
	}
	return s.Jobs[i].Definition.Job.Mode()
}

// Decision is what changes, and what should and can't.
type Decision struct {
	Moves []state.Move
	Left  map[string]Departure // by the names of the jobs among them that were with another agent
	Kept  map[string]*Kept     // by the agent that keeps them, of those that are down or drained
	Full  bool                 // some jobs find no agent, as all that would take them have as many as they may have
}

// Departure says from where a job moves, and why.
type Departure struct {
	Agent string // its id
	Why   string // as the metric says
}

// Kept names the jobs that stay with an agent that is down or drained, in the order in which they were looked at.
type Kept struct {
	Stuck   []string // they may not run elsewhere
	Waiting []string // they may, but no other agent takes them
	Busy    []string // they move when their runs have ended
}

// Decide returns what must change so that every job is where its definition wants it. A job stays where it is unless
//
//   - its agent is down, and it may be moved;
//   - its agent is drained, it may be moved, and no run of it goes on there;
//   - its agent is not one any more that the job's definition means, and no run of it goes on there.
//
// A job that no agent has goes to the one that had it last, if that still takes it; else the job's strategy chooses, by
// turns if it says nothing. The decision depends on nothing but the situation, turns and now, and not on the order of the
// agents. It moves turns on.
func Decide(s Situation, turns Turns, now time.Time) Decision {
	d := newDecider(s, turns, now)
	for i := range s.Jobs {
		p := &s.Jobs[i]
		g := d.group(&p.Definition.Job)
		if p.Definition.Job.Mode() == crony.PlaceOne {
			d.one(p, g)
		} else {
			d.wide(p, g)
		}
	}
	for _, g := range d.order {
		d.deal(g)
	}
	slices.SortFunc(d.out.Moves, func(a, b state.Move) int { return strings.Compare(a.Job, b.Job) })
	return d.out
}

// decider is a decision in the making.
type decider struct {
	Situation
	turns  Turns
	now    time.Time
	agents []*crony.AgentStatus // by id
	mixed  bool                 // one of them is not on Linux: there not all jobs can run
	groups map[string]*group
	order  []*group // as they were first met
	added  map[string]int
	out    Decision
}

// group is jobs that have the same conditions and the same strategy, so that agents are held against the conditions once.
type group struct {
	terms    crony.Terms
	strategy crony.Strategy
	homeless []homeless

	looked bool
	takers []*crony.AgentStatus // see [decider.takers]
}

func newDecider(s Situation, turns Turns, now time.Time) *decider {
	d := &decider{Situation: s, turns: turns, now: now, agents: make([]*crony.AgentStatus, len(s.Agents)),
		groups: map[string]*group{}, added: map[string]int{}, out: Decision{Left: map[string]Departure{}, Kept: map[string]*Kept{}}}
	for i := range s.Agents {
		d.agents[i] = &s.Agents[i]
		d.mixed = d.mixed || d.agents[i].OS != "linux"
	}
	slices.SortFunc(d.agents, func(a, b *crony.AgentStatus) int { return strings.Compare(a.ID, b.ID) })
	return d
}

func (d *decider) group(j *crony.Job) *group {
	strategy, key := crony.WeightedRoundRobin, ""
	if p := j.Placement; p != nil {
		strategy = cmp.Or(p.Strategy, strategy)
		key = strings.Join(append([]string{string(p.Strategy), p.Agent, p.Selector}, p.Exclude...), "\x00")
	}
	if d.mixed {
		key += "\x00\x00" + j.Asks()
	}
	g := d.groups[key]
	if g == nil {
		g = &group{terms: j.Terms(), strategy: strategy}
		d.groups[key] = g
		d.order = append(d.order, g)
	}
	return g
}

// takers returns the agents that take a group's jobs now, by id.
func (d *decider) takers(g *group) []*crony.AgentStatus {
	if !g.looked {
		g.looked = true
		for _, a := range d.agents {
			if g.terms.Admit(a) {
				g.takers = append(g.takers, a)
			}
		}
	}
	return g.takers
}

// room says whether an agent may be given one more of a group's jobs. Those that are pinned to it always come.
func (d *decider) room(g *group, a *crony.AgentStatus) bool {
	return a.MaxJobs == 0 || g.terms.Agent() != "" || d.Load[a.ID]+d.added[a.ID] < a.MaxJobs
}

// roomy returns those of a group's takers that may be given one more.
func (d *decider) roomy(g *group) []*crony.AgentStatus {
	takers := d.takers(g)
	full := func(a *crony.AgentStatus) bool { return !d.room(g, a) }
	if !slices.ContainsFunc(takers, full) {
		return takers
	}
	return slices.DeleteFunc(slices.Clone(takers), full)
}

// one decides on a job that one agent is to have.
func (d *decider) one(p *state.Placed, g *group) {
	move := state.Move{Job: p.Definition.Job.Name, Generation: p.Definition.Generation}
	if len(p.Assignments) == 0 {
		g.homeless = append(g.homeless, homeless{job: p, move: move})
		return
	}
	held := newest(p.Assignments)
	for i := range p.Assignments {
		if &p.Assignments[i] != held {
			move.Drop = append(move.Drop, p.Assignments[i])
		}
	}
	if d.leaves(p, held, g, move) {
		return
	}
	if held.Generation != p.Definition.Generation {
		move.Put = []crony.Assignment{d.renewed(p, held)}
	}
	d.decided(move)
}

// leaves says whether a job goes from its agent, or at least is not to stay there, and has it go.
func (d *decider) leaves(p *state.Placed, held *crony.Assignment, g *group, move state.Move) bool {
	job, agent := &p.Definition.Job, d.agent(held.Agent)
	since, down := d.Down[held.Agent]
	strange := agent != nil && agent.Up && !g.terms.Match(agent)
	drained := agent != nil && agent.Cordon != nil && agent.Cordon.Drain
	name := nameOf(held.Agent, agent)
	h := homeless{job: p, move: move, from: held}
	switch {
	case !down && !strange && !drained:
		return false
	case !strange && !job.Movable(d.Failover):
		kept := d.kept(held.Agent)
		kept.Stuck = append(kept.Stuck, job.Name)
		return false
	case down:
		h.move.Gone = held.Agent
		h.why, h.tale = byFailover, "moved from "+name+", which is down since "+since.UTC().Format(time.RFC3339)+": "
	case d.busy(p, held.Agent):
		kept := d.kept(held.Agent)
		kept.Busy = append(kept.Busy, job.Name)
		return false
	case strange:
		h.why, h.tale = byMismatch, "moved from "+name+", which is not one any more that the job means: "
	default:
		h.why, h.tale = byDrain, "moved from "+name+", which is drained: "
	}
	if h.move.Gone == "" {
		h.move.Claim = p.ClaimRev
	}
	if !strange && len(d.roomy(g)) == 0 {
		kept := d.kept(held.Agent)
		kept.Waiting = append(kept.Waiting, job.Name)
		d.out.Full = d.out.Full || len(d.takers(g)) > 0
		return false
	}
	h.move.Drop = append(h.move.Drop, *held)
	g.homeless = append(g.homeless, h)
	return true
}

// soon is how near to one another a job's occurrences must be for one of them always to be claimed ahead.
const soon = 5 * time.Second

// busy says whether a job has to stay where it is for now. Beside its runs these are occurrences that were claimed and whose
// runs may not be known yet, unless the job comes due so often that there is always one: then it goes, and the agent says of
// that one that it was skipped.
func (d *decider) busy(p *state.Placed, agent string) bool {
	if d.Busy != nil && d.Busy(agent, p.Definition.Job.Name) {
		return true
	}
	if p.Claim.Run == "" || p.Claim.Agent != agent || p.Claim.At.Before(d.now.Add(-soon)) {
		return false
	}
	plan := p.Definition.Plan()
	if plan == nil {
		return false
	}
	next := plan.Next(p.Claim.At)
	return next.IsZero() || next.Sub(p.Claim.At) > soon
}

// wide decides on a job that all agents that match are to have. One that is down keeps it.
func (d *decider) wide(p *state.Placed, g *group) {
	def := p.Definition
	move := state.Move{Job: def.Job.Name, Generation: def.Generation}
	for i := range p.Assignments {
		a := &p.Assignments[i]
		switch {
		case d.ousted(p, a, g):
			move.Drop = append(move.Drop, *a)
		case a.Generation != def.Generation:
			move.Put = append(move.Put, d.renewed(p, a))
		}
	}
	left := crony.MaxAssigned - len(p.Assignments) + len(move.Drop)
	for _, agent := range d.takers(g) {
		_, has := slices.BinarySearchFunc(p.Assignments, agent.ID, func(a crony.Assignment, id string) int {
			return strings.Compare(a.Agent, id)
		})
		if !has && left > 0 {
			left--
			move.Put = append(move.Put, crony.Assignment{Job: def.Job.Name, Agent: agent.ID, Generation: def.Generation,
				Since: d.now, Reason: wideReason(&def.Job, &g.terms)})
		}
	}
	d.decided(move)
}

// ousted says whether an agent is to have a job of modes each or race no more. From an agent that is drained a race is taken if
// others run it; what each agent is to run nobody else runs for it, and it stays.
func (d *decider) ousted(p *state.Placed, a *crony.Assignment, g *group) bool {
	agent := d.agent(a.Agent)
	if agent == nil {
		return false
	}
	matches, drained := g.terms.Match(agent), agent.Cordon != nil && agent.Cordon.Drain
	race := p.Definition.Job.Mode() == crony.PlaceRace
	switch {
	case matches && !drained:
		return false
	case matches && !race:
		kept := d.kept(a.Agent)
		kept.Stuck = append(kept.Stuck, a.Job)
		return false
	case d.Busy != nil && d.Busy(a.Agent, a.Job):
		kept := d.kept(a.Agent)
		kept.Busy = append(kept.Busy, a.Job)
		return false
	case matches && len(d.takers(g)) == 0:
		kept := d.kept(a.Agent)
		kept.Waiting = append(kept.Waiting, a.Job)
		return false
	}
	return true
}

// renewed is an assignment as it is for the job's definition of now.
func (d *decider) renewed(p *state.Placed, a *crony.Assignment) crony.Assignment {
	return crony.Assignment{Job: a.Job, Agent: a.Agent, Generation: p.Definition.Generation, Since: a.Since, Reason: a.Reason}
}

func (d *decider) decided(move state.Move) {
	if len(move.Put)+len(move.Drop) > 0 {
		d.out.Moves = append(d.out.Moves, move)
	}
}

func (d *decider) kept(agent string) *Kept {
	k := d.out.Kept[agent]
	if k == nil {
		k = &Kept{}
		d.out.Kept[agent] = k
	}
	return k
}

// agent returns what is known of an agent; nil if nothing is.
func (d *decider) agent(id string) *crony.AgentStatus {
	if i := find(d.agents, id); i >= 0 {
		return d.agents[i]
	}
	return nil
}

// find returns where in a list an agent is; -1 if it is not.
func find(list []*crony.AgentStatus, id string) int {
	i, found := slices.BinarySearchFunc(list, id, func(a *crony.AgentStatus, id string) int { return strings.Compare(a.ID, id) })
	if !found {
		return -1
	}
	return i
}

func newest(list []crony.Assignment) *crony.Assignment {
	last := &list[0]
	for i := range list {
		if list[i].Epoch > last.Epoch {
			last = &list[i]
		}
	}
	return last
}
