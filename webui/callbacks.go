package webui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
)

// The bounds of what services tell of runs.
const (
	reportLimit = 1 << 20                // bytes of a body
	freeCalls   = 1000                   // that are refused in a row: services may answer before the agent has told of the call
	callTime    = 20 * time.Millisecond  // after which one of these is forgotten
	freeReports = 30                     // of a run in a row
	reportTime  = 100 * time.Millisecond // after which one of these is forgotten
)

type tokenKey struct{}

// TellRun stores what a service tells of a run.
func (r rest) TellRun(ctx context.Context, req api.TellRunRequestObject) (api.TellRunResponseObject, error) {
	id, err := crony.ParseRunID(req.Run)
	if err != nil {
		return nil, err
	}
	token, _ := ctx.Value(tokenKey{}).(string)
	answer, err := r.opts.Callback(ctx, id, token, *req.Body)
	if err != nil {
		return nil, err
	}
	return api.TellRun200JSONResponse(answer), nil
}

// TellRun slows down who guesses, and services that tell too much.
func (b bodies) TellRun(c *fiber.Ctx, run string) error {
	if len(c.Request().Body()) > reportLimit {
		return crony.Errorf(crony.TooLarge, "a report has at most %s", crony.Size(reportLimit)).WithHint("tell it in several")
	}
	scheme, token, _ := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "bearer") || token == "" {
		return crony.Errorf(crony.Unauthorized, "the token of the call must be given").
			WithHint("write it as: Authorization: Bearer TOKEN")
	}
	if err := media(c, "application/json"); err != nil {
		return err
	}
	report, err := readReport(c.Request().Body())
	if err != nil {
		return withStatus(http.StatusBadRequest, err)
	}
	s := b.rest.Server
	from, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	network := networkOf(from)
	if wait := s.calls.take(network); wait > 0 {
		return tooFast(c, wait, crony.Errorf(crony.Unavailable, "too many reports of this network were refused"))
	}
	if wait := s.told.take(run); wait > 0 {
		s.calls.giveBack(network)
		return tooFast(c, wait, crony.Errorf(crony.Unavailable, "too much is told of this run at once").
			WithHint("several events fit in a report"))
	}
	ctx := context.WithValue(c.UserContext(), tokenKey{}, token)
	answer, err := b.rest.TellRun(ctx, api.TellRunRequestObject{Run: run, Body: &report})
	switch crony.CodeOf(err) {
	case crony.Unauthorized, crony.NotFound:
		s.told.giveBack(run) // a stranger does not keep the service from telling
		return err
	case crony.Invalid:
		err = withStatus(http.StatusBadRequest, err)
	}
	s.calls.giveBack(network)
	if err != nil {
		return err
	}
	return answer.VisitTellRunResponse(c)
}

// readReport reads a report as encoding/json does, and refuses keys that it does not know. It comes from strangers, and may be
// large: to read it as the manifests of people are read would take too long.
func readReport(body []byte) (report crony.CalleeReport, err error) {
	var outer struct {
		Attempt int               `json:"attempt"`
		Events  []json.RawMessage `json:"events"`
	}
	if fault := readInto(body, &outer, ""); fault != nil {
		return report, invalid(*fault)
	}
	report.Attempt = outer.Attempt
	if len(outer.Events) > crony.MaxCalleeEvents {
		report.Events = make([]crony.CalleeEvent, len(outer.Events))
		return report, report.Check()
	}
	var faults []crony.Fault
	for i, data := range outer.Events {
		var e crony.CalleeEvent
		if fault := readInto(data, &e, fmt.Sprintf("events[%d]", i)); fault != nil {
			faults = append(faults, *fault)
		}
		report.Events = append(report.Events, e)
	}
	return report, invalid(faults...)
}

// readInto reads one JSON value; the fault says where it is wrong, if it is.
func readInto(data []byte, v any, at string) *crony.Fault {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && len(bytes.TrimSpace(data[d.InputOffset():])) > 0 {
		return &crony.Fault{Path: at, Message: "something follows the JSON value"}
	}
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &crony.Fault{Path: strings.TrimPrefix(at+"."+wrong.Field, "."), Message: "is a " + wrong.Value,
			Hint: "want " + wrong.Type.String()}
	}
	return &crony.Fault{Path: at, Message: "can't be read: " + strings.TrimPrefix(err.Error(), "json: ")}
}
