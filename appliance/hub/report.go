package hub

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/wire"
)

// store puts reports on disk, one after the other, and acknowledges each when it is there.
func (s *stream) store(ctx context.Context, reports <-chan *wire.Report) error {
	for {
		select {
		case report := <-reports:
			if err := s.storeOne(ctx, report); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *stream) storeOne(ctx context.Context, report *wire.Report) error {
	facts := make([]crony.Fact, len(report.GetFacts()))
	for i, data := range report.GetFacts() {
		fact, err := wire.Decode[crony.Fact](data)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		facts[i] = fact
	}
	chunks := make([]crony.Chunk, len(report.GetChunks()))
	for i, c := range report.GetChunks() {
		chunks[i] = c.Domain()
	}
	if err := s.own(ctx, facts, chunks); err != nil {
		return err
	}
	if err := s.hub.opts.Runs.Append(ctx, facts, chunks); err != nil {
		return fmt.Errorf("store a report: %w", err)
	}
	s.hub.metrics.stored(facts)
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Ack{Ack: &wire.Ack{Id: report.GetId()}}})
}

// own checks that everything in a report is of this agent's runs. A run's first fact names its agent, and comes first.
func (s *stream) own(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	checked := map[crony.RunID]bool{}
	for i := range facts {
		f := &facts[i]
		switch {
		case f.Claimed != nil && f.Claimed.Agent != s.agent.ID:
			return status.Errorf(codes.PermissionDenied, "the run %s is claimed in the name of another agent", f.Run)
		case f.Seq >= crony.VerdictSeq:
			return status.Errorf(codes.PermissionDenied, "the run %s: an agent gives no verdicts", f.Run)
		case f.Claimed != nil && !checked[f.Run]:
			// a fact of this run, under this agent's name, may be stored already; a run of another's must not be touched
			if run, err := s.hub.opts.Runs.Run(ctx, f.Run); err == nil && run.Agent != s.agent.ID {
				return notIts(f.Run)
			}
			checked[f.Run] = true
		default:
			if err := s.ownRun(ctx, f.Run, checked); err != nil {
				return err
			}
		}
	}
	for i := range chunks {
		if err := s.ownRun(ctx, chunks[i].Run, checked); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) ownRun(ctx context.Context, id crony.RunID, checked map[crony.RunID]bool) error {
	if checked[id] {
		return nil
	}
	run, err := s.hub.opts.Runs.Run(ctx, id)
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "the run %s is not known: %v", id, err)
	}
	if run.Agent != s.agent.ID {
		return notIts(id)
	}
	checked[id] = true
	return nil
}

func notIts(id crony.RunID) error {
	return status.Errorf(codes.PermissionDenied, "the run %s is another agent's", id)
}
