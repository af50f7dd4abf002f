package hub

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// tellEnds tells the agent of runs that are to be ended, or were answered.
func (s *stream) tellEnds(ctx context.Context, runs []crony.RunID) error {
	for _, run := range runs {
		if err := s.tellEnd(ctx, run); err != nil {
			return err
		}
	}
	return nil
}

// tellEnd tells the agent that a run is to be ended, and that it was answered, if it is so and the run has not ended. A run
// that is lost may go on, if the agent answers for it.
func (s *stream) tellEnd(ctx context.Context, id crony.RunID) error {
	kill, ordered := s.hub.opts.State.Kill(s.agent.ID, id)
	answer, answered := s.hub.opts.State.Answer(s.agent.ID, id)
	if !ordered && !answered {
		return nil
	}
	run, err := s.hub.opts.Runs.Run(ctx, id)
	if err == nil && run.State.Ended() && !(run.State == crony.Lost && s.answers[id]) {
		return s.hub.opts.State.DropProcs(ctx, s.agent.ID, []crony.RunID{id})
	}
	if ordered {
		s.log.Info("order to end a run given to its agent", "run", id, "by", kill.By, "reason", kill.Reason)
		if err := s.send(&wire.FromServer{Kind: &wire.FromServer_Kill{Kill: &wire.Kill{
			Run: string(id), By: kill.By, Reason: kill.Reason, At: wire.Nanos(kill.At)}}}); err != nil {
			return err
		}
	}
	if !answered {
		return nil
	}
	s.log.Debug("answer to a run given to its agent", "run", id, "attempt", answer.Attempt, "state", answer.State)
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Answer{Answer: &wire.Answer{
		Run: string(id), Attempt: int32(answer.Attempt), State: string(answer.State), Reason: answer.Reason,
		At: wire.Nanos(answer.At)}}})
}

// attend sees to what stored facts mean for what the agent is told of runs: one that has ended needs nothing, and one that has
// just been claimed, or waits, may have been ordered to end or answered before its agent could make use of it. One that waits
// has no process.
func (s *stream) attend(ctx context.Context, facts []crony.Fact) error {
	var ended, waiting []crony.RunID
	for i := range facts {
		switch f := &facts[i]; {
		case f.Ended != nil:
			ended = append(ended, f.Run)
		case f.Claimed != nil, f.Waiting != nil:
			if f.Waiting != nil {
				waiting = append(waiting, f.Run)
			}
			if err := s.tellEnd(ctx, f.Run); err != nil {
				return err
			}
		}
	}
	if len(waiting) > 0 {
		if err := s.hub.opts.State.RestProcs(ctx, s.agent.ID, waiting); err != nil && ctx.Err() == nil {
			s.log.Warn("runs that wait are still listed as processes", "runs", len(waiting), "err", err)
		}
	}
	if len(ended) == 0 {
		return context.Cause(ctx)
	}
	if err := s.hub.opts.State.DropProcs(ctx, s.agent.ID, ended); err != nil && ctx.Err() == nil {
		s.log.Warn("runs that have ended are still listed as processes", "runs", len(ended), "err", err)
	}
	return context.Cause(ctx)
}

// maxProcesses is how many processes an agent may tell of at once.
const maxProcesses = 4096

// note writes down which processes the agent has.
func (s *stream) note(ctx context.Context, msg *wire.Running) error {
	if n := len(msg.GetProcesses()); n > maxProcesses {
		return status.Errorf(codes.InvalidArgument, "%d processes in a message; at most %d", n, maxProcesses)
	}
	list := make([]state.Proc, len(msg.GetProcesses()))
	for i, p := range msg.GetProcesses() {
		id, err := crony.ParseRunID(p.GetRun())
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		if !crony.IsName(p.GetJob()) {
			return status.Errorf(codes.InvalidArgument, "%.40q is no job's name", p.GetJob())
		}
		list[i] = state.Proc{Agent: s.agent.ID, Job: p.GetJob(), Run: id, PID: int(p.GetPid()),
			StartedAt: wire.Time(p.GetStartedAt())}
	}
	if err := s.hub.opts.State.PutProcs(ctx, s.presence, list); err != nil && ctx.Err() == nil {
		s.log.Warn("processes of the agent are not listed", "processes", len(list), "err", err)
	}
	return context.Cause(ctx)
}
