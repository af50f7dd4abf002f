// Package schedule says when a job is due: it parses a schedule's text and computes the instants that it names. All of it is
// pure: no clock, no zone but the one that is given.
//
// The one thing to know: [Schedule.Next] is the only question that the rest of the project asks of a schedule.
package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule names instants. It never changes and is safe for concurrent use.
type Schedule struct {
	text  string
	every time.Duration // of an interval; 0 for a cron expression
	cron  cron.Schedule
}

// Error says what is wrong with a schedule's text.
type Error struct {
	Message string
	Hint    string // what to do; "" if there is nothing to say
}

// Error returns the message and the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// horizon is how far ahead a schedule must name an instant to be worth having.
const horizon = 5 * 366 * 24 * time.Hour

// Parse reads a cron expression of 5 fields as in crontab(5), one of 6 with leading seconds, a shorthand from @yearly to
// @hourly, or "@every DURATION". Wall times are those of loc. The error is an [*Error].
func Parse(text string, loc *time.Location) (*Schedule, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "@every"); ok {
		d, err := time.ParseDuration(strings.TrimSpace(rest))
		if err != nil {
			return nil, &Error{fmt.Sprintf("%q is not an interval", text), "write one like @every 90s"}
		}
		return Every(d)
	}
	if err := refuse(text); err != nil {
		return nil, err
	}
	s, err := parse(text)
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("%q is not a schedule: %v", text, err)}
	}
	s.(*cron.SpecSchedule).Location = loc
	from := time.Date(2024, 1, 1, 0, 0, 0, 0, loc)
	if next := s.Next(from); next.IsZero() || next.After(from.Add(horizon)) {
		return nil, &Error{fmt.Sprintf("%q never comes", text), "look at its day and month"}
	}
	return &Schedule{text: text, cron: s}, nil
}

// Every returns the schedule of the instants that are a whole number of d after the Unix epoch.
func Every(d time.Duration) (*Schedule, error) {
	if d < time.Second {
		return nil, &Error{fmt.Sprintf("an interval of %s is too short", d), "at least 1s"}
	}
	return &Schedule{text: "@every " + d.String(), every: d}, nil
}

// refuse stops what the parser would misread or panic at.
func refuse(text string) error {
	fields := strings.Fields(text)
	switch {
	case text == "":
		return &Error{"the schedule is empty", "write one like */5 * * * *"}
	case strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ="):
		return &Error{"a time zone inside the schedule is not supported yet", ""}
	case strings.HasPrefix(text, "@"):
		return nil
	case len(fields) == 7:
		return &Error{"a schedule of 7 fields is not supported yet", ""}
	case len(fields) != 5 && len(fields) != 6:
		return &Error{fmt.Sprintf("%q has %d fields", text, len(fields)), "5 as in crontab(5), or 6 with leading seconds"}
	}
	ranges := []int{60, 60, 24, 31, 12, 7}[6-len(fields):]
	for i, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			if part == "" || strings.HasPrefix(part, "-") || strings.Contains(part, "*-") {
				return &Error{fmt.Sprintf("field %d, %q, can't be read", i+1, field), ""}
			}
			if _, step, ok := strings.Cut(part, "/"); ok {
				var n int
				if _, err := fmt.Sscanf(step, "%d", &n); err == nil && n >= ranges[i] && n > 1 {
					return &Error{fmt.Sprintf("field %d, %q, steps over its whole range", i+1, field),
						fmt.Sprintf("a step below %d", ranges[i])}
				}
			}
		}
	}
	return nil
}

// parse guards the parser, which panics on some input.
func parse(text string) (s cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	options := cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor
	return cron.NewParser(options).Parse(text)
}

// Next returns the first instant after t, in UTC; the zero time if there is none.
func (s *Schedule) Next(t time.Time) time.Time {
	if s.every > 0 {
		return time.Unix(0, t.UnixNano()/int64(s.every)*int64(s.every)+int64(s.every)).UTC()
	}
	next := s.cron.Next(t)
	if next.IsZero() {
		return next
	}
	return next.UTC()
}

// String returns the text that the schedule was parsed from.
func (s *Schedule) String() string { return s.text }
