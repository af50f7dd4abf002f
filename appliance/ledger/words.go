package ledger

import (
	"fmt"
	"strings"
	"time"

	"crony"
)

// clock writes an instant for people.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// lasting writes a span of time for people, no finer than they care for.
func lasting(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		d = d.Round(time.Millisecond)
	case d < time.Hour:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Minute)
	}
	return crony.Duration(max(d, 0)).String()
}

// words explains an occurrence.
func (l *timeline) words(x *crony.Explanation) string {
	e, entry, what := l.at(x.At), x.Entry, x.Job
	if l.whose != "" {
		what += " on agent " + l.whose
	}
	due := fmt.Sprintf("%s was due at %s", what, clock(x.At))
	if x.At.After(l.now) {
		due = fmt.Sprintf("%s is due in %s, at %s", what, lasting(x.At.Sub(l.now)), clock(x.At))
	}
	in, named := e.instant(x.At)
	switch {
	case named && in.Runs && in.Why != "":
		due += ", " + in.Why
	case !named && e != nil && x.Run != nil:
		due += fmt.Sprintf(" by generation %d of its definition", x.Run.Generation)
	}
	switch {
	case x.Run != nil:
		return due + ". " + l.wordsOfRun(x.Run)
	case x.At.After(l.now):
		return due + l.wordsOfFuture(e, entry)
	}
	return due + ". " + l.wordsOfEntry(e, entry, x.At)
}

func (l *timeline) wordsOfFuture(e *era, entry *crony.LedgerEntry) string {
	switch {
	case entry.End == crony.EndSkipped:
		return ", and will not run: " + entry.Reason + "."
	case e != nil && e.def.Job.Paused:
		return ", and will not run unless the job is resumed: " + entry.Reason + "."
	}
	return "."
}

// wordsOfEntry explains an occurrence that no run is known of.
func (l *timeline) wordsOfEntry(e *era, entry *crony.LedgerEntry, at time.Time) string {
	switch entry.End {
	case crony.EndUnrecorded:
		return "It was decided, but nothing is recorded of it: the record was lost or is not here yet, and it can't be told " +
			"whether it ran."
	case crony.EndOpen:
		if e != nil && e.plan != nil {
			if start := e.plan.Start(at); start.After(l.now) {
				return fmt.Sprintf("It is not decided yet: with its jitter it starts in %s, at %s.", lasting(start.Sub(l.now)),
					clock(start))
			}
		}
		return "It is not decided yet: " + entry.Reason + "."
	case crony.EndLost:
		return "It is lost, and whether it ran is not known: " + entry.Reason + alike(entry) + "."
	}
	verb := "It was skipped"
	if entry.End == crony.EndMissed {
		verb = "It was missed and did not run"
	}
	if entry.Agent != "" {
		verb += ", as agent " + entry.Agent + " decided"
	}
	words := verb + ": " + entry.Reason
	if e != nil && e.whoPaused != "" && entry.End == crony.EndSkipped && strings.HasPrefix(entry.Reason, e.def.PauseReason()) &&
		!strings.HasSuffix(entry.Reason, " by "+e.whoPaused) {
		words += " by " + e.whoPaused
	}
	return words + alike(entry) + "."
}

// alike says how many others ended as an occurrence did.
func alike(e *crony.LedgerEntry) string {
	if e.Count < 2 {
		return ""
	}
	return fmt.Sprintf(" (one of %d from %s to %s)", e.Count, clock(e.From), clock(e.To))
}

