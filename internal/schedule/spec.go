package schedule

import (
	"math/bits"
	"time"
)

// spec is a schedule of fields. A set of values is a word with a bit for each.
type spec struct {
	second, minute uint64
	hour, dom      uint32
	month          uint16
	dow            uint8     // bit 0 is Sunday
	last           uint8     // of dow: nL
	nearest        uint32    // of dom: nW
	back           uint32    // of dom: L-n, bit 0 is L
	backNearest    uint32    // of dom: L-nW, bit 0 is LW
	nth            [5]uint8  // of dow: n#k at [k-1]
	years          [3]uint64 // from firstYear
	everyYear      bool
	anyDom, anyDow bool // the field begins with * or ?
	clockBound     bool
	zone           *time.Location
}

const (
	firstYear = 1970 // that the year field can name
	finalYear = 2099

	// cycle is after how many years the calendar repeats itself, weekdays included: what does not come in it never comes.
	cycle = 400

	// maxGaps is after how many wall times in a row that did not exist, or lay past their stretch, a search gives up.
	maxGaps = 128
)

// Next returns the first instant after t.
func (s *spec) Next(t time.Time) time.Time {
	next, ok := s.after(t.Unix())
	if !ok {
		return time.Time{}
	}
	return time.Unix(next, 0).UTC()
}

// after returns the first instant after u.
func (s *spec) after(u int64) (int64, bool) {
	if s.clockBound {
		return s.afterByClock(u)
	}
	return s.afterByElapsed(u)
}

// afterByClock finds the next wall time that is named, and the instant at which the clock first reaches it.
func (s *spec) afterByClock(u int64) (int64, bool) {
	now := stretchAt(s.zone, u)
	w, ok := s.match(reached(s.zone, u, now) + 1)
	if !ok {
		return 0, false
	}
	if next := w - now.offset; next < now.end {
		return next, true
	}
	return reach(s.zone, w), true
}

// afterByElapsed finds the next instant whose wall time is named: stretch by stretch, since each has its own offset.
func (s *spec) afterByElapsed(u int64) (int64, bool) {
	u++
	now := stretchAt(s.zone, u)
	from := u + now.offset // nothing from there up to w is named
	w, ok := s.match(from)
	var tried years
	for range maxGaps {
		if next := w - now.offset; !ok || next < now.end {
			return next, ok
		}
		u = now.end
		if u > from+farthest {
			// The clock can't show a wall time before from again.
			u = max(u, w-farthest)
		}
		now = stretchAt(s.zone, u)
		if shown := u + now.offset; shown < from || shown > w {
			from = shown
			w, ok = s.match(from)
			if tried.before(w, s); tried.all() {
				return 0, false
			}
		}
	}
	return 0, false
}

// years are those in which a search found nothing, by their kind: on the weekday that a year begins with, and on whether it
// is a leap year, depends its calendar, and so what a zone's rule does to it.
type years struct {
	next  int    // the first that may still join them
	kinds uint16 // a bit for each of the 14
}

// nearRuled is so close to 2038, from when on every zone follows a rule but for those that go by the moon, that the 28 years
// and more that it takes to see all kinds last until then: a zone's table may tell of changes before.
const nearRuled = 2010

// before takes in the years before that of the wall time w, as far as they are named.
func (y *years) before(w int64, s *spec) {
	year := time.Unix(w, 0).UTC().Year()
	if y.next == 0 {
		y.next = max(year+1, nearRuled) // the search may have begun in the middle of this one
	}
	for ; y.next < year; y.next++ {
		if s.namesYear(y.next) {
			february := monthOf(y.next, time.February)
			y.kinds |= 1 << (2*february.first + february.length - 28)
		}
	}
}

// all reports whether there were years of all kinds: what none of them had, no later one has.
func (y *years) all() bool { return y.kinds == 1<<14-1 }

// match returns the first wall time from w on that the fields name.
func (s *spec) match(w int64) (int64, bool) {
	t := time.Unix(w, 0).UTC()
	year, month, dom := t.Date()
	if s.names(year, month, dom) {
		midnight := w - mod(w, day)
		if tod, ok := s.timeOfDay(int(w - midnight)); ok {
			return midnight + int64(tod), true
		}
	}
	midnight, ok := s.nextDay(year, month, dom+1)
	if !ok {
		return 0, false
	}
	tod, _ := s.timeOfDay(0)
	return midnight + int64(tod), true
}

// timeOfDay returns the first time of day, in seconds, from tod on.
func (s *spec) timeOfDay(tod int) (int, bool) {
	hour, minute, second := tod/3600, tod/60%60, tod%60
	if s.hour>>hour&1 == 1 {
		if s.minute>>minute&1 == 1 {
			if next, ok := lowest(s.second, second); ok {
				return hour*3600 + minute*60 + next, true
			}
		}
		if next, ok := lowest(s.minute, minute+1); ok {
			return hour*3600 + next*60 + bits.TrailingZeros64(s.second), true
		}
	}
	if next, ok := lowest(uint64(s.hour), hour+1); ok {
		return next*3600 + bits.TrailingZeros64(s.minute)*60 + bits.TrailingZeros64(s.second), true
	}
	return 0, false
}

// lowest returns the least value of a set that is not below n.
func lowest(set uint64, n int) (int, bool) {
	rest := set >> n
	return n + bits.TrailingZeros64(rest), rest != 0
}

func (s *spec) namesYear(year int) bool {
	if s.everyYear {
		return true
	}
	i := year - firstYear
	return i >= 0 && year <= finalYear && s.years[i/64]>>(i%64)&1 == 1
}

func (s *spec) names(year int, month time.Month, dom int) bool {
	return s.month>>month&1 == 1 && s.namesYear(year) && s.days(year, month)>>dom&1 == 1
}

// nextDay returns the midnight of the first day that is named, from the day given on. The day may be one past its month.
func (s *spec) nextDay(year int, month time.Month, dom int) (int64, bool) {
	if !s.everyYear && year < firstYear {
		year, month, dom = firstYear, time.January, 1
	}
	first := int(month)
	for end := year + cycle; year <= end; year++ {
		if s.namesYear(year) {
			for m, ok := lowest(uint64(s.month), first); ok; m, ok = lowest(uint64(s.month), m+1) {
				if m != int(month) {
					dom = 1
				}
				if d, ok := lowest(uint64(s.days(year, time.Month(m))), dom); ok {
					return time.Date(year, time.Month(m), d, 0, 0, 0, 0, time.UTC).Unix(), true
				}
			}
		}
		first, month, dom = 1, 0, 1
	}
	return 0, false
}
