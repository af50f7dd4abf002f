package runlog

import (
	"bytes"
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"

	"crony"
)

// What one page may cost, in steps of about a run that is looked at, and what opening a day's file counts for. A page that
// reaches it is shorter than asked, or empty, and goes on with its cursor. Counting may cost more, and then says so.
const (
	pageBudget  = 20_000
	countBudget = 100_000
	dayCost     = 200
	pageResults = 4 << 20 // bytes, of the results of the runs on a page
)

// ListRuns returns runs, the newest first. Its cost is bounded, and so is what their results add up to: a page may be shorter
// than asked, or empty, and still have a next one. The cursor is a place in the order of the ids, so runs that are added
// meanwhile neither double nor hide others. A run that never started is neither longer nor shorter than anything.
func (l *Log) ListRuns(ctx context.Context, q crony.RunQuery) (crony.RunPage, error) {
	if err := l.alive(ctx); err != nil {
		return crony.RunPage{}, err
	}
	p, err := newPage(q, l)
	if err != nil {
		return crony.RunPage{}, err
	}
	for _, day := range l.days.newestFirst() {
		if p.more || !p.has(day, p.before) {
			continue
		}
		if err := l.alive(ctx); err != nil {
			return crony.RunPage{}, err
		}
		if p.left -= dayCost; p.left <= 0 {
			p.stopBefore(day)
			break
		}
		if err := l.days.view(day, func(tx *bbolt.Tx) error { return p.collect(tx, day) }); err != nil {
			return crony.RunPage{}, fmt.Errorf("list runs: %w", err)
		}
	}
	result := p.result()
	if q.Count {
		if result.Count, err = l.countRuns(ctx, p.selection, countBudget); err != nil {
			return crony.RunPage{}, fmt.Errorf("count runs: %w", err)
		}
	}
	return result, nil
}

// page is a page of runs in the making.
type page struct {
	*selection
	budget
	limit  int
	size   int    // bytes of the results of its runs
	before runKey // the page goes on below it
	runs   []crony.Run
	more   bool
}

func newPage(q crony.RunQuery, l *Log) (*page, error) {
	limit, err := crony.PageLimit(q.Limit)
	if err != nil {
		return nil, err
	}
	s, err := newSelection(q, l.now())
	if err != nil {
		return nil, err
	}
	p := &page{selection: s, budget: budget{pageBudget}, limit: limit, before: s.high, runs: []crony.Run{}}
	if q.Cursor != "" {
		u, err := ulid.ParseStrict(q.Cursor)
		if err != nil {
			return nil, crony.Errorf(crony.Invalid, "%.40q is not a cursor", q.Cursor).
				WithHint("take `next` of the page before")
		}
		if k := runKey(u); bytes.Compare(k[:], p.before[:]) < 0 {
			p.before = k
		}
	}
	return p, nil
}

// stopBefore ends the page with a day yet to be looked at.
func (p *page) stopBefore(day dayNumber) {
	p.more = true
	if end := (day + 1).first(); bytes.Compare(end[:], p.before[:]) < 0 {
		p.before = end
	}
}

// collect takes a day's runs into the page.
func (p *page) collect(tx *bbolt.Tx, day dayNumber) error {
	w, ok := p.on(tx, day, p.before)
	if !ok {
		return nil
	}
	for {
		k, value, found, err := w.next(&p.budget)
		switch {
		case err != nil:
			return err
		case !found && w.before == runKey{}: // the day has no more
			return nil
		case !found:
			p.before, p.more = w.before, true
			return nil
		case len(p.runs) == p.limit:
			p.more = true
			return nil
		}
		run, _, err := foldOf(k, value, w.names)
		if err != nil {
			return err
		}
		p.runs = append(p.runs, run)
		p.before = k
		if p.size += len(run.Result); p.size > pageResults {
			p.more = true
			return nil
		}
	}
}

func (p *page) result() crony.RunPage {
	r := crony.RunPage{Items: p.runs}
	if p.more {
		r.Next = string(p.before.id())
	}
	return r
}
