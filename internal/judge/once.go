package judge

import "time"

// once: no occurrence ran twice but where an agent that is cut off may run what it has, and the ledger shows that it did. In
// mode each an occurrence is one for each agent.
func (c *court) once() (found []Violation) {
	type seat struct {
		due   time.Time
		agent string
	}
	bySeat := map[seat][]Line{}
	var order []seat
	for _, l := range c.starts {
		s := seat{due: l.Due.UTC()}
		if c.job.Mode == "each" {
			s.agent = l.Agent
		}
		if bySeat[s] == nil {
			order = append(order, s)
		}
		bySeat[s] = append(bySeat[s], l)
	}
	for _, s := range order {
		lines, more := c.twice(bySeat[s])
		found = append(found, more...)
		if len(lines) <= 1 {
			continue
		}
		switch shown := c.shown(s.due); {
		case c.job.OnDisconnect != "run" || c.job.Mode == "race":
			found = append(found, c.fault(Never, s.agent, s.due, "it ran %d times, and is never to run twice: %s",
				len(lines), places(lines)))
		case samePlace(lines):
			found = append(found, c.fault(Once, s.agent, s.due, "the same agent ran it %d times: %s", len(lines), places(lines)))
		case shown < len(lines)-1:
			found = append(found, c.fault(Once, s.agent, s.due, "it ran %d times, and the ledger shows %d of them to be doubles: %s",
				len(lines), shown, places(lines)))
		}
	}
	return found
}

// twice judges the second runs of one occurrence, which are in the place of lost ones, and returns the lines of the others: each
// ran once, and where the first is not to go on with an agent that is cut off, not beside it.
func (c *court) twice(lines []Line) (others []Line, found []Violation) {
	var again []Line
	for _, l := range lines {
		if _, is := c.again[l.Run]; is {
			again = append(again, l)
		} else {
			others = append(others, l)
		}
	}
	for i, l := range again {
		switch {
		case !c.job.Again:
			found = append(found, c.fault(Once, l.Agent, l.Due, "it ran again on %s, which its job did not ask for", l.Agent))
		case i > 0:
			found = append(found, c.fault(Once, l.Agent, l.Due, "it ran again %d times: %s", len(again), places(again)))
		}
		for _, o := range others {
			if o.Since < l.Since && c.until(o) > l.Since && c.job.OnDisconnect != "run" && !c.troubled(o.Agent, l.Agent, o.Wall, l.Wall) {
				found = append(found, c.fault(Never, l.Agent, l.Due, "it ran again on %s at %s, while it went on on %s", l.Agent,
					clock(l.Wall), o.Agent))
			}
		}
	}
	return others, found
}

// shown is how many doubles the ledger shows of an occurrence.
func (c *court) shown(due time.Time) (n int) {
	for _, r := range c.doubles {
		if r.ScheduledAt.Equal(due) {
			n++
		}
	}
	return n
}

func samePlace(lines []Line) bool {
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[l.Agent] {
			return true
		}
		seen[l.Agent] = true
	}
	return false
}

func places(lines []Line) (text string) {
	for i, l := range lines {
		if i > 0 {
			text += ", "
		}
		text += clock(l.Wall) + " on " + l.Agent
	}
	return text
}
