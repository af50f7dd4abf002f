package webui

import (
	"context"

	"github.com/gofiber/fiber/v2"

	"crony"
	"crony/webui/api"
)

// ExplainSchedule says what a schedule means and when it comes due next.
func (r rest) ExplainSchedule(
	_ context.Context, req api.ExplainScheduleRequestObject,
) (api.ExplainScheduleResponseObject, error) {
	answer, err := req.Body.Explain(r.opts.Now())
	if err != nil {
		return nil, err
	}
	return api.ExplainSchedule200JSONResponse(answer), nil
}

// ExplainSchedule reads its body strictly.
func (b bodies) ExplainSchedule(c *fiber.Ctx) error {
	var body crony.ScheduleQuestion
	if err := readJSON(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.ExplainSchedule(c.UserContext(), api.ExplainScheduleRequestObject{Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitExplainScheduleResponse(c)
}
