package schedule

import (
	"fmt"
	"strconv"
	"time"
)

// Entry is one schedule of a job.
type Entry struct {
	Schedule *Schedule
	StartsAt time.Time     // no instant before it; an interval's first is StartsAt itself. Zero: no bound
	EndsAt   time.Time     // no instant from it on. Zero: no bound
	Jitter   time.Duration // how much later than its instant an occurrence may start, less than this; 0: on time
}

// OnDayOff says what becomes of an occurrence on a calendar's day off.
type OnDayOff string

// What becomes of it.
const (
	OnDayOffSkip OnDayOff = "skip"             // it does not run
	OnDayOffMove OnDayOff = "next-working-day" // it runs at the same wall time, of the calendar, on the next working day
)

// Use is a calendar that a job keeps.
type Use struct {
	Calendar *Calendar
	On       OnDayOff
}

// SetOptions are what a job says of when it is due.
type SetOptions struct {
	Job       string // the job's name, from which jitter is made; needed with jitter only
	Entries   []Entry
	Calendars []Use
}

// Set is when one job is due: its schedules, held against its calendars. It never changes and is safe for concurrent use.
//
// An occurrence is decided in this order. A day off of a next-working-day calendar moves it: to the next day on which all
// such calendars work, at the same wall time (of their zone, which must be one; in a gap, the gap's end). Where it was, an
// occurrence is left that does not run and says where to; where it arrives there is one occurrence, whatever else arrives
// there, also if the bounds of its entry have ended by then. What now lies on a day off of a skip calendar, or in a blackout
// of any calendar, is skipped. If no day in a year works, it is skipped where it was.
//
// Jitter then gives an occurrence its start: the same on every machine, a hash of the job and the instant, later than the
// instant by less than the entry's jitter, and always before the set's next occurrence, so that starts keep the order of
// occurrences. A start that falls into a blackout skips the occurrence too. Of several entries that name one instant the
// least jitter counts.
type Set struct {
	job     string
	entries []Entry
	move    []*Calendar
	zone    *time.Location // of move
	skip    []*Calendar
	all     []*Calendar
}

// NewSet returns the set. The error is an [*Error].
func NewSet(o SetOptions) (*Set, error) {
	s := &Set{job: o.Job}
	for _, e := range o.Entries {
		if err := s.entry(e); err != nil {
			return nil, err
		}
	}
	for _, use := range o.Calendars {
		if err := s.calendar(use); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Set) entry(e Entry) error {
	switch {
	case e.Schedule == nil:
		return &Error{Message: "an entry has no schedule"}
	case e.Jitter < 0:
		return &Error{Message: fmt.Sprintf("a jitter of %s is less than none", e.Jitter), Hint: "0s or more"}
	case e.Jitter > 0 && s.job == "":
		return &Error{Message: "jitter is made from the job's name, and there is none", Hint: "give the job a name"}
	case !e.EndsAt.IsZero() && !e.StartsAt.Before(e.EndsAt):
		return &Error{Message: "the schedule ends before it starts", Hint: "starts_at is before ends_at"}
	}
	if every, ok := e.Schedule.when.(interval); ok && !e.StartsAt.IsZero() {
		from := *e.Schedule
		from.when = every.from(e.StartsAt)
		e.Schedule = &from
	}
	s.entries = append(s.entries, e)
	return nil
}

func (s *Set) calendar(use Use) error {
	c := use.Calendar
	if c == nil {
		return &Error{Message: "a calendar is missing"}
	}
	s.all = append(s.all, c)
	switch use.On {
	case OnDayOffSkip:
		s.skip = append(s.skip, c)
		return nil
	case OnDayOffMove:
	default:
		return &Error{Message: fmt.Sprintf("%q is not what becomes of a day off", use.On), Hint: "skip or next-working-day"}
	}
	if s.zone != nil && s.zone.String() != c.zone.String() {
		return &Error{Field: "time zone", Message: fmt.Sprintf("calendar %s is in %s, another in %s", c.name, c.zone, s.zone),
			Hint: "calendars with next-working-day must share a zone, or which day is next would depend on their order"}
	}
	s.zone, s.move = c.zone, append(s.move, c)
	return nil
}

// Reboot reports whether the job is due when its agent starts.
func (s *Set) Reboot() bool {
	for _, e := range s.entries {
		if e.Schedule.Reboot() {
			return true
		}
	}
	return false
}

// Next returns the first occurrence whose instant is after t, and false if there is none. Occurrences that do not run are
// among them.
func (s *Set) Next(t time.Time) (Occurrence, bool) {
	due, ok := s.due(t)
	if !ok {
		return Occurrence{}, false
	}
	o := Occurrence{At: due.at, Start: due.at, From: due.from}
	c := s.movesAt(due.at)
	switch {
	case !due.from.IsZero():
		o.Calendar = s.movesAt(due.from).name
	case c != nil:
		o.Skip, o.Calendar = SkipDayOff, c.name
		if to, ok := s.target(due.at); ok {
			o.Skip, o.To = SkipMoved, to
		}
		return o, true
	}
	start := due.at.Add(s.jitter(due))
	if c, why := s.skips(due.at, start); c != nil {
		o.Skip, o.Calendar = why, c.name
		return o, true
	}
	o.Start = start
	return o, true
}

// skips returns the calendar that does not let an occurrence run, and why.
func (s *Set) skips(at, start time.Time) (*Calendar, Skip) {
	for _, c := range s.skip {
		if c.dayOff(dayOf(c.zone, at)) {
			return c, SkipDayOff
		}
	}
	for _, c := range s.all {
		if c.blackout(at) || c.blackout(start) {
			return c, SkipBlackout
		}
	}
	return nil, ""
}

// due is an instant at which something is due, before calendars have said whether it runs.
type due struct {
	at     time.Time
	from   time.Time // the earliest instant moved to at; zero if none
	jitter time.Duration
}

// due returns the first such instant after t: one that a schedule names, or one that a calendar moved another to.
func (s *Set) due(t time.Time) (due, bool) {
	named, ok := s.named(t)
	moved, arrives := s.arrival(t)
	switch {
	case !arrives || ok && named.at.Before(moved.at):
		return named, ok
	case ok && named.at.Equal(moved.at):
		moved.jitter = min(moved.jitter, named.jitter)
	}
	return moved, true
}

// named returns the first instant after t that a schedule names.
func (s *Set) named(t time.Time) (due, bool) {
	var first due
	for _, e := range s.entries {
		at := e.next(t)
		switch {
		case at.IsZero():
		case first.at.IsZero() || at.Before(first.at):
			first = due{at: at, jitter: e.Jitter}
		case at.Equal(first.at):
			first.jitter = min(first.jitter, e.Jitter)
		}
	}
	return first, !first.at.IsZero()
}

func (e Entry) next(t time.Time) time.Time {
	if !e.StartsAt.IsZero() && t.Before(e.StartsAt) {
		t = e.StartsAt.Add(-1)
	}
	next := e.Schedule.Next(t)
	if !e.EndsAt.IsZero() && !next.Before(e.EndsAt) {
		return time.Time{}
	}
	return next
}

// jitter returns how much later than its instant an occurrence starts.
func (s *Set) jitter(d due) time.Duration {
	span := d.jitter
	if span == 0 {
		return 0
	}
	if after, ok := s.due(d.at); ok {
		span = min(span, after.at.Sub(d.at))
	}
	steps := uint64(span / time.Millisecond)
	if steps == 0 {
		return 0
	}
	return time.Duration(hash(s.job, strconv.FormatInt(d.at.UnixMilli(), 10))%steps) * time.Millisecond
}
