package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// chinese says a schedule in Chinese: the years, the months, the days, then the time.
type chinese struct{}

func (chinese) reboot() string { return "代理启动时" }

func (chinese) interval(d time.Duration) string {
	var b strings.Builder
	b.WriteString("每")
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Hour, " 小时"}, {time.Minute, " 分钟"}, {time.Second, " 秒"}, {time.Millisecond, " 毫秒"}} {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, " %d%s", n, unit.name)
			d %= unit.size
		}
	}
	return b.String()
}

func (chinese) instants(list instants, zone *time.Location) string {
	const layout = "2006-01-02 15:04:05 MST"
	if len(list) == 1 {
		return "仅一次：" + list[0].In(zone).Format(layout)
	}
	first, last := list[0].In(zone), list[len(list)-1].In(zone)
	return fmt.Sprintf("共 %d 次：%s 至 %s", len(list), first.Format(layout), last.Format(layout))
}

func (c chinese) spec(p phrases) string {
	var parts []string
	if !p.year.all {
		parts = append(parts, c.list(p.year, " 年", strconv.Itoa))
	}
	months := ""
	if !p.month.all {
		months = "每年 " + c.list(p.month, " 月", strconv.Itoa)
		if !p.year.all {
			months = c.list(p.month, " 月", strconv.Itoa)
		}
	}
	days := c.days(p, months != "")
	switch {
	case months != "" && days != "" && days[0] <= '9':
		parts = append(parts, months+"的 "+days)
	case months != "" && days != "":
		parts = append(parts, months+"的"+days)
	case months+days != "":
		parts = append(parts, months+days)
	}
	times := c.time(p)
	if len(p.times) > 0 && days == "" {
		times = "每天 " + times
	}
	return strings.Join(append(parts, times), "，")
}

func (c chinese) time(p phrases) string {
	if len(p.times) > 0 {
		return strings.Join(p.times, "、")
	}
	var parts []string
	switch hours := p.hour.list; {
	case p.hour.all && p.minute.flows():
	case p.hour.all:
		parts = append(parts, "每小时")
	case p.hour.run || len(hours) == 1:
		parts = append(parts, fmt.Sprintf("%02d:00 至 %02d:59", hours[0], hours[len(hours)-1]))
	case p.hour.even:
		parts = append(parts, fmt.Sprintf("每 %d 小时", p.hour.step))
	default:
		parts = append(parts, c.list(p.hour, " 时", strconv.Itoa))
	}
	if !p.minute.all || !p.second.flows() {
		parts = append(parts, c.unit(p.minute, "分钟", " 分"))
	}
	if !p.second.zero() {
		parts = append(parts, c.unit(p.second, "秒", " 秒"))
	}
	return strings.Join(parts, "，")
}

// unit says seconds or minutes.
func (c chinese) unit(v values, span, point string) string {
	switch {
	case v.all:
		return "每" + span
	case v.even:
		return fmt.Sprintf("每 %d %s", v.step, span)
	}
	return "第 " + c.list(v, point, strconv.Itoa)
}

// list says values one by one, or a run or progression by its ends.
func (c chinese) list(v values, unit string, name func(int) string) string {
	switch n := len(v.list); {
	case v.run:
		return name(v.list[0]) + " 至 " + name(v.list[n-1]) + unit
	case v.step > 1 && n > fewTimes:
		return fmt.Sprintf("%s 至 %s%s（间隔 %d）", name(v.list[0]), name(v.list[n-1]), unit, v.step)
	}
	return strings.Join(names(v.list, name), "、") + unit
}

// days says both day fields: alone, or joined by the word that their rule is.
func (c chinese) days(p phrases, month bool) string {
	each := "每月"
	if month {
		each = ""
	}
	var dates, weekdays []string
	if !p.dom.all && len(p.dom.list) > 0 {
		dates = append(dates, strings.TrimSpace(each+" "+c.list(p.dom, " 日", strconv.Itoa)))
	}
	for _, d := range p.domRest {
		dates = append(dates, each+c.relative(d))
	}
	if !p.dow.all && len(p.dow.list) > 0 {
		weekdays = append(weekdays, c.weekdays(p.dow))
	}
	for _, d := range p.dowRest {
		weekdays = append(weekdays, each+c.relative(d))
	}
	byDate, byWeekday := p.dom.all, p.dow.all
	switch {
	case byDate && byWeekday, p.either && (byDate || byWeekday):
		return ""
	case byWeekday:
		return strings.Join(dates, "、")
	case byDate:
		return strings.Join(weekdays, "、")
	case p.either:
		return strings.Join(dates, "、") + "，或" + strings.Join(weekdays, "、")
	}
	return strings.Join(dates, "、") + "且为" + strings.Join(weekdays, "或")
}

func (c chinese) weekdays(v values) string {
	if v.run {
		return c.weekday(v.list[0]) + "至" + c.weekday(v.list[len(v.list)-1])
	}
	return strings.Join(names(v.list, c.weekday), "、")
}

func (chinese) weekday(n int) string {
	return "周" + []string{"日", "一", "二", "三", "四", "五", "六"}[n%7]
}

func (c chinese) relative(d relativeDay) string {
	switch d.kind {
	case lastDay:
		if d.n == 0 {
			return "最后一天"
		}
		return fmt.Sprintf("倒数第 %d 天", d.n+1)
	case lastWeekday:
		if d.n == 0 {
			return "最后一个工作日"
		}
		return fmt.Sprintf("最接近倒数第 %d 天的工作日", d.n+1)
	case nearestWeekday:
		return fmt.Sprintf("最接近 %d 日的工作日", d.n)
	case lastOfWeekday:
		return "最后一个" + c.weekday(d.weekday)
	}
	return fmt.Sprintf("第 %d 个%s", d.n, c.weekday(d.weekday))
}
