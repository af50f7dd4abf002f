package hub

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// tell sends what the agent has to know, first all of it and then each change, until the stream is to end.
func (s *stream) tell(ctx context.Context) error {
	for {
		var err error
		select {
		case <-s.feed.Ready():
			changes := s.feed.Take()
			if err = s.tellJobs(ctx, changes); err == nil {
				err = s.tellWatched(changes)
			}
		case <-s.news.over:
			err = s.tellNews()
		case to := <-s.moves:
			err = s.send(&wire.FromServer{Kind: &wire.FromServer_Move{Move: &wire.Move{Server: to}}})
		case <-s.presence.Lost():
			err = status.Error(codes.Unavailable, "the agent's lease ended")
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// tellNews sends what is new on the board.
func (s *stream) tellNews() error {
	old := s.news
	s.news = s.hub.board.Load()
	for _, msg := range s.news.since(old) {
		if err := s.send(msg); err != nil {
			return err
		}
	}
	return nil
}

// tellJobs sends what the agent has to run.
func (s *stream) tellJobs(ctx context.Context, changes state.Changes) error {
	names := changes.Jobs
	if changes.Reset {
		names = s.hub.opts.State.AssignedTo(s.agent.ID)
		for name := range s.held {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := s.tellJob(ctx, name); err != nil {
			return err
		}
	}
	if changes.Reset {
		return s.send(&wire.FromServer{Kind: &wire.FromServer_Synced{Synced: &wire.Synced{}}})
	}
	return nil
}

func (s *stream) tellJob(ctx context.Context, name string) error {
	job, has := s.hub.opts.State.Assigned(s.agent.ID, name)
	epoch, told := s.held[name]
	switch {
	case !has && told:
		delete(s.held, name)
		return s.send(&wire.FromServer{Kind: &wire.FromServer_Unassign{Unassign: &wire.Unassign{Job: name}}})
	case !has:
		return nil
	case !told || epoch != job.Assignment.Epoch:
		job, has, err := s.hub.opts.State.Settle(ctx, s.agent.ID, name)
		if err != nil || !has { // not any more: the change comes next
			return err
		}
		if err := s.assign(ctx, job); err != nil {
			return err
		}
		s.held[name] = job.Assignment.Epoch
	}
	return s.order(ctx, name)
}

// assign sends the job as the agent has it. If it owes more than the report of the last claim, as others that race for the
// job have moved the cursor on, then what it owes comes first, each with the cursor of its time.
func (s *stream) assign(ctx context.Context, job state.Assigned) error {
	for _, claim := range s.hub.opts.State.Overtaken(s.agent.ID, job.Definition.Job.Name) {
		before := job
		before.Claim = claim
		owed, err := s.owed(ctx, before)
		if err == nil && owed != "" {
			err = s.sendAssign(before, owed)
		}
		if err != nil {
			return err
		}
	}
	owed, err := s.owed(ctx, job)
	if err != nil {
		return err
	}
	return s.sendAssign(job, owed)
}

func (s *stream) sendAssign(job state.Assigned, owed crony.RunID) error {
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Assign{Assign: &wire.Assign{
		Definition: wire.Encode(job.Definition), Epoch: job.Assignment.Epoch,
		Cursor: wire.Nanos(job.Claim.At), Owed: string(owed), Since: wire.Nanos(job.Assignment.Since)}}})
}

// order sends the order to start a job now, if there is one for this agent that its run does not show to be taken.
func (s *stream) order(ctx context.Context, name string) error {
	order, ok := s.hub.opts.State.Order(name)
	if !ok || order.Agent != s.agent.ID || s.ordered[order.Run] {
		return nil
	}
	known, err := s.known(ctx, order.Run)
	if err != nil {
		return err
	}
	s.ordered[order.Run] = true
	if known {
		return s.hub.opts.State.TakeStart(ctx, name, order.Run)
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{Request: wire.Encode(order)}}})
}

// owed returns the run of the job's last claim if this agent holds it and has not said a word of it: the agent's reply may
// have been lost, or the agent died with it.
func (s *stream) owed(ctx context.Context, job state.Assigned) (crony.RunID, error) {
	c := job.Claim
	if c.Run == "" || c.Agent != s.agent.ID || c.Epoch != job.Assignment.Epoch {
		return "", nil
	}
	known, err := s.known(ctx, c.Run)
	if known || err != nil {
		return "", err
	}
	return c.Run, nil
}

// known says whether a run was reported, to whichever server. An error must not be taken for a no: the run would start twice.
func (s *stream) known(ctx context.Context, id crony.RunID) (bool, error) {
	_, err := s.hub.opts.Runs.Run(ctx, id)
	if crony.CodeOf(err) == crony.NotFound {
		if err := s.hub.opts.Runs.Refresh(ctx, id); err != nil {
			return false, fmt.Errorf("ask the other servers for the run %s: %w", id, err)
		}
		_, err = s.hub.opts.Runs.Run(ctx, id)
	}
	if crony.CodeOf(err) == crony.NotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the run %s: %w", id, err)
	}
	return true, nil
}
