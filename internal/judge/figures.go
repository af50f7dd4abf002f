package judge

import (
	"cmp"
	"slices"
	"time"
)

// Ran returns the occurrences that did not run exactly once, which all of them do as long as every agent is whole; but for those
// of a job that forbids or replaces, while another run of it is in their way.
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
				if times[at] != 1 && (times[at] > 1 || !c.inTheWay(agent, at)) {
					found = append(found, c.fault(Exactly, agent, at, "it ran %d times%s", times[at], on(agent)))
				}
			}
		}
	}
	sortByTime(found)
	return found
}

// How long after a run has ended the servers know it: they are told, and have it on most disks; if something is done to them, the
// agent goes to another one first, or they elect.
const (
	freed    = 250 * time.Millisecond
	freedBad = 5 * time.Second
)

// inTheWay says whether a run of another occurrence went on when one came due, for all that the servers could know, by what the
// runs wrote themselves.
func (c *court) inTheWay(agent string, at time.Time) bool {
	if c.job.Overlap != "forbid" && c.job.Overlap != "replace" {
		return false
	}
	return slices.ContainsFunc(c.Lines, func(l Line) bool { // it may have been due before the time that is judged
		if l.Job != c.job.Name || l.Kind != Start || agent != "" && l.Agent != agent || l.Due.Equal(at) ||
			!l.Wall.Before(at.Add(freed)) {
			return false
		}
		end, ended := c.ends[l.process()]
		return !ended || end.Wall.Add(freed).After(at) || end.Wall.Add(freedBad).After(at) && c.unserved(end.Wall, at)
	})
}

// unserved says whether something was done to servers in a time, or so shortly before that it was felt.
func (c *court) unserved(from, to time.Time) bool {
	return slices.ContainsFunc(c.Troubles, func(t Trouble) bool {
		return t.Agent == "" && t.From.Before(to) && t.To.Add(freedBad).After(from)
	})
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
	Worst   []Line // the latest of them, at most ten
}

// Late measures a history's starts, but for those of jobs whose runs wait for each other.
func Late(h *History, stalls []Stall) Lateness {
	var figures Lateness
	var all []Line
	waits := map[string]bool{}
	for _, j := range h.Jobs {
		waits[j.Name] = j.Overlap == "queue" || j.Overlap == "replace"
	}
	for _, l := range h.Lines {
		if l.Kind != Start || !l.Due.After(h.From) || l.Due.After(h.To) || waits[l.Job] {
			continue
		}
		if slices.ContainsFunc(stalls, func(s Stall) bool { return s.From.Before(l.Wall) && s.To.After(l.Due) }) {
			figures.LeftOut++
			continue
		}
		all = append(all, l)
	}
	if figures.Starts = len(all); figures.Starts > 0 {
		slices.SortFunc(all, func(a, b Line) int { return cmp.Compare(a.late(), b.late()) })
		figures.P50, figures.P99, figures.Most = all[len(all)/2].late(), all[len(all)*99/100].late(), all[len(all)-1].late()
		figures.Worst = all[max(0, len(all)-10):]
	}
	return figures
}

func (l Line) late() time.Duration { return l.Wall.Sub(l.Due) }

// String says how late a start was.
func (l Line) String() string {
	return l.Job + " at " + clock(l.Due) + " on " + l.Agent + ": " + l.late().Round(time.Millisecond).String()
}
