package ledger

import (
	"context"
	"fmt"
	"time"

	"crony"
)

// verifyWork bounds the work of a verification. A job with one schedule and no calendars is counted by the day, the others
// occurrence by occurrence.
const verifyWork = 2_000_000

// VerifyLedger implements [crony.Ledger]. What has yet to come is left out: To is now at the latest. Expected and Ends count
// the occurrences of the definitions that are kept; runs and stretches of before are held against nothing. A row of
// occurrences without a record is one fault. A stretch is looked at where it ends.
//
// Of a job that each agent runs, the occurrences of each count, unless one agent is asked for.
func (l *Ledger) VerifyLedger(ctx context.Context, q crony.VerifyQuery) (crony.Verification, error) {
	h, err := l.history(ctx, q.Job)
	if err != nil {
		return crony.Verification{}, err
	}
	now := l.now().UTC()
	if q.To.After(now) {
		q.To = now
	}
	over, err := spanOf(q.From, q.To, now)
	if err != nil {
		return crony.Verification{}, err
	}
	if several(&h) || q.Agent != "" && len(h.Definitions) == 0 {
		return l.verifyOfEach(ctx, q, &h, over)
	}
	line := newTimeline(h, now)
	a := newAccount(l.records(ctx, q.Job, over), line, over, verifyWork)
	v := newVerifier(q.Job, line)
	a.stretch = func(s *crony.Stretch) { v.ending = append(v.ending, s) }
	for r, err := range a.rows() {
		if err != nil {
			return crony.Verification{}, err
		}
		v.row(&r)
		v.ending = v.stretches(v.ending, a.at)
	}
	v.stretches(v.ending, a.at)
	v.out.From = earlier(later(over.after.Add(1), line.knownAfter()), a.at)
	v.out.To, v.out.Complete = a.at, !a.at.Before(a.end)
	return v.out, nil
}

// verifier gathers what is wrong.
type verifier struct {
	line   *timeline
	out    crony.Verification
	same   []*crony.Run     // of one job, due at one instant: the one that was looked at last
	ending []*crony.Stretch // that are looked at when they have ended
}

func newVerifier(job string, line *timeline) *verifier {
	return &verifier{line: line, out: crony.Verification{Job: job, Ends: map[crony.End]int64{}, Faults: []crony.LedgerFault{}}}
}

func (v *verifier) row(r *row) {
	if r.named > 0 {
		v.out.Expected += r.named
		v.out.Ends[r.end] += r.named
	}
	switch {
	case r.run != nil:
		v.run(r.run)
	case r.entry.End == crony.EndUnrecorded:
		v.fault(r.entry.From, crony.FaultGap, "%s", gapText(&r.entry))
	}
}

func gapText(e *crony.LedgerEntry) string {
	if e.Count == 1 {
		return "nothing is recorded of it, though it was decided"
	}
	return fmt.Sprintf("nothing is recorded of %d occurrences up to %s, though they were decided", e.Count, clock(e.To))
}

// run holds a run against the schedule that it was made from, and against the others of its instant.
func (v *verifier) run(r *crony.Run) {
	if len(v.same) > 0 && (!v.same[0].ScheduledAt.Equal(r.ScheduledAt) || v.same[0].JobUID != r.JobUID) {
		v.same = v.same[:0]
	}
	for _, other := range v.same {
		if doubled(other, r) {
			v.fault(r.ScheduledAt, crony.FaultDouble, "%s", doubleText(other, r))
		}
	}
	v.same = append(v.same, r)
	e := v.line.generation(r.JobUID, r.Generation)
	if e == nil || r.RerunOf != "" { // it is of the instant of the lost one, whatever the job has become since
		return
	}
	switch in, named := e.instant(r.ScheduledAt); {
	case !named:
		v.fault(r.ScheduledAt, crony.FaultStray, "the run %s is of an instant that generation %d does not name", r.ID,
			r.Generation)
	case !in.Runs:
		v.fault(r.ScheduledAt, crony.FaultStray, "the run %s should not have been: %s", r.ID, in.Why)
	}
}

// doubled says whether two runs that were due at one instant are two of one occurrence. A run in the place of another is none,
// unless it comes out that the other came to something, or goes on.
func doubled(a, b *crony.Run) bool {
	switch {
	case a.ID == b.ID, neverStarted(a), neverStarted(b):
		return false
	case a.Doubles != "" || b.Doubles != "":
		return a.Doubles == b.ID || b.Doubles == a.ID || a.Doubles == b.Doubles
	case a.RerunOf == b.ID:
		return !cameToNothing(b)
	case b.RerunOf == a.ID:
		return !cameToNothing(a)
	}
	return true
}

func cameToNothing(r *crony.Run) bool { return r.State.Ended() && r.State != crony.Succeeded }

func neverStarted(r *crony.Run) bool { return r.State == crony.Skipped && r.StartedAt.IsZero() }

func doubleText(a, b *crony.Run) string {
	text := fmt.Sprintf("it has the runs %s and %s", a.ID, b.ID)
	for _, r := range []*crony.Run{a, b} {
		if r.Doubles != "" {
			text += fmt.Sprintf(": agent %s was cut off and started %s without a claim", r.Agent, r.ID)
		}
	}
	return text
}

// stretches holds those that end by an instant against the schedules that they were made from, and returns the others.
func (v *verifier) stretches(list []*crony.Stretch, by time.Time) []*crony.Stretch {
	rest := list[:0]
	for _, s := range list {
		if s.To.After(by) {
			rest = append(rest, s)
			continue
		}
		e := v.line.generation(s.JobUID, s.Generation)
		if e == nil {
			continue
		}
		var n int64
		if e.plan != nil {
			n, _, _ = e.plan.Count(s.From.Add(-1), s.To)
		}
		if n != s.Count {
			v.fault(s.From, crony.FaultStray, "the stretch up to %s holds %d occurrences, generation %d names %d", clock(s.To),
				s.Count, s.Generation, n)
		}
	}
	return rest
}

func (v *verifier) fault(at time.Time, kind crony.FaultKind, format string, args ...any) {
	v.out.Faulty++
	if len(v.out.Faults) < crony.MaxFaults {
		v.out.Faults = append(v.out.Faults, crony.LedgerFault{
			At: at, Agent: v.line.whose, Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
}
