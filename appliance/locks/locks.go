// Package locks frees the locks of runs that have ended. That is done by the server that stores a run's end, in the next
// moment; this is the leader's work, for the servers that died in that moment.
//
// The one thing to know: a lock is freed by what is known, and never for want of news. A run of which nobody says anything may
// go on, on a host that reaches no server; to give it up as lost is for others, who then free its lock too.
package locks

import (
	"context"
	"log/slog"
	"time"

	"crony"
	"crony/embedded/state"
)

// Log is where ends are looked up. Its methods are safe for concurrent use.
type Log interface {
	// Run returns one run; NotFound if this server knows of none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer.
	Refresh(ctx context.Context, runs ...crony.RunID) error
}

const (
	sweepEvery = 5 * time.Second
	askEvery   = 6                // sweeps: in one of so many, the other servers are asked too
	askAfter   = 30 * time.Second // for the end of a run that has a lock for so long
	askMost    = 1000             // runs at once
)

// Run frees locks until ctx, the scope of a leader's term, is done.
func Run(ctx context.Context, store *state.Store, runs Log, log *slog.Logger, now func() time.Time) error {
	log = log.With("part", "locks")
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil // the term is over; nothing went wrong
		}
		if err := sweep(ctx, store, runs, now(), n%askEvery == 0); err != nil && ctx.Err() == nil {
			log.Warn("locks of runs that have ended stay for now", "err", err)
		}
	}
}

// sweep frees the locks of all runs that are known to have ended, here or, if they are to be asked, with other servers.
func sweep(ctx context.Context, store *state.Store, runs Log, now time.Time, others bool) error {
	held := store.Locks("")
	if others {
		var old []crony.RunID
		for _, h := range held {
			if now.Sub(h.Since) > askAfter && len(old) < askMost {
				old = append(old, h.Run)
			}
		}
		if len(old) > 0 {
			if err := runs.Refresh(ctx, old...); err != nil {
				return err
			}
		}
	}
	var ended []state.Ending
	for _, h := range held {
		run, err := runs.Run(ctx, h.Run)
		switch {
		case crony.CodeOf(err) == crony.NotFound:
		case err != nil:
			return err
		case run.State.Ended():
			ended = append(ended, state.Ending{Job: h.Job, Agent: h.Agent, Run: h.Run})
		}
	}
	return store.Release(ctx, ended)
}
