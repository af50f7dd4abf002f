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
