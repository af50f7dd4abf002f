package ledger

import (
	"context"
	"errors"
	"time"

	"crony"
	"crony/embedded/state"
)

// Source is where the definitions stand. It is safe for concurrent use.
type Source interface {
	// History returns what is kept of how a job came due; NotFound if there is no such job. What it names as decided is in the
	// run log by the time that it returns, or is on its way there.
	History(ctx context.Context, name string) (state.History, error)
}

// RunLog is what is recorded. Occurrences and Stretches give at most limit at once. If there is more, next is where to go on
// from: all before it has been given, and what lies right at it may be given again. Else next is the zero time. It is safe for
// concurrent use.
type RunLog interface {
	// Occurrences returns a job's runs by schedule that were due from one instant to another, both included, in that order.
	Occurrences(ctx context.Context, job string, from, to time.Time, limit int) (runs []crony.Run, next time.Time, err error)
	// Stretches returns a job's stretches that have a part from one instant to another, both included, in the order of
	// their To.
	Stretches(ctx context.Context, job string, from, to time.Time, limit int) (list []crony.Stretch, next time.Time, err error)
}

// Options are what a ledger needs. All are required but Now.
type Options struct {
	Jobs Source
	Runs RunLog
	Now  func() time.Time // [time.Now] if nil
}

// Ledger answers what became of occurrences. It is safe for concurrent use.
type Ledger struct {
	jobs Source
	runs RunLog
	now  func() time.Time
}

var _ crony.Ledger = (*Ledger)(nil)

// New returns a ledger.
func New(o Options) (*Ledger, error) {
	switch {
	case o.Jobs == nil:
		return nil, errors.New("new ledger: no source of jobs")
	case o.Runs == nil:
		return nil, errors.New("new ledger: no run log")
	case o.Now == nil:
		o.Now = time.Now
	}
	return &Ledger{jobs: o.Jobs, runs: o.Runs, now: o.Now}, nil
}

// history returns what is kept of how a job came due. Of one that was removed that is nothing; of one that left no trace
// either, NotFound.
func (l *Ledger) history(ctx context.Context, job string) (state.History, error) {
	h, err := l.jobs.History(ctx, job)
	if err == nil || crony.CodeOf(err) != crony.NotFound {
		return h, err
	}
	left, leftErr := l.leftTraces(ctx, job)
	switch {
	case leftErr != nil:
		return h, leftErr
	case !left:
		return h, err
	}
	return state.History{}, nil
}

func (l *Ledger) leftTraces(ctx context.Context, job string) (bool, error) {
	end := l.now().Add(24 * time.Hour) // nothing is claimed that far ahead
	for _, page := range []func(from time.Time) (int, time.Time, error){
		func(from time.Time) (int, time.Time, error) {
			runs, next, err := l.runs.Occurrences(ctx, job, from, end, 1)
			return len(runs), next, err
		},
		func(from time.Time) (int, time.Time, error) {
			list, next, err := l.runs.Stretches(ctx, job, from, end, 1)
			return len(list), next, err
		},
	} {
		for n, next, err := page(time.Time{}); ; n, next, err = page(next) { // a page may be empty and yet not the last
			if err != nil || n > 0 {
				return n > 0, err
			}
			if next.IsZero() {
				break
			}
		}
	}
	return false, nil
}
