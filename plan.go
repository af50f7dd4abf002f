package crony

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"crony/internal/schedule"
)

// Plan is when a job is due: all of its schedules together, held against its calendars; and what becomes of occurrences that
// could not be decided in time. It never changes and is safe for concurrent use. That of an ordinary job is small: an agent
// may hold a hundred thousand.
type Plan struct {
	set   schedule.Set
	extra *extra // nil of most jobs
}

// extra is what few jobs' plans have.
type extra struct {
	misfire Misfire
	shuts   map[string]shut // by the calendars' names
}

// Plan returns when the job is due, nil if only when it is told to. The definition must have no faults, its calendars' among
// them (see [Definition.Faults]). Whether the job is paused makes no difference.
func (d *Definition) Plan() *Plan { return d.PlanIn(time.LoadLocation) }

// PlanIn is [Definition.Plan] with time zones from a function like [time.LoadLocation]: a zone is some kilobytes, and who
// keeps many plans does well to give all of them the same ones.
func (d *Definition) PlanIn(zones Zones) *Plan {
	options := schedule.SetOptions{Job: d.Job.Name, Calendars: d.Job.calendars(compileAll(d.Calendars, zones))}
	if len(options.Calendars) < len(d.Job.Calendars) {
		return nil // it would run on days on which it must not
	}
	for _, e := range d.Job.Entries() {
		entry, err := e.compile(d.Job.Name, zones)
		if err != nil {
			return nil
		}
		options.Entries = append(options.Entries, entry)
	}
	set, err := schedule.NewSet(options)
	if err != nil || len(options.Entries) == 0 {
		return nil
	}
	p := &Plan{set: *set}
	if d.Job.Misfire != nil || len(d.Calendars) > 0 {
		p.extra = &extra{shuts: d.shuts(zones)}
	}
	if d.Job.Misfire != nil {
		p.extra.misfire = *d.Job.Misfire
	}
	return p
}

// Zones returns the time zone of an IANA name, as [time.LoadLocation] does.
type Zones func(name string) (*time.Location, error)

// Next returns the first occurrence after t, in UTC; the zero time if there is none. An instant that several schedules name
// is one occurrence. A job that its calendars let do nothing for [maxShut] is as one that is never due.
func (p *Plan) Next(t time.Time) time.Time {
	o, _ := p.runs(t)
	return o.At
}

// runs returns the first occurrence after t that runs, and whether there is one.
func (p *Plan) runs(t time.Time) (schedule.Occurrence, bool) {
	for end := t.AddDate(maxShut, 0, 0); ; {
		o, ok := p.set.Next(t)
		switch {
		case !ok || !o.Runs() && o.At.After(end):
			return schedule.Occurrence{}, false
		case o.Runs():
			return o, true
		}
		t = p.shutUntil(o)
	}
}

// Reboot reports whether the job is due when its agent's host has booted.
func (p *Plan) Reboot() bool { return p.set.Reboot() }

// Start returns when the occurrence at an instant is to start: at the instant, or later by its jitter, which is the same on
// every host.
func (p *Plan) Start(at time.Time) time.Time {
	if o, ok := p.set.Next(at.Add(-1)); ok && o.At.Equal(at) {
		return o.Start
	}
	return at
}

// Count returns how many occurrences that run lie after one time and up to another, the first and the last of them.
func (p *Plan) Count(after, until time.Time) (n int64, first, last time.Time) {
	return p.set.Count(after, until)
}

// Instant is a time that a plan names.
type Instant struct {
	At   time.Time
	Runs bool   // false: a calendar keeps it from running
	Why  string // why it does not run or, moved here by a calendar, why it is here; "" of any other
}

// Instant returns the first instant after t that the schedules name or a calendar moves another to, whether it runs or not,
// and false if there is none.
func (p *Plan) Instant(t time.Time) (Instant, bool) {
	o, ok := p.set.Next(t)
	if !ok {
		return Instant{}, false
	}
	return Instant{At: o.At, Runs: o.Runs(), Why: o.Reason("en")}, true
}

// compile makes of an entry what a set of schedules takes; job is the job's name. The error is a [*schedule.Error].
func (e *ScheduleEntry) compile(job string, zones Zones) (schedule.Entry, error) {
	entry := schedule.Entry{StartsAt: e.StartsAt, EndsAt: e.EndsAt, Jitter: e.Jitter.Std()}
	zone, err := loadZone(e.Timezone, zones)
	if err != nil {
		return entry, &schedule.Error{Field: "time zone", Message: err.Error(), Hint: "as Europe/Berlin"}
	}
	switch {
	case e.Every != 0:
		entry.Schedule, err = schedule.Every(e.Every.Std())
	case len(e.At) > 0:
		entry.Schedule, err = schedule.At(e.At...)
	case e.Timezone != "" && strings.HasPrefix(e.Cron, "CRON_TZ="):
		return entry, &schedule.Error{Field: "time zone", Message: "CRON_TZ and timezone both name one", Hint: "leave one out"}
	default:
		entry.Schedule, err = schedule.Parse(e.Cron, schedule.Options{Location: zone, Hash: job, LoadLocation: zones})
	}
	return entry, err
}

func (c *checker) schedules(at string, j *Job) {
	if len(j.Schedules) > maxEach {
		c.fault(at+"schedules", "", "%d entries; at most %d", len(j.Schedules), maxEach)
		return
	}
	if j.Schedule != "" {
		c.entry(at+"schedule", j.Name, &ScheduleEntry{Cron: j.Schedule})
	}
	for i := range j.Schedules {
		c.entry(fmt.Sprintf("%sschedules[%d]", at, i), j.Name, &j.Schedules[i])
	}
}

func (c *checker) entry(path, job string, e *ScheduleEntry) {
	given := 0
	for _, is := range []bool{e.Cron != "", e.Every != 0, len(e.At) > 0} {
		if is {
			given++
		}
	}
	if given != 1 {
		c.fault(path, "give one of cron, every and at", "%d of cron, every and at are given", given)
		return
	}
	if len(e.At) > maxTimes {
		c.fault(path+".at", "", "%d times; at most %d", len(e.At), maxTimes)
		return
	}
	job = or(job, "job")
	entry, err := e.compile(job, time.LoadLocation)
	if err == nil {
		_, err = schedule.NewSet(schedule.SetOptions{Job: job, Entries: []schedule.Entry{entry}})
	}
	if bad, ok := errors.AsType[*schedule.Error](err); ok {
		c.fault(path, bad.Hint, "%s", sentence(bad))
	}
}

// maxTimes is how many times one entry of a job may list.
const maxTimes = 1000

// sentence is a schedule's error without its hint, which stands on its own in a fault.
func sentence(e *schedule.Error) string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}
