package ledger

import (
	"context"
	"time"

	"crony"
)

// pageWork bounds the work for a page of a list: with a calendar that keeps a job of each second from running, a page may be
// shorter than asked for, or empty, and go on with its cursor.
const pageWork = 200_000

// ListLedger implements [crony.Ledger]. A stretch that is only in part in the time asked for is an entry as it stands, unless
// a run or a calendar parts it; what was skipped for one reason in several stretches is one entry. A page may hold a few entries
// more than its limit, when they are of one instant; and occurrences that ended alike may be parted by the end of a page.
//
// Of a job that each agent runs, or ran, the entries of all agents are merged, unless one is asked for.
func (l *Ledger) ListLedger(ctx context.Context, q crony.LedgerQuery) (crony.LedgerPage, error) {
	limit, err := crony.PageLimit(q.Limit)
	if err != nil {
		return crony.LedgerPage{}, err
	}
	h, err := l.history(ctx, q.Job)
	if err != nil {
		return crony.LedgerPage{}, err
	}
	now := l.now().UTC()
	over, err := spanOf(q.From, q.To, now)
	if err != nil {
		return crony.LedgerPage{}, err
	}
	if q.Cursor != "" {
		if over.after, err = parseCursor(q.Cursor); err != nil {
			return crony.LedgerPage{}, err
		}
		over.resumed = true
	}
	if several(&h) || q.Agent != "" && len(h.Definitions) == 0 {
		return l.listOfEach(ctx, q, &h, over, limit)
	}
	a := newAccount(l.records(ctx, q.Job, over), newTimeline(h, now), over, pageWork)
	page := crony.LedgerPage{}
	var upTo time.Time
	for r, err := range a.rows() {
		if err != nil {
			return crony.LedgerPage{}, err
		}
		if r.entry.Count == 0 {
			continue
		}
		if n := len(page.Items); n > 0 && joins(&page.Items[n-1], &r.entry) {
			page.Items[n-1].To, page.Items[n-1].Count = r.entry.To, page.Items[n-1].Count+r.entry.Count
			upTo = r.upTo
			continue
		}
		if n := len(page.Items); n >= limit && !upTo.Before(page.Items[n-1].From) {
			page.Next = cursorOf(upTo)
			return page, nil
		}
		page.Items, upTo = append(page.Items, r.entry), r.upTo
	}
	if a.at.Before(a.end) {
		page.Next = cursorOf(a.at)
	}
	return page, nil
}

// joins says whether an entry goes on where the one before it ended: what an agent skips for one reason, as a run goes on, it
// tells of several times while that lasts.
func joins(before, next *crony.LedgerEntry) bool {
	return next.End == crony.EndSkipped && before.End == next.End && next.Run == "" && before.Run == "" &&
		next.Agent != "" && before.Agent == next.Agent && before.Reason == next.Reason && before.To.Before(next.From)
}

// spanOf returns the time that a query asks for: up to now, from a day before its end.
func spanOf(from, to, now time.Time) (span, error) {
	if to.IsZero() {
		to = now
	}
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
	}
	if to.Before(from) {
		return span{}, crony.Errorf(crony.Invalid, "the time ends at %s, before it begins at %s", clock(to), clock(from)).
			WithHint("from is before to")
	}
	return span{after: from.UTC().Add(-1), until: to.UTC()}, nil
}

func cursorOf(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func parseCursor(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, crony.Errorf(crony.Invalid, "%.40q is not a cursor", text).
			WithHint("take it from the page before, as it is")
	}
	return t.UTC(), nil
}
