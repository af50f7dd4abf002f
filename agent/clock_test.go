//go:build linux

package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"crony/internal/wire"
)

// TestClockSteps steps the wall clock both ways around an occurrence that is asked for, granted or due: it starts once, and
// what comes next is asked for within a second of its time.
func TestClockSteps(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, -90 * time.Second, -3 * time.Second, 3 * time.Second, time.Hour} {
		for _, when := range []string{"asked", "granted", "started"} {
			t.Run(fmt.Sprint(when, by), func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, l *loopRig) {
					l.stepBy(12 * time.Hour)
					l.say(assigned(definition("m", "* * * * *"), 1, at("12:00:00"), ""), synced())
					l.sleep(59 * time.Second)
					grant := grantAll(l.ask("m", at("12:01:00")))
					if when != "asked" {
						l.say(grant)
					}
					if when == "started" {
						l.sleep(time.Second)
						l.expectStarts("m@12:01:00")
					}
					l.stepBy(by)
					l.sleep(time.Second)
					if when == "asked" {
						l.say(grant)
					}
					for range 3 * 3600 {
						l.sleep(time.Second)
						wall := time.Now().Add(l.step)
						for _, req := range l.asks() {
							o := wire.Time(req.GetOccurrences()[0].GetAt())
							if late := wall.Sub(o.Add(-ahead)); late < 0 || late > 2*time.Second && o.Add(time.Minute).Before(wall) {
								if !o.Equal(at("12:01:00")) { // it was asked for in time, and is asked for again
									t.Fatalf("asked for %s at %s", o, wall)
								}
							}
							l.say(grantAll(req))
						}
					}
					starts := l.starts()
					sorted := slices.Clone(starts)
					slices.Sort(sorted)
					if len(slices.Compact(sorted)) != len(starts) || !slices.Contains(starts, "m@12:01:00") {
						t.Errorf("%d starts, of which some are double, or the first is missing", len(starts))
					}
					if want := int(3*time.Hour+min(by, 0))/int(time.Minute) - 3; len(starts) < want {
						t.Errorf("%d starts in three hours, want %d: scheduling stood still", len(starts), want)
					}
				})
			})
		}
	}
}
