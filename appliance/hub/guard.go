package hub

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"crony/internal/pki"
	"crony/internal/wire"
)

// Why nobody is served for a while. The agent goes to another server.
var (
	errNoQuorum = status.Error(codes.Unavailable, "this server reaches no quorum")
	errStopping = status.Error(codes.Unavailable, "this server is stopping")
)

// guardUnary lets in who may make a call.
func (h *Hub) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := h.guard(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

// guardStream lets in who may open a stream.
func (h *Hub) guardStream(service any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := h.guard(s.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(service, s)
}

// guard decides who may call what, and logs whom it refuses.
func (h *Hub) guard(ctx context.Context, method string) error {
	who, err := identity(ctx)
	if err == nil {
		err = h.may(who, method)
	}
	if err != nil {
		h.refusals.add(address(ctx), "call", err, "method", method, "caller", who.String())
	}
	return err
}

// may says why a caller may not make a call: it is of the wrong role, or was removed from the cluster. To agents a server that
// can do nothing for them is closed; servers go on asking it how it is.
func (h *Hub) may(who pki.Identity, method string) error {
	role := pki.Server
	if strings.HasPrefix(method, "/"+wire.Link_ServiceDesc.ServiceName+"/") {
		role = pki.Agent
	}
	if who.Role != role {
		return status.Errorf(codes.PermissionDenied, "%s may not call %s: it is no %s", who, method, role)
	}
	if role == pki.Agent {
		return h.mayStay(who.ID)
	}
	return h.notBuried(who.ID)
}

// mayStay says why an agent may not be connected now.
func (h *Hub) mayStay(agent string) error {
	switch {
	case h.stopping.Load():
		return errStopping
	case h.noQuorum.Load():
		return errNoQuorum
	}
	return h.notBuried(agent)
}

func (h *Hub) notBuried(id string) error {
	stone, buried := h.opts.State.Buried(id)
	if !buried {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "the %s %s (%s) was removed from the cluster at %s",
		stone.Role, stone.Name, id, stone.At.UTC().Format(time.RFC3339))
}

// Caller returns the id of the server that makes a call of the Peers service, which only servers may.
func Caller(ctx context.Context) (string, error) {
	who, err := identity(ctx)
	if err != nil {
		return "", err
	}
	if who.Role != pki.Server {
		return "", status.Errorf(codes.PermissionDenied, "%s is no server", who)
	}
	return who.ID, nil
}

// identity returns whom the caller's certificate names. The TLS handshake has verified the certificate.
func identity(ctx context.Context) (pki.Identity, error) {
	state, ok := connection(ctx)
	if !ok {
		return pki.Identity{}, status.Error(codes.Unauthenticated, "the connection is not by TLS")
	}
	who, err := pki.PeerIdentity(state)
	if err != nil {
		return pki.Identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	return who, nil
}

func connection(ctx context.Context) (tls.ConnectionState, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return tls.ConnectionState{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return info.State, ok
}

// address returns where the caller is, nil if that is not known.
func address(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
