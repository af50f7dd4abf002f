package webui

import (
	"context"
	"fmt"

	"crony"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
)

// StartJob reads its body strictly. It may have none.
func (b bodies) StartJob(c *fiber.Ctx, name string) error {
	var body crony.StartOptions
	if err := readOptional(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.StartJob(c.UserContext(), api.StartJobRequestObject{Name: name, Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitStartJobResponse(c)
}

// KillRun reads its body strictly. It may have none.
func (b bodies) KillRun(c *fiber.Ctx, id string) error {
	var body api.Kill
	if err := readOptional(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.KillRun(c.UserContext(), api.KillRunRequestObject{Id: id, Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitKillRunResponse(c)
}

// HandleRun reads its body strictly. It may have none.
func (b bodies) HandleRun(c *fiber.Ctx, id string) error {
	var body crony.HandleOptions
	if err := readOptional(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.HandleRun(c.UserContext(), api.HandleRunRequestObject{Id: id, Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitHandleRunResponse(c)
}

// readOptional reads a body that is JSON, if there is one.
func readOptional(c *fiber.Ctx, v any) error {
	if len(c.Request().Body()) == 0 {
		return nil
	}
	return readJSON(c, v)
}

// StartJob orders runs now.
func (r rest) StartJob(ctx context.Context, req api.StartJobRequestObject) (api.StartJobResponseObject, error) {
	ids, err := r.opts.Jobs.StartJob(ctx, req.Name, *req.Body)
	if err != nil {
		return nil, err
	}
	answer := api.StartJob202JSONResponse{Runs: make([]string, len(ids))}
	for i, id := range ids {
		answer.Runs[i] = string(id)
	}
	return answer, nil
}

// KillRun orders a run to be ended. If its agent is not connected, the answer says that the order waits for it.
func (r rest) KillRun(ctx context.Context, req api.KillRunRequestObject) (api.KillRunResponseObject, error) {
	id, err := crony.ParseRunID(req.Id)
	if err != nil {
		return nil, err
	}
	if err := r.opts.Runs.KillRun(ctx, id, deref(req.Body.Reason)); err != nil {
		return nil, err
	}
	return api.KillRun202JSONResponse{Waits: r.waits(ctx, id)}, nil
}

// HandleRun marks a run's result as handled.
func (r rest) HandleRun(ctx context.Context, req api.HandleRunRequestObject) (api.HandleRunResponseObject, error) {
	id, err := crony.ParseRunID(req.Id)
	if err != nil {
		return nil, err
	}
	handled, err := r.opts.Runs.HandleRun(ctx, id, *req.Body)
	if err != nil {
		return nil, err
	}
	return api.HandleRun200JSONResponse(handled), nil
}

// waits says what an order to end a run waits for; "" if nothing is in its way that is known of.
func (r rest) waits(ctx context.Context, id crony.RunID) string {
	run, err := r.opts.Runs.Run(ctx, id)
	if err != nil || run.State.Ended() && run.State != crony.Lost {
		return ""
	}
	agents, err := r.opts.Agents.ListAgents(ctx)
	if err != nil {
		return ""
	}
	for i := range agents {
		if agents[i].ID == run.Agent && agents[i].Up {
			return ""
		}
	}
	return fmt.Sprintf("its agent %s is not connected, and is told when it is back", run.Agent)
}
