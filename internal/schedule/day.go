package schedule

import (
	"math/bits"
	"time"
)

// days returns the days of a month that the day fields name, a bit for each.
func (s *spec) days(year int, month time.Month) uint32 {
	m := monthOf(year, month)
	byDate := s.dom
	if s.nearest|s.back|s.backNearest != 0 {
		byDate |= s.relative(m)
	}
	byWeekday := m.weekdays(s.dow)
	if s.last != 0 || s.nth != [5]uint8{} {
		byWeekday |= s.counted(m)
	}
	if s.anyDom || s.anyDow {
		return byDate & byWeekday & m.all()
	}
	return (byDate | byWeekday) & m.all()
}

// relative returns the days of L-n, nW and L-nW.
func (s *spec) relative(m monthDays) uint32 {
	var days uint32
	for set := s.back; set != 0; set &= set - 1 {
		days |= 1 << max(m.length-bits.TrailingZeros32(set), 0)
	}
	for set := s.nearest; set != 0; set &= set - 1 {
		days |= 1 << m.nearestWeekday(bits.TrailingZeros32(set))
	}
	for set := s.backNearest; set != 0; set &= set - 1 {
		days |= 1 << m.nearestWeekday(m.length-bits.TrailingZeros32(set))
	}
	return days
}

// counted returns the days of nL and n#k.
func (s *spec) counted(m monthDays) uint32 {
	days := m.weekdays(s.last) & (0x7f << (m.length - 6))
	for i, set := range s.nth {
		days |= m.weekdays(set) & (0x7f << (7*i + 1))
	}
	return days
}

// monthDays is what a month's days depend on.
type monthDays struct {
	first  int // weekday of the 1st, 0 is Sunday
	length int
}

func monthOf(year int, month time.Month) monthDays {
	length := 31
	switch month {
	case time.April, time.June, time.September, time.November:
		length = 30
	case time.February:
		length = 28
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			length = 29
		}
	}
	first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Unix() / day
	return monthDays{first: int(mod(first+4, 7)), length: length} // 1970-01-01 was a Thursday
}

// all returns the bits of every day.
func (m monthDays) all() uint32 { return 1<<(m.length+1) - 2 }

// weekdays returns the days that fall on a weekday of the set; some of them may be past the month's end.
func (m monthDays) weekdays(set uint8) uint32 {
	week := (uint64(set)>>m.first | uint64(set)<<(7-m.first)) & 0x7f // bit 0 is the 1st
	const everyWeek = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28
	return uint32(week * everyWeek << 1)
}

// nearestWeekday returns the day from Monday to Friday that is nearest to d in the same month, 0 if the month has no d.
func (m monthDays) nearestWeekday(d int) int {
	if d < 1 || d > m.length {
		return 0
	}
	switch weekday := (m.first + d - 1) % 7; {
	case weekday == 6 && d == 1:
		return 3
	case weekday == 6:
		return d - 1
	case weekday == 0 && d == m.length:
		return d - 2
	case weekday == 0:
		return d + 1
	}
	return d
}
