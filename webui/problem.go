package webui

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"crony"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
)

// statusError gives an error another HTTP status than that of its code.
type statusError struct {
	error
	status int
}

// Unwrap returns the error itself.
func (e *statusError) Unwrap() error { return e.error }

func withStatus(status int, err error) error { return &statusError{err, status} }

// answerError is the framework's error handler: whatever a handler returns becomes a problem document (RFC 9457).
func (s *Server) answerError(c *fiber.Ctx, err error) error {
	p := problemOf(err)
	s.logError(c, &p, err)
	s.secure(c) // what could not be read as a request has not passed the middleware
	c.Set(fiber.HeaderCacheControl, "no-store")
	switch p.Status {
	case http.StatusUnauthorized:
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="crony"`)
	case http.StatusRequestEntityTooLarge:
		if l, ok := c.Context().Conn().(lingerer); ok {
			l.lingerOnClose()
		}
	}
	return c.Status(p.Status).JSON(p, "application/problem+json")
}

// logError is the one place in which a request's error is logged: ours loudly, the causes of others for whoever looks.
func (s *Server) logError(c *fiber.Ctx, p *api.Problem, err error) {
	level := slog.LevelDebug
	if p.Code == api.Internal {
		level = slog.LevelError
	}
	s.opts.Log.Log(context.Background(), level, "request refused",
		"method", c.Method(), "path", c.Path(), "status", p.Status, "err", causeOf(err))
}

// causeOf adds to an error the cause that its text keeps from strangers.
func causeOf(err error) error {
	if e, ok := errors.AsType[*crony.Error](err); ok && e.Err != nil {
		return errors.Join(err, e.Err)
	}
	return err
}

// problemOf says what a person may read of err. Only the text of a [crony.Error] was written for them.
func problemOf(err error) api.Problem {
	e := explained(err)
	p := api.Problem{Type: "about:blank", Status: statusOf(e.Code), Code: api.ProblemCode(e.Code), Detail: e.Message}
	if own, ok := errors.AsType[*statusError](err); ok {
		p.Status = own.status
	} else if own, ok := errors.AsType[*fiber.Error](err); ok {
		p.Status = own.Code
	}
	p.Title = http.StatusText(p.Status)
	if e.Hint != "" {
		p.Hint = &e.Hint
	}
	if len(e.Faults) > 0 {
		p.Faults = &e.Faults
	}
	return p
}

func explained(err error) *crony.Error {
	if e, ok := errors.AsType[*crony.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*fiber.Error](err); ok {
		return framework(e)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return crony.Errorf(crony.Unavailable, "there was no answer in time").
			WithHint("look at /readyz: the cluster may have lost its quorum")
	}
	return crony.Errorf(crony.Internal, "something went wrong on this server").WithHint("its log says what")
}

// framework explains an error of the framework or of the generated code, whose own text speaks of neither what was wrong nor
// what to do.
func framework(e *fiber.Error) *crony.Error {
	switch e.Code {
	case http.StatusNotFound:
		return crony.Errorf(crony.NotFound, "there is nothing at this path")
	case http.StatusMethodNotAllowed:
		return crony.Errorf(crony.Invalid, "this path does not take this method").WithHint("the Allow header lists what it takes")
	case http.StatusRequestEntityTooLarge:
		return crony.Errorf(crony.TooLarge, "the body has more than %s", crony.Size(bodyLimit)).WithHint("split the manifest")
	case http.StatusRequestHeaderFieldsTooLarge:
		return crony.Errorf(crony.TooLarge, "the request's head has more than %s", crony.Size(headerLimit))
	case http.StatusRequestTimeout:
		return crony.Errorf(crony.Unavailable, "the request did not arrive in time")
	}
	if rest, ok := strings.CutPrefix(e.Message, "Invalid format for parameter "); ok {
		name, why, _ := strings.Cut(rest, ":")
		if strings.HasSuffix(why, "is required") {
			return crony.Errorf(crony.Invalid, "the parameter %q must be given", name)
		}
		return crony.Errorf(crony.Invalid, "the parameter %q can't be read", name)
	}
	return crony.Errorf(crony.Invalid, "the request can't be read")
}

func statusOf(code crony.Code) int {
	switch code {
	case crony.Invalid:
		return http.StatusUnprocessableEntity
	case crony.NotFound:
		return http.StatusNotFound
	case crony.Conflict:
		return http.StatusConflict
	case crony.Unauthorized:
		return http.StatusUnauthorized
	case crony.Forbidden:
		return http.StatusForbidden
	case crony.TooLarge:
		return http.StatusRequestEntityTooLarge
	case crony.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
