package hub

import (
	"context"

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
		names = append(s.hub.opts.State.AssignedTo(s.agent.ID), s.hub.opts.State.OrderedOf(s.agent.ID)...)
		for name := range s.held {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := s.tellJob(ctx, name); err != nil {
			return err
		}
		if changes.Reset {
			continue
		}
		if err := s.tellPlaces(s.hub.opts.State.LocksOn(name, s.agent.ID)); err != nil {
			return err
		}
	}
	if !changes.Reset {
		return s.tellEnds(ctx, changes.Told)
	}
	if err := s.tellPlaces(s.hub.opts.State.Locks(s.agent.ID)); err != nil {
		return err
	}
	if err := s.send(&wire.FromServer{Kind: &wire.FromServer_Synced{Synced: &wire.Synced{}}}); err != nil {
		return err
	}
	return s.tellEnds(ctx, s.hub.opts.State.Told(s.agent.ID))
}

func (s *stream) tellJob(ctx context.Context, name string) error {
	job, has := s.hub.opts.State.Assigned(s.agent.ID, name)
	epoch, told := s.held[name]
	switch {
	case !has && told:
		delete(s.held, name)
		if err := s.send(&wire.FromServer{Kind: &wire.FromServer_Unassign{Unassign: &wire.Unassign{Job: name}}}); err != nil {
			return err
		}
	case !has: // it may have been ordered all the same
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
	return s.tellOrders(ctx, name)
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

// owed returns the run of the job's last claim if this agent holds it and has not said a word of it: the agent's reply may
// have been lost, or the agent died with it.
func (s *stream) owed(ctx context.Context, job state.Assigned) (crony.RunID, error) {
	c := job.Claim
	if c.Run == "" || c.Agent != s.agent.ID || c.Epoch != job.Assignment.Epoch {
		return "", nil
	}
	known, err := state.Knows(ctx, s.hub.opts.Runs, c.Run)
	if known || err != nil {
		return "", err
	}
	return c.Run, nil
}
