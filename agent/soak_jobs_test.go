//go:build linux

package agent

import (
	"fmt"
	"math/rand/v2"
	"time"

	"crony"
)

// soakJob returns a job of any kind that comes due some hundred times a year on average, for a time that begins now.
func soakJob(rng *rand.Rand, name string, now time.Time, days int) crony.Job {
	for {
		j := crony.Job{Name: name, Shell: &crony.Shell{Command: fmt.Sprintf("echo %d", rng.Uint32())}, Misfire: soakMisfire(rng),
			OnDisconnect: pick(rng, "", crony.DisconnectRun, crony.DisconnectHold, crony.DisconnectStop)}
		for range 1 + rng.IntN(3)/2*(1+rng.IntN(2)) {
			j.Schedules = append(j.Schedules, soakEntry(rng, now, days))
		}
		if m := (crony.Manifest{Jobs: []crony.Job{j}}); len(m.Faults()) == 0 {
			return j
		}
	}
}

func soakMisfire(rng *rand.Rand) *crony.Misfire {
	if rng.IntN(3) == 0 {
		return nil
	}
	m := &crony.Misfire{Policy: pick(rng, "", crony.MisfireSkip, crony.MisfireOnce, crony.MisfireAll)}
	if rng.IntN(2) == 0 {
		m.Deadline = pick(rng, crony.Duration(30*time.Second), crony.Duration(time.Hour), crony.Duration(24*time.Hour))
	}
	if rng.IntN(2) == 0 {
		m.Limit = 1 + rng.IntN(50)
	}
	return m
}

func soakEntry(rng *rand.Rand, now time.Time, days int) crony.ScheduleEntry {
	zone := pick(rng, "", "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe")
	year := time.Duration(days) * 24 * time.Hour
	soon := now.Add(time.Duration(rng.Int64N(int64(pick(rng, time.Minute, year/4))))).Truncate(time.Millisecond)
	e := crony.ScheduleEntry{}
	switch kind := rng.IntN(100); {
	case kind < 15:
		e.Timezone, e.Cron = zone, fmt.Sprintf("%d %d * * *", rng.IntN(60), rng.IntN(24))
	case kind < 25: // in the hours that a change of the clocks leaves out or has twice
		e.Timezone = zone
		e.Cron = fmt.Sprintf("%d %d * * %s", pick(rng, 0, 15, 30, 59), 1+rng.IntN(3), pick(rng, "*", "0", "1-5", "SAT,SUN"))
	case kind < 45:
		e.Timezone, e.Cron = zone, fmt.Sprintf("%d %d %d * *", rng.IntN(60), rng.IntN(24), 1+rng.IntN(31))
	case kind < 70:
		e.Every = crony.Duration(time.Duration(40+rng.IntN(400))*time.Hour + time.Duration(rng.IntN(3600))*time.Second)
	case kind < 71:
		e.Every = crony.Duration(time.Duration(2+rng.IntN(8)) * time.Hour)
	case kind < 85:
		for range 1 + rng.IntN(10) {
			e.At = append(e.At, soon.Add(time.Duration(rng.IntN(86400))*time.Second))
		}
	case kind < 90: // now or soon, each second
		e.Cron, e.StartsAt, e.EndsAt = "* * * * * *", soon, soon.Add(time.Duration(30+rng.IntN(100))*time.Second)
	case kind < 95:
		e.Every, e.StartsAt = crony.Duration(time.Duration(1+rng.IntN(20))*time.Second), soon
		e.EndsAt = soon.Add(e.Every.Std() * time.Duration(1+rng.IntN(100)))
	default:
		e.Cron, e.Timezone, e.StartsAt, e.EndsAt = "* * * * *", zone, soon, soon.Add(time.Duration(10+rng.IntN(100))*time.Minute)
	}
	if rng.IntN(4) == 0 {
		e.Jitter = crony.Duration(time.Duration(1+rng.IntN(900)) * time.Second)
	}
	return e
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }
