package crony

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"crony/internal/schedule"
)

// Calendar says on which days, and in which times, the jobs that keep it do not run.
type Calendar struct {
	Name             string     `json:"name"`                         // [a-z0-9][a-z0-9._-]*, at most 63
	Timezone         string     `json:"timezone,omitempty"`           // IANA name, in which a day begins and ends; UTC if empty
	WorkingDays      []Weekday  `json:"working_days,omitempty"`       // of each week; every day if empty
	DaysOff          []string   `json:"days_off,omitempty"`           // 2027-01-01, or 2027-02-05/2027-02-11 with both ends
	ExtraWorkingDays []string   `json:"extra_working_days,omitempty"` // the same forms; they work whatever the other two say
	Blackouts        []Blackout `json:"blackouts,omitempty"`          // in which nothing starts, on working days too
}

// Blackout is a time in which nothing starts.
type Blackout struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"` // without this instant itself
}

// Bounds on what a calendar may hold: it is part of the definition of each job that keeps it.
const (
	maxDays         = 1000     // of days_off, and of extra_working_days
	maxBlackouts    = 1000     // of one calendar
	maxCalendar     = 64 << 10 // bytes of one calendar as JSON
	maxCalendarUses = 16       // calendars that one job keeps
)

// maxShut is for how many years a job's calendars may keep it from running before it is taken for one that never runs again:
// more than the 28 after which the days of the week fall on the same dates.
const maxShut = 30

// shut is what tells how long a calendar keeps everything from running, so that a plan need not go through a week off second
// by second.
type shut struct {
	zone      *time.Location
	blackouts []Blackout
}

func (d *Definition) shuts(zones Zones) map[string]shut {
	list := make(map[string]shut, len(d.Calendars))
	for i := range d.Calendars {
		if zone, err := loadZone(d.Calendars[i].Timezone, zones); err == nil {
			list[d.Calendars[i].Name] = shut{zone, d.Calendars[i].Blackouts}
		}
	}
	return list
}

// shutUntil returns an instant up to which, after an occurrence that does not run, nothing else runs either: within the day
// off or the blackout that it lies in.
func (p *Plan) shutUntil(o schedule.Occurrence) time.Time {
	c, ok := p.extra.shuts[o.Calendar]
	end := o.At.Add(1)
	switch {
	case !ok:
	case o.Skip != schedule.SkipBlackout:
		// Midnight by the offset of now and by that of then. Where they differ the earlier one is never too late.
		at := o.At.In(c.zone)
		midnight := time.Date(at.Year(), at.Month(), at.Day()+1, 0, 0, 0, 0, c.zone)
		_, offset := at.Zone()
		_, then := midnight.Zone()
		end = midnight.Add(-max(0, time.Duration(offset-then)*time.Second))
	default:
		for _, b := range c.blackouts {
			if !o.At.Before(b.From) && end.Before(b.To) {
				end = b.To
			}
		}
	}
	if last := end.Add(-1); last.After(o.At) {
		return last
	}
	return o.At
}

// compile makes of a calendar what a set of schedules takes. The error is a [*schedule.Error].
func (cal *Calendar) compile(zones Zones) (*schedule.Calendar, error) {
	zone, err := loadZone(cal.Timezone, zones)
	if err != nil {
		return nil, &schedule.Error{Field: "time zone", Message: err.Error(), Hint: "as Europe/Berlin"}
	}
	options := schedule.CalendarOptions{Name: cal.Name, Location: zone}
	for _, d := range cal.WorkingDays {
		day := slices.Index(d.Allowed(), string(d))
		if day < 0 {
			return nil, &schedule.Error{Message: fmt.Sprintf("%q is not a weekday", string(d)), Hint: "mon to sun"}
		}
		options.WorkingDays = append(options.WorkingDays, time.Weekday((day+1)%7))
	}
	if options.DaysOff, err = parseDays(cal.DaysOff); err != nil {
		return nil, err
	}
	if options.ExtraWorkingDays, err = parseDays(cal.ExtraWorkingDays); err != nil {
		return nil, err
	}
	for _, b := range cal.Blackouts {
		options.Blackouts = append(options.Blackouts, schedule.Window{From: b.From, To: b.To})
	}
	return schedule.NewCalendar(options)
}

func parseDays(texts []string) ([]schedule.Days, error) {
	list := make([]schedule.Days, 0, len(texts))
	for _, text := range texts {
		days, err := schedule.ParseDays(text)
		if err != nil {
			return nil, err
		}
		list = append(list, days)
	}
	return list, nil
}

// calendars makes of the calendars that the job keeps what a set of schedules takes; those that known does not have are left
// out.
func (j *Job) calendars(known map[string]*schedule.Calendar) []schedule.Use {
	var uses []schedule.Use
	for _, use := range j.Calendars {
		if c := known[use.Name]; c != nil {
			uses = append(uses, schedule.Use{Calendar: c, On: schedule.OnDayOff(use.On)})
		}
	}
	return uses
}

// compileAll returns the calendars by their names, without those that have faults.
func compileAll(list []Calendar, zones Zones) map[string]*schedule.Calendar {
	known := make(map[string]*schedule.Calendar, len(list))
	for i := range list {
		if c, err := list[i].compile(zones); err == nil {
			known[c.Name()] = c
		}
	}
	return known
}

