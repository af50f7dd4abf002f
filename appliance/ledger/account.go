package ledger

import (
	"context"
	"iter"
	"slices"
	"time"

	"crony"
)

// portion is how many records are read at once.
const portion = 1000

// account walks a job's time from one instant to another, and tells in order what became of its occurrences.
type account struct {
	line      *timeline
	runs      feed[crony.Run]
	stretches feed[crony.Stretch]
	start     time.Time // it begins right after
	end       time.Time
	resumed   bool                 // what began up to start was told before
	parted    bool                 // what goes on after end is told of later
	work      int                  // how much may still be done: records read, and occurrences that were gone to one by one
	stretch   func(*crony.Stretch) // if not nil, is given each stretch once

	at       time.Time // what is up to here was told
	ran      time.Time // the latest instant of which a run of the job itself was told
	covers   []cover   // stretches that at lies in
	pending  *piece    // is told as soon as something else comes
	told     []row
	imagined bool // the claimed run, of which the log knows nothing yet, was told or is not to be
}

// span is the time of an account: after one instant and up to another.
type span struct {
	after, until time.Time
	resumed      bool // what began by its beginning was told before
	parted       bool // what goes on after its end is told of by another account
}

// row is what an account tells at once.
type row struct {
	entry crony.LedgerEntry // Count is 0 if there is nothing to show
	end   crony.End
	run   *crony.Run // of one that was claimed
	named int64      // how many occurrences it is, as the schedule in force names them
	upTo  time.Time  // what is up to here is told by now

	also []*crony.Run // others of the same occurrence; only if one alone was asked for
}

// cover is a stretch that has the current instant in it.
type cover struct {
	*crony.Stretch
	plan *crony.Plan // by which it counts; nil if that is not kept: then it is told once, as it stands
}

// piece is a row in the making: occurrences of one class after one instant and up to another.
type piece struct {
	class
	after, until time.Time
	from, to     time.Time // the first and the last that the schedule in force names
	n            int64
}

// records is where an account reads what is recorded of a job, as [RunLog] gives it.
type records struct {
	runs      func(from time.Time) ([]crony.Run, time.Time, error)
	stretches func(from time.Time) ([]crony.Stretch, time.Time, error)
}

// records reads from the run log.
func (l *Ledger) records(ctx context.Context, job string, over span) records {
	return records{
		runs: func(from time.Time) ([]crony.Run, time.Time, error) {
			return l.runs.Occurrences(ctx, job, from, over.until, portion)
		},
		stretches: func(from time.Time) ([]crony.Stretch, time.Time, error) {
			return l.runs.Stretches(ctx, job, from, over.until, portion)
		},
	}
}

func newAccount(in records, line *timeline, over span, work int) *account {
	a := &account{line: line, start: over.after, end: over.until, resumed: over.resumed, parted: over.parted, work: work,
		at: over.after}
	first := over.after.Add(1)
	a.runs = runFeed(in, first)
	a.stretches = stretchFeed(in, first)
	c := line.claimed
	a.imagined = c == nil || !c.ScheduledAt.After(a.start) || c.ScheduledAt.After(a.end)
	return a
}

func runFeed(in records, first time.Time) feed[crony.Run] {
	return feed[crony.Run]{from: first, key: func(r *crony.Run) string { return string(r.ID) }, fetch: in.runs}
}

func stretchFeed(in records, first time.Time) feed[crony.Stretch] {
	return feed[crony.Stretch]{from: first, key: func(s *crony.Stretch) string { return s.JobUID + s.Of + s.From.String() },
		fetch: func(from time.Time) ([]crony.Stretch, time.Time, error) {
			list, next, err := in.stretches(from)
			list = slices.Clone(list)
			slices.SortStableFunc(list, func(a, b crony.Stretch) int { return a.From.Compare(b.From) })
			return list, next, err
		}}
}

// rows yields what became of the occurrences, the earliest first. It ends early, with at before end, if the work has become
// too much. The last pair holds the error if there was one.
func (a *account) rows() iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for a.at.Before(a.end) && a.work > 0 {
			if err := a.step(); err != nil {
				yield(row{}, err)
				return
			}
			if !a.give(yield) {
				return
			}
		}
		a.flush()
		a.give(yield)
	}
}

func (a *account) give(yield func(row, error) bool) bool {
	for len(a.told) > 0 {
		r := a.told[0]
		a.told = a.told[1:]
		if !yield(r, nil) {
			return false
		}
	}
	return true
}

// step tells of the run that comes next, or goes on to where something begins or ends.
func (a *account) step() error {
	if err := a.begin(); err != nil {
		return err
	}
	run, err := a.nextRun()
	if err != nil {
		return err
	}
	if run != nil && !run.ScheduledAt.After(a.at.Add(1)) {
		return a.tellRun(run)
	}
	until := a.end
	if run != nil {
		until = earlier(until, run.ScheduledAt.Add(-1))
	}
	next, err := a.stretches.head()
	if err != nil {
		return err
	}
	if next != nil {
		until = earlier(until, next.From.Add(-1))
	}
	a.goOn(until)
	return nil
}

