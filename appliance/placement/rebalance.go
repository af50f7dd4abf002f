package placement

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"crony"
	"crony/embedded/state"
)

// Rebalance returns the moves that spread the jobs of a situation over the agents that take them: by their weights or, of jobs
// whose strategy is least_jobs, in equal numbers. A job moves only if that leaves its next agent with less, for its weight, than
// the one that it has now, so that there are as few moves as lead there, and none if the jobs are spread already. Jobs that may
// not be moved stay, and so do those, counted in busy, that have runs or are about to.
func Rebalance(s Situation, now time.Time) (moves []state.Move, busy int) {
	d := newDecider(s, nil, now)
	for i := range s.Jobs {
		p := &s.Jobs[i]
		if p.Definition.Job.Movable(s.Failover) && len(p.Assignments) == 1 {
			g := d.group(&p.Definition.Job)
			g.homeless = append(g.homeless, homeless{job: p, from: &p.Assignments[0]})
		}
	}
	load := map[string]int{}
	for agent, n := range s.Load {
		load[agent] = n
	}
	// Those that have the least choice come first, and the others find their place around them.
	slices.SortStableFunc(d.order, func(a, b *group) int { return len(d.takers(a)) - len(d.takers(b)) })
	for _, g := range d.order {
		m, b := d.spread(g, load)
		moves, busy = append(moves, m...), busy+b
	}
	return moves, busy
}

// scales compares agents by their loads.
type scales struct {
	load, weight []int
}

// heavier says whether an agent has more for its weight than another would with some jobs more.
func (s *scales) heavier(a, b, more int) bool {
	return s.load[a]*s.weight[b] > (s.load[b]+more)*s.weight[a]
}

// spread returns the moves of a group, and notes what they do to the load of each agent. Jobs go from the agent that has the
// most to the one that has the least, until none would gain by that. Who gives never gets, and who gets never gives, so that
// the order among those that changed otherwise need not be kept up.
func (d *decider) spread(g *group, load map[string]int) (moves []state.Move, busy int) {
	jobs, busy := d.byTaker(g)
	s := &scales{}
	for _, a := range g.takers {
		weight := max(a.Weight, 1)
		if g.strategy == crony.LeastJobs {
			weight = 1
		}
		s.load, s.weight = append(s.load, load[a.ID]), append(s.weight, weight)
	}
	most := &queue{less: func(a, b int) bool { return s.heavier(a, b, 0) || !s.heavier(b, a, 0) && a < b }}
	least := &queue{less: func(a, b int) bool {
		x, y := (s.load[a]+1)*s.weight[b], (s.load[b]+1)*s.weight[a]
		return cmp.Or(x-y, a-b) < 0
	}}
	for i := range g.takers {
		least.list = append(least.list, i)
		if len(jobs[i]) > 0 {
			most.list = append(most.list, i)
		}
	}
	heap.Init(most)
	heap.Init(least)
	for most.Len() > 0 && s.heavier(most.list[0], least.list[0], 1) {
		from, to := most.list[0], least.list[0]
		last := len(jobs[from]) - 1
		moves = append(moves, d.evened(jobs[from][last], g.takers[from], g.takers[to]))
		jobs[from] = jobs[from][:last]
		s.load[from]--
		s.load[to]++
		heap.Fix(least, 0)
		if last == 0 {
			heap.Pop(most)
		} else {
			heap.Fix(most, 0)
		}
	}
	for i, a := range g.takers {
		load[a.ID] = s.load[i]
	}
	return moves, busy
}

// byTaker returns the jobs of a group that can move from each of its takers, and how many can't for now.
func (d *decider) byTaker(g *group) (jobs [][]*state.Placed, busy int) {
	index := make(map[string]int, len(g.takers))
	for i, a := range g.takers {
		index[a.ID] = i
	}
	jobs = make([][]*state.Placed, len(g.takers))
	for _, h := range g.homeless {
		i, takes := index[h.from.Agent]
		switch {
		case !takes || h.from.Generation != h.job.Definition.Generation:
		case d.busy(h.job, h.from.Agent):
			busy++
		default:
			jobs[i] = append(jobs[i], h.job)
		}
	}
	return jobs, busy
}

func (d *decider) evened(p *state.Placed, from, to *crony.AgentStatus) state.Move {
	name, generation := p.Definition.Job.Name, p.Definition.Generation
	return state.Move{Job: name, Generation: generation, Drop: p.Assignments, Claim: p.ClaimRev, Put: []crony.Assignment{{
		Job: name, Agent: to.ID, Generation: generation, Since: d.now,
		Reason: "moved from " + nameOf(from.ID, from) + ", which had more jobs for its weight, by a rebalance"}}}
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
