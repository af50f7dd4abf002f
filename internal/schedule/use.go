package schedule

import (
	"fmt"
	"time"
)

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

// uses are all calendars of a set, of which there is one at least; nil is a set's that has none.
type uses struct {
	move []*Calendar
	zone *time.Location // of move
	skip []*Calendar
	all  []*Calendar
}

func newUses(list []Use) (*uses, error) {
	if len(list) == 0 {
		return nil, nil
	}
	u := &uses{}
	for _, use := range list {
		if err := u.add(use); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *uses) add(use Use) error {
	c := use.Calendar
	if c == nil {
		return &Error{Message: "a calendar is missing"}
	}
	u.all = append(u.all, c)
	switch use.On {
	case OnDayOffSkip:
		u.skip = append(u.skip, c)
		return nil
	case OnDayOffMove:
	default:
		return &Error{Message: fmt.Sprintf("%q is not what becomes of a day off", use.On), Hint: "skip or next-working-day"}
	}
	if u.zone != nil && u.zone.String() != c.zone.String() {
		return &Error{Field: "time zone", Message: fmt.Sprintf("calendar %s is in %s, another in %s", c.name, c.zone, u.zone),
			Hint: "calendars with next-working-day must share a zone, or which day is next would depend on their order"}
	}
	u.zone, u.move = c.zone, append(u.move, c)
	return nil
}

// skips returns the calendar that does not let an occurrence run, and why.
func (u *uses) skips(at, start time.Time) (*Calendar, Skip) {
	if u == nil {
		return nil, ""
	}
	for _, c := range u.skip {
		if c.dayOff(dayOf(c.zone, at)) {
			return c, SkipDayOff
		}
	}
	for _, c := range u.all {
		if c.blackout(at) || c.blackout(start) {
			return c, SkipBlackout
		}
	}
	return nil, ""
}