// Faults lists what is wrong with what the job names once the contents of that are known: d.Calendars or d.Scripts has not got
// one of them, or calendars can't be kept together. What is wrong with the job alone is for [Job.Faults]; paths are the job's
// as there.
func (d *Definition) Faults() []Fault {
	var c checker
	for i, use := range d.Job.Calendars {
		at := fmt.Sprintf("calendars[%d].name", i)
		held := slices.IndexFunc(d.Calendars, func(cal Calendar) bool { return cal.Name == use.Name })
		if held < 0 {
			c.fault(at, "define it under `calendars:`, in the same manifest or before", "there is no calendar %q", use.Name)
			continue
		}
		_, err := d.Calendars[held].compile(time.LoadLocation)
		if bad, ok := errors.AsType[*schedule.Error](err); ok {
			c.fault(at, bad.Hint, "the calendar %s can't be read: %s", use.Name, sentence(bad))
		}
	}
	c.together("", &d.Job, compileAll(d.Calendars, time.LoadLocation))
	d.scriptsKnown(&c)
	return c.faults
}

// calendar checks one calendar; at is its path with a dot.
func (c *checker) calendar(at string, cal *Calendar) {
	c.name(at+"name", cal.Name)
	if _, err := loadZone(cal.Timezone, time.LoadLocation); err != nil {
		c.fault(at+"timezone", "as Europe/Berlin", "%s", err)
	}
	c.workingDays(at+"working_days", cal.WorkingDays)
	c.days(at+"days_off", cal.DaysOff)
	c.days(at+"extra_working_days", cal.ExtraWorkingDays)
	c.blackouts(at+"blackouts", cal.Blackouts)
	data, err := json.Marshal(cal)
	if err != nil {
		c.fault(at+"blackouts", "years are 0 to 9999", "a time can't be written")
	}
	if len(data) > maxCalendar {
		c.fault(at[:len(at)-1], "make several of it: a job may keep more than one", "has %d bytes as JSON; at most %d",
			len(data), maxCalendar)
	}
}

func (c *checker) workingDays(path string, list []Weekday) {
	if len(list) > 7 {
		c.fault(path, "", "%d days; a week has 7", len(list))
		return
	}
	for i, day := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !slices.Contains(day.Allowed(), string(day)):
			c.fault(at, "mon to sun", "%q is not a weekday", string(day))
		case slices.Contains(list[:i], day):
			c.fault(at, "leave one out", "%s stands twice", day)
		}
	}
}

func (c *checker) days(path string, list []string) {
	if len(list) > maxDays {
		c.fault(path, "days that follow each other may be written as 2027-02-05/2027-02-11", "%d entries; at most %d",
			len(list), maxDays)
		return
	}
	for i, text := range list {
		_, err := schedule.ParseDays(text)
		if bad, ok := errors.AsType[*schedule.Error](err); ok {
			c.fault(fmt.Sprintf("%s[%d]", path, i), bad.Hint, "%s", sentence(bad))
		}
	}
}

func (c *checker) blackouts(path string, list []Blackout) {
	if len(list) > maxBlackouts {
		c.fault(path, "", "%d entries; at most %d", len(list), maxBlackouts)
		return
	}
	for i, b := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case b.From.IsZero():
			c.fault(at+".from", "as 2027-01-31T18:00:00Z", "must be given")
		case b.To.IsZero():
			c.fault(at+".to", "as 2027-01-31T18:00:00Z", "must be given")
		case !b.From.Before(b.To):
			c.fault(at, "from is before to", "ends at %s, and does not begin before", b.To.Format(time.RFC3339Nano))
		}
	}
}

// uses checks what a job says of calendars by itself; at is "" or the path of the job with a dot.
func (c *checker) uses(at string, j *Job) {
	if len(j.Calendars) > maxCalendarUses {
		c.fault(at+"calendars", "", "%d calendars; at most %d", len(j.Calendars), maxCalendarUses)
		return
	}
	for i, use := range j.Calendars {
		path := fmt.Sprintf("%scalendars[%d]", at, i)
		c.name(path+".name", use.Name)
		if slices.ContainsFunc(j.Calendars[:i], func(u CalendarUse) bool { return u.Name == use.Name }) && use.Name != "" {
			c.fault(path+".name", "leave one out", "the calendar %s is named twice", use.Name)
		}
		switch {
		case use.On == "":
			c.fault(path+".on", "skip or next-working-day", "must be given")
		case !slices.Contains(use.On.Allowed(), string(use.On)):
			c.fault(path+".on", "skip or next-working-day", "%q is not what becomes of a day off", string(use.On))
		}
	}
}

// together checks whether a job can keep those of its calendars that are known all at once. It must have no fault that
// [checker.uses] finds; those that have are left alone.
func (c *checker) together(at string, j *Job, known map[string]*schedule.Calendar) {
	for n := range min(len(j.Calendars), maxCalendarUses) {
		some := Job{Calendars: j.Calendars[:n+1]}
		_, err := schedule.NewSet(schedule.SetOptions{Calendars: some.calendars(known)})
		if bad, ok := errors.AsType[*schedule.Error](err); ok && bad.Field != "" {
			c.fault(fmt.Sprintf("%scalendars[%d]", at, n), bad.Hint, "%s", sentence(bad))
			return
		}
	}
}
