package orders

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"crony"
	"crony/embedded/state"
)

// How often the leader looks for orders that come to nothing, and for what is left of runs that have ended.
const (
	lookEvery  = time.Second
	sweepEvery = 10 * time.Second
)

// How long an order to end a run stays of which nothing is known, and of which it is known that it is lost: its agent may
// come back with it.
const (
	unknownLife = time.Hour
	lostLife    = 7 * 24 * time.Hour
)

// keeper is the leader's care for orders.
type keeper struct {
	Options

	term state.Term
	log  *slog.Logger
	told map[crony.RunID]bool // that they can't be put on record yet
}

// Keep puts on record what nobody will begin and what was handled, and removes what is left of runs that have ended, for the
// leader of a term. It returns nil when ctx is done.
func Keep(ctx context.Context, term state.Term, opts Options) error {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	k := &keeper{Options: opts, term: term, log: opts.Log.With("part", "orders"), told: map[crony.RunID]bool{}}
	look, sweep := time.NewTicker(lookEvery), time.NewTicker(sweepEvery)
	defer look.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-look.C:
			k.look(ctx)
		case <-sweep.C:
			k.sweep(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// look puts on record what nobody will begin. What can't be is tried again.
func (k *keeper) look(ctx context.Context) {
	for _, u := range k.State.Unstarted() {
		err := k.record(ctx, &u)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !k.told[u.Run]:
			k.log.Warn("run that nobody begins is not on record yet", "run", u.Run, "job", u.What.Job, "err", err)
			k.told[u.Run] = true
		case err == nil:
			delete(k.told, u.Run)
		}
	}
}

// record puts a run on record that nobody begins, unless its agent has said something of it after all, and ends its order.
// What is written is the same whoever writes it.
func (k *keeper) record(ctx context.Context, u *state.Unstarted) error {
	known, err := state.Knows(ctx, k.Runs, u.Run)
	if err != nil {
		return err
	}
	if !known {
		facts := []crony.Fact{
			{Run: u.Run, Seq: 1, At: u.What.ScheduledAt, Claimed: &u.What},
			{Run: u.Run, Seq: crony.VerdictSeq, At: u.At, Ended: &crony.EndedFact{State: u.State, Reason: u.Why}},
		}
		err := k.Runs.Append(ctx, facts, nil)
		if err != nil && crony.CodeOf(err) != crony.Conflict { // somebody else has said so, at another moment
			return fmt.Errorf("put it on record: %w", err)
		}
		k.log.Warn("run not begun", "run", u.Run, "job", u.What.Job, "state", u.State, "reason", u.Why)
	}
	return k.State.DropOrder(ctx, k.term, u)
}

// sweep sees to what was left of runs that have ended: by a server that died in between, or that had not heard yet of what
// another has written.
func (k *keeper) sweep(ctx context.Context) {
	for _, h := range k.State.Handlings() {
		if _, err := settle(ctx, &k.Options, h); err != nil && ctx.Err() == nil {
			k.log.Warn("that a result is handled is not on record yet", "run", h.Run, "err", err)
		}
	}
	var moved []crony.RunID
	for _, h := range k.State.HandOvers("", "") {
		if run, err := k.Runs.Run(ctx, h.Run); err == nil && run.State.Ended() {
			moved = append(moved, h.Run)
		}
	}
	if err := k.State.EndHandOvers(ctx, moved); err != nil && ctx.Err() == nil {
		k.log.Warn("who made the attempts of runs that have ended is kept for now", "runs", len(moved), "err", err)
	}
	over := map[string][]crony.RunID{}
	for _, p := range k.State.Procs() {
		if k.over(ctx, &p) {
			over[p.Agent] = append(over[p.Agent], p.Run)
		}
	}
	for agent, runs := range over {
		if err := k.State.DropProcs(ctx, agent, runs); err != nil && ctx.Err() == nil {
			k.log.Warn("what is left of runs that have ended stays for now", "agent", agent, "runs", len(runs), "err", err)
		}
	}
}

// over says whether nothing more is to be done about a process, or an order to end it.
func (k *keeper) over(ctx context.Context, p *state.Proc) bool {
	run, err := k.Runs.Run(ctx, p.Run)
	_, buried := k.State.Buried(p.Agent)
	switch {
	case crony.CodeOf(err) == crony.NotFound:
		since, stays := p.Stays()
		if !stays || k.Now().Sub(since) < unknownLife {
			return false
		}
		known, err := state.Knows(ctx, k.Runs, p.Run)
		return !known && err == nil
	case err != nil || !run.State.Ended():
		return false
	case run.State == crony.Lost && p.Kill != nil && !buried:
		return k.Now().Sub(p.Kill.At) > lostLife
	}
	return true
}
