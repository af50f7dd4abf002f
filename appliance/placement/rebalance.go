package placement

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"crony"
	"crony/embedded/state"
)

// Rebalance returns the moves that spread the jobs of a situation, which has all jobs, over the agents that take them. Those
// whose strategy is by turns are spread among themselves, by the agents' weights; then those of least_jobs, so that agents have
// equal numbers of jobs in all. A job moves only if its next agent then has less than the one that it has now, so that there are
// as few moves as lead there, and none if the jobs are spread already. Jobs that may not be moved stay, and so do those, counted
// in busy, that have runs or are about to.
func Rebalance(s Situation, now time.Time) (moves []state.Move, busy int) {
	d := newDecider(s, nil, now)
	turns, all := map[string]int{}, map[string]int{} // loads, by agent
	for i := range s.Jobs {
		p := &s.Jobs[i]
		job, g := &p.Definition.Job, d.group(&p.Definition.Job)
		for _, a := range p.Assignments {
			all[a.Agent]++
			if job.Mode() == crony.PlaceOne && g.strategy != crony.LeastJobs {
				turns[a.Agent]++
			}
		}
		switch {
		case !job.Movable(s.Failover) || len(p.Assignments) != 1 || p.Assignments[0].Generation != p.Definition.Generation:
		case find(d.takers(g), p.Assignments[0].Agent) < 0:
		case d.busy(p, p.Assignments[0].Agent):
			busy++
		default:
			g.homeless = append(g.homeless, homeless{job: p, from: &p.Assignments[0]})
		}
	}
	byTurns, fewest := d.beams(crony.WeightedRoundRobin), d.beams(crony.LeastJobs)
	// What one group does may leave another something to do, so that all are gone through until there is nothing to gain: each
	// move makes the fleet more even, so that this comes to an end.
	for moved := true; moved; {
		moved = false
		for _, b := range byTurns {
			moved = d.even(b, turns) || moved
		}
		loads := maps.Clone(all)
		for agent, more := range d.added {
			loads[agent] += more
		}
		for _, b := range fewest {
			moved = d.even(b, loads) || moved
		}
	}
	return append(d.moves(byTurns), d.moves(fewest)...), busy
}

// beams returns the groups of a strategy on the scales. Those that have the least choice come first, and the others find their
// place around them.
func (d *decider) beams(strategy crony.Strategy) []*beam {
	var beams []*beam
	for _, g := range d.order {
		if g.strategy == strategy && len(g.homeless) > 0 {
			beams = append(beams, newBeam(g, d.takers(g)))
		}
	}
	slices.SortStableFunc(beams, func(a, b *beam) int { return len(a.takers) - len(b.takers) })
	return beams
}

// moves returns what is to be done for the scales to stand as they do.
func (d *decider) moves(beams []*beam) []state.Move {
	var moves []state.Move
	for _, b := range beams {
		for to, jobs := range b.jobs {
			for _, p := range jobs {
				if from := p.Assignments[0].Agent; from != b.takers[to].ID {
					moves = append(moves, d.evened(p, nameOf(from, d.agent(from)), b.takers[to]))
				}
			}
		}
	}
	return moves
}

// beam is the jobs of a group on the scales.
type beam struct {
	group  *group
	takers []*crony.AgentStatus
	weight []int
	jobs   [][]*state.Placed // by the taker that has them
	load   []int
}

func newBeam(g *group, takers []*crony.AgentStatus) *beam {
	n := len(takers)
	b := &beam{group: g, takers: takers, weight: make([]int, n), jobs: make([][]*state.Placed, n), load: make([]int, n)}
	for i, a := range takers {
		b.weight[i] = 1
		if g.strategy != crony.LeastJobs {
			b.weight[i] = max(a.Weight, 1)
		}
	}
	for _, h := range g.homeless {
		i := find(takers, h.from.Agent)
		b.jobs[i] = append(b.jobs[i], h.job)
	}
	return b
}

// over compares what agents have for their weights, each with some jobs more.
func (b *beam) over(x, moreX, y, moreY int) int {
	return (b.load[x]+moreX)*b.weight[y] - (b.load[y]+moreY)*b.weight[x]
}

// even moves jobs from the agent that has the most to the one that has the least, until none would gain by that, and says
// whether any has moved. Who gives does not get, and who gets does not give, so that only the first of each order is kept up.
func (d *decider) even(b *beam, load map[string]int) bool {
	most := &queue{less: func(x, y int) bool { return cmp.Or(b.over(y, 0, x, 0), x-y) < 0 }}
	least := &queue{less: func(x, y int) bool { return cmp.Or(b.over(x, 1, y, 1), x-y) < 0 }}
	for i, a := range b.takers {
		b.load[i] = load[a.ID]
		if d.room(b.group, a) {
			least.list = append(least.list, i)
		}
		if len(b.jobs[i]) > 0 {
			most.list = append(most.list, i)
		}
	}
	heap.Init(most)
	heap.Init(least)
	moved := false
	for most.Len() > 0 && least.Len() > 0 && b.over(most.list[0], 0, least.list[0], 1) > 0 {
		from, to := most.list[0], least.list[0]
		last := len(b.jobs[from]) - 1
		b.jobs[to] = append(b.jobs[to], b.jobs[from][last])
		b.jobs[from] = b.jobs[from][:last]
		b.load[from]--
		b.load[to]++
		d.added[b.takers[from].ID]--
		d.added[b.takers[to].ID]++
		moved = true
		if d.room(b.group, b.takers[to]) {
			heap.Fix(least, 0)
		} else { // it has as many as it may have
			heap.Pop(least)
		}
		if last == 0 {
			heap.Pop(most)
		} else {
			heap.Fix(most, 0)
		}
	}
	for i, a := range b.takers {
		load[a.ID] = b.load[i]
	}
	return moved
}

func (d *decider) evened(p *state.Placed, from string, to *crony.AgentStatus) state.Move {
	name, generation := p.Definition.Job.Name, p.Definition.Generation
	return state.Move{Job: name, Generation: generation, Drop: p.Assignments, Claim: p.ClaimRev, Put: []crony.Assignment{{
		Job: name, Agent: to.ID, Generation: generation, Since: d.now, Reason: "moved from " + from + " by a rebalance"}}}
}

// rebalance does what people asked for.
func (t *term) rebalance(ctx context.Context, now time.Time) error {
	wish, ok := t.opts.Store.WantsRebalance()
	if !ok {
		return nil
	}
	moves, busy := Rebalance(t.situation(state.Scope{All: true}), now)
	made, err := t.opts.Store.Place(ctx, t.term, moves)
	if err != nil {
		return fmt.Errorf("rebalance: %w", err)
	}
	t.metrics.moved.WithLabelValues(byRebalance).Add(float64(len(made)))
	done := crony.Rebalanced{Moved: len(made), Busy: busy + len(moves) - len(made)}
	t.log.Info("jobs rebalanced", "moved", done.Moved, "busy", done.Busy, "by", wish.By)
	if err := t.opts.Store.Rebalanced(ctx, t.term, wish, done); err != nil {
		return fmt.Errorf("answer a request to rebalance: %w", err)
	}
	return nil
}
