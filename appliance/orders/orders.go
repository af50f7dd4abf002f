// Package orders sees to what people order of runs: that one ends ([Orders.KillRun]), and that each run that was ordered
// and that nobody will begin is put on record ([Keep]).
//
// The one thing to know: an order is a key, and stays until what it asked for is on record in the run log. Who gives it, who
// tells the agent and who removes it are three servers as often as one, and any of them may die in between: the key is
// there, and the next one goes on. Agents are told by the hub; this package tells none.
package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"crony"
	"crony/embedded/state"
)

// RunLog is what is known of runs. Its methods are safe for concurrent use.
type RunLog interface {
	// Run returns one run; NotFound if this server knows of none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer: what is not known here may
	// not be taken for what is not.
	Refresh(ctx context.Context, runs ...crony.RunID) error
	// Append stores facts, and returns once they are on the disks of most servers. What is stored already changes nothing.
	Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error
}

// Options is what Orders are made of; all but Now are required.
type Options struct {
	State *state.Store
	Runs  RunLog
	Log   *slog.Logger
	Now   func() time.Time // the wall clock; time.Now if nil
}

// Orders takes orders to end runs. It is safe for concurrent use.
type Orders struct {
	opts Options
	log  *slog.Logger
}

// New returns Orders.
func New(opts Options) (*Orders, error) {
	if opts.State == nil || opts.Runs == nil || opts.Log == nil {
		return nil, errors.New("orders: an option is missing")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Orders{opts: opts, log: opts.Log.With("part", "orders")}, nil
}

// KillRun implements [crony.Runs]. A run that is lost can be ended as long as its agent is not connected: it may go on
// there.
func (o *Orders) KillRun(ctx context.Context, id crony.RunID, reason string) error {
	if _, err := crony.ParseRunID(string(id)); err != nil {
		return err
	}
	if err := crony.CheckReason(reason); err != nil {
		return err
	}
	kill := crony.KillOrder{By: crony.ActorFrom(ctx), At: o.opts.Now().UTC(), Reason: reason}
	run, err := o.find(ctx, id)
	switch {
	case crony.CodeOf(err) == crony.NotFound:
		return o.killOrdered(ctx, id, kill)
	case err != nil:
		return err
	case run.State.Ended() && !(run.State == crony.Lost && !o.opts.State.Connected(run.Agent)):
		return ended(&run)
	}
	return o.kill(ctx, run.Agent, run.Job, id, kill)
}

func (o *Orders) kill(ctx context.Context, agent, job string, id crony.RunID, kill crony.KillOrder) error {
	if err := o.opts.State.OrderKill(ctx, agent, job, id, kill); err != nil {
		return err
	}
	o.log.Info("run is to be ended", "run", id, "job", job, "agent", agent, "by", kill.By, "reason", kill.Reason)
	return nil
}

func ended(run *crony.Run) error {
	text := fmt.Sprintf("the run has ended: %s", run.State)
	switch why, same := strings.CutPrefix(run.Reason, string(run.State)); {
	case same: // "killed by alice"
		text += why
	case why != "":
		text += ", " + why
	}
	return crony.Errorf(crony.Conflict, "%s", text).WithHint("`crony run show %s` shows it", run.ID)
}

// find returns a run, as most servers know it if they can be asked. If too few of them answer, one that is not known here is
// no NotFound, unless it waits as an order.
func (o *Orders) find(ctx context.Context, id crony.RunID) (crony.Run, error) {
	run, err := o.opts.Runs.Run(ctx, id)
	if err == nil && run.State.Ended() || err != nil && crony.CodeOf(err) != crony.NotFound {
		return run, err
	}
	refreshed := o.opts.Runs.Refresh(ctx, id)
	again, later := o.opts.Runs.Run(ctx, id)
	switch {
	case later == nil || err == nil:
		return again, later
	case refreshed != nil && !o.opts.State.IsOrdered(id):
		return run, fmt.Errorf("ask the other servers for the run %s: %w", id, refreshed)
	}
	return run, later
}

// killOrdered ends a run of which nothing is known but the order to start it.
func (o *Orders) killOrdered(ctx context.Context, id crony.RunID, kill crony.KillOrder) error {
	w, err := o.opts.State.WithdrawStart(ctx, id, kill)
	switch {
	case err != nil:
		return err
	case w.Done:
		o.log.Info("order to run a job withdrawn", "run", id, "job", w.Job, "by", kill.By, "reason", kill.Reason)
		return nil
	case w.Job == "":
		return crony.Errorf(crony.NotFound, "there is no run %s", id).WithHint("`crony run list` shows the runs")
	}
	return o.kill(ctx, w.Agent, w.Job, id, kill)
}
