package agent

import (
	"cmp"
	"slices"
	"time"

	"crony"
)

// solo is what a cut-off agent has decided of a job by itself. It ends when the servers have decided on all runs in it.
type solo struct {
	cursor nanos     // up to here the agent has decided
	runs   []soloRun // that it has started and the servers have not decided on, in the order of their times
}

// soloRun is a run that was started without a claim.
type soloRun struct {
	run        crony.RunID
	at         time.Time
	epoch      int64 // of the assignment by which the agent had the job
	uid        string
	generation int64
	named      bool          // it is of an occurrence that the job, as it is assigned, names
	asked      time.Duration // by the lease's clock, when the servers were first asked whose it is; 0: they were not
}

// soloOf returns what the agent has decided of a job by itself, to be added to.
func (t *timetable) soloOf(name string) *solo {
	s := t.solo[name]
	if s == nil {
		s = &solo{}
		t.solo[name] = s
	}
	return s
}

// add notes a run.
func (s *solo) add(r soloRun) {
	i, _ := slices.BinarySearchFunc(s.runs, r, func(a, b soloRun) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.epoch, b.epoch))
	})
	s.runs = slices.Insert(s.runs, i, r)
	s.cursor = max(s.cursor, nanosOf(r.at))
}

// decided returns up to where a job is decided: by the servers or, while the agent is alone, by itself.
func (t *timetable) decided(j *job) time.Time {
	if s := t.solo[j.name]; s != nil && t.alone {
		return max(nanosOf(j.reached()), s.cursor).time()
	}
	return j.reached()
}

// goAlone has the timetable go by what the agent decides itself: nothing is asked for any more, and what was asked for and has
// no answer is decided anew. Jobs that need a claim wait until they are assigned again, as all are on the next stream.
func (t *timetable) goAlone() {
	t.alone = true
	for _, j := range t.jobs {
		t.planAlone(j)
	}
}

// planAlone puts j in the queue with the first occurrence that is not decided, when it starts.
func (t *timetable) planAlone(j *job) {
	t.asks.remove(j)
	j.asked, j.held = nil, false
	if j.plan == nil || !j.unclaimed() || j.lack != nil && !j.lack.ready() {
		return
	}
	from := t.decided(j)
	if step := j.plan.Step(from, from); !step.At.IsZero() {
		j.next = nanosOf(step.Start)
		t.asks.add(j)
	}
}

// startAlone gives start what is to start now without a claim, until it says false: then the occurrence comes again.
func (t *timetable) startAlone(now time.Time, start func(j *job, step crony.Step) bool) {
	for len(t.asks) > 0 && t.asks[0].next <= nanosOf(now) {
		j := t.asks[0]
		if !t.decide(j, now) {
			continue
		}
		step := j.asked.Step
		j.asked = nil
		upTo := step.Until
		if upTo.IsZero() {
			if !start(j, step) {
				j.next = nanosOf(now.Add(tick))
				t.asks.fix(j)
				return
			}
			upTo = step.At
		}
		s := t.soloOf(j.name)
		s.cursor = max(s.cursor, nanosOf(upTo))
		t.planAlone(j)
	}
}

// tell returns what the servers are to be told first of a job's runs without a claim: that it passes over occurrences before
// them, which did not run, or up to which one they are without a gap. It is false if there is none.
func (t *timetable) tell(j *job) (until time.Time, ran, ok bool) {
	s := t.solo[j.name]
	if s == nil || j.plan == nil {
		return time.Time{}, false, false
	}
	cursor := j.cursor.time()
	for _, r := range s.runs {
		switch {
		case !r.named || !r.at.After(cursor):
		case !ok:
			if next := j.plan.Next(cursor); !next.IsZero() && next.Before(r.at) {
				return r.at.Add(-1), false, true
			}
			until, ran, ok = r.at, true, true
		case j.plan.Next(until).Equal(r.at):
			until = r.at
		default:
			return until, ran, ok
		}
	}
	return until, ran, ok
}

// name finds out which runs without a claim are of occurrences that j, as it is assigned now, names: it was changed meanwhile and
// names them still, or it was not changed. The others' occurrences are none that the agent could decide on.
func (t *timetable) name(j *job, def *crony.Definition, agent string) {
	s := t.solo[j.name]
	if s == nil {
		return
	}
	if def.Job.Mode() != crony.PlaceEach {
		agent = ""
	}
	for i := range s.runs {
		r := &s.runs[i]
		r.named = r.epoch == j.epoch || !j.raced && j.plan != nil && j.plan.Next(r.at.Add(-1)).Equal(r.at) &&
			r.run == crony.OccurrenceRunID(def.UID, r.at, agent)
	}
}

// verdict is what becomes of runs that were started without a claim.
type verdict struct {
	stand, double []crony.RunID
}

// judge returns which of a job's runs are decided on, for all that the agent knows. Under the assignment of the runs, nobody but
// this agent could move the cursor: what is up to it is the agent's own.
func (t *timetable) judge(name string, now time.Time) (v verdict) {
	s, j := t.solo[name], t.jobs[name]
	if s == nil {
		return v
	}
	for _, r := range s.runs {
		switch {
		case r.at.After(now.Add(farAhead)):
			v.double = append(v.double, r.run)
		case j != nil && j.epoch == r.epoch && nanosOf(r.at) <= j.cursor:
			v.stand = append(v.stand, r.run)
		}
	}
	return v
}

// foreign returns the runs of a job of which the servers are to say whose they are: the job was changed or moved, and their
// occurrences are none that the agent could decide on, or are decided.
func (t *timetable) foreign(name string) (list []*soloRun) {
	j, s := t.jobs[name], t.solo[name]
	if s == nil {
		return nil
	}
	for i := range s.runs {
		r := &s.runs[i]
		if j == nil || j.epoch != r.epoch && (!r.named || nanosOf(r.at) <= j.cursor) {
			list = append(list, r)
		}
	}
	return list
}

// farAhead is how far from now a run may be due for the servers to take it: one that was started by a clock that was wrong for
// years must not be in the way for years.
const farAhead = time.Minute

// settled forgets runs that are decided on, and what the agent decided by itself when none is left.
func (t *timetable) settled(name string, v verdict) {
	s := t.solo[name]
	s.runs = slices.DeleteFunc(s.runs, func(r soloRun) bool {
		return slices.Contains(v.stand, r.run) || slices.Contains(v.double, r.run)
	})
	if len(s.runs) > 0 {
		return
	}
	delete(t.solo, name)
	if j := t.jobs[name]; j != nil {
		t.plan(j)
	}
}
