package hub

import (
	"context"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// A run goes on with another agent by four writes: the store's, of whom it goes on with; the run log's, that it has moved; and
// the two agents' journals, where the one writes down that it has it and the other that it has not. Each can be made again, and
// is, until the next one is: the agent that had it asks until it is answered, the one that is to have it is told until it has
// taken it. So it matters to nobody which server dies in between.

// handOver decides whether another agent makes a run's next attempt, and answers once that is in the run log. Without the other
// servers it does not answer: the agent asks again.
func (s *stream) handOver(ctx context.Context, ask *wire.HandOver) error {
	run, number := crony.RunID(ask.GetRun()), int(ask.GetAttempt())
	if seq := ask.GetSeq(); number < 2 || number > crony.MaxAttempts || seq < 2 || seq >= crony.CalleeSeq {
		return status.Errorf(codes.InvalidArgument, "attempt %d of a run whose facts come to %d is none to hand over", number, seq)
	}
	yours, err := s.decide(ctx, run, crony.Continuation{Seq: int(ask.GetSeq()), Attempt: number,
		Until: wire.Time(ask.GetUntil()), Began: wire.Time(ask.GetBegan())})
	if crony.CodeOf(err) == crony.Unavailable && ctx.Err() == nil {
		s.log.Warn("who makes the next attempt of a run is not decided yet", "run", run, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("hand over the run %.40q: %w", run, err)
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_HandedOver{HandedOver: &wire.HandedOver{
		Run: string(run), Attempt: int32(number), Yours: yours}}})
}

// decide says whether an agent's run stays its own.
func (s *stream) decide(ctx context.Context, id crony.RunID, c crony.Continuation) (yours bool, err error) {
	if err := s.hub.opts.Runs.Refresh(ctx, id); err != nil {
		return false, err
	}
	run, err := s.hub.opts.Runs.Run(ctx, id)
	switch {
	case crony.CodeOf(err) == crony.NotFound: // it could not be stored, or is gone: there is nothing to move
		return true, nil
	case err != nil:
		return false, err
	case run.Agent != s.agent.ID, over(&run, c.Attempt):
		return false, nil
	}
	c.Claimed = run.Claim()
	h, err := s.hub.opts.State.HandOver(ctx, &run, c)
	switch {
	case err != nil:
		return false, err
	case h.Attempt != c.Attempt:
		return false, nil
	case h.To == s.agent.ID:
		return true, nil
	}
	if err := s.hub.opts.Runs.Append(ctx, []crony.Fact{h.Moved()}, nil); err != nil {
		return false, fmt.Errorf("put on record that it moves: %w", err)
	}
	if kill, is := s.hub.opts.State.Kill(s.agent.ID, id); is { // it was ordered of the wrong agent, by hand
		if err := s.hub.opts.State.OrderKill(ctx, s.agent.ID, run.Job, id, kill); err != nil {
			return false, err
		}
	}
	s.log.Info("run goes on with another agent", "run", id, "job", run.Job, "to", h.To, "attempt", h.Attempt)
	return false, nil
}

// over says whether an attempt of a run has begun, or none will. What is lost may yet go on.
func over(r *crony.Run, attempt int) bool {
	n := len(r.Attempts)
	return n > 0 && r.Attempts[n-1].Number >= attempt || r.State.Ended() && r.State != crony.Lost
}

// tellHandOvers tells the agent of runs of a job that are to go on with it.
func (s *stream) tellHandOvers(ctx context.Context, job string) error {
	for _, h := range s.hub.opts.State.HandOvers(job, s.agent.ID) {
		if err := s.tellHandOver(ctx, &h); err != nil {
			return err
		}
	}
	return nil
}

// tellHandOver tells the agent of a run that is to go on with it, unless the run shows that it does, or has ended: as lost, too,
// since the run has no place in its job's lock any more then.
func (s *stream) tellHandOver(ctx context.Context, h *state.HandOver) error {
	if s.ordered.turn.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer s.ordered.turn.Release(1)
	if s.ordered.told[goingOn(h.Run, h.Attempt)] {
		return nil
	}
	if err := s.hub.opts.Runs.Refresh(ctx, h.Run); err != nil {
		return fmt.Errorf("ask the other servers for the run %s: %w", h.Run, err)
	}
	run, err := s.hub.opts.Runs.Run(ctx, h.Run)
	switch {
	case crony.CodeOf(err) == crony.NotFound, err == nil && run.State.Ended():
		return s.hub.opts.State.EndHandOvers(ctx, []crony.RunID{h.Run})
	case err != nil:
		return fmt.Errorf("look up the run %s: %w", h.Run, err)
	case over(&run, h.Attempt):
		return s.hub.opts.State.TakeHandOver(ctx, s.agent.ID, h.Run, h.Attempt)
	}
	if err := s.hub.opts.Runs.Append(ctx, []crony.Fact{h.Moved()}, nil); err != nil {
		return fmt.Errorf("put on record that a run moves: %w", err)
	}
	s.ordered.told[goingOn(h.Run, h.Attempt)] = true
	s.log.Info("run given to its next agent", "run", h.Run, "job", h.Claimed.Job, "from", h.From, "attempt", h.Attempt)
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{
		Request: wire.Encode(h.Request()), Definition: wire.Encode(h.Definition), Epoch: h.Claimed.Epoch,
		Continuation: wire.Encode(h.Continuation)}}})
}

// goingOn is what tells an agent's taking over a run from its having it before.
func goingOn(run crony.RunID, attempt int) crony.RunID {
	return crony.RunID(fmt.Sprintf("%s/%d", run, attempt))
}

// tookOver notes that the agent has written down that a run goes on with it. It may have been ordered to end, or to be replaced,
// before the agent could make use of that.
func (s *stream) tookOver(ctx context.Context, job string, run crony.RunID, attempt int) error {
	if err := s.hub.opts.State.TakeHandOver(ctx, s.agent.ID, run, attempt); err != nil {
		return err
	}
	if err := s.tellEnd(ctx, run); err != nil {
		return err
	}
	var places []state.Held
	for _, h := range s.hub.opts.State.LocksOn(job, s.agent.ID) {
		if h.Run == run {
			places = append(places, h)
		}
	}
	return s.tellPlaces(places)
}

// goesOn notes, before the agent is told that facts are stored and may forget a run, that the run is not to be given to it once
// more; and forgets who made the attempts of runs that have ended.
func (s *stream) goesOn(ctx context.Context, r *records) error {
	for i := range r.facts {
		f := &r.facts[i]
		if !r.moved[f.Run] || f.Started == nil && f.Ended == nil {
			continue
		}
		attempt := math.MaxInt
		if f.Started != nil {
			attempt = f.Started.Attempt
			if err := s.ordered.reported(ctx, goingOn(f.Run, attempt)); err != nil {
				return err
			}
		} else if h, is := s.hub.opts.State.HandOverOf(f.Run); is {
			if err := s.ordered.reported(ctx, goingOn(f.Run, h.Attempt)); err != nil {
				return err
			}
		}
		if err := s.hub.opts.State.TakeHandOver(ctx, s.agent.ID, f.Run, attempt); err != nil {
			return err
		}
	}
	var ended []crony.RunID
	for _, e := range r.ended {
		ended = append(ended, e.Run)
	}
	if err := s.hub.opts.State.EndHandOvers(ctx, ended); err != nil && ctx.Err() == nil {
		s.log.Warn("who made the attempts of runs that have ended is kept for now", "err", err)
	}
	return context.Cause(ctx)
}
