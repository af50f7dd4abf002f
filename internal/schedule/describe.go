package schedule

import (
	"math/bits"
	"strings"
	"time"
)

// Describe says in words when the schedule is due, by the wall times of its zone: in Chinese if lang is zh or begins with
// zh-, else in English. The words are made from what was understood, not from the text, so they say what will happen.
func (s *Schedule) Describe(lang string) string {
	var l language = english{}
	if isChinese(lang) {
		l = chinese{}
	}
	switch when := s.when.(type) {
	case *spec:
		return l.spec(when.phrases())
	case interval:
		return l.interval(time.Duration(when.step) * time.Millisecond)
	case instants:
		return l.instants(when, s.zone)
	}
	return l.reboot()
}

func isChinese(lang string) bool { return lang == "zh" || strings.HasPrefix(lang, "zh-") }

// language puts what a schedule says into words.
type language interface {
	spec(phrases) string
	interval(time.Duration) string
	instants(list instants, zone *time.Location) string
	reboot() string
}

// phrases are the parts of a spec that a language says one by one.
type phrases struct {
	times                []string // every time of day, if there are few
	second, minute, hour values
	dom                  values
	domRest              []relativeDay
	dow                  values
	dowRest              []relativeDay
	either               bool // one of dom and dow is enough
	month, year          values
}

// relativeDay is a day that is not a plain value.
type relativeDay struct {
	kind    relativeKind
	n       int // the date, or how many days before the last, or which of the month (5 for #5)
	weekday int
}

type relativeKind int

const (
	lastDay        relativeKind = iota // L, L-n
	lastWeekday                        // LW, L-nW
	nearestWeekday                     // nW
	lastOfWeekday                      // nL
	nthOfWeekday                       // n#k
)

// values is a set of numbers, and the form in which it is said.
type values struct {
	all  bool
	list []int
	step int  // if it is over 1, the list is an even progression of three or more
	even bool // the progression goes on into the next hour, minute or day without a break
	run  bool // the list is an unbroken run of three or more
}

// fewTimes is how many times of day are said one by one.
const fewTimes = 4

func (s *spec) phrases() phrases {
	p := phrases{
		second: valuesOf(s.second, 0, 59), minute: valuesOf(s.minute, 0, 59), hour: valuesOf(uint64(s.hour), 0, 23),
		dom: valuesOf(uint64(s.dom), 1, 31), month: valuesOf(uint64(s.month), 1, 12),
		dow:    valuesOf(uint64(s.dow)|uint64(s.dow)<<7, 1, 7), // Sunday ends the week
		either: !s.anyDom && !s.anyDow,
	}
	n := bits.OnesCount64(s.second) * bits.OnesCount64(s.minute) * bits.OnesCount32(s.hour)
	for tod, ok := s.timeOfDay(0); ok && n <= fewTimes; tod, ok = s.timeOfDay(tod + 1) {
		p.times = append(p.times, clockText(int64(tod)))
	}
	p.domRest, p.dowRest = s.relativeDates(), s.relativeWeekdays()
	if s.everyYear {
		p.year.all = true
		return p
	}
	for y := firstYear; y <= finalYear; y++ {
		if s.namesYear(y) {
			p.year.list = append(p.year.list, y)
		}
	}
	p.year.shape(firstYear, finalYear)
	return p
}

func (s *spec) relativeDates() []relativeDay {
	var days []relativeDay
	for n := range 32 {
		if s.back>>n&1 == 1 {
			days = append(days, relativeDay{kind: lastDay, n: n})
		}
		if s.backNearest>>n&1 == 1 {
			days = append(days, relativeDay{kind: lastWeekday, n: n})
		}
		if s.nearest>>n&1 == 1 {
			days = append(days, relativeDay{kind: nearestWeekday, n: n})
		}
	}
	return days
}

func (s *spec) relativeWeekdays() []relativeDay {
	var days []relativeDay
	for w := range 7 {
		for i, set := range s.nth {
			if set>>w&1 == 1 {
				days = append(days, relativeDay{kind: nthOfWeekday, n: i + 1, weekday: w})
			}
		}
		if s.last>>w&1 == 1 {
			days = append(days, relativeDay{kind: lastOfWeekday, weekday: w})
		}
	}
	return days
}

func valuesOf(set uint64, low, high int) values {
	var v values
	for n := low; n <= high; n++ {
		if set>>n&1 == 1 {
			v.list = append(v.list, n)
		}
	}
	v.shape(low, high)
	return v
}

// shape finds the form of a list whose values could go from low to high.
func (v *values) shape(low, high int) {
	n := len(v.list)
	v.all = n == high-low+1
	if n < 3 || v.all {
		return
	}
	step := v.list[1] - v.list[0]
	for i := 2; i < n; i++ {
		if v.list[i]-v.list[i-1] != step {
			return
		}
	}
	first, last := v.list[0], v.list[n-1]
	v.run = step == 1
	if step > 1 {
		v.step = step
		v.even = first == low && last+step-low == high-low+1
	}
}

// flows reports whether the values go on into the next minute, hour or day without a break, which then needs no word.
func (v values) flows() bool { return v.all || v.even }

// zero reports whether 0 is the only value.
func (v values) zero() bool { return len(v.list) == 1 && v.list[0] == 0 }
