package schedule

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Days are one day of the calendar, or several that follow each other.
type Days struct{ first, last int64 } // days since 1970-01-01

// ParseDays reads 2027-01-01, or 2027-02-05/2027-02-11 with both ends. The error is an [*Error].
func ParseDays(text string) (Days, error) {
	first, last, ok := strings.Cut(text, "/")
	if !ok {
		last = first
	}
	from, err := time.Parse(time.DateOnly, first)
	if err != nil {
		return Days{}, daysError("%q is not a day", first)
	}
	to, err := time.Parse(time.DateOnly, last)
	switch {
	case err != nil:
		return Days{}, daysError("%q is not a day", last)
	case to.Before(from):
		return Days{}, daysError("%q ends before it begins", text)
	}
	return Days{first: from.Unix() / day, last: to.Unix() / day}, nil
}

func daysError(format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...), Hint: "write 2027-01-01, or 2027-02-05/2027-02-11"}
}

// Window is a time from an instant up to and without another.
type Window struct{ From, To time.Time }

// CalendarOptions say which days are off.
type CalendarOptions struct {
	Name             string
	Location         *time.Location // in which a day begins and ends; UTC if nil
	WorkingDays      []time.Weekday // of each week; every day if empty
	DaysOff          []Days
	ExtraWorkingDays []Days   // which work whatever the other two say
	Blackouts        []Window // in which nothing starts, on working days too
}

// Calendar says which days are off, and when nothing may start. It never changes and is safe for concurrent use.
type Calendar struct {
	name      string
	zone      *time.Location
	working   uint8 // bit 0 is Sunday
	off, on   []Days
	blackouts []Window
}

// NewCalendar returns the calendar. The error is an [*Error].
func NewCalendar(o CalendarOptions) (*Calendar, error) {
	c := &Calendar{
		name: o.Name, zone: o.Location,
		off: merge(o.DaysOff), on: merge(o.ExtraWorkingDays), blackouts: slices.Clone(o.Blackouts),
	}
	if c.zone == nil {
		c.zone = time.UTC
	}
	for _, w := range o.WorkingDays {
		if w < time.Sunday || w > time.Saturday {
			return nil, &Error{Message: fmt.Sprintf("%d is not a weekday", w), Hint: "0 to 6, from Sunday"}
		}
		c.working |= 1 << w
	}
	if c.working == 0 {
		c.working = 0x7f
	}
	for _, w := range c.blackouts {
		if !w.From.Before(w.To) {
			return nil, &Error{Message: fmt.Sprintf("a blackout ends at %s, before it begins", w.To.Format(time.RFC3339)),
				Hint: "from is before to"}
		}
	}
	slices.SortFunc(c.blackouts, func(a, b Window) int { return a.From.Compare(b.From) })
	for i := 1; i < len(c.blackouts); i++ {
		// Each ends no earlier than those before it, so that the last one to begin tells.
		if c.blackouts[i].To.Before(c.blackouts[i-1].To) {
			c.blackouts[i].To = c.blackouts[i-1].To
		}
	}
	return c, nil
}

// Name returns the calendar's name.
func (c *Calendar) Name() string { return c.name }

// merge sorts days and joins those that overlap.
func merge(list []Days) []Days {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Days) int { return int(a.first - b.first) })
	merged := list[:0]
	for _, d := range list {
		if n := len(merged); n > 0 && d.first <= merged[n-1].last {
			merged[n-1].last = max(merged[n-1].last, d.last)
			continue
		}
		merged = append(merged, d)
	}
	return merged
}

// dayOff reports whether a day, since 1970-01-01, is off.
func (c *Calendar) dayOff(d int64) bool {
	if contains(c.on, d) {
		return false
	}
	return c.working>>mod(d+4, 7)&1 == 0 || contains(c.off, d) // 1970-01-01 was a Thursday
}

func contains(list []Days, d int64) bool {
	i := sort.Search(len(list), func(i int) bool { return list[i].last >= d })
	return i < len(list) && list[i].first <= d
}

// blackout reports whether nothing may start at t.
func (c *Calendar) blackout(t time.Time) bool {
	i := sort.Search(len(c.blackouts), func(i int) bool { return c.blackouts[i].From.After(t) })
	return i > 0 && t.Before(c.blackouts[i-1].To)
}

// dayOf returns the day that the clock of a zone shows at an instant.
func dayOf(zone *time.Location, t time.Time) int64 {
	w := wallOf(zone, t)
	return (w - mod(w, day)) / day
}

func wallOf(zone *time.Location, t time.Time) int64 {
	u := t.Unix()
	return u + stretchAt(zone, u).offset
}