// begin takes up the stretches that the next instant lies in.
func (a *account) begin() error {
	a.covers = slices.DeleteFunc(a.covers, func(c cover) bool { return !c.To.After(a.at) })
	for {
		s, err := a.stretches.head()
		if err != nil || s == nil || s.From.After(a.at.Add(1)) {
			return err
		}
		a.stretches.take()
		a.work--
		if a.stretch != nil {
			a.stretch(s)
		}
		c := cover{Stretch: s}
		if e := a.line.generation(s.JobUID, s.Generation); e != nil {
			c.plan = e.plan
		}
		if s.JobUID == a.line.uid {
			a.covers = append(a.covers, c)
		}
		if c.plan != nil || a.resumed && !s.From.After(a.start) {
			continue
		}
		a.flush()
		if err := a.pass(s.From); err != nil {
			return err
		}
		a.told = append(a.told, row{entry: stored(s), end: s.End, upTo: a.at})
	}
}

// pass goes on to an instant of which something was told, unless there is more to tell of it.
func (a *account) pass(t time.Time) error {
	next, err := a.nextRun()
	if err != nil || next != nil && !next.ScheduledAt.After(t) {
		return err
	}
	if _, named := a.line.instant(t); !named || a.ran.Equal(t) {
		a.at = later(a.at, t)
	}
	return nil
}

// nextRun returns the run that comes next, the claimed one in its place if the log does not know of it yet.
func (a *account) nextRun() (*crony.Run, error) {
	run, err := a.runs.head()
	if err != nil || a.imagined {
		return run, err
	}
	c := a.line.claimed
	switch {
	case run != nil && run.ScheduledAt.Before(c.ScheduledAt):
		return run, nil
	case run != nil && run.ScheduledAt.Equal(c.ScheduledAt):
		a.imagined = run.JobUID == c.JobUID
		return run, nil
	}
	return c, nil
}

func (a *account) tellRun(run *crony.Run) error {
	a.flush()
	if run == a.line.claimed {
		a.imagined = true
	} else {
		a.runs.take()
	}
	a.work--
	entry := entryOf(run)
	r := row{entry: entry, end: entry.End, run: run}
	other, err := a.countsLater(run)
	if err != nil {
		return err
	}
	if run.JobUID == a.line.uid && !other {
		if _, named := a.line.instant(run.ScheduledAt); named && !a.ran.Equal(run.ScheduledAt) {
			r.named = 1
		}
		a.ran = run.ScheduledAt
	}
	err = a.pass(run.ScheduledAt)
	r.upTo = a.at
	a.told = append(a.told, r)
	return err
}

// goOn goes on to an instant before which no run comes and no stretch begins, or as far as all that comes is of one era and
// one class.
func (a *account) goOn(until time.Time) {
	next := a.at.Add(1)
	e := a.line.at(next)
	switch {
	case e != nil && !e.until.IsZero():
		until = earlier(until, e.until)
	case e == nil && len(a.line.eras) > 0:
		until = earlier(until, a.line.eras[0].after)
	}
	var c class
	known := false
	if len(a.covers) > 0 {
		s := a.covers[0].Stretch
		c, known = class{end: s.End, reason: s.Reason, cover: s}, true
		until = earlier(until, s.To)
	} else if e != nil {
		var same time.Time
		if c, same, known = a.line.derive(e, next); known {
			until = earlier(until, same)
		}
	}
	switch {
	case !known:
	case e == nil || e.plan == nil:
		a.add(c, until, 0, time.Time{}, time.Time{})
	case len(e.def.Calendars) > 0:
		a.oneByOne(e, c, until)
		return
	default:
		if !e.oneSchedule {
			until = earlier(until, next.Add(24*time.Hour)) // not to do too much at once
		}
		n, first, last := e.plan.Count(a.at, until)
		if a.work--; !e.oneSchedule {
			a.work -= int(n)
		}
		a.add(c, until, n, first, last)
	}
	a.at = until
}

// oneByOne is for jobs that keep calendars: each occurrence may be one that does not run.
func (a *account) oneByOne(e *era, c class, until time.Time) {
	for in, ok := e.plan.Instant(a.at); ok && !in.At.After(until); in, ok = e.plan.Instant(in.At) {
		if a.work--; a.work < 0 {
			return
		}
		k := c
		if !in.Runs {
			k = class{end: crony.EndSkipped, reason: in.Why}
		}
		a.add(k, in.At, 1, in.At, in.At)
		a.at = in.At
	}
	a.work--
	a.add(c, until, 0, time.Time{}, time.Time{})
	a.at = until
}

// add makes the occurrences from at on part of the piece before them, if they are of its class.
func (a *account) add(c class, until time.Time, n int64, first, last time.Time) {
	p := a.pending
	if p == nil || p.class != c {
		if c.cover == nil && n == 0 {
			return
		}
		a.flush()
		p = &piece{class: c, after: a.at}
		a.pending = p
	}
	p.until = until
	if n == 0 {
		return
	}
	if p.n == 0 {
		p.from = first
	}
	p.n, p.to = p.n+n, last
}
