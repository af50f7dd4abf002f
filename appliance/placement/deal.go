package placement

import (
	"crony"
	"crony/embedded/state"
)

// homeless is a job that is to be given to an agent, and how that is to be written.
type homeless struct {
	job  *state.Placed
	move state.Move
	from *crony.Assignment // it is taken from here; nil: nobody has it
	why  string            // it is, as the metric says
	tale string            // the same for people: the beginning of the assignment's reason
}

// deal gives the jobs of a group to agents.
func (d *decider) deal(g *group) {
	if len(g.homeless) == 0 {
		return
	}
	takers := d.takers(g)
	var rest []homeless
	for _, h := range g.homeless {
		if last := find(takers, h.job.Claim.Agent); h.from == nil && last >= 0 && d.room(g, takers[last]) {
			d.give(h, takers[last], "it had the job last")
			continue
		}
		rest = append(rest, h)
	}
	for len(rest) > 0 {
		if takers = d.roomy(g); len(takers) == 0 {
			break
		}
		rest = d.dealTo(rest, takers, g) // each of them has got one at least
	}
	for _, h := range rest {
		d.out.Full = d.out.Full || len(d.takers(g)) > 0
		d.decided(h.move)
	}
}

// dealTo gives jobs to agents by the group's strategy, and returns those whose agent has no room left for them.
func (d *decider) dealTo(list []homeless, takers []*crony.AgentStatus, g *group) (rest []homeless) {
	var picks []int
	if g.strategy == crony.LeastJobs {
		picks = least(len(list), takers, func(agent string) int { return d.Load[agent] + d.added[agent] })
	} else {
		picks = d.turns.deal(len(list), takers)
	}
	reason := oneReason(g)
	for i, pick := range picks {
		if !d.room(g, takers[pick]) {
			if g.strategy != crony.LeastJobs {
				d.turns[takers[pick].ID]++ // it is as far behind as before
			}
			rest = append(rest, list[i])
			continue
		}
		d.give(list[i], takers[pick], reason)
	}
	return rest
}

func (d *decider) give(h homeless, to *crony.AgentStatus, reason string) {
	d.added[to.ID]++
	h.move.Put = []crony.Assignment{{Job: h.move.Job, Agent: to.ID, Generation: h.move.Generation, Since: d.now,
		Reason: h.tale + reason}}
	if h.from != nil {
		d.out.Left[h.move.Job] = Departure{h.from.Agent, h.why}
	}
	d.decided(h.move)
}
