package appliance

import (
	"context"
	"fmt"

	"crony"
	"crony/embedded/state"
	"crony/internal/pki"
)

// RemoveAgent implements crony.Cluster.
func (s *Server) RemoveAgent(ctx context.Context, agent string) error {
	grave := crony.Tombstone{Role: crony.JoinAgent, At: s.opts.Now().UTC(), By: crony.ActorFrom(ctx)}
	switch a, err := s.Store.Agent(ctx, agent); {
	case err == nil:
		grave.ID, grave.Name = a.ID, a.Name
	case crony.CodeOf(err) == crony.NotFound && agentID(agent): // it has joined, and has never been here since
		grave.ID, grave.Name = agent, agent
	default:
		return err
	}
	s.log.Warn("agent is removed", "agent", grave.ID, "name", grave.Name, "by", grave.By)
	if err := s.Store.Bury(ctx, grave); err != nil {
		return err
	}
	return s.giveUp(ctx, grave)
}

// giveUp ends the runs of an agent that was removed: it will say no more of them. Those that may still be answered wait.
func (s *Server) giveUp(ctx context.Context, grave crony.Tombstone) error {
	var open []crony.RunID
	for _, run := range s.Runs.Unfinished(grave.ID) {
		open = append(open, run.ID)
	}
	if err := s.replica.Refresh(ctx, open...); err != nil { // other servers may know how they ended
		return fmt.Errorf("end the runs of the agent: %w", err)
	}
	var verdicts []crony.Fact
	for _, run := range s.Runs.Unfinished(grave.ID) {
		verdict, due := s.Store.Verdict(&run, "its agent was removed from the cluster", s.opts.Now())
		if !due { // the leader sees to it
			continue
		}
		if loss, ok := state.LossOf(&run); ok && verdict.Ended.State == crony.Lost {
			if _, err := s.Store.Rerun(ctx, records{s.Runs, s.replica}, loss); err != nil {
				return fmt.Errorf("end the runs of the agent: %w", err)
			}
		}
		verdicts = append(verdicts, verdict)
	}
	if err := s.replica.Append(ctx, verdicts, nil); err != nil {
		return fmt.Errorf("end the runs of the agent: %w", err)
	}
	return nil
}

// agentID says whether a text could be an agent's id.
func agentID(text string) bool {
	return pki.Identity{Cluster: "c", Role: pki.Agent, ID: text}.Validate() == nil && len(text) == len(newID())
}

// CreateJoinToken implements crony.Cluster.
func (s *Server) CreateJoinToken(ctx context.Context, spec crony.JoinTokenSpec) (crony.JoinToken, error) {
	if err := spec.Complete(); err != nil {
		return crony.JoinToken{}, err
	}
	return s.Store.CreateJoinToken(ctx, spec, s.id.introduces())
}

// ListJoinTokens implements crony.Cluster.
func (s *Server) ListJoinTokens(ctx context.Context) ([]crony.JoinToken, error) {
	return s.Store.ListJoinTokens(ctx)
}

// DeleteJoinToken implements crony.Cluster.
func (s *Server) DeleteJoinToken(ctx context.Context, id string) error {
	return s.Store.DeleteJoinToken(ctx, id)
}
