package crony

import (
	"context"
	"time"
)

// Figures counts runs. Its answers come from counters, not from runs, so they cost the same however many runs there are. It is
// safe for concurrent use.
type Figures interface {
	// History returns how runs ended on each of the last days, the newest first, of one job or of all. Days without runs are
	// left out. Invalid for less than 1 or more than [MaxHistory] days.
	History(ctx context.Context, job string, days int) ([]DayFigures, error)
	// Overview returns the fleet's figures of the last 24 hours, and what goes on now.
	Overview(ctx context.Context) (Overview, error)
}

// MaxHistory is for how many days back there can be a history.
const MaxHistory = 400

// RunCounts is how many runs ended how. A run is counted where it was due, and as it stands now: a lost one that is corrected
// moves.
type RunCounts struct {
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	TimedOut  int64 `json:"timed_out"`
	Killed    int64 `json:"killed"`
	Lost      int64 `json:"lost"`
	Skipped   int64 `json:"skipped"`
}

// Of returns the counter of runs that ended in a state; nil for a state that is no end.
func (c *RunCounts) Of(s RunState) *int64 {
	switch s {
	case Succeeded:
		return &c.Succeeded
	case Failed:
		return &c.Failed
	case TimedOut:
		return &c.TimedOut
	case Killed:
		return &c.Killed
	case Lost:
		return &c.Lost
	case Skipped:
		return &c.Skipped
	}
	return nil
}

// Add adds another's counts.
func (c *RunCounts) Add(other RunCounts) {
	for _, s := range []RunState{Succeeded, Failed, TimedOut, Killed, Lost, Skipped} {
		*c.Of(s) += *other.Of(s)
	}
}

// Total returns how many runs ended.
func (c *RunCounts) Total() (n int64) {
	return c.Succeeded + c.Failed + c.TimedOut + c.Killed + c.Lost + c.Skipped
}

// Durations says how long runs took, from the start of the first attempt to the end, in seconds. All but the longest come
// from a histogram and are up to 5 % too large.
type Durations struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// DayFigures is what became of the runs that were due on one day.
type DayFigures struct {
	Day        string     `json:"day"` // in UTC, as 2026-11-21
	Counts     RunCounts  `json:"counts"`
	Durations  *Durations `json:"durations,omitempty"` // of those that started; absent if none did
	CPUSeconds float64    `json:"cpu_seconds"`
}

// HourFigures is what became of the runs that were due in one hour.
type HourFigures struct {
	From   time.Time `json:"from"` // a full hour, in UTC
	Counts RunCounts `json:"counts"`
}

// JobFigures is what became of a job's runs.
type JobFigures struct {
	Job    string    `json:"job"`
	Counts RunCounts `json:"counts"`
}

// Overview is the fleet at a glance.
type Overview struct {
	Running int           `json:"running"` // runs that go on
	Hours   []HourFigures `json:"hours"`   // the last 24 and the one that goes on, the oldest first, those without runs too
	Day     DayFigures    `json:"day"`     // today
	Worst   []JobFigures  `json:"worst"`   // the jobs of today with the most runs that did not succeed, at most 10
}
