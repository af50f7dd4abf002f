package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// What the rules allow for. An agent asks ahead, and gives up waiting for its server's word ten seconds after the last.
const (
	lease  = 10 * time.Second
	margin = 2 * time.Second // for a busy machine
)

// court is a job's part of a history, sorted.
type court struct {
	*History
	job    *Job
	starts []Line // within the time, by occurrence
	ends   map[process]Line

	doubles map[string]Run // by their ids
	again   map[string]Run // those in the place of lost ones, by their ids
}

// process names one process of a run.
type process struct {
	agent string
	run   string
	pid   int
}

func (l Line) process() process { return process{l.Agent, l.Run, l.PID} }

func (h *History) open(j *Job) *court {
	c := &court{History: h, job: j, ends: map[process]Line{}, doubles: map[string]Run{}, again: map[string]Run{}}
	for _, r := range h.Runs[j.Name] {
		if r.Doubles != "" {
			c.doubles[r.ID] = r
		}
		if r.RerunOf != "" {
			c.again[r.ID] = r
		}
	}
	for _, l := range h.Lines {
		switch {
		case l.Job != j.Name:
		case l.Kind == Finish:
			c.ends[l.process()] = l
		case l.Due.After(h.From) && !l.Due.After(h.To):
			c.starts = append(c.starts, l)
		}
	}
	slices.SortFunc(c.starts, func(a, b Line) int { return cmp.Or(a.Due.Compare(b.Due), a.Wall.Compare(b.Wall)) })
	return c
}

func (c *court) fault(rule, agent string, at time.Time, format string, args ...any) Violation {
	return Violation{Rule: rule, Job: c.job.Name, Agent: agent, At: at, Text: fmt.Sprintf(format, args...)}
}

// threads are what the ledger keeps one account each of: the job, or in mode each the job on each agent.
func (c *court) threads() []string {
	if c.job.Mode == "each" {
		return c.job.Agents
	}
	return []string{""}
}

// second says whether a run is one beside another of its occurrence: a double, or in the place of a lost one.
func (c *court) second(run string) bool {
	_, double := c.doubles[run]
	_, again := c.again[run]
	return double || again
}

// entries are the ledger's of a thread, in order. A second run stands beside the first, and is left out; but it is all there is
// where the first was given up, as it then outweighs the entry that says so.
func (c *court) entries(agent string) []Entry {
	var list, second []Entry
	for _, e := range c.Ledger[c.job.Name] {
		if c.job.Mode == "each" && e.Agent != agent {
			continue
		}
		if c.second(e.Run) {
			second = append(second, e)
		} else {
			list = append(list, e)
		}
	}
	for _, d := range second {
		if !slices.ContainsFunc(list, func(e Entry) bool { return !d.From.Before(e.From) && !d.From.After(e.To) }) {
			list = append(list, d)
		}
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return a.From.Compare(b.From) })
	return list
}

// accounted: the entries of a thread cover its occurrences, each once, and none that there is not.
func (c *court) accounted() (found []Violation) {
	for _, agent := range c.threads() {
		next := c.job.after(c.From)
		for _, e := range c.entries(agent) {
			if !e.To.After(c.From) || e.From.After(c.To) {
				continue
			}
			switch {
			case !c.job.names(e.From) || !c.job.names(e.To) || e.Count != c.job.count(e.From, e.To):
				found = append(found, c.fault(Accounted, agent, e.From, "the entry up to %s counts %d, which the schedule does not name so",
					clock(e.To), e.Count))
			case e.From.After(next):
				found = append(found, c.fault(Accounted, agent, next, "a gap of %d up to %s%s",
					c.job.count(next, e.From)-1, clock(e.From), on(agent)))
			case e.From.Before(next) && e.From.After(c.From):
				found = append(found, c.fault(Accounted, agent, e.From, "it is in the ledger twice%s", on(agent)))
			}
			if why := unfinished(e); why != "" {
				found = append(found, c.fault(Accounted, agent, e.From, "%s%s", why, on(agent)))
			}
			if after := c.job.after(e.To); after.After(next) {
				next = after
			}
		}
		if !next.After(c.To) {
			found = append(found, c.fault(Accounted, agent, next, "a gap of %d up to the end%s", c.job.count(next, c.To), on(agent)))
		}
	}
	return found
}

func on(agent string) string {
	if agent == "" {
		return ""
	}
	return " on " + agent
}

// unfinished says what is wrong with how an entry ended; "" if nothing is.
func unfinished(e Entry) string {
	switch e.End {
	case "ran":
		if e.Run == "" {
			return "it is called ran, and no run is named"
		}
		if e.State == "claimed" || e.State == "running" {
			return "its run " + e.Run + " is called " + e.State + " after all has settled"
		}
	case "skipped", "missed", "lost":
		if e.Reason == "" {
			return "it is called " + e.End + " without a reason"
		}
	default:
		return fmt.Sprintf("it is called %q after all has settled", e.End)
	}
	return ""
}

