package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule names instants. It never changes and is safe for concurrent use.
type Schedule struct {
	text string
	zone *time.Location
	when cron.Schedule // *spec, interval, instants or reboot
}

var _ cron.Schedule = (*Schedule)(nil)

// Options say how a schedule's text is to be understood.
type Options struct {
	Location *time.Location // of wall times, if the text names no zone itself; UTC if nil
	Hash     string         // what H is a hash of: the job's name; if empty, a text with H is refused

	// LoadLocation finds the zone that a text names. It is a place to share zones among many schedules;
	// [time.LoadLocation] if nil.
	LoadLocation func(name string) (*time.Location, error)
}

// maxText bounds a text, in bytes, and so the work of reading it.
const maxText = 8 << 10

// Parse reads a schedule's text; its grammar is in the package's comment. The error is an [*Error].
func Parse(text string, o Options) (*Schedule, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, &Error{Message: "the schedule is empty", Hint: "write one like */5 * * * *"}
	case len(text) > maxText:
		return nil, &Error{Message: fmt.Sprintf("the schedule has %d bytes", len(text)), Hint: fmt.Sprintf("at most %d", maxText)}
	}
	rest, zone, err := o.zone(text)
	if err != nil {
		return nil, err
	}
	when, err := parse(rest, zone, o.Hash)
	if err != nil {
		return nil, err
	}
	return &Schedule{text: text, zone: zone, when: when}, nil
}

// parse reads what follows the zone.
func parse(text string, zone *time.Location, hash string) (cron.Schedule, error) {
	if !strings.HasPrefix(text, "@") {
		return parseSpec(text, zone, hash)
	}
	name, rest := text, ""
	if i := strings.IndexFunc(text, isSpace); i >= 0 {
		name, rest = text[:i], strings.TrimSpace(text[i:])
	}
	switch name {
	case "@every":
		return parseInterval(rest)
	case "@at":
		return parseInstants(rest, zone)
	}
	if rest != "" {
		return nil, &Error{Message: fmt.Sprintf("%q takes nothing after it", name), Hint: "only @every and @at do"}
	}
	switch name {
	case "@reboot":
		return reboot{}, nil
	case "@yearly", "@annually":
		return parseSpec("0 0 1 1 *", zone, hash)
	case "@monthly":
		return parseSpec("0 0 1 * *", zone, hash)
	case "@weekly":
		return parseSpec("0 0 * * 0", zone, hash)
	case "@daily", "@midnight":
		return parseSpec("0 0 * * *", zone, hash)
	case "@hourly":
		return parseSpec("0 * * * *", zone, hash)
	}
	return nil, &Error{Message: fmt.Sprintf("%q is not known", name),
		Hint: "@yearly, @monthly, @weekly, @daily, @hourly, @every 90s, @at 2026-12-24T18:00 or @reboot"}
}

// zone takes the zone off the front of a text.
func (o Options) zone(text string) (rest string, zone *time.Location, err error) {
	zone = o.Location
	if zone == nil {
		zone = time.UTC
	}
	name, ok := strings.CutPrefix(text, "CRON_TZ=")
	if !ok {
		name, ok = strings.CutPrefix(text, "TZ=")
	}
	if !ok {
		return text, zone, nil
	}
	end := strings.IndexFunc(name, isSpace)
	if end < 0 {
		return "", nil, &Error{Field: "time zone", Message: fmt.Sprintf("nothing follows %q", text),
			Hint: "write the schedule after it: CRON_TZ=Europe/Berlin 30 2 * * *"}
	}
	name, rest = name[:end], strings.TrimSpace(name[end:])
	load := o.LoadLocation
	if load == nil {
		load = time.LoadLocation
	}
	if name == "" || name == "Local" {
		return "", nil, &Error{Field: "time zone", Message: fmt.Sprintf("%q is not the name of a zone", name),
			Hint: "an IANA name such as Europe/Berlin"}
	}
	if zone, err = load(name); err != nil {
		return "", nil, &Error{Field: "time zone", Message: fmt.Sprintf("%q is not known", name),
			Hint: "an IANA name such as Europe/Berlin"}
	}
	return rest, zone, nil
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }

// The first and the last second that RFC 3339 can write, in Unix time: no schedule names an instant outside of them.
const (
	earliest = -62135596800
	latest   = 253402300799
)

// Next returns the first instant after t, in UTC; the zero time if there is none.
func (s *Schedule) Next(t time.Time) time.Time { return nextOf(s.when, t) }

// nextOf returns the first instant after t that lies within the bounds of all schedules.
func nextOf(when cron.Schedule, t time.Time) time.Time {
	switch u := t.Unix(); {
	case u >= latest:
		return time.Time{}
	case u < earliest:
		t = time.Unix(earliest, 0)
	}
	next := when.Next(t)
	if next.Unix() > latest {
		return time.Time{}
	}
	return next
}

// Reboot reports whether the job is due when its agent starts, and never by time.
func (s *Schedule) Reboot() bool { return isReboot(s.when) }

// Location returns the zone of the schedule's wall times.
func (s *Schedule) Location() *time.Location { return s.zone }

// String returns a text that Parse reads as this schedule, under the same options: the one that it was read from, if any.
func (s *Schedule) String() string { return s.text }

// reboot is due when an agent starts.
type reboot struct{}

func isReboot(when cron.Schedule) bool {
	_, ok := when.(reboot)
	return ok
}

// Next returns the zero time.
func (reboot) Next(time.Time) time.Time { return time.Time{} }
