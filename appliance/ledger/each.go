package ledger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"crony"
	"crony/embedded/state"
)

// A job of mode each has an account for every agent, and one of what all share, from when it was of another mode. They are
// told a window at a time: the records of a window are read once, sorted by whose they are, and each account tells its own.

// several says whether agents have, or had by the definitions that are kept, occurrences of their own.
func several(h *state.History) bool {
	return slices.ContainsFunc(h.Definitions, func(d crony.Definition) bool { return each(&d) }) ||
		slices.ContainsFunc(h.Holders, func(a state.Holder) bool { return !a.Since.IsZero() })
}

// window is a part of a time with all that is recorded in it, by whose it is.
type window struct {
	span
	runs      map[string][]crony.Run
	stretches map[string][]crony.Stretch
}

// window reads the records of a time, or of its beginning: there are about most runs in it.
func (l *Ledger) window(ctx context.Context, job string, h *state.History, over span, most int) (*window, error) {
	w := &window{span: over, runs: map[string][]crony.Run{}, stretches: map[string][]crony.Stretch{}}
	runs := runFeed(l.records(ctx, job, over), over.after.Add(1))
	modes := modesOf(h)
	var last time.Time
	for n := 0; ; n++ {
		r, err := runs.head()
		if err != nil {
			return nil, err
		}
		if r == nil {
			break
		}
		if n >= most && r.ScheduledAt.After(last) {
			w.shrink(r.ScheduledAt.Add(-1))
			break
		}
		last = r.ScheduledAt
		w.runs[modes.whose(r)] = append(w.runs[modes.whose(r)], *r)
		runs.take()
	}
	stretches := stretchFeed(l.records(ctx, job, w.span), over.after.Add(1))
	for {
		s, err := stretches.head()
		if err != nil {
			return nil, err
		}
		if s == nil {
			return w, nil
		}
		w.stretches[s.Of] = append(w.stretches[s.Of], *s)
		stretches.take()
	}
}

// modes tells by the generation of a run whether it is its agent's own.
type modes struct {
	each map[int64]bool
	uid  string
}

func modesOf(h *state.History) modes {
	m := modes{each: map[int64]bool{}}
	for i := range h.Definitions {
		d := &h.Definitions[i]
		m.each[d.Generation], m.uid = each(d), d.UID
	}
	return m
}

// whose returns the agent of a run that is its own, "" of one that all share. Where the definition is not kept, the run's id
// tells.
func (m *modes) whose(r *crony.Run) string {
	own, known := m.each[r.Generation]
	if !known || r.JobUID != m.uid {
		own = cmp.Or(r.RerunOf, r.ID) == crony.OccurrenceRunID(r.JobUID, r.ScheduledAt, r.Agent)
	}
	if own {
		return r.Agent
	}
	return ""
}

// shrink has the window end earlier.
func (w *window) shrink(until time.Time) {
	if until.Before(w.until) {
		w.until, w.parted = until, true
	}
}

// records are those of one account.
func (w *window) records(whose string) records {
	runs := slices.DeleteFunc(slices.Clone(w.runs[whose]), func(r crony.Run) bool { return r.ScheduledAt.After(w.until) })
	stretches := slices.DeleteFunc(slices.Clone(w.stretches[whose]), func(s crony.Stretch) bool { return s.From.After(w.until) })
	return records{
		runs:      func(time.Time) ([]crony.Run, time.Time, error) { return runs, time.Time{}, nil },
		stretches: func(time.Time) ([]crony.Stretch, time.Time, error) { return stretches, time.Time{}, nil },
	}
}

