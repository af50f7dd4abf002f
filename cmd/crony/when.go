package main

import (
	"fmt"
	"time"
)

// ago says how far t is from now, roughly: "12s ago", "in 3h"; "" for no time.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return "in " + rough(-d)
	default:
		return rough(d) + " ago"
	}
}

// rough writes d in the one unit that suits it.
func rough(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// instant writes t in full, and how far it is from now; "" for no time.
func instant(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.UTC().Format("2006-01-02 15:04:05.999 UTC"), ago(now, t))
}

// changed writes when something was changed, and by whom if that is known.
func changed(now, at time.Time, by string) string {
	if by == "" {
		return instant(now, at)
	}
	return instant(now, at) + " by " + by
}

// took writes how long something lasted, or has lasted; "" if it has not begun.
func took(now, from, to time.Time) string {
	switch {
	case from.IsZero():
		return ""
	case to.IsZero():
		to = now
	}
	d := max(to.Sub(from), 0)
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
