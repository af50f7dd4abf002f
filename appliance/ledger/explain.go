package ledger

import (
	"context"
	"slices"
	"time"

	"crony"
)

// ExplainOccurrence implements [crony.Ledger]. An instant that is none itself, but lies in the same minute of the clock as a
// single occurrence, is taken for that one: people ask by the minute.
func (l *Ledger) ExplainOccurrence(ctx context.Context, q crony.ExplainQuery) (crony.Explanation, error) {
	h, err := l.history(ctx, q.Job)
	if err != nil {
		return crony.Explanation{}, err
	}
	line := newTimeline(h, l.now().UTC())
	x := crony.Explanation{Job: q.Job}
	if x.At, x.Occurrence, err = l.meant(ctx, q.Job, line, q.At.UTC()); err != nil {
		return crony.Explanation{}, err
	}
	e := line.at(x.At)
	if e != nil {
		x.Generation = e.def.Generation
	}
	switch {
	case e != nil && each(e.def) && x.Occurrence:
		return l.explainEach(ctx, q, &h, x)
	case several(&h): // of what all shared, as it was another mode's then
		line = timelineOf(h, "", line.now)
	}
	told, err := line.toldOf(l.records(ctx, q.Job, instantly(x.At)), x.At)
	if err != nil {
		return crony.Explanation{}, err
	}
	return line.explained(x, told), nil
}

// instantly is the span of one instant.
func instantly(at time.Time) span { return span{after: at.Add(-1), until: at} }

// explained completes the explanation of an instant with what was told of it; nil if nothing was.
func (l *timeline) explained(x crony.Explanation, told *row) crony.Explanation {
	if !x.Occurrence && told != nil && (told.entry.From.Equal(x.At) || told.entry.To.Equal(x.At)) {
		x.Occurrence = true // the schedule of then is not kept, but the stretch that it begins or ends is
	}
	if !x.Occurrence {
		x.Before, x.After = l.before(x.At), l.next(x.At)
		x.Words = l.wordsOfNone(&x, told)
		return x
	}
	if told == nil {
		told = l.toCome(x.At)
	}
	x.Entry, x.Run = &told.entry, told.run
	x.Words = l.words(&x) + wordsOfOthers(told)
	return x
}

// meant returns the occurrence that an instant stands for, or the instant itself and false.
func (l *Ledger) meant(ctx context.Context, job string, line *timeline, at time.Time) (time.Time, bool, error) {
	minute := at.Truncate(time.Minute)
	end := minute.Add(time.Minute - 1)
	var known []time.Time
	for in, ok := line.nextNamed(minute.Add(-1)); ok && !in.After(end) && len(known) < 2; in, ok = line.nextNamed(in) {
		known = append(known, in)
	}
	runs, _, err := l.runs.Occurrences(ctx, job, minute, end, portion)
	if err != nil {
		return at, false, err
	}
	for i := range runs {
		known = append(known, runs[i].ScheduledAt.UTC())
	}
	slices.SortFunc(known, time.Time.Compare)
	known = slices.CompactFunc(known, time.Time.Equal)
	_, named := line.instant(at)
	switch {
	case named || slices.ContainsFunc(known, at.Equal):
		return at, true, nil
	case len(known) == 1:
		return known[0], true, nil
	}
	return at, false, nil
}

// toldOf returns what an account tells of an instant: of the job itself, rather than of one that had its name before.
func (l *timeline) toldOf(in records, at time.Time) (*row, error) {
	var best *row
	for r, err := range newAccount(in, l, instantly(at), pageWork).rows() {
		if err != nil {
			return nil, err
		}
		foreign := r.run != nil && r.run.JobUID != l.uid
		switch {
		case r.entry.Count == 0:
		case best == nil || best.run != nil && best.run.JobUID != l.uid && !foreign:
			best = &r
		case r.run != nil && best.run != nil && r.run.JobUID == best.run.JobUID:
			first, second := best, &r
			if first.run.Doubles != "" && second.run.Doubles == "" || second.run.RerunOf == first.run.ID {
				first, second = second, first
			}
			first.also = append(append(best.also, r.also...), second.run)
			best = first
		}
	}
	return best, nil
}

// toCome returns what is foreseen of an occurrence in the future.
func (l *timeline) toCome(at time.Time) *row {
	r := row{entry: crony.LedgerEntry{From: at, To: at, Count: 1, End: crony.EndOpen, Reason: "its time has not come"}}
	e := l.at(at)
	switch in, named := e.instant(at); {
	case named && !in.Runs:
		r.entry.End, r.entry.Reason = crony.EndSkipped, in.Why
	case e != nil && e.def.Job.Paused:
		r.entry.Reason = e.pauseReason()
	}
	return &r
}

// nextNamed returns the first instant after t that the schedule of its time names, whether it runs or not.
func (l *timeline) nextNamed(t time.Time) (time.Time, bool) {
	return l.forward(t, func(p *crony.Plan, t time.Time) time.Time {
		in, _ := p.Instant(t)
		return in.At
	})
}

// next returns the first occurrence after t that runs; the zero time if there is none.
func (l *timeline) next(t time.Time) time.Time {
	at, _ := l.forward(t, (*crony.Plan).Next)
	return at
}

// forward goes through the eras from t on, until next finds an instant in one.
func (l *timeline) forward(t time.Time, next func(*crony.Plan, time.Time) time.Time) (time.Time, bool) {
	for i := range l.eras {
		e := &l.eras[i]
		if e.plan == nil || !e.until.IsZero() && !t.Before(e.until) {
			continue
		}
		at := next(e.plan, later(t, e.after))
		if !at.IsZero() && (e.until.IsZero() || !at.After(e.until)) {
			return at, true
		}
	}
	return time.Time{}, false
}

// before returns the last occurrence before t that runs; the zero time if none is known.
func (l *timeline) before(t time.Time) time.Time {
	for i := len(l.eras) - 1; i >= 0; i-- {
		e := &l.eras[i]
		end := t.Add(-1)
		if !e.until.IsZero() {
			end = earlier(end, e.until)
		}
		if e.plan == nil || !e.after.Before(end) {
			continue
		}
		if at := lastOf(e.plan, e.after, end); !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

// lastOf returns the last occurrence after one instant and up to another. It looks back over times that double.
func lastOf(p *crony.Plan, after, until time.Time) time.Time {
	for span := time.Minute; ; span *= 2 {
		from := until.Add(-span)
		whole := span <= 0 || !from.After(after)
		if whole {
			from = after
		}
		_, _, last := p.Count(from, until)
		if whole || !last.IsZero() {
			return last
		}
	}
}
