package schedule

import "time"

// mostDaysOff bounds how far ahead a working day is looked for.
const mostDaysOff = 366

// moves returns the calendar by which a day is off and its occurrences move; nil if they stay.
func (s *Set) moves(d int64) *Calendar {
	for _, c := range s.move {
		if c.dayOff(d) {
			return c
		}
	}
	return nil
}

// movesAt is moves for the day of an instant.
func (s *Set) movesAt(t time.Time) *Calendar {
	if len(s.move) == 0 {
		return nil
	}
	return s.moves(dayOf(s.zone, t))
}

// nextWorking returns the first day after d on which occurrences stay.
func (s *Set) nextWorking(d int64) (int64, bool) {
	for next := d + 1; next <= d+mostDaysOff; next++ {
		if s.moves(next) == nil {
			return next, true
		}
	}
	return 0, false
}

// target returns where an instant on a day off is moved to.
func (s *Set) target(t time.Time) (time.Time, bool) {
	w := wallOf(s.zone, t)
	tod := mod(w, day)
	working, ok := s.nextWorking((w - tod) / day)
	if !ok {
		return time.Time{}, false
	}
	w = working*day + tod
	to := time.Unix(reach(s.zone, w), 0).UTC()
	if wallOf(s.zone, to) == w {
		to = to.Add(time.Duration(t.Nanosecond()))
	}
	return to, true
}

// arrival returns the first instant after t that others are moved to, as far as those are not after t themselves: from what
// comes later nothing arrives before it. So there is one day on which it can be: the first that works after the days off
// that t lies in, or that of t itself if days off end with it.
func (s *Set) arrival(t time.Time) (due, bool) {
	if len(s.move) == 0 {
		return due{}, false
	}
	u := t.Unix()
	now := reached(s.zone, u, stretchAt(s.zone, u))
	working := (now - mod(now, day)) / day
	if s.moves(working) != nil {
		next, ok := s.nextWorking(working)
		if !ok {
			return due{}, false
		}
		working = next
	}
	first := working
	for first > working-mostDaysOff && s.moves(first-1) != nil {
		first--
	}
	var best due
	tod := max(now-working*day, 0) // before it, the clock has been
	for off := first; off < working; off++ {
		s.arrivals(t, off, tod, &best)
	}
	return best, !best.at.IsZero()
}

// arrivals puts into best what is moved from a day off, of a time of day or a later one, if it arrives after t and earlier
// than best. It goes through the day by the stretches of the zone, in each of which the time of day goes forward.
func (s *Set) arrivals(t time.Time, off, tod int64, best *due) {
	for u := reach(s.zone, off*day); u < (off+1)*day+farthest; {
		now := stretchAt(s.zone, u)
		end := time.Unix(min(now.end, (off+1)*day-now.offset), 0)
		from := time.Unix(max(now.start, off*day+tod-now.offset), 0)
		for {
			named, ok := s.named(from.Add(-1))
			if !ok || !named.at.Before(end) {
				break
			}
			from = named.at.Add(1)
			at, ok := s.target(named.at)
			if !ok || !at.After(t) {
				continue
			}
			switch {
			case best.at.IsZero() || at.Before(best.at):
				*best = due{at: at, from: named.at, jitter: named.jitter}
			case at.Equal(best.at):
				best.jitter = min(best.jitter, named.jitter)
			}
			break
		}
		u = now.end
	}
}
