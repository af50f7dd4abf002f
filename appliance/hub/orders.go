package hub

import (
	"context"

	"golang.org/x/sync/semaphore"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// orders are the orders to start a run that the agent need not be told of on a stream any more.
//
// An agent forgets a run once all of it is acknowledged. So that an order never reaches it after that, whether the run was
// reported is looked up, and the order is sent, with nothing in between; and a run is noted as reported before that is
// acknowledged.
type orders struct {
	turn *semaphore.Weighted  // of one, for the rest: it can be taken for as long as the store takes
	told map[crony.RunID]bool // it was sent, or its run was reported
}

func newOrders() orders { return orders{semaphore.NewWeighted(1), map[crony.RunID]bool{}} }

func (o *orders) reported(ctx context.Context, run crony.RunID) error {
	if o.turn.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer o.turn.Release(1)
	o.told[run] = true
	return nil
}

// tellOrders sends the agent what it is to run now of a job.
func (s *stream) tellOrders(ctx context.Context, job string) error {
	for _, o := range s.hub.opts.State.Orders(s.agent.ID, job) {
		if err := s.tellOrder(ctx, job, o.Request.Run); err != nil {
			return err
		}
	}
	return s.tellHandOvers(ctx, job)
}

// tellOrder sends an order, unless the run shows that it is taken. It is the agent's before it is told.
func (s *stream) tellOrder(ctx context.Context, job string, run crony.RunID) error {
	if s.ordered.turn.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer s.ordered.turn.Release(1)
	if s.ordered.told[run] {
		return nil
	}
	known, err := state.Knows(ctx, s.hub.opts.Runs, run)
	if err != nil {
		return err
	}
	if known {
		s.ordered.told[run] = true
		return s.taken(ctx, job, run)
	}
	o, mine, err := s.hub.opts.State.GiveStart(ctx, s.agent.ID, job, run)
	if err != nil || !mine {
		return err
	}
	s.ordered.told[run] = true
	s.log.Info("order to run a job given to its agent", "job", job, "run", run, "by", o.Request.By)
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{
		Request: wire.Encode(o.Request), Definition: wire.Encode(o.Definition), Epoch: o.Epoch}}})
}

// rerun orders that runs take the places of those that are lost, where their jobs say so, before that is on record.
func (s *stream) rerun(ctx context.Context, losses []state.Loss) error {
	for _, l := range losses {
		l.Said = true
		if _, err := s.hub.opts.State.Rerun(ctx, s.hub.opts.Runs, l); err != nil {
			return err
		}
	}
	return nil
}

// taken notes that the agent has written an order down, and answers for its run.
func (s *stream) taken(ctx context.Context, job string, run crony.RunID) error {
	return s.hub.opts.State.TakeStart(ctx, s.agent.ID, job, run)
}

// took notes that the agent has written down what it was told to start, or to go on with.
func (s *stream) took(ctx context.Context, msg *wire.Taken) error {
	if n := int(msg.GetAttempt()); n > 0 {
		return s.tookOver(ctx, msg.GetJob(), crony.RunID(msg.GetRun()), n)
	}
	return s.taken(ctx, msg.GetJob(), crony.RunID(msg.GetRun()))
}
