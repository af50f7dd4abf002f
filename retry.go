package crony

import (
	"fmt"
	"slices"
	"time"
)

// Retry says how often and when an attempt that came to nothing is made again, as the same run: what others see is one run that
// takes longer, and that holds its place in the job's lock meanwhile. It goes on by the definition that it began with,
// whatever becomes of the job; to end it is to kill the run.
//
// The next attempt is the same agent's, or with Elsewhere that of another: of those that the job's placement means and that take
// jobs now, one that has had the run least often. There is none if no other takes it, if the agent is cut off then, and of a
// run that came with a boot or was started without a claim: the agent tries again by itself.
//
// The wait before an attempt is Interval, or with an exponential backoff twice as long each time up to MaxInterval; and
// always up to a tenth longer or shorter, by chance, so that jobs which fail together, as what they all need is down, do
// not come back together.
type Retry struct {
	Attempts    int       `json:"attempts,omitempty"`     // in all, the first among them; 3 if 0
	Backoff     Backoff   `json:"backoff,omitempty"`      // fixed if empty
	Interval    Duration  `json:"interval,omitempty"`     // from the end of one attempt to the start of the next; 10s if 0
	MaxInterval Duration  `json:"max_interval,omitempty"` // of an exponential backoff; 1h if 0
	On          []RetryOn `json:"on,omitempty"`           // failed and timed_out if empty
	Elsewhere   bool      `json:"elsewhere,omitempty"`    // by another agent, if there is one
}

// What a retry is by default, and at most.
const (
	DefaultAttempts         = 3
	DefaultRetryInterval    = Duration(10 * time.Second)
	DefaultMaxRetryInterval = Duration(time.Hour)

	MaxAttempts      = 100
	MinRetryInterval = Duration(100 * time.Millisecond)
	MaxRetryInterval = Duration(24 * time.Hour)
)

// Tries returns how many attempts a run has at most.
func (r *Retry) Tries() int {
	if r == nil {
		return 1
	}
	return or(r.Attempts, DefaultAttempts)
}

// Again says whether there is another attempt after one, the n-th from 1 on, that ended so.
func (r *Retry) Again(n int, state RunState) bool {
	if r == nil || n >= r.Tries() {
		return false
	}
	on := r.On
	if len(on) == 0 {
		on = []RetryOn{RetryFailed, RetryTimedOut}
	}
	return slices.Contains(on, RetryOn(state))
}

// Wait returns the time from the end of the n-th attempt, from 1 on, to the next. Chance returns a random time below another.
func (r *Retry) Wait(n int, chance func(below time.Duration) time.Duration) time.Duration {
	wait := or(r.Interval, DefaultRetryInterval).Std()
	if or(r.Backoff, BackoffFixed) == BackoffExponential {
		most := or(r.MaxInterval, DefaultMaxRetryInterval).Std()
		for ; n > 1 && wait < most; n-- {
			wait *= 2
		}
		wait = min(wait, most)
	}
	return wait - wait/10 + chance(wait/5)
}

func (c *checker) retry(at string, j *Job) {
	if j.RunTimeout > 0 && j.RunTimeout < j.Timeout {
		c.fault(at+"run_timeout", "give the whole run longer, or leave it out",
			"%s is shorter than the timeout of one attempt, %s", j.RunTimeout, j.Timeout)
	}
	r := j.Retry
	if r == nil {
		return
	}
	at += "retry."
	if r.Attempts != 0 && (r.Attempts < 2 || r.Attempts > MaxAttempts) {
		c.fault(at+"attempts", fmt.Sprintf("2 to %d, in all; %d if it is left out", MaxAttempts, DefaultAttempts),
			"%d is out of range", r.Attempts)
	}
	c.interval(at+"interval", r.Interval, DefaultRetryInterval)
	c.interval(at+"max_interval", r.MaxInterval, DefaultMaxRetryInterval)
	interval := or(r.Interval, DefaultRetryInterval)
	switch most := or(r.MaxInterval, DefaultMaxRetryInterval); {
	case or(r.Backoff, BackoffFixed) == BackoffFixed && r.MaxInterval != 0:
		c.fault(at+"max_interval", "leave it out, or use backoff: exponential", "a fixed backoff has the same interval each time")
	case r.Backoff == BackoffExponential && interval > most && r.MaxInterval == 0:
		c.fault(at+"interval", "give max_interval", "%s is longer than max_interval, which is %s if it is left out", interval, most)
	case r.Backoff == BackoffExponential && interval > most:
		c.fault(at+"interval", "", "%s is longer than max_interval, %s", interval, most)
	}
	if p := j.Placement; r.Elsewhere && p != nil {
		c.senseless(at+"elsewhere", p.Agent != "", "the job is pinned to an agent by `agent`", "leave one of the two out")
		c.senseless(at+"elsewhere", j.Mode() == PlaceEach, "a job of mode each is every agent's own", "leave it out")
	}
	if r.Elsewhere && len(j.Scripts) > 0 {
		c.fault(at+"elsewhere", "leave one of the two out", "not supported yet beside scripts")
	}
	for i, on := range r.On {
		if slices.Contains(r.On[:i], on) {
			c.fault(fmt.Sprintf("%son[%d]", at, i), "leave one out", "%s is named twice", on)
		}
	}
}

func (c *checker) interval(at string, d, def Duration) {
	if d != 0 && (d < MinRetryInterval || d > MaxRetryInterval) {
		c.fault(at, fmt.Sprintf("%s to %s; %s if it is left out", MinRetryInterval, MaxRetryInterval, def), "%s is out of range", d)
	}
}
