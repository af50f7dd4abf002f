package judge

import (
	"slices"
	"time"
)

// Ran returns the occurrences that did not run exactly once, which all of them do as long as every agent is whole.
func Ran(h *History) []Violation {
	var found []Violation
	for i := range h.Jobs {
		c := h.open(&h.Jobs[i])
		for _, agent := range c.threads() {
			times := map[time.Time]int{}
			for _, l := range c.starts {
				if agent == "" || l.Agent == agent {
					times[l.Due.UTC()]++
				}
			}
			for at := c.job.after(c.From).UTC(); !at.After(c.To); at = at.Add(c.job.Every) {
				if times[at] != 1 {
					found = append(found, c.fault(Exactly, agent, at, "it ran %d times%s", times[at], on(agent)))
				}
			}
		}
	}
	sortByTime(found)
	return found
}

// Stall is a time in which the machine itself gave nobody its turn.
type Stall struct{ From, To time.Time }

// Lateness is how long after they were due runs started.
type Lateness struct {
	Starts  int // that count
	LeftOut int // that were due, or started, while the machine stalled
	P50     time.Duration
	P99     time.Duration
	Most    time.Duration
}

// Late measures a history's starts.
func Late(h *History, stalls []Stall) Lateness {
	var figures Lateness
	var all []time.Duration
	for _, l := range h.Lines {
		if l.Kind != Start || !l.Due.After(h.From) || l.Due.After(h.To) {
			continue
		}
		if slices.ContainsFunc(stalls, func(s Stall) bool { return s.From.Before(l.Wall) && s.To.After(l.Due) }) {
			figures.LeftOut++
			continue
		}
		all = append(all, l.Wall.Sub(l.Due))
	}
	if figures.Starts = len(all); figures.Starts > 0 {
		slices.Sort(all)
		figures.P50, figures.P99, figures.Most = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	}
	return figures
}
