package hub

import (
	"context"
	"sync"

	"crony"
	"crony/internal/wire"
)

// orders are the orders to start a run that the agent need not be told of on a stream any more.
//
// An agent forgets a run once all of it is acknowledged. So that an order never reaches it after that, whether the run was
// reported is looked up, and the order is sent, with nothing in between; and a run is noted as reported before that is
// acknowledged.
type orders struct {
	mu   sync.Mutex
	told map[crony.RunID]bool // it was sent, or its run was reported
}

func (o *orders) reported(run crony.RunID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told[run] = true
}

// tellOrders sends the agent what it is to run now of a job.
func (s *stream) tellOrders(ctx context.Context, job string) error {
	for _, o := range s.hub.opts.State.Orders(s.agent.ID, job) {
		if err := s.tellOrder(ctx, job, o.Request.Run); err != nil {
			return err
		}
	}
	return nil
}

// tellOrder sends an order, unless the run shows that it is taken. It is the agent's before it is told.
func (s *stream) tellOrder(ctx context.Context, job string, run crony.RunID) error {
	s.ordered.mu.Lock()
	defer s.ordered.mu.Unlock()
	if s.ordered.told[run] {
		return nil
	}
	known, err := s.known(ctx, run)
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

// taken notes that the agent has written an order down, and answers for its run.
func (s *stream) taken(ctx context.Context, job string, run crony.RunID) error {
	return s.hub.opts.State.TakeStart(ctx, s.agent.ID, job, run)
}
