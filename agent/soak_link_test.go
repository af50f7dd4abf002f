//go:build linux

package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"crony/internal/pki"
	"crony/internal/wire"
)

// wireLoss is what is lost with a cut of the link.
type wireLoss int32

const (
	loseNothing wireLoss = iota
	loseAnswer           // to a claim: the server has decided, and the agent does not hear of it
	loseAck              // of a report that is stored
	loseReport
	loseAssign
	losses // how many there are
)

// soakStream is one stream between the agent and the hub: two channels, and nothing that is lost while it stands.
type soakStream struct {
	ctx  context.Context //nolint:containedctx // it is the stream's
	cut  context.CancelFunc
	up   chan *wire.FromAgent
	down chan *wire.FromServer
	lose *atomic.Int32 // the wireLoss with which the stream ends next
}

// newSoakStream returns the stream of the agent whom a certificate, that somebody has checked, names.
func newSoakStream(ctx context.Context, agent string, lose *atomic.Int32) (*soakStream, error) {
	id, err := url.Parse(pki.Identity{Cluster: "soak", Role: pki.Agent, ID: agent}.String())
	if err != nil {
		return nil, err
	}
	chain := []*x509.Certificate{{URIs: []*url.URL{id}}}
	ctx = peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{
		State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chain}}}})
	s := &soakStream{up: make(chan *wire.FromAgent, 8), down: make(chan *wire.FromServer, 8), lose: lose}
	s.ctx, s.cut = context.WithCancel(ctx)
	return s, nil
}

// loses ends the stream if this is what it is to end with.
func (s *soakStream) loses(what wireLoss) bool {
	if what == loseNothing || !s.lose.CompareAndSwap(int32(what), int32(loseNothing)) {
		return false
	}
	s.cut()
	return true
}

// agentEnd is the stream as the agent has it.
type agentEnd struct {
	*soakStream
	grpc.ClientStream
}

// Context implements grpc.ClientStream.
func (e agentEnd) Context() context.Context { return e.ctx }

// Send implements wire.Link_ConnectClient.
func (e agentEnd) Send(msg *wire.FromAgent) error {
	if msg.GetReport() != nil && e.loses(loseReport) {
		return nil
	}
	return give(e.ctx, e.up, msg)
}

// Recv implements wire.Link_ConnectClient.
func (e agentEnd) Recv() (*wire.FromServer, error) { return pull(e.ctx, e.down) }

// hubEnd is the stream as the hub has it.
type hubEnd struct {
	*soakStream
	grpc.ServerStream
}

// Context implements grpc.ServerStream.
func (e hubEnd) Context() context.Context { return e.ctx }

// Send implements wire.Link_ConnectServer.
func (e hubEnd) Send(msg *wire.FromServer) error {
	what := loseNothing
	switch {
	case msg.GetClaims() != nil:
		what = loseAnswer
	case msg.GetAck() != nil:
		what = loseAck
	case msg.GetAssign() != nil:
		what = loseAssign
	}
	if e.loses(what) {
		return nil
	}
	return give(e.ctx, e.down, msg)
}

// Recv implements wire.Link_ConnectServer.
func (e hubEnd) Recv() (*wire.FromAgent, error) { return pull(e.ctx, e.up) }

func give[T any](ctx context.Context, queue chan<- T, item T) error {
	select {
	case queue <- item:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func pull[T any](ctx context.Context, queue <-chan T) (T, error) {
	select {
	case item := <-queue:
		return item, nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

const soakAgentID = "a1"
