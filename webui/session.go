package webui

import (
	"context"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
)

// GetSession returns the caller.
func (r rest) GetSession(ctx context.Context, _ api.GetSessionRequestObject) (api.GetSessionResponseObject, error) {
	who, _ := callerFrom(ctx)
	return api.GetSession200JSONResponse(who.Session), nil
}

// CreateSession signs in.
func (r rest) CreateSession(
	ctx context.Context, req api.CreateSessionRequestObject,
) (api.CreateSessionResponseObject, error) {
	if req.Body.Token == "" {
		return nil, invalid(crony.Fault{Path: "token", Message: "there is no token"})
	}
	session, secret, err := r.opts.Access.SignIn(ctx, req.Body.Token)
	if err != nil {
		return nil, err
	}
	return signedIn{session, secret}, nil
}

// DeleteSession signs out.
func (r rest) DeleteSession(ctx context.Context, _ api.DeleteSessionRequestObject) (api.DeleteSessionResponseObject, error) {
	who, _ := callerFrom(ctx)
	if who.secret == "" {
		return nil, crony.Errorf(crony.Invalid, "a token has no session that could end").WithHint("revoke the token instead")
	}
	if err := r.opts.Access.SignOut(ctx, who.secret); err != nil {
		return nil, err
	}
	return signedOut{}, nil
}

// signedIn answers with the session and its cookie.
type signedIn struct {
	session crony.Session
	secret  string
}

// VisitCreateSessionResponse writes the answer.
func (a signedIn) VisitCreateSessionResponse(c *fiber.Ctx) error {
	cookie := cookieOf(c, a.secret)
	cookie.Expires = a.session.ExpiresAt
	c.Cookie(cookie)
	return api.CreateSession200JSONResponse(a.session).VisitCreateSessionResponse(c)
}

// signedOut takes the cookie back.
type signedOut struct{}

// VisitDeleteSessionResponse writes the answer.
func (signedOut) VisitDeleteSessionResponse(c *fiber.Ctx) error {
	cookie := cookieOf(c, "")
	cookie.Expires = time.Unix(0, 0) // long ago
	c.Cookie(cookie)
	return c.SendStatus(fiber.StatusNoContent)
}

// cookieOf makes the cookie that no script reads, no other site sends, and no plain connection carries if it came by a
// secure one.
func cookieOf(c *fiber.Ctx, secret string) *fiber.Cookie {
	return &fiber.Cookie{
		Name: cookieName, Value: secret, Path: "/",
		HTTPOnly: true, Secure: c.Context().IsTLS(), SameSite: fiber.CookieSameSiteStrictMode,
	}
}
