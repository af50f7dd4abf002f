package webui

import (
	"context"

	"crony"
	"crony/webui/api"
)

// ListAgents returns the agents that are connected.
func (r rest) ListAgents(ctx context.Context, _ api.ListAgentsRequestObject) (api.ListAgentsResponseObject, error) {
	agents, err := r.opts.Agents.ListAgents(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListAgents200JSONResponse{Items: append([]crony.AgentStatus{}, agents...)}, nil
}

// RemoveAgent takes an agent out of the fleet.
func (r rest) RemoveAgent(ctx context.Context, req api.RemoveAgentRequestObject) (api.RemoveAgentResponseObject, error) {
	if err := r.opts.Cluster.RemoveAgent(ctx, req.Agent); err != nil {
		return nil, err
	}
	return api.RemoveAgent204Response{}, nil
}
