package schedule_test

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The oracle says by trial which instants a schedule of fields names. It is written to the rule's words and shares nothing
// with the package: it reads the text anew for each value, walks the zone's clock step by step, and remembers what it saw.

// clock is what a zone's clock showed at each step of a time.
type clock struct {
	step int64
	at   []int64    // Unix time
	wall []int64    // what the clock showed, as seconds from 1970-01-01T00:00 on it
	seen []bool     // whether it had shown that before
	gap  [][2]int64 // by index: the wall times from, and without the end, that were left out just before
}

// watch looks at a zone's clock from one instant to another. It starts two days before, to know what was seen already.
func watch(zone *time.Location, from, to, step int64) *clock {
	c := &clock{step: step}
	first := from - 2*24*3600
	const widest = 2 * 24 * 3600 // that a clock is ever off, either way
	shown := make([]bool, (to-first+2*widest)/step)
	for u := first; u < to; u += step {
		_, offset := time.Unix(u, 0).In(zone).Zone()
		wall := u + int64(offset)
		var gap [2]int64
		if last := len(c.wall) - 1; last >= 0 && wall > c.wall[last]+step {
			gap = [2]int64{c.wall[last] + step, wall}
		}
		c.at, c.wall, c.gap = append(c.at, u), append(c.wall, wall), append(c.gap, gap)
		place := (wall - first + widest) / step
		c.seen = append(c.seen, shown[place])
		shown[place] = true
	}
	keep, _ := slices.BinarySearch(c.at, from)
	c.at, c.wall, c.gap, c.seen = c.at[keep:], c.wall[keep:], c.gap[keep:], c.seen[keep:]
	return c
}

// oracle answers for one schedule.
type oracle struct {
	second, minute [60]bool
	hour           [24]bool
	clockBound     bool
	text           [7]string
	days           map[int64]bool
}

func newOracle(text string) *oracle {
	words := strings.Fields(text)
	if len(words) == 5 {
		words = append([]string{"0"}, words...)
	}
	if len(words) == 6 {
		words = append(words, "*")
	}
	o := &oracle{days: map[int64]bool{}, text: [7]string(words)}
	for v := range 60 {
		o.second[v] = names(words[0], v, 0, 59)
		o.minute[v] = names(words[1], v, 0, 59)
	}
	for v := range 24 {
		o.hour[v] = names(words[2], v, 0, 23)
	}
	o.clockBound = !strings.HasPrefix(words[1], "*") && !strings.HasPrefix(words[2], "*")
	return o
}

// fires returns the instants that the schedule names while the clock was watched.
func (o *oracle) fires(c *clock) []int64 {
	var fires []int64
	for i, u := range c.at {
		due := o.names(c.wall[i])
		if o.clockBound {
			due = due && !c.seen[i] || o.inGap(c.gap[i], c.step)
		}
		if due {
			fires = append(fires, u)
		}
	}
	return fires
}

func (o *oracle) inGap(gap [2]int64, step int64) bool {
	for w := gap[0]; w < gap[1]; w += step {
		if o.names(w) {
			return true
		}
	}
	return false
}

func (o *oracle) names(wall int64) bool {
	tod := (wall%86400 + 86400) % 86400
	if !o.second[tod%60] || !o.minute[tod/60%60] || !o.hour[tod/3600] {
		return false
	}
	date := wall - tod
	due, known := o.days[date]
	if !known {
		due = o.namesDay(time.Unix(date, 0).UTC())
		o.days[date] = due
	}
	return due
}

func (o *oracle) namesDay(date time.Time) bool {
	if !names(o.text[4], int(date.Month()), 1, 12) || !names(o.text[6], date.Year(), 1, 9999) {
		return false
	}
	byDate, byWeekday := false, false
	for item := range strings.SplitSeq(o.text[3], ",") {
		byDate = byDate || namesDate(item, date)
	}
	for item := range strings.SplitSeq(o.text[5], ",") {
		byWeekday = byWeekday || namesWeekday(item, date)
	}
	restricted := func(field string) bool { return !strings.HasPrefix(field, "*") && !strings.HasPrefix(field, "?") }
	if restricted(o.text[3]) && restricted(o.text[5]) {
		return byDate || byWeekday
	}
	return byDate && byWeekday
}

func namesDate(item string, date time.Time) bool {
	lastDay := date.AddDate(0, 0, 1-date.Day()).AddDate(0, 1, -1).Day()
	before, weekday := strings.CutSuffix(item, "W")
	var day int
	switch {
	case before == "L":
		day = lastDay
	case strings.HasPrefix(before, "L-"):
		n, _ := strconv.Atoi(before[2:])
		day = lastDay - n
	case weekday:
		day, _ = strconv.Atoi(before)
	default:
		return names(item, date.Day(), 1, 31)
	}
	if day < 1 || day > lastDay {
		return false
	}
	if !weekday {
		return date.Day() == day
	}
	for distance := range 3 {
		for _, d := range []int{day - distance, day + distance} {
			try := date.AddDate(0, 0, d-date.Day())
			if try.Month() == date.Month() && try.Weekday() != time.Saturday && try.Weekday() != time.Sunday {
				return d == date.Day()
			}
		}
	}
	return false
}

func namesWeekday(item string, date time.Time) bool {
	if name, ok := strings.CutSuffix(item, "L"); ok {
		return names7(name, date.Weekday()) && date.AddDate(0, 0, 7).Month() != date.Month()
	}
	if name, k, ok := strings.Cut(item, "#"); ok {
		return names7(name, date.Weekday()) && strconv.Itoa((date.Day()-1)/7+1) == k
	}
	return names7(item, date.Weekday())
}

func names7(item string, weekday time.Weekday) bool {
	if item == "*" || strings.HasPrefix(item, "*/") || item == "?" {
		return names(item, int(weekday), 0, 6)
	}
	if low, high, ok := strings.Cut(item, "-"); ok && strings.HasPrefix(high, "sun") && low != "sun" {
		item = low + "-7" + strings.TrimPrefix(high, "sun")
	}
	if low, _, ok := strings.Cut(item, "/"); ok && !strings.Contains(low, "-") {
		return names(item, int(weekday), 0, 6)
	}
	return names(item, int(weekday), 0, 7) || weekday == 0 && names(item, 7, 0, 7)
}

// names reports whether a list names a value, by counting up from the start of each item.
func names(list string, value, low, high int) bool {
	number := func(s string) int {
		for i, word := range strings.Fields("sun mon tue wed thu fri sat") {
			if s == word {
				return i
			}
		}
		for i, word := range strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec") {
			if s == word {
				return i + 1
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			panic("the oracle can't read " + list)
		}
		return n
	}
	for item := range strings.SplitSeq(list, ",") {
		span, step, stepped := strings.Cut(item, "/")
		from, to := low, high
		if span != "*" && span != "?" {
			first, last, ranged := strings.Cut(span, "-")
			from = number(first)
			if ranged {
				to = number(last)
			} else if !stepped {
				to = from
			}
		}
		by := 1
		if stepped {
			by = number(step)
		}
		for v := from; v <= to; v += by {
			if v == value {
				return true
			}
		}
	}
	return false
}
