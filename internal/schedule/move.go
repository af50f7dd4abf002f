package schedule

import "time"

// mostDaysOff bounds how far ahead a working day is looked for.
const mostDaysOff = 366

// moves returns the calendar by which a day is off and its occurrences move; nil if they stay.
func (u *uses) moves(d int64) *Calendar {
	for _, c := range u.move {
		if c.dayOff(d) {
			return c
		}
	}
	return nil
}

// movesAt is moves for the day of an instant.
func (u *uses) movesAt(t time.Time) *Calendar {
	if u == nil || len(u.move) == 0 {
		return nil
	}
	return u.moves(dayOf(u.zone, t))
}

// nextWorking returns the first day after d on which occurrences stay.
func (u *uses) nextWorking(d int64) (int64, bool) {
	for next := d + 1; next <= d+mostDaysOff; next++ {
		if u.moves(next) == nil {
			return next, true
		}
	}
	return 0, false
}

// target returns where an instant on a day off is moved to.
func (u *uses) target(t time.Time) (time.Time, bool) {
	w := wallOf(u.zone, t)
	tod := mod(w, day)
	working, ok := u.nextWorking((w - tod) / day)
	if !ok {
		return time.Time{}, false
	}
	w = working*day + tod
	to := time.Unix(reach(u.zone, w), 0).UTC()
	if wallOf(u.zone, to) == w {
		to = to.Add(time.Duration(t.Nanosecond()))
	}
	return to, true
}

// arrival returns the first instant after t that others are moved to, as far as those are not after t themselves: from what
// comes later nothing arrives before it. So there is one day on which it can be: the first that works after the days off
// that t lies in, or that of t itself if days off end with it.
func (s *Set) arrival(t time.Time) (due, bool) {
	if s.uses == nil || len(s.uses.move) == 0 {
		return due{}, false
	}
	u := t.Unix()
	now := reached(s.uses.zone, u, stretchAt(s.uses.zone, u))
	working := (now - mod(now, day)) / day
	if s.uses.moves(working) != nil {
		next, ok := s.uses.nextWorking(working)
		if !ok {
			return due{}, false
		}
		working = next
	}
	first := working
	for first > working-mostDaysOff && s.uses.moves(first-1) != nil {
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
	for u := reach(s.uses.zone, off*day); u < (off+1)*day+farthest; {
		now := stretchAt(s.uses.zone, u)
		end := time.Unix(min(now.end, (off+1)*day-now.offset), 0)
		from := time.Unix(max(now.start, off*day+tod-now.offset), 0)
		for {
			named, ok := s.named(from.Add(-1))
			if !ok || !named.at.Before(end) {
				break
			}
			from = named.at.Add(1)
			at, ok := s.uses.target(named.at)
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
