package webui

import (
	"context"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"crony"
	"crony/webui/api"
)

// GetCluster describes the cluster.
func (r rest) GetCluster(ctx context.Context, _ api.GetClusterRequestObject) (api.GetClusterResponseObject, error) {
	status, err := r.opts.Cluster.ClusterStatus(ctx)
	if err != nil {
		return nil, err
	}
	status.Servers = append([]crony.ServerStatus{}, status.Servers...) // never null
	status.Authorities = append([]crony.AuthorityStatus{}, status.Authorities...)
	return api.GetCluster200JSONResponse(status), nil
}

// RemoveServer removes a server for good.
func (r rest) RemoveServer(
	ctx context.Context, req api.RemoveServerRequestObject,
) (api.RemoveServerResponseObject, error) {
	if err := r.opts.Cluster.RemoveServer(ctx, req.Server); err != nil {
		return nil, err
	}
	return api.RemoveServer204Response{}, nil
}

// PromoteServer gives a joining server its vote.
func (r rest) PromoteServer(
	ctx context.Context, req api.PromoteServerRequestObject,
) (api.PromoteServerResponseObject, error) {
	if err := r.opts.Cluster.PromoteServer(ctx, req.Server); err != nil {
		return nil, err
	}
	return api.PromoteServer204Response{}, nil
}

// TransferLeadership makes another server lead.
func (r rest) TransferLeadership(
	ctx context.Context, req api.TransferLeadershipRequestObject,
) (api.TransferLeadershipResponseObject, error) {
	if err := r.opts.Cluster.TransferLeadership(ctx, deref(req.Body.Server)); err != nil {
		return nil, err
	}
	return api.TransferLeadership204Response{}, nil
}

// TransferLeadership reads its body strictly.
func (b bodies) TransferLeadership(c *fiber.Ctx) error {
	var body api.Transfer
	if err := readJSON(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.TransferLeadership(c.UserContext(), api.TransferLeadershipRequestObject{Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitTransferLeadershipResponse(c)
}

// RotateAuthority takes a step of replacing the cluster's authority.
func (r rest) RotateAuthority(
	ctx context.Context, req api.RotateAuthorityRequestObject,
) (api.RotateAuthorityResponseObject, error) {
	if allowed := req.Body.Step.Allowed(); !slices.Contains(allowed, string(req.Body.Step)) {
		return nil, invalid(crony.Fault{Path: "step", Message: "there is no such step",
			Hint: "one of: " + strings.Join(allowed, ", ")})
	}
	if err := r.opts.Cluster.RotateAuthority(ctx, req.Body.Step, deref(req.Body.Force)); err != nil {
		return nil, err
	}
	return api.RotateAuthority204Response{}, nil
}

// RotateAuthority reads its body strictly.
func (b bodies) RotateAuthority(c *fiber.Ctx) error {
	var body api.Rotation
	if err := readJSON(c, &body); err != nil {
		return err
	}
	answer, err := b.rest.RotateAuthority(c.UserContext(), api.RotateAuthorityRequestObject{Body: &body})
	if err != nil {
		return err
	}
	return answer.VisitRotateAuthorityResponse(c)
}
