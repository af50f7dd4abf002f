package crony

import (
	"fmt"
	"time"

	"crony/internal/schedule"
)

// MisfireGrace is how late an occurrence may be asked for and still run as if it were on time. Servers that fail over and
// agents that are restarted take less. What is later is missed, and what becomes of it is for the job's misfire policy.
const MisfireGrace = 10 * time.Second

// AgentLease is how long after the last question that a server has answered an agent counts itself as one of the fleet. Then
// it is cut off, and jobs are as their [OnDisconnect] says.
const AgentLease = 10 * time.Second

// The bounds of [Misfire.Limit].
const (
	DefaultMisfireLimit = 100
	MaxMisfireLimit     = 1000
)

// Step is what is next to be done about a job whose occurrences up to a cursor are decided: to claim the occurrence At, or to
// pass over all of them up to Until; the zero step if there is nothing to do ever.
type Step struct {
	At      time.Time // the first occurrence after the cursor
	Start   time.Time // when it starts
	CatchUp bool      // it is missed, and is made up for
	Until   time.Time // if not zero, nothing is claimed: what is up to here is missed
	Reason  string    // why, of those that are passed over
}

// Step returns the next step as of now. It takes time that grows with the occurrences that it keeps, not with those that it
// passes over.
func (p *Plan) Step(cursor, now time.Time) Step {
	var policy Misfire
	if p.extra != nil {
		policy = p.extra.misfire
	}
	return p.step(cursor, now, policy)
}

// Forgo is [Plan.Step] for a job that can't run: all that is missed by now is passed over for a reason, whatever the misfire
// policy. What is not missed yet is as Step says, and is not to be claimed while the job can't run.
func (p *Plan) Forgo(cursor, now time.Time, reason string) Step {
	step := p.step(cursor, now, Misfire{Policy: MisfireSkip})
	if !step.Until.IsZero() {
		step.Reason = reason
	}
	return step
}

func (p *Plan) step(cursor, now time.Time, policy Misfire) Step {
	first, ok := p.runs(cursor)
	if !ok {
		return Step{}
	}
	claim := Step{At: first.At, Start: first.Start}
	late := now.Add(-MisfireGrace)
	if first.Start.After(late) {
		return claim
	}
	claim.CatchUp = true
	keep := or(policy.Limit, DefaultMisfireLimit)
	switch or(policy.Policy, MisfireOnce) {
	case MisfireSkip:
		return Step{Until: p.lastDue(first, late, 1), Reason: "the misfire policy is skip"}
	case MisfireOnce:
		keep = 1
	}
	if d := policy.Deadline.Std(); d > 0 && first.Start.Before(now.Add(-d)) {
		return Step{Until: p.lastDue(first, now.Add(-d-1), 1), Reason: "later than the misfire deadline of " + policy.Deadline.String()}
	}
	from := p.lastDue(first, now, keep)
	switch {
	case !from.After(first.At):
		return claim
	case keep == 1:
		return Step{Until: from.Add(-1), Reason: "a later one runs in its place"}
	}
	return Step{Until: from.Add(-1), Reason: fmt.Sprintf("more than the misfire limit of %d were due", keep)}
}

// lastDue returns the n-th last of the occurrences from first on whose start has come by now, or the first if they are fewer.
// It looks back from now over times that double, so that a long absence costs no more than a short one.
func (p *Plan) lastDue(first schedule.Occurrence, now time.Time, n int) time.Time {
	for span := time.Second; ; span *= 2 {
		from := now.Add(-span)
		whole := span <= 0 || !from.After(first.At)
		if whole {
			from = first.At.Add(-1)
		}
		recent := make([]time.Time, 0, min(n, 64)) // a ring of the last n
		count := 0
		for o, ok := p.runs(from); ok && !o.Start.After(now); o, ok = p.runs(o.At) {
			if len(recent) < n {
				recent = append(recent, o.At)
			} else {
				recent[count%n] = o.At
			}
			count++
		}
		switch {
		case count >= n:
			return recent[count%n]
		case whole:
			return first.At
		}
	}
}
