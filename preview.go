package crony

import (
	"errors"
	"fmt"
	"time"

	"crony/internal/schedule"
)

// ScheduleQuestion asks what a schedule means.
type ScheduleQuestion struct {
	Schedule string    `json:"schedule"`           // as a job's `schedule`
	Timezone string    `json:"timezone,omitempty"` // IANA name; UTC if empty
	Job      string    `json:"job,omitempty"`      // the name that H is a hash of; "job" if empty
	From     time.Time `json:"from,omitzero"`      // fires after it; now if zero
	Count    int       `json:"count,omitempty"`    // of fires, up to [MaxFires]; 10 if 0
	Language string    `json:"language,omitempty"` // of the words: en or zh-CN; en if empty
}

// ScheduleAnswer says what a schedule means.
type ScheduleAnswer struct {
	Schedule string         `json:"schedule"`
	Timezone string         `json:"timezone"`
	Words    string         `json:"words"`
	Next     []ScheduleFire `json:"next"` // none if it never comes due by time again
}

// ScheduleFire is an instant at which a schedule comes due.
type ScheduleFire struct {
	At   time.Time `json:"at"`             // in UTC
	Wall string    `json:"wall"`           // the same instant on the zone's clock, RFC 3339
	Note string    `json:"note,omitempty"` // what a change of the zone's clock does to it
}

// MaxFires is how many fires are told at once.
const MaxFires = 1000

// Explain answers the question as of now. An Invalid error has the fault's path.
func (q ScheduleQuestion) Explain(now time.Time) (ScheduleAnswer, error) {
	if q.Count < 0 || q.Count > MaxFires {
		return ScheduleAnswer{}, invalid("the question", []Fault{{Path: "count",
			Message: fmt.Sprintf("%d is out of range", q.Count), Hint: fmt.Sprintf("1 to %d", MaxFires)}})
	}
	entry, err := (&ScheduleEntry{Cron: q.Schedule, Timezone: q.Timezone}).compile(or(q.Job, "job"), time.LoadLocation)
	if bad, ok := errors.AsType[*schedule.Error](err); ok {
		path := "schedule"
		if bad.Field == "time zone" && q.Timezone != "" {
			path = "timezone"
		}
		return ScheduleAnswer{}, invalid("the question", []Fault{{Path: path, Message: sentence(bad), Hint: bad.Hint}})
	}
	s := entry.Schedule
	from := q.From
	if from.IsZero() {
		from = now
	}
	answer := ScheduleAnswer{Schedule: s.String(), Timezone: s.Location().String(), Words: s.Describe(q.Language),
		Next: []ScheduleFire{}}
	for _, fire := range s.Upcoming(from, or(q.Count, 10)) {
		answer.Next = append(answer.Next, ScheduleFire{At: fire.At, Wall: fire.At.In(s.Location()).Format(time.RFC3339Nano),
			Note: fire.Note(q.Language)})
	}
	return answer, nil
}

// loadZone returns a time zone by its IANA name; UTC if the name is empty. "Local" is no name: it differs from host to host.
func loadZone(name string, zones Zones) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := zones(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("%q is no time zone that is known here", name)
	}
	return zone, nil
}
