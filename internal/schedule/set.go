package schedule

import (
	"slices"
	"strconv"
	"time"

	"github.com/robfig/cron/v3"
)

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
	when cron.Schedule // *entries; or, as of most jobs, the schedule of an only entry without bounds and jitter
	uses *uses         // nil: no calendar
}

// NewSet returns the set. The error is an [*Error].
func NewSet(o SetOptions) (*Set, error) {
	list, err := newEntries(o.Job, o.Entries)
	if err != nil {
		return nil, err
	}
	uses, err := newUses(o.Calendars)
	if err != nil {
		return nil, err
	}
	if len(list.all) == 1 && list.all[0].plain() {
		return &Set{when: list.all[0].when, uses: uses}, nil
	}
	return &Set{when: list, uses: uses}, nil
}

// entries returns what NewSet was given.
func (s *Set) entries() []entry {
	if list, ok := s.when.(*entries); ok {
		return list.all
	}
	return []entry{{when: s.when}}
}

// Reboot reports whether the job is due when its agent starts.
func (s *Set) Reboot() bool {
	return slices.ContainsFunc(s.entries(), func(e entry) bool { return isReboot(e.when) })
}

// Next returns the first occurrence whose instant is after t, and false if there is none. Occurrences that do not run are
// among them.
func (s *Set) Next(t time.Time) (Occurrence, bool) {
	due, ok := s.due(t)
	if !ok {
		return Occurrence{}, false
	}
	o := Occurrence{At: due.at, Start: due.at, From: due.from}
	c := s.uses.movesAt(due.at)
	switch {
	case !due.from.IsZero():
		o.Calendar = s.uses.movesAt(due.from).name
	case c != nil:
		o.Skip, o.Calendar = SkipDayOff, c.name
		if to, ok := s.uses.target(due.at); ok {
			o.Skip, o.To = SkipMoved, to
		}
		return o, true
	}
	start := due.at.Add(s.jitter(due))
	if c, why := s.uses.skips(due.at, start); c != nil {
		o.Skip, o.Calendar = why, c.name
		return o, true
	}
	o.Start = start
	return o, true
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
	if list, ok := s.when.(*entries); ok {
		return list.named(t)
	}
	at := nextOf(s.when, t)
	return due{at: at}, !at.IsZero()
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
	job := s.when.(*entries).job // nothing else has jitter
	return time.Duration(hash(job, strconv.FormatInt(d.at.UnixMilli(), 10))%steps) * time.Millisecond
}
