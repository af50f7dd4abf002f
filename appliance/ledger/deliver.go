package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"crony"
	"crony/embedded/state"
)

// Keeper is where stretches are kept for good. Its methods are safe for concurrent use.
type Keeper interface {
	// AppendStretches stores stretches, and returns once they are on disk. What is stored already changes nothing. Conflict
	// and Invalid are for what never can be stored.
	AppendStretches(ctx context.Context, list []crony.Stretch) error
	// Run returns one run; NotFound if this server knows of none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer: what is not known here may
	// not be taken for what is not.
	Refresh(ctx context.Context, runs ...crony.RunID) error
}

const (
	deliverAtOnce = 256              // records in one write
	reportWait    = 30 * time.Second // for the report of a run that was claimed, before it counts as lost
	deliverAgain  = time.Second      // after a failure
	adoptedWait   = 24 * time.Hour   // for that of a run that stands in for what was passed over
	maxVoids      = 1000             // runs that are looked for to void one record; of more, those that come outweigh it
)

// Deliver takes the records of what was passed over from the keyspace into the run log, until ctx, the scope of a leader's
// term, is done. A record leaves the keyspace when it is on disk, so that one that is delivered twice is stored once.
func Deliver(ctx context.Context, store *state.Store, runs Keeper, log *slog.Logger, now func() time.Time) error {
	log = log.With("part", "ledger")
	feed := store.Changes("")
	defer feed.Close()
	for {
		wait, err := deliver(ctx, store, runs, log, now().UTC())
		if err != nil && ctx.Err() == nil {
			log.Warn("records stay in the keyspace for now", "err", err)
			wait = deliverAgain
		}
		if err := news(ctx, feed, wait); err != nil {
			return nil // the term is over; nothing went wrong
		}
	}
}

// news waits until there are new records, or for a time if it is not 0.
func news(ctx context.Context, feed *state.Feed, wait time.Duration) error {
	waiting := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	for {
		changes, err := feed.Next(waiting)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || changes.Ledger || changes.Reset:
			return nil
		}
	}
}

// deliver takes all records that are ripe, and returns after which time another will be; 0 if there is none.
func deliver(ctx context.Context, store *state.Store, runs Keeper, log *slog.Logger, now time.Time) (time.Duration, error) {
	var (
		wait  time.Duration
		ready []state.Pass
	)
	for _, p := range store.Passes() {
		patience := reportWait
		if p.Adopted() {
			patience = adoptedWait
		}
		left := patience - now.Sub(p.DecidedAt)
		voids, may := p.Runs(maxVoids)
		if !may {
			ready = append(ready, p)
			continue
		}
		waits := left > 0 && left <= patience
		reported, err := known(ctx, runs, voids, !waits)
		if loss, ok := p.Loss(); ok && err == nil && !reported && !waits {
			left, err = store.Rerun(ctx, runs, loss)
			waits = left > 0
		}
		switch {
		case err != nil:
			return 0, err
		case reported:
			err = store.Forget(ctx, []state.Pass{p})
		case waits:
			if left = min(left, reportWait); wait == 0 || left < wait {
				wait = left
			}
		default:
			ready = append(ready, p)
		}
		if err != nil {
			return 0, err
		}
	}
	for batch := range slices.Chunk(ready, deliverAtOnce) {
		if err := keep(ctx, runs, log, batch); err != nil {
			return 0, err
		}
		if err := store.Release(ctx, lost(batch)); err != nil {
			return 0, err
		}
		if err := store.Forget(ctx, batch); err != nil {
			return 0, err
		}
	}
	return wait, nil
}

// lost returns the runs of a batch that were claimed, and of which nobody will hear.
func lost(batch []state.Pass) []state.Ending {
	var list []state.Ending
	for i := range batch {
		if p := &batch[i]; p.Unless != "" {
			list = append(list, state.Ending{Job: p.Definition.Job.Name, Agent: p.Agent, Run: p.Unless})
		}
	}
	return list
}

// keep stores what records amount to. What never can be stored is logged and left out: all that comes after it would wait.
func keep(ctx context.Context, runs Keeper, log *slog.Logger, batch []state.Pass) error {
	list := make([]crony.Stretch, 0, len(batch))
	for i := range batch {
		if s, ok := batch[i].Stretch(); ok {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil
	}
	err := runs.AppendStretches(ctx, list)
	if crony.CodeOf(err) != crony.Invalid { // of which nothing is stored
		return dropped(log, err)
	}
	var errs []error
	for i := range list {
		err := runs.AppendStretches(ctx, list[i:i+1])
		errs = append(errs, dropped(log, err))
	}
	return errors.Join(errs...)
}

func dropped(log *slog.Logger, err error) error {
	switch crony.CodeOf(err) {
	case "":
		return nil
	case crony.Conflict, crony.Invalid:
		log.Error("record dropped: it can't be stored", "err", err)
		return nil
	}
	return fmt.Errorf("store what was passed over: %w", err)
}

// known says whether all of these runs were reported; for good, if the other servers are asked too.
func known(ctx context.Context, runs Keeper, ids []crony.RunID, others bool) (bool, error) {
	missing, err := unknown(ctx, runs, ids)
	if err != nil || len(missing) == 0 || !others {
		return len(missing) == 0, err
	}
	if err := runs.Refresh(ctx, missing...); err != nil {
		return false, fmt.Errorf("ask the other servers for runs that are not known here, as %s: %w", missing[0], err)
	}
	missing, err = unknown(ctx, runs, missing)
	return len(missing) == 0, err
}

// unknown returns those of some runs that this server knows nothing of.
func unknown(ctx context.Context, runs Keeper, ids []crony.RunID) ([]crony.RunID, error) {
	var missing []crony.RunID
	for _, id := range ids {
		switch _, err := runs.Run(ctx, id); {
		case crony.CodeOf(err) == crony.NotFound:
			missing = append(missing, id)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}
