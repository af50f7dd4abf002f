package webui

import (
	"context"

	"crony"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
)

// ListAgents returns the agents that are known.
func (r rest) ListAgents(ctx context.Context, _ api.ListAgentsRequestObject) (api.ListAgentsResponseObject, error) {
	agents, err := r.opts.Agents.ListAgents(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListAgents200JSONResponse{Items: append([]crony.AgentStatus{}, agents...)}, nil
}

// GetAgent returns one agent.
func (r rest) GetAgent(ctx context.Context, req api.GetAgentRequestObject) (api.GetAgentResponseObject, error) {
	a, err := r.opts.Agents.Agent(ctx, req.Agent)
	if err != nil {
		return nil, err
	}
	return api.GetAgent200JSONResponse(a), nil
}

// ChangeAgent changes what people set for an agent. The route takes an operator; what else the change takes is looked at here.
func (r rest) ChangeAgent(ctx context.Context, req api.ChangeAgentRequestObject) (api.ChangeAgentResponseObject, error) {
	who, _ := callerFrom(ctx)
	if err := who.mayDoAs(req.Body.Role()); err != nil {
		return nil, err
	}
	a, err := r.opts.Agents.ChangeAgent(ctx, req.Agent, *req.Body)
	if err != nil {
		return nil, err
	}
	return api.ChangeAgent200JSONResponse(a), nil
}

// ChangeAgent reads its body strictly.
func (b bodies) ChangeAgent(c *fiber.Ctx, agent string) error {
	var body crony.AgentChange
	if err := readJSON(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.ChangeAgent(c.UserContext(), api.ChangeAgentRequestObject{Agent: agent, Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitChangeAgentResponse(c)
}

// GetAgentFigures returns how an agent's host is, and has the agent go on looking for a while.
func (r rest) GetAgentFigures(ctx context.Context, req api.GetAgentFiguresRequestObject) (api.GetAgentFiguresResponseObject, error) {
	figures, err := r.opts.Agents.AgentFigures(ctx, req.Agent)
	if err != nil {
		return nil, err
	}
	return api.GetAgentFigures200JSONResponse(figures), nil
}

// RemoveAgent takes an agent out of the fleet.
func (r rest) RemoveAgent(ctx context.Context, req api.RemoveAgentRequestObject) (api.RemoveAgentResponseObject, error) {
	if err := r.opts.Cluster.RemoveAgent(ctx, req.Agent); err != nil {
		return nil, err
	}
	return api.RemoveAgent204Response{}, nil
}