// wordsOfRun explains an occurrence by its run.
func (l *timeline) wordsOfRun(r *crony.Run) string {
	if r.State == crony.Claimed {
		return fmt.Sprintf("Agent %s has claimed it, and has not started it yet.", r.FirstAgent())
	}
	if r.StartedAt.IsZero() && r.State == crony.Waiting {
		return fmt.Sprintf("Agent %s claimed it, and waits until %s%s.", r.FirstAgent(), clock(r.Until), because(r.Reason))
	}
	if r.StartedAt.IsZero() {
		return fmt.Sprintf("Agent %s claimed it and did not start it: it %s%s.", r.FirstAgent(), ended(r), because(r.Reason))
	}
	words := fmt.Sprintf("Agent %s started it at %s, %s", r.FirstAgent(), clock(r.StartedAt), l.late(r))
	if r.Unclaimed {
		words += ", without a claim as it was cut off"
	}
	if r.CatchUp {
		words += ", to make up for it"
	}
	if r.State == crony.Waiting {
		return fmt.Sprintf("%s, and it waits until %s%s.", words, clock(r.Until), because(r.Reason))
	}
	if !r.State.Ended() {
		return fmt.Sprintf("%s, and it still runs after %s.", words, lasting(l.now.Sub(r.StartedAt)))
	}
	words += "; it " + ended(r)
	if code, ok := r.ExitCode(); ok {
		words += fmt.Sprintf(" with exit code %d", code)
	}
	if !r.EndedAt.IsZero() {
		words += " after " + lasting(r.EndedAt.Sub(r.StartedAt))
	}
	if n := len(r.Attempts); n > 1 {
		words += fmt.Sprintf(" and %d attempts", n)
	}
	return words + because(r.Reason) + "."
}

// wordsOfOthers tells of the other runs of an occurrence.
func wordsOfOthers(told *row) string {
	words := ""
	if told.run != nil && told.run.RerunOf != "" {
		words += fmt.Sprintf(" It is in the place of the run %s, which was lost.", told.run.RerunOf)
	}
	for _, r := range told.also {
		switch {
		case !doubled(told.run, r):
		case r.Doubles != "":
			words += fmt.Sprintf(" It ran twice: agent %s was cut off, and started it without a claim as the run %s, which %s.",
				r.Agent, r.ID, standing(r))
		default:
			words += fmt.Sprintf(" It ran twice: agent %s has the run %s of it, which %s.", r.Agent, r.ID, standing(r))
		}
	}
	return words
}

// standing says in words whether a run has ended.
func standing(r *crony.Run) string {
	if !r.State.Ended() {
		return "goes on"
	}
	return ended(r)
}

// ended says in words that a run has ended.
func ended(r *crony.Run) string {
	switch r.State {
	case crony.Succeeded, crony.Failed:
		return string(r.State)
	case crony.TimedOut:
		return "timed out"
	}
	return "was " + string(r.State)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// late says how late a run started: after its instant, or after what its jitter made of that.
func (l *timeline) late(r *crony.Run) string {
	start, jitter := r.ScheduledAt, ""
	if e := l.generation(r.JobUID, r.Generation); e != nil && e.plan != nil {
		if start = e.plan.Start(start); !start.Equal(r.ScheduledAt) {
			jitter = fmt.Sprintf(" (its jitter is %s)", lasting(start.Sub(r.ScheduledAt)))
		}
	}
	if late := r.StartedAt.Sub(start); late >= time.Second {
		return lasting(late) + " late" + jitter
	}
	return "on time" + jitter
}

// wordsOfNone says of an instant that it is none of the job's. What was told of it is a stretch that it lies in.
func (l *timeline) wordsOfNone(x *crony.Explanation, told *row) string {
	words := fmt.Sprintf("%s was not due at %s", x.Job, clock(x.At))
	e := l.at(x.At)
	switch {
	case e == nil && told != nil:
		s := &told.entry
		return fmt.Sprintf("The schedule that %s had at %s is not kept. From %s to %s it was due %d times, which ended as %s: %s.",
			x.Job, clock(x.At), clock(s.From), clock(s.To), s.Count, s.End, s.Reason)
	case e == nil:
		words = fmt.Sprintf("The schedule that %s had at %s is not kept, and nothing is recorded of that time", x.Job, clock(x.At))
	case e.plan == nil:
		words += ": it ran only when it was told to"
	case x.At.After(l.now):
		words = fmt.Sprintf("%s is not due at %s", x.Job, clock(x.At))
	}
	switch {
	case !x.Before.IsZero() && !x.After.IsZero():
		words += fmt.Sprintf(". The nearest are %s before it and %s after it", clock(x.Before), clock(x.After))
	case !x.After.IsZero():
		words += ". The first after it is " + clock(x.After)
	case !x.Before.IsZero():
		words += ". The last before it is " + clock(x.Before)
	}
	return words + "."
}
