package ledger

import (
	"strings"

	"crony"
)

// flush tells the piece that is in the making.
func (a *account) flush() {
	p := a.pending
	if p == nil {
		return
	}
	a.pending = nil
	r := row{end: p.end, named: p.n, upTo: a.at}
	r.entry = crony.LedgerEntry{From: p.from, To: p.to, Count: p.n, End: p.end, Reason: p.reason}
	if p.cover != nil {
		r.entry = a.part(p)
	}
	a.told = append(a.told, r)
}

// part returns the entry for a piece of a stretch: the stretch as it stands, if nothing parts it while the account is in it.
func (a *account) part(p *piece) crony.LedgerEntry {
	s, after, until := p.cover, p.after, p.until
	e := a.line.generation(s.JobUID, s.Generation)
	if e == nil || e.plan == nil {
		return crony.LedgerEntry{}
	}
	if !a.resumed && !after.After(a.start) {
		after = earlier(after, s.From.Add(-1))
	}
	if !until.Before(a.end) && !a.parted {
		until = later(until, s.To)
	}
	entry := stored(s)
	if after.Before(s.From) && !until.Before(s.To) {
		return entry
	}
	entry.Count, entry.From, entry.To = e.plan.Count(after, earlier(until, s.To))
	return entry
}

// stored returns the entry for a stretch as it stands.
func stored(s *crony.Stretch) crony.LedgerEntry {
	return crony.LedgerEntry{From: s.From, To: s.To, Count: s.Count, End: s.End, Reason: s.Reason, Agent: s.Agent}
}

// entryOf returns the entry for a run.
func entryOf(r *crony.Run) crony.LedgerEntry {
	e := crony.LedgerEntry{From: r.ScheduledAt, To: r.ScheduledAt, Count: 1, End: crony.EndRan, Reason: r.Reason, Run: r.ID,
		State: r.State, Agent: r.Agent}
	if r.Doubles != "" {
		e.Reason = strings.TrimSuffix("it doubles the run "+string(r.Doubles)+"; "+r.Reason, "; ")
	}
	if r.RerunOf != "" {
		e.Reason = strings.TrimSuffix("in the place of the lost run "+string(r.RerunOf)+"; "+r.Reason, "; ")
	}
	switch {
	case r.State == crony.Lost:
		e.End = crony.EndLost
	case r.State == crony.Skipped:
		e.End = crony.EndSkipped
	case r.State == crony.Waiting && r.StartedAt.IsZero(): // its first attempt could not be started
		e.End = crony.EndOpen
	case r.State == crony.Claimed:
		e.End, e.Reason = crony.EndOpen, "claimed, not started yet"
	}
	return e
}

// countsLater says whether it is the next run that counts for the occurrence. Of one that is lost and the one in its place,
// whichever comes first, that is the second, if it has not been skipped.
func (a *account) countsLater(run *crony.Run) (bool, error) {
	if run == a.line.claimed || run.RerunOf == "" && run.State != crony.Lost {
		return false, nil
	}
	next, err := a.runs.head()
	switch {
	case next == nil:
		return false, err
	case next.RerunOf == run.ID:
		return next.State != crony.Skipped, err
	}
	return run.RerunOf == next.ID && run.State == crony.Skipped, err
}
