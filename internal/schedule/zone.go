package schedule

import (
	"math"
	"time"
)

// A wall time is a number here: the seconds from 1970-01-01T00:00 to it on the zone's clock, as if every day had 24 hours.
// The wall time of an instant is its Unix time plus the zone's offset.

const (
	day = 24 * 60 * 60

	// farthest is more seconds than any zone's clock is ever from UTC, with some to spare.
	farthest = 24 * 60 * 60
)

// stretch is a time of one offset: from start up to and without end, both in Unix time.
type stretch struct{ start, end, offset int64 }

// stretchAt returns the stretch that has the instant u in it.
func stretchAt(zone *time.Location, u int64) stretch {
	if zone == time.UTC {
		return stretch{start: math.MinInt64, end: math.MaxInt64}
	}
	t := time.Unix(u, 0).In(zone)
	_, offset := t.Zone()
	start, end := t.ZoneBounds()
	s := stretch{start: math.MinInt64, end: math.MaxInt64, offset: int64(offset)}
	if !start.IsZero() {
		s.start = start.Unix()
	}
	if !end.IsZero() {
		s.end = end.Unix()
	}
	if s.end <= u {
		// Where a zone's rule has no table, the time package ends a stretch after the 365th day of the year, also on the
		// 366th.
		s.end += day
	}
	return s
}

// reached returns the latest wall time that the zone's clock has shown up to the instant u, which is in s: later than the
// clock's own while it repeats itself.
func reached(zone *time.Location, u int64, s stretch) int64 {
	latest := u + s.offset
	for s.start > u-2*farthest {
		last := s.start - 1
		s = stretchAt(zone, last)
		latest = max(latest, last+s.offset)
	}
	return latest
}

// reach returns the first instant at which the zone's clock shows the wall time w or a later one.
func reach(zone *time.Location, w int64) int64 {
	s := stretchAt(zone, w-farthest)
	for {
		if u := max(s.start, w-s.offset); u < s.end {
			return u
		}
		s = stretchAt(zone, s.end)
	}
}
