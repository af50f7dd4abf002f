//go:build linux

package agent

import (
	"fmt"
	"slices"
	"time"

	"crony"
)

// chapter is all that the soak did to a job from its making to its removal, in its own book: the definitions with the times
// that the store gave them.
type chapter struct {
	defs    []crony.Definition // by generation
	removed time.Time          // zero: it is there
}

// now returns the definition in force.
func (c *chapter) now() *crony.Definition { return &c.defs[len(c.defs)-1] }

// records are what there is of a chapter in the run log and the keyspace.
type records struct {
	runs      []crony.Run // by schedule
	stretches []crony.Stretch
	cursor    time.Time // what is up to here must be decided; of a removed job, what was due before that
}

// instant is one that was due, and what is recorded of it.
type instant struct {
	at     time.Time
	open   bool // it may be undecided
	runs   int
	covers int // stretches that it lies in, but for those that its run outweighs
	lost   int // those: that it is lost, and it came after all, or any, and an agent that was cut off has run it all the same
	alone  bool
}

// early is how long before it is due an occurrence may be decided: two seconds as a rule, and as much as the servers bear when
// the agent's clock is ahead.
const early = time.Minute

// check holds the records of a chapter against what was due up to an end, and returns what is wrong. It uses the schedules'
// Next, and nothing else of what it judges.
func (c *chapter) check(r records, end time.Time) []string {
	a := &audit{chapter: c, end: end, due: map[int64]*instant{}}
	a.expect(r.cursor)
	for i := range r.runs {
		a.run(&r.runs[i])
	}
	for i := range r.stretches {
		a.stretch(&r.stretches[i])
	}
	a.sum()
	return a.faults
}

// audit is one check at work. Instants are named by their nanoseconds.
type audit struct {
	*chapter
	end    time.Time
	due    map[int64]*instant
	faults []string
}

func (a *audit) fault(format string, args ...any) {
	d := a.now()
	a.faults = append(a.faults, fmt.Sprintf("%s %s: ", d.Job.Name, d.UID)+fmt.Sprintf(format, args...))
}

// expect lists what was due.
func (a *audit) expect(cursor time.Time) {
	for i := range a.defs {
		d := &a.defs[i]
		if i+1 < len(a.defs) && a.defs[i+1].PlanSince.Equal(d.PlanSince) {
			continue // the next one is due alike
		}
		until := a.end
		over := i+1 < len(a.defs)
		if over {
			until = a.defs[i+1].PlanSince
		} else if !a.removed.IsZero() {
			over, until = true, a.removed
		}
		plan := d.Plan()
		if plan == nil {
			a.fault("generation %d has no plan", d.Generation)
			continue
		}
		for at := plan.Next(d.PlanSince); !at.IsZero() && !at.After(until); at = plan.Next(at) {
			open := !over && at.After(cursor) && (d.Job.Paused || plan.Start(at).After(a.end.Add(-early)))
			a.due[at.UnixNano()] = &instant{at: at, open: open}
		}
	}
}

// term returns the plan of a generation, and after which time and up to which an occurrence can be decided by it.
func (a *audit) term(generation int64) (plan *crony.Plan, since, until time.Time, ok bool) {
	i := slices.IndexFunc(a.defs, func(d crony.Definition) bool { return d.Generation == generation })
	if i < 0 {
		return nil, since, until, false
	}
	since, until = a.defs[i].PlanSince, a.removed
	for _, d := range a.defs[i:] {
		if !d.PlanSince.Equal(since) {
			until = d.PlanSince
			break
		}
	}
	if until.IsZero() {
		return a.defs[i].Plan(), since, a.end.Add(early), true
	}
	return a.defs[i].Plan(), since, until.Add(early + time.Second), true
}

func (a *audit) run(r *crony.Run) {
	plan, since, until, ok := a.term(r.Generation)
	at := r.ScheduledAt
	if r.Doubles != "" { // its agent heard of nothing: the job may have been changed or removed long before
		if !ok || !plan.Next(at.Add(-1)).Equal(at) || r.ID != crony.DoubleRunID(r.JobUID, at, r.Agent) {
			a.fault("the double %s is of %s, which generation %d does not name", r.ID, clockOf(at), r.Generation)
		}
		return
	}
	if !ok || !at.After(since) || at.After(until) && !r.Unclaimed || !plan.Next(at.Add(-1)).Equal(at) {
		a.fault("the run %s is of %s, at which generation %d was not due", r.ID, clockOf(at), r.Generation)
		return
	}
	if in := a.due[at.UnixNano()]; in != nil {
		in.runs++
		in.alone = in.alone || r.Unclaimed
	}
}

func (a *audit) stretch(s *crony.Stretch) {
	plan, since, until, ok := a.term(s.Generation)
	if !ok || !s.From.After(since) || s.To.After(until) {
		a.fault("the stretch from %s to %s (%s: %s) was not due by generation %d", clockOf(s.From), clockOf(s.To), s.End, s.Reason,
			s.Generation)
		return
	}
	n := int64(0)
	for at := plan.Next(s.From.Add(-1)); !at.IsZero() && !at.After(s.To); at = plan.Next(at) {
		n++
		switch in := a.due[at.UnixNano()]; {
		case in == nil: // decided ahead of its time, which did not come
		case in.runs > 0 && (s.End == crony.EndLost || in.alone):
			in.lost++
		default:
			in.covers++
		}
	}
	if n != s.Count || !plan.Next(s.From.Add(-1)).Equal(s.From) || !plan.Next(s.To.Add(-1)).Equal(s.To) {
		a.fault("the stretch from %s to %s says that it holds %d, and its schedule names %d", clockOf(s.From), clockOf(s.To),
			s.Count, n)
	}
}

func (a *audit) sum() {
	for _, in := range a.due {
		switch {
		case in.runs+in.covers == 1 && in.lost <= 1, in.runs+in.covers == 0 && in.open:
		case in.runs+in.covers == 0:
			a.fault("nothing is recorded of %s", clockOf(in.at))
		default:
			a.fault("%s has %d runs and lies in %d stretches", clockOf(in.at), in.runs, in.covers+in.lost)
		}
	}
	slices.Sort(a.faults)
}
