package crony

import (
	"fmt"
	"time"
)

// Bounds of what goes on at once.
const (
	MaxParallel = 100 // the largest Job.MaxParallel
	MaxQueue    = 100 // how many runs of a job may wait for others to end
)

// Lock is a run's hold on its job, or its place among those that wait for one. It lives exactly as long as the run.
type Lock struct {
	Run        RunID     `json:"run"`
	Agent      string    `json:"agent"` // the run's
	Since      time.Time `json:"since"` // when it came to hold the job, or to wait
	Waits      bool      `json:"waits,omitempty"`
	ReplacedBy RunID     `json:"replaced_by,omitempty"` // it is to end, or not to begin, in favour of this run
}

// HolderReason says why an occurrence is not to start while a run goes on.
func HolderReason(run RunID) string { return "run " + string(run) + " of the job still goes on" }

// overlap checks what is said of runs that go on at once.
func (c *checker) overlap(at string, j *Job) {
	switch {
	case j.MaxParallel < 0 || j.MaxParallel > MaxParallel:
		c.fault(at+"max_parallel", fmt.Sprintf("1 to %d; left out, overlap alone says what may go on at once", MaxParallel),
			"%d is out of range", j.MaxParallel)
	case j.Overlap == OverlapReplace && j.MaxParallel > 1:
		c.fault(at+"max_parallel", "leave it out, or use overlap queue or forbid",
			"overlap replace has one run at a time: of %d, nothing says which is to make room", j.MaxParallel)
	}
}
