package schedule

import (
	"math/bits"
	"slices"
	"sort"
	"time"
)

// Count returns how many of the occurrences after one instant and up to another run, and the first and the last of them; the
// zero times if none does. It gives what going from one to the next by [Set.Next] gives. With one entry, and calendars that
// only skip days, it takes time that grows with the days or months in between; else it goes from one to the next.
func (s *Set) Count(after, until time.Time) (n int64, first, last time.Time) {
	list := s.entries()
	switch {
	case len(list) != 1:
		return s.enumerate(after, until)
	case s.uses == nil:
		return list[0].count(after, until)
	case len(s.uses.move) > 0 || s.uses.blackouts() && list[0].jitter > 0:
		return s.enumerate(after, until)
	}
	for after.Before(until) {
		end := s.uses.sameDay(after, until)
		k, from, to := s.countDay(list[0], after, end)
		if k > 0 && n == 0 {
			first = from
		}
		if k > 0 {
			n, last = n+k, to
		}
		after = end
	}
	return n, first, last
}

// enumerate is Count by going from one occurrence to the next.
func (s *Set) enumerate(after, until time.Time) (n int64, first, last time.Time) {
	for o, ok := s.Next(after); ok && !o.At.After(until); o, ok = s.Next(o.At) {
		if !o.Runs() {
			continue
		}
		if n == 0 {
			first = o.At
		}
		n, last = n+1, o.At
	}
	return n, first, last
}

// sameDay returns the latest instant, at most until, up to which no calendar comes to another day than that of the instants
// right after the one given.
func (u *uses) sameDay(after, until time.Time) time.Time {
	from := after.Add(1).Unix()
	end := until.Unix() + 1
	for _, c := range u.all {
		now := stretchAt(c.zone, from)
		end = min(end, now.end, from-mod(from+now.offset, day)+day)
	}
	if before := time.Unix(end, 0).Add(-1); before.Before(until) {
		return before
	}
	return until
}

// countDay is Count, of a set of one entry, where no calendar comes to another day.
func (s *Set) countDay(only entry, after, until time.Time) (n int64, first, last time.Time) {
	for _, c := range s.uses.all {
		if slices.ContainsFunc(c.blackouts, func(w Window) bool { return !w.From.After(until) && w.To.After(after) }) {
			return s.enumerate(after, until)
		}
	}
	for _, c := range s.uses.skip {
		if c.dayOff(dayOf(c.zone, until)) {
			return 0, time.Time{}, time.Time{}
		}
	}
	return only.count(after, until)
}

func (u *uses) blackouts() bool {
	return slices.ContainsFunc(u.all, func(c *Calendar) bool { return len(c.blackouts) > 0 })
}

// count counts the instants that the entry names after one and up to another.
func (e entry) count(after, until time.Time) (n int64, first, last time.Time) {
	if !e.startsAt.IsZero() && after.Before(e.startsAt) {
		after = e.startsAt.Add(-1)
	}
	if !e.endsAt.IsZero() && !until.Before(e.endsAt) {
		until = e.endsAt.Add(-1)
	}
	if after.Unix() < earliest {
		after = time.Unix(earliest, 0)
	}
	if until.Unix() > latest {
		until = time.Unix(latest, 999_999_999)
	}
	if !after.Before(until) || after.Unix() >= latest {
		return 0, time.Time{}, time.Time{}
	}
	when, ok := e.when.(counter)
	if !ok {
		return 0, time.Time{}, time.Time{}
	}
	if n = when.count(after, until); n == 0 {
		return 0, time.Time{}, time.Time{}
	}
	return n, e.when.Next(after), latestOf(when, after, until)
}

// counter is a kind of schedule that counts its instants after one and up to another without going through them.
type counter interface {
	count(after, until time.Time) int64
}

// latestOf returns the last instant up to until, of which there is one after the instant given. It looks back over times
// that double, and then halves them, since it is counting that takes little.
func latestOf(when counter, after, until time.Time) time.Time {
	end, lo := until, after
	for span := time.Second; span > 0; span *= 2 {
		back := end.Add(-span)
		if !back.After(after) {
			break
		}
		if when.count(back, end) > 0 {
			lo = back
			break
		}
		end = back
	}
	from := lo.UnixMilli() // every instant is a whole millisecond
	i := sort.Search(int(end.UnixMilli()-from), func(i int) bool { return when.count(time.UnixMilli(from+int64(i)), end) == 0 })
	return time.UnixMilli(from + int64(i)).UTC()
}

// count counts the multiples after one instant and up to another.
func (v interval) count(after, until time.Time) int64 {
	a, u := after.UnixMilli()-v.phase, until.UnixMilli()-v.phase
	return (u-mod(u, v.step))/v.step - (a-mod(a, v.step))/v.step
}

// count counts those of the list after one instant and up to another.
func (l instants) count(after, until time.Time) int64 {
	upTo := func(t time.Time) int { return sort.Search(len(l), func(i int) bool { return l[i].After(t) }) }
	return int64(upTo(until) - upTo(after))
}

// count counts the instants after one and up to another, stretch by stretch of the zone. Where the schedule is clock-bound,
// only the wall times that the clock has not shown before are counted, and those of the gap before a stretch are one.
func (s *spec) count(after, until time.Time) int64 {
	var n int64
	for u, end := after.Unix()+1, until.Unix(); u <= end; {
		now := stretchAt(s.zone, u)
		to := min(now.end-1, end)
		from := u + now.offset
		if s.clockBound {
			shown := reached(s.zone, u-1, stretchAt(s.zone, u-1))
			if shown+1 < from && s.walls(shown+1, from) > 0 {
				n++
			}
			if shown+1 < from {
				from++
			}
			from = max(from, shown+1)
		}
		n += s.walls(from, to+now.offset)
		u = to + 1
	}
	return n
}

// walls counts the wall times that are named, from one to another, both included.
func (s *spec) walls(from, to int64) int64 {
	if from > to {
		return 0
	}
	first, last := from-mod(from, day), to-mod(to, day)
	n := s.namedDays(first, last) * s.before(day)
	if s.namedDays(first, first) > 0 {
		n -= s.before(from - first)
	}
	if s.namedDays(last, last) > 0 {
		n -= s.before(day) - s.before(to-last+1)
	}
	return n
}

// before counts the times of a day that are named and come before one.
func (s *spec) before(tod int64) int64 {
	size := func(set uint64) int64 { return int64(bits.OnesCount64(set)) }
	hour, minute, second := tod/3600, tod/60%60, tod%60
	n := size(uint64(s.hour)&(1<<hour-1)) * size(s.minute) * size(s.second)
	if s.hour>>hour&1 == 0 {
		return n
	}
	n += size(s.minute&(1<<minute-1)) * size(s.second)
	if s.minute>>minute&1 == 1 {
		n += size(s.second & (1<<second - 1))
	}
	return n
}

// namedDays counts the days that are named, from one midnight to another, both included.
func (s *spec) namedDays(from, to int64) int64 {
	year, month, first := time.Unix(from, 0).UTC().Date()
	endYear, endMonth, end := time.Unix(to, 0).UTC().Date()
	var n int64
	for year < endYear || year == endYear && month <= endMonth {
		if s.month>>month&1 == 1 && s.namesYear(year) {
			days := s.days(year, month) &^ (1<<first - 1)
			if year == endYear && month == endMonth {
				days &= 1<<(end+1) - 1
			}
			n += int64(bits.OnesCount32(days))
		}
		first, month = 1, month+1
		if month > time.December {
			year, month = year+1, time.January
		}
	}
	return n
}
