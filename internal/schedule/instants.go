package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// instants is a sorted list without doubles.
type instants []time.Time

// maxInstants bounds a list.
const maxInstants = 10_000

// At returns the schedule of the instants given, in whatever order; one that is given twice is one.
func At(times ...time.Time) (*Schedule, error) {
	list, err := newInstants(slices.Clone(times))
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = t.Format(time.RFC3339Nano)
	}
	return &Schedule{text: "@at " + strings.Join(texts, ","), zone: time.UTC, when: list}, nil
}

func newInstants(times []time.Time) (instants, error) {
	switch {
	case len(times) == 0:
		return nil, &Error{Message: "the list of times is empty", Hint: "write one like @at 2026-12-24T18:00"}
	case len(times) > maxInstants:
		return nil, &Error{Message: fmt.Sprintf("the list has %d times", len(times)), Hint: fmt.Sprintf("at most %d", maxInstants)}
	}
	for i, t := range times {
		switch {
		case t.Nanosecond()%int(time.Millisecond) != 0:
			return nil, &Error{Message: fmt.Sprintf("%s is too fine", t.Format(time.RFC3339Nano)), Hint: "whole milliseconds"}
		case t.Unix() < earliest || t.Unix() > latest:
			return nil, &Error{Message: fmt.Sprintf("the year %d is out of range", t.Year()), Hint: "1 to 9999"}
		}
		times[i] = t.UTC()
	}
	slices.SortFunc(times, time.Time.Compare)
	return slices.CompactFunc(times, time.Time.Equal), nil
}

// parseInstants reads times parted by commas or spaces: RFC 3339, or a wall time of the zone. A wall time in a gap is the
// gap's first existing instant, one that comes twice is the first.
func parseInstants(text string, zone *time.Location) (instants, error) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || isSpace(r) })
	times := make([]time.Time, 0, len(words))
	for _, word := range words {
		t, ok := parseInstant(word, zone)
		if !ok {
			return nil, &Error{Message: fmt.Sprintf("%q is not a time", word),
				Hint: "RFC 3339 like 2026-12-24T18:00:00Z, or a wall time of the zone like 2026-12-24T18:00"}
		}
		times = append(times, t)
	}
	return newInstants(times)
}

func parseInstant(word string, zone *time.Location) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, word); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		t, err := time.Parse(layout, word)
		if err != nil || t.Nanosecond() != 0 {
			continue
		}
		return time.Unix(reach(zone, t.Unix()), 0), true
	}
	return time.Time{}, false
}

// Next returns the first of the list after t.
func (l instants) Next(t time.Time) time.Time {
	i, found := slices.BinarySearchFunc(l, t, time.Time.Compare)
	if found {
		i++
	}
	if i == len(l) {
		return time.Time{}
	}
	return l[i]
}
