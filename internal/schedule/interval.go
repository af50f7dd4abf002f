package schedule

import (
	"fmt"
	"time"
)

// interval names the instants that are a whole number of steps from its phase. Both are in milliseconds, which is the
// precision of a run's identity, and which no instant overflows.
type interval struct {
	step  int64
	phase int64 // since the Unix epoch
}

// Every returns the schedule of the instants that are a whole number of d after, or before, the Unix epoch. d is at least
// one second and a whole number of milliseconds.
func Every(d time.Duration) (*Schedule, error) { return EveryFrom(d, time.Unix(0, 0)) }

// EveryFrom is [Every] with start, cut to its millisecond, in the place of the epoch. The start gives the phase alone: it
// does not bound the schedule.
func EveryFrom(d time.Duration, start time.Time) (*Schedule, error) {
	every, err := newInterval(d)
	if err != nil {
		return nil, err
	}
	return &Schedule{text: "@every " + d.String(), zone: time.UTC, when: every.from(start)}, nil
}

func newInterval(d time.Duration) (interval, error) {
	switch {
	case d < time.Second:
		return interval{}, &Error{Message: fmt.Sprintf("an interval of %s is too short", d), Hint: "at least 1s"}
	case d%time.Millisecond != 0:
		return interval{}, &Error{Message: fmt.Sprintf("an interval of %s is too fine", d), Hint: "whole milliseconds"}
	}
	return interval{step: d.Milliseconds()}, nil
}

func parseInterval(text string) (interval, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return interval{}, &Error{Message: fmt.Sprintf("%q is not an interval", shorten(text)),
			Hint: "write one like @every 90s or @every 24h"}
	}
	return newInterval(d)
}

func (v interval) from(start time.Time) interval {
	return interval{step: v.step, phase: mod(start.UnixMilli(), v.step)}
}

// Next returns the first multiple after t.
func (v interval) Next(t time.Time) time.Time {
	now := t.UnixMilli()
	next := now - mod(now-v.phase, v.step) + v.step
	return time.UnixMilli(next).UTC()
}

// mod is the remainder that is never negative.
func mod(a, b int64) int64 { return ((a % b) + b) % b }