// whose returns whose accounts there are to tell of, the shared one first: of those who have the job, and of those of whom
// something is recorded; or only the agent's that is asked for.
func (w *window) whose(h *state.History, agent string) []string {
	if agent != "" {
		return []string{agent}
	}
	all := map[string]bool{"": true}
	for _, a := range h.Holders {
		if !a.Since.IsZero() {
			all[a.Agent] = true
		}
	}
	for whose := range w.runs {
		all[whose] = true
	}
	for whose := range w.stretches {
		all[whose] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// tale is what an account has told.
type tale struct {
	rows      []row
	stretches []*crony.Stretch // that it came upon, but for those that were told before
}

// tell has the accounts tell of the window, and ends it earlier if one of them comes not so far with its part of the work.
func (w *window) tell(h *state.History, agent string, now time.Time, work int) (map[string]*tale, error) {
	list := w.whose(h, agent)
	for {
		told, end := make(map[string]*tale, len(list)), w.until
		for _, whose := range list {
			a := newAccount(w.records(whose), timelineOf(*h, whose, now), w.span, max(work/len(list), portion))
			t := &tale{}
			a.stretch = func(s *crony.Stretch) {
				if !w.resumed || s.From.After(w.after) {
					t.stretches = append(t.stretches, s)
				}
			}
			for r, err := range a.rows() {
				if err != nil {
					return nil, err
				}
				if r.entry.Agent == "" {
					r.entry.Agent = whose
				}
				t.rows = append(t.rows, r)
			}
			told[whose], end = t, earlier(end, a.at)
		}
		if !end.Before(w.until) {
			return told, nil
		}
		w.shrink(end)
	}
}

// listOfEach is ListLedger where several accounts are merged. A page is a window.
func (l *Ledger) listOfEach(
	ctx context.Context, q crony.LedgerQuery, h *state.History, over span, limit int,
) (crony.LedgerPage, error) {
	w, err := l.window(ctx, q.Job, h, over, limit)
	if err != nil {
		return crony.LedgerPage{}, err
	}
	now := l.now().UTC()
	told, err := w.tell(h, q.Agent, now, pageWork)
	if err != nil {
		return crony.LedgerPage{}, err
	}
	page := crony.LedgerPage{Items: entriesOf(told)}
	if len(page.Items) > limit {
		first := later(page.Items[0].From, w.after.Add(1)) // which is told whole
		w.shrink(later(page.Items[limit].From.Add(-1), first))
		if told, err = w.tell(h, q.Agent, now, pageWork); err != nil {
			return crony.LedgerPage{}, err
		}
		page.Items = entriesOf(told)
	}
	if w.parted {
		page.Next = cursorOf(w.until)
	}
	return page, nil
}

// entriesOf returns what accounts have told, the earliest first.
func entriesOf(told map[string]*tale) []crony.LedgerEntry {
	var items []crony.LedgerEntry
	for _, t := range told {
		for _, r := range t.rows {
			if r.entry.Count > 0 {
				items = append(items, r.entry)
			}
		}
	}
	slices.SortStableFunc(items, func(a, b crony.LedgerEntry) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Run, b.Run))
	})
	return items
}

// The bounds of a verification of several accounts: how many windows, and about how many runs in each.
const (
	mostWindows = 20
	windowRuns  = 10 * portion
)

// verifyOfEach is VerifyLedger where there are several accounts: each is held against what its own agent should have done.
func (l *Ledger) verifyOfEach(
	ctx context.Context, q crony.VerifyQuery, h *state.History, over span,
) (crony.Verification, error) {
	now := l.now().UTC()
	from := later(over.after.Add(1), newTimeline(*h, now).knownAfter())
	by := map[string]*verifier{}
	for range mostWindows {
		w, err := l.window(ctx, q.Job, h, over, windowRuns)
		if err != nil {
			return crony.Verification{}, err
		}
		told, err := w.tell(h, q.Agent, now, verifyWork)
		if err != nil {
			return crony.Verification{}, err
		}
		for whose, t := range told {
			if by[whose] == nil {
				by[whose] = newVerifier(q.Job, timelineOf(*h, whose, now))
			}
			by[whose].take(t, w.until)
		}
		if over.after, over.resumed = w.until, true; !w.parted {
			break
		}
	}
	v := merged(q.Job, by)
	v.From, v.To, v.Complete = earlier(from, over.after), over.after, !over.after.Before(over.until)
	return v, nil
}

// take takes in what an account has told up to an instant.
func (v *verifier) take(t *tale, upTo time.Time) {
	for i := range t.rows {
		v.row(&t.rows[i])
	}
	v.ending = v.stretches(append(v.ending, t.stretches...), upTo)
}

// merged adds up what was found out of each agent.
func merged(job string, by map[string]*verifier) crony.Verification {
	all := newVerifier(job, nil).out
	for _, whose := range slices.Sorted(maps.Keys(by)) {
		v := &by[whose].out
		all.Expected, all.Faulty = all.Expected+v.Expected, all.Faulty+v.Faulty
		for end, n := range v.Ends {
			all.Ends[end] += n
		}
		all.Faults = append(all.Faults, v.Faults...)
	}
	slices.SortStableFunc(all.Faults, func(a, b crony.LedgerFault) int { return a.At.Compare(b.At) })
	all.Faults = all.Faults[:min(len(all.Faults), crony.MaxFaults)]
	return all
}
