package webui

import (
	"context"

	"github.com/gofiber/fiber/v2"

	"crony"
	"crony/webui/api"
)

// ListJoinTokens returns the tokens that can still be used.
func (r rest) ListJoinTokens(
	ctx context.Context, _ api.ListJoinTokensRequestObject,
) (api.ListJoinTokensResponseObject, error) {
	tokens, err := r.opts.Cluster.ListJoinTokens(ctx)
	if err != nil {
		return nil, err
	}
	items := make([]crony.JoinToken, len(tokens)) // never null
	for i, token := range tokens {
		token.Secret = "" // whoever keeps one by mistake does not tell it here
		items[i] = token
	}
	return api.ListJoinTokens200JSONResponse{Items: items}, nil
}

// CreateJoinToken makes a token.
func (r rest) CreateJoinToken(
	ctx context.Context, req api.CreateJoinTokenRequestObject,
) (api.CreateJoinTokenResponseObject, error) {
	token, err := r.opts.Cluster.CreateJoinToken(ctx, *req.Body)
	if err != nil {
		return nil, err
	}
	return api.CreateJoinToken201JSONResponse(token), nil
}

// CreateJoinToken reads its body strictly.
func (b bodies) CreateJoinToken(c *fiber.Ctx) error {
	var body crony.JoinTokenSpec
	if err := readJSON(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.CreateJoinToken(c.UserContext(), api.CreateJoinTokenRequestObject{Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitCreateJoinTokenResponse(c)
}

// DeleteJoinToken makes a token worth nothing.
func (r rest) DeleteJoinToken(
	ctx context.Context, req api.DeleteJoinTokenRequestObject,
) (api.DeleteJoinTokenResponseObject, error) {
	if err := r.opts.Cluster.DeleteJoinToken(ctx, req.Id); err != nil {
		return nil, err
	}
	return api.DeleteJoinToken204Response{}, nil
}

type remoteKey struct{}

// Join makes a host part of the cluster.
func (r rest) Join(ctx context.Context, req api.JoinRequestObject) (api.JoinResponseObject, error) {
	remote, _ := ctx.Value(remoteKey{}).(string)
	answer, err := r.opts.Join(ctx, *req.Body, remote)
	if err != nil {
		return nil, err
	}
	answer.Servers = append([]string{}, answer.Servers...) // never null
	return api.Join200JSONResponse(answer), nil
}

const joinLimit = 16 << 10 // bytes of a request to join

// Join slows down whoever guesses, and reads little of whom nobody knows.
func (b bodies) Join(c *fiber.Ctx) error {
	if len(c.Request().Body()) > joinLimit {
		return crony.Errorf(crony.TooLarge, "a request to join has at most %s", crony.Size(joinLimit))
	}
	var body crony.JoinRequest
	if err := readJSON(c, &body); err != nil {
		return err
	}
	return b.rest.joins.slow(c, "join", func() error {
		ctx := context.WithValue(c.UserContext(), remoteKey{}, c.Context().RemoteIP().String())
		answer, err := b.rest.Join(ctx, api.JoinRequestObject{Body: &body})
		if err != nil {
			return err
		}
		return answer.VisitJoinResponse(c)
	})
}