// truthful: what is called ran has a start line; what has one is not called skipped or missed.
func (c *court) truthful() (found []Violation) {
	type place struct{ run, agent string }
	byRun := map[string]bool{}
	byPlace := map[place]bool{}
	for _, l := range c.starts {
		byRun[l.Run], byPlace[place{l.Run, l.Agent}] = true, true
		if !c.job.names(l.Due) {
			found = append(found, c.fault(Truthful, l.Agent, l.Due, "it ran on %s for an instant that its schedule does not name",
				l.Agent))
		}
	}
	for _, e := range c.Ledger[c.job.Name] {
		// A double's processes know the run that they double.
		if r, double := c.doubles[e.Run]; double && e.End == "ran" && !byPlace[place{r.Doubles, r.Agent}] && !c.mute(e) {
			found = append(found, c.fault(Truthful, r.Agent, e.From, "the ledger shows a double on %s, and none wrote there", r.Agent))
		}
		if r, again := c.again[e.Run]; again && e.End == "ran" && !byRun[e.Run] && !c.mute(e) {
			found = append(found, c.fault(Truthful, r.Agent, e.From, "the ledger says that it ran again on %s, and run %s wrote nothing",
				r.Agent, e.Run))
		}
	}
	for _, agent := range c.threads() {
		entries := c.entries(agent)
		for _, e := range entries {
			if c.second(e.Run) {
				continue
			}
			if e.End == "ran" && e.From.After(c.From) && !e.From.After(c.To) && !byRun[e.Run] && !c.mute(e) {
				found = append(found, c.fault(Truthful, e.Agent, e.From, "the ledger calls it ran, and run %s wrote nothing", e.Run))
			}
		}
		for _, l := range c.starts {
			if c.job.Mode == "each" && l.Agent != agent || c.doubled(l) {
				continue
			}
			for _, e := range entries {
				if l.Due.Before(e.From) || l.Due.After(e.To) {
					continue
				}
				if e.End == "skipped" || e.End == "missed" {
					found = append(found, c.fault(Truthful, l.Agent, l.Due, "it ran on %s, and the ledger calls it %s: %s",
						l.Agent, e.End, e.Reason))
				}
			}
		}
	}
	return found
}

// doubled says whether a line is of a double: the entry beside it tells of the run that it doubles, which may have been skipped.
func (c *court) doubled(l Line) bool {
	for _, r := range c.doubles {
		if r.Doubles == l.Run && r.Agent == l.Agent {
			return true
		}
	}
	return false
}

// mute says whether a run may have been cut short before it wrote a word: by the loss of its host's power, or by an order to end
// right after it had been started.
func (c *court) mute(e Entry) bool {
	if e.State == "killed" && slices.ContainsFunc(c.Runs[c.job.Name], func(r Run) bool {
		return r.ID == e.Run && !r.Started.IsZero() && r.Ended.Sub(r.Started) < margin
	}) {
		return true
	}
	return slices.ContainsFunc(c.Troubles, func(t Trouble) bool {
		return t.Dark && (e.Agent == "" || t.Agent == e.Agent) &&
			t.From.After(e.From.Add(-margin)) && t.From.Before(e.From.Add(lease+margin))
	})
}

// lonely: on an agent that nothing reaches for longer than its lease no job starts that is to hold then, and none goes on that is
// to stop.
func (c *court) lonely() (found []Violation) {
	if c.job.OnDisconnect != "hold" && c.job.OnDisconnect != "stop" {
		return nil
	}
	for _, t := range c.Troubles {
		from, grace := t.From.Add(lease+margin), 10*time.Second
		for _, l := range c.starts {
			if !t.Alone || l.Agent != t.Agent {
				continue
			}
			if l.Wall.After(from) && l.Wall.Before(t.To) {
				found = append(found, c.fault(Lonely, l.Agent, l.Due, "it started at %s on %s, which nothing had reached since %s",
					clock(l.Wall), l.Agent, clock(t.From)))
			}
			end, ended := c.ends[l.process()]
			late := from.Add(grace)
			if c.job.OnDisconnect == "stop" && l.Wall.Before(from) && ended && end.Wall.After(late) && t.To.After(late) {
				found = append(found, c.fault(Lonely, l.Agent, l.Due, "it went on until %s on %s, which nothing had reached since %s",
					clock(end.Wall), l.Agent, clock(t.From)))
			}
		}
	}
	return found
}

// apart: two runs of a job of which one goes on at a time do not overlap, while no agent was in trouble that may have kept a run
// from being known.
func (c *court) apart() (found []Violation) {
	if c.job.Overlap == "allow" {
		return nil
	}
	for i, l := range c.starts {
		end, ended := c.ends[l.process()]
		if !ended {
			continue // killed with its host: the rest is not known
		}
		for _, o := range c.starts[i+1:] {
			if c.job.Mode == "each" && o.Agent != l.Agent {
				continue
			}
			if o.Since < end.Since && l.Since < c.until(o) && !c.troubled(l.Agent, o.Agent, l.Wall, o.Wall) {
				found = append(found, c.fault(Apart, o.Agent, o.Due, "it started at %s on %s, while the run of %s went on until %s on %s",
					clock(o.Wall), o.Agent, clock(l.Due), clock(end.Wall), l.Agent))
			}
		}
	}
	return found
}

// until is when a process ended, by the machine's clock that never steps; when it started, if that is not known.
func (c *court) until(l Line) int64 {
	if end, ok := c.ends[l.process()]; ok {
		return end.Since
	}
	return l.Since
}

func (c *court) troubled(a, b string, from, to time.Time) bool {
	return slices.ContainsFunc(c.Troubles, func(t Trouble) bool {
		return (t.Agent == a || t.Agent == b) && t.From.Before(later(from, to)) && t.To.Add(2*lease).After(earlier(from, to))
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}
