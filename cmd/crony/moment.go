package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

// timesHelp says how times are written, for the commands that take some.
const timesHelp = `A TIME is RFC 3339, as 2027-01-31T18:00:00Z; or a time on the clock of --tz, as "2027-01-31 18:00", 2027-01-31
(when that day begins) or 18:00 (of today), with seconds if need be; or how long ago, as -24h. A time that a change of the
clock leaves out is the end of the gap, and of two equal ones the first is meant, as in schedules.`

// parseTime reads what a person types as a time, in one of the forms of timesHelp and no other, and returns it in UTC. The
// error names the flag.
func parseTime(flag, text string, now time.Time, zone *time.Location) (time.Time, error) {
	t, ok := readTime(text, now, zone)
	// Other years have no form in JSON, and the zero time stands for none.
	if t = t.UTC(); !ok || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, crony.Errorf(crony.Invalid, "--%s %q is not a time", flag, text).
			WithHint(`write one like 2027-01-31T18:00:00Z, "2027-01-31 18:00", 2027-01-31, 18:00 or -24h`)
	}
	return t, nil
}

func readTime(text string, now time.Time, zone *time.Location) (time.Time, bool) {
	if since, ok := strings.CutPrefix(text, "-"); ok {
		d, err := crony.ParseDuration(since)
		return now.Add(-d.Std()), err == nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if wall, ok := parseExactly(layout, text); ok {
			return onClock(wall, zone), true
		}
	}
	today := now.In(zone).Format(time.DateOnly) + " "
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04"} {
		if wall, ok := parseExactly(layout, today+text); ok {
			return onClock(wall, zone), true
		}
	}
	return time.Time{}, false
}

// parseExactly is [time.Parse] without its leniency: 2:30 is no 02:30, and no fraction hides after the seconds.
func parseExactly(layout, text string) (time.Time, bool) {
	t, err := time.Parse(layout, text)
	return t, err == nil && t.Format(layout) == text
}

// onClock returns the first instant at which the zone's clock shows what wall shows in UTC or, if a change of the clock leaves
// that out, the instant of the change.
func onClock(wall time.Time, zone *time.Location) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(zone).Zone()
	t := wall.Add(-time.Duration(before) * time.Second)
	_, after := t.In(zone).Zone()
	if after == before {
		return t
	}
	u := wall.Add(-time.Duration(after) * time.Second)
	if _, offset := u.In(zone).Zone(); offset == after {
		return u
	}
	change, _ := t.In(zone).ZoneBounds()
	return change
}

// loadZone returns the zone that --tz names; UTC if it is empty. "Local" is no name: it differs from host to host.
func loadZone(tz string) (*time.Location, error) {
	zone, err := time.LoadLocation(tz)
	if err != nil || tz == "Local" {
		return nil, crony.Errorf(crony.Invalid, "--tz: %q is no time zone that is known here", tz).WithHint("as Europe/Berlin")
	}
	return zone, nil
}

// timeFlag reads a flag's value on the clock of --tz; the zero time if it is empty.
func (c *cli) timeFlag(flag, text, tz string) (time.Time, error) {
	zone, err := loadZone(tz)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	return parseTime(flag, text, c.now(), zone)
}

// span is the flags that bound a time.
type span struct{ from, to, tz string }

func (s *span) flags(cmd *cobra.Command, what string) {
	cmd.Flags().StringVar(&s.from, "from", "", what+" at or after this `TIME` (default: a day before --to)")
	cmd.Flags().StringVar(&s.to, "to", "", what+" at or before this `TIME` (default: now)")
	complete(cmd, "from", nil)
	complete(cmd, "to", nil)
	tzFlag(cmd, &s.tz)
}

func tzFlag(cmd *cobra.Command, tz *string) {
	cmd.Flags().StringVar(tz, "tz", "", "the `ZONE` on whose clock times are read, as Europe/Berlin (default: UTC)")
	complete(cmd, "tz", nil)
}

// read returns the bounds; the zero time for one that is not given.
func (s *span) read(c *cli) (from, to time.Time, err error) {
	if from, err = c.timeFlag("from", s.from, s.tz); err != nil {
		return from, to, err
	}
	if to, err = c.timeFlag("to", s.to, s.tz); err != nil {
		return from, to, err
	}
	if s.from != "" && s.to != "" && from.After(to) {
		return from, to, crony.Errorf(crony.Invalid, "--from is later than --to: %s, %s",
			from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano)).WithHint("swap them")
	}
	return from, to, nil
}
