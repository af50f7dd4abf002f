package webui

import (
	"context"
	"net/http"
	"strings"

	"crony"

	"github.com/gofiber/fiber/v2"
)

// Access knows who calls. Every method is safe for concurrent use. A token, secret or bearer that is not known, or no longer
// valid, is an error of code Unauthorized that says no more than that; what can't be found out now is Unavailable.
type Access interface {
	// SignIn makes a session of a one-time link's token, which is used up by it, or of an API token. The secret is what the
	// browser shows again as its cookie; it is not kept in a form from which it could be read.
	SignIn(ctx context.Context, token string) (session crony.Session, secret string, err error)
	// Authenticate returns the session of a cookie's secret. It is asked with every request, so it should be quick.
	Authenticate(ctx context.Context, secret string) (crony.Session, error)
	// AuthenticateToken returns what an API token may do.
	AuthenticateToken(ctx context.Context, bearer string) (crony.Session, error)
	// SignOut ends the session of a secret; one that has ended already is no error.
	SignOut(ctx context.Context, secret string) error
}

const cookieName = "crony_session"

// caller is who sent a request.
type caller struct {
	crony.Session
	secret string                                           // of the cookie; "" with a bearer token
	verify func(ctx context.Context) (crony.Session, error) // asks again, for streams that outlast a session
}

type callerKey struct{}

func callerFrom(ctx context.Context) (caller, bool) {
	who, ok := ctx.Value(callerKey{}).(caller)
	return who, ok
}

// authenticate lets a request to the API pass with its caller, or not at all. Only those that bring a token to begin with, or
// that of a call, need no caller.
func (s *Server) authenticate(c *fiber.Ctx) error {
	if beginning(c) {
		if err := s.sameOrigin(c); err != nil {
			return err
		}
		return c.Next()
	}
	who, err := s.identify(c)
	if err != nil {
		return err
	}
	ctx := crony.WithActor(c.UserContext(), who.Name)
	c.SetUserContext(context.WithValue(ctx, callerKey{}, who))
	return c.Next()
}

// beginning says whether a request signs a person in, a host joins by it, or a service that was called tells of a run.
func beginning(c *fiber.Ctx) bool {
	return c.Method() == fiber.MethodPost && (c.Path() == apiBase+"/session" || c.Path() == apiBase+"/join" ||
		strings.HasPrefix(c.Path(), apiBase+"/callbacks/"))
}

// identify finds the caller. A request with an Authorization header is never authenticated by its cookie, not even when the
// header is refused: a browser sends cookies unasked, but never that header across sites, so only cookies need the
// protection against other sites.
func (s *Server) identify(c *fiber.Ctx) (caller, error) {
	if header := c.Get(fiber.HeaderAuthorization); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "bearer") || token == "" {
			return caller{}, crony.Errorf(crony.Unauthorized, "this Authorization header is not understood").
				WithHint("write it as: Bearer TOKEN")
		}
		return identified(c.UserContext(), "", func(ctx context.Context) (crony.Session, error) {
			return s.opts.Access.AuthenticateToken(ctx, token)
		})
	}
	secret := c.Cookies(cookieName)
	if secret == "" {
		return caller{}, crony.Errorf(crony.Unauthorized, "you are not signed in").WithHint("sign in, or send a token")
	}
	if err := s.sameOrigin(c); err != nil {
		return caller{}, err
	}
	return identified(c.UserContext(), secret, func(ctx context.Context) (crony.Session, error) {
		return s.opts.Access.Authenticate(ctx, secret)
	})
}

func identified(ctx context.Context, secret string, verify func(context.Context) (crony.Session, error)) (caller, error) {
	session, err := verify(ctx)
	return caller{session, secret, verify}, err
}

// sameOrigin refuses changes that another site's page had a browser send.
func (s *Server) sameOrigin(c *fiber.Ctx) error {
	r := http.Request{Method: c.Method(), Host: string(c.Request().Host()), Header: http.Header{}}
	for _, name := range []string{"Sec-Fetch-Site", fiber.HeaderOrigin} {
		if value := c.Get(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	if err := s.origin.Check(&r); err != nil {
		return &crony.Error{Code: crony.Forbidden, Message: "this request came from another site's page",
			Hint: "a proxy in between must keep the Host header", Err: err}
	}
	return nil
}

// authorize holds the caller's role against the one that the matched route takes. It stands before every operation of the
// API, so that an operation without a caller is refused even where authenticate did not stand in the way.
func authorize(c *fiber.Ctx, next fiber.Handler) error {
	if beginning(c) {
		return next(c)
	}
	who, ok := callerFrom(c.UserContext())
	if !ok {
		return crony.Errorf(crony.Unauthorized, "you are not signed in")
	}
	if err := who.mayDoAs(roleFor(c.Method(), c.Route().Path)); err != nil {
		return err
	}
	return next(c)
}

// mayDoAs refuses what takes a role that the caller's does not cover.
func (who caller) mayDoAs(takes crony.Role) error {
	if !who.Role.Covers(takes) {
		return crony.Errorf(crony.Forbidden, "this takes the role %s, and yours is %s", takes, who.Role).
			WithHint("ask an admin")
	}
	return nil
}

// roleFor returns the least role that may use a route.
func roleFor(method, route string) crony.Role {
	route = strings.TrimPrefix(route, apiBase)
	reading := method == fiber.MethodGet || method == fiber.MethodHead
	switch {
	case route == "/backup", route == "/join-tokens": // reading them is not for everyone
		return crony.Admin
	case reading:
		return crony.Viewer
	}
	switch route {
	case "/session", "/schedules/explain":
		return crony.Viewer
	case "/jobs/:name/pause", "/jobs/:name/resume", "/jobs/:name/runs", "/runs/:id/kill", "/runs/:id/handled":
		return crony.Operator
	case "/agents/:agent":
		if method == fiber.MethodPatch { // what it changes may take more: see [rest.ChangeAgent]
			return crony.Operator
		}
		return crony.Admin
	case "/jobs/:name", "/calendars/:name", "/scripts/:name", "/apply", "/agents/rebalance":
		return crony.Editor
	default:
		return crony.Admin
	}
}
