package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// english says a schedule in English: the time, then the days, the months and the years.
type english struct{}

func (english) reboot() string { return "when the agent starts" }

func (english) interval(d time.Duration) string { return "every " + spanText(d) }

func (english) instants(list instants, zone *time.Location) string {
	if len(list) == 1 {
		return "once, at " + list[0].In(zone).Format("2006-01-02 15:04:05 MST")
	}
	return fmt.Sprintf("%d times, from %s to %s", len(list), list[0].In(zone).Format("2006-01-02 15:04:05 MST"),
		list[len(list)-1].In(zone).Format("2006-01-02 15:04:05 MST"))
}

func (e english) spec(p phrases) string {
	parts := append([]string{e.time(p)}, e.days(p)...)
	if !p.month.all {
		parts = append(parts, "in "+e.list(p.month, "", "month", func(n int) string { return time.Month(n).String() }))
	}
	if !p.year.all {
		parts = append(parts, "in "+e.list(p.year, "", "year", strconv.Itoa))
	}
	return strings.Join(parts, ", ")
}

func (e english) time(p phrases) string {
	if len(p.times) > 0 {
		text := "at " + and(p.times)
		if p.dom.all && p.dow.all {
			text += " every day"
		}
		return text
	}
	var parts []string
	if !p.second.zero() {
		parts = append(parts, e.unit(p.second, "second"))
	}
	if !p.minute.all || !p.second.flows() {
		parts = append(parts, e.unit(p.minute, "minute"))
	}
	text := strings.Join(parts, ", ")
	switch hours := p.hour.list; {
	case p.hour.all && p.minute.flows():
		return text
	case p.hour.all:
		return text + " of every hour"
	case p.hour.even:
		return text + fmt.Sprintf(" of every %s hour", ordinal(p.hour.step))
	case p.hour.run || len(hours) == 1:
		return text + fmt.Sprintf(", from %02d:00 through %02d:59", hours[0], hours[len(hours)-1])
	}
	return text + " of " + e.list(p.hour, "the hours ", "hour", func(n int) string { return fmt.Sprintf("%02d", n) })
}

// unit says seconds or minutes.
func (e english) unit(v values, unit string) string {
	switch {
	case v.all:
		return "every " + unit
	case v.even:
		return fmt.Sprintf("every %d %ss", v.step, unit)
	}
	return "at " + e.list(v, unit+" ", unit, strconv.Itoa)
}

// list says values one by one after a word, or a run or progression by its ends.
func (e english) list(v values, before, unit string, name func(int) string) string {
	switch n := len(v.list); {
	case v.run:
		return before + name(v.list[0]) + " through " + name(v.list[n-1])
	case v.step > 1 && n > fewTimes:
		return fmt.Sprintf("every %s %s from %s through %s", ordinal(v.step), unit, name(v.list[0]), name(v.list[n-1]))
	}
	return before + and(names(v.list, name))
}

// days says both day fields: alone, or joined by the word that their rule is.
func (e english) days(p phrases) []string {
	var dates, weekdays []string
	if !p.dom.all && len(p.dom.list) > 0 {
		dates = append(dates, e.list(p.dom, "day ", "day", strconv.Itoa)+" of the month")
	}
	for _, d := range p.domRest {
		dates = append(dates, e.relative(d))
	}
	if !p.dow.all && len(p.dow.list) > 0 {
		weekdays = append(weekdays, e.list(p.dow, "", "weekday", weekdayName))
	}
	for _, d := range p.dowRest {
		weekdays = append(weekdays, e.relative(d))
	}
	byDate, byWeekday := p.dom.all, p.dow.all
	switch {
	case byDate && byWeekday, p.either && (byDate || byWeekday):
		return nil
	case byWeekday:
		return []string{"on " + and(dates)}
	case byDate:
		return []string{"on " + and(weekdays)}
	case p.either:
		return []string{"on " + and(dates) + ", or on " + and(weekdays)}
	}
	if !p.dow.run && len(p.dow.list) > 0 {
		weekdays = append(names(p.dow.list, weekdayName), weekdays[1:]...)
	}
	return []string{"on " + and(dates), "if that is " + or(weekdays)}
}

func (english) relative(d relativeDay) string {
	weekday := weekdayName(d.weekday)
	switch d.kind {
	case lastDay, lastWeekday:
		day := ordinal(d.n+1) + " to last day of the month"
		switch {
		case d.kind == lastDay && d.n == 0:
			return "the last day of the month"
		case d.kind == lastDay:
			return "the " + day
		case d.n == 0:
			return "the last weekday of the month"
		}
		return "the weekday nearest to the " + day
	case nearestWeekday:
		return fmt.Sprintf("the weekday nearest to day %d of the month", d.n)
	case lastOfWeekday:
		return "the last " + weekday + " of the month"
	}
	return fmt.Sprintf("the %s %s of the month", []string{"first", "second", "third", "fourth", "fifth"}[d.n-1], weekday)
}

func weekdayName(n int) string { return time.Weekday(n % 7).String() }

func names(list []int, name func(int) string) []string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = name(n)
	}
	return texts
}

func and(texts []string) string { return join(texts, ", ", " and ") }
func or(texts []string) string  { return join(texts, ", ", " or ") }

// join puts one word between texts, and another before the last.
func join(texts []string, comma, last string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	n := len(texts) - 1
	return strings.Join(texts[:n], comma) + last + texts[n]
}

func ordinal(n int) string {
	suffix := "th"
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return strconv.Itoa(n) + suffix
}

// spanText writes a duration with its units in words. A day is not one of them: an interval knows no days, which may have 23
// hours.
func spanText(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}, {time.Millisecond, "millisecond"}} {
		n := int(d / unit.size)
		d -= time.Duration(n) * unit.size
		switch {
		case n == 1 && len(parts) == 0 && d == 0:
			return unit.name
		case n > 0:
			parts = append(parts, count(n, unit.name))
		}
	}
	return and(parts)
}
