//go:build linux

package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"crony/embedded/fakeetcd"
	"crony/internal/pki"
	"crony/internal/wire"
)

// How long an end of a stream bears silence, as the keepalives of the transport have it.
const (
	simServerBears = 8 * time.Second
	simAgentBears  = 13 * time.Second
)

// simStream is a stream between an agent and a server over a wire that can be slow, silent and cut. Each end has a context of its
// own: the other learns of its end over the wire, or by silence.
type simStream struct {
	wire          *fakeetcd.Link
	up            chan *wire.FromAgent
	down          chan *wire.FromServer
	agent, server simEnd
	host          *simHost
	trace         *simTrace
}

type simEnd struct {
	ctx context.Context //nolint:containedctx // it is the stream's
	cut context.CancelFunc

	fuse *simFuse
}

func newSimEnd(ctx context.Context) simEnd {
	e := simEnd{}
	e.ctx, e.cut = context.WithCancel(ctx)
	return e
}

// step is one that a process does on the stream; the error says that it is dead.
func (e simEnd) step() error {
	if e.fuse.step() {
		return nil
	}
	<-e.ctx.Done()
	return context.Cause(e.ctx)
}

// newSimStream opens a stream of the agent whom a certificate, that somebody has checked, names. The contexts are those of the two
// processes.
func newSimStream(agent, server context.Context, id string, over *fakeetcd.Link) *simStream {
	name, err := url.Parse(pki.Identity{Cluster: "sim", Role: pki.Agent, ID: id}.String())
	if err != nil {
		panic(err)
	}
	chain := []*x509.Certificate{{URIs: []*url.URL{name}}}
	server = peer.NewContext(server, &peer.Peer{AuthInfo: credentials.TLSInfo{
		State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chain}}}})
	s := &simStream{wire: over, up: make(chan *wire.FromAgent, 64), down: make(chan *wire.FromServer, 64),
		agent: newSimEnd(agent), server: newSimEnd(server)}
	go s.watch(s.agent, s.server, simAgentBears)
	go s.watch(s.server, s.agent, simServerBears)
	return s
}

// watch ends one end of the stream when the other has, as soon as the wire tells, or when the wire was silent for too long.
func (s *simStream) watch(own, other simEnd, bears time.Duration) {
	defer own.cut()
	for {
		cut, changed := s.wire.State()
		if !cut {
			select {
			case <-other.ctx.Done():
				if s.wire.Cross(own.ctx) == nil {
					return
				}
			case <-changed:
				continue
			case <-own.ctx.Done():
			}
			return
		}
		silence := time.NewTimer(bears)
		select {
		case <-changed:
			silence.Stop()
			continue
		case <-silence.C:
		case <-own.ctx.Done():
			silence.Stop()
		}
		return
	}
}

// simAgentEnd and simServerEnd are the stream as its two ends have it.
type simAgentEnd struct {
	*simStream
	wire.Link_ConnectClient
}

// Context implements grpc.ClientStream.
func (e simAgentEnd) Context() context.Context { return e.agent.ctx }

// Send implements wire.Link_ConnectClient.
func (e simAgentEnd) Send(msg *wire.FromAgent) error {
	if err := e.agent.step(); err != nil {
		return err
	}
	e.host.still.pass()
	e.trace.message("up", msg)
	return give(e.agent.ctx, e.up, msg)
}

// Recv implements wire.Link_ConnectClient.
func (e simAgentEnd) Recv() (*wire.FromServer, error) {
	msg, err := cross(e.agent.ctx, e.wire, e.down)
	e.host.still.pass()
	return msg, errors.Join(err, e.agent.step())
}

type simServerEnd struct {
	*simStream
	wire.Link_ConnectServer
}

// Context implements grpc.ServerStream.
func (e simServerEnd) Context() context.Context { return e.server.ctx }

// Send implements wire.Link_ConnectServer.
func (e simServerEnd) Send(msg *wire.FromServer) error {
	if err := e.server.step(); err != nil {
		return err
	}
	e.trace.message("down", msg)
	return give(e.server.ctx, e.down, msg)
}

// Recv implements wire.Link_ConnectServer.
func (e simServerEnd) Recv() (*wire.FromAgent, error) { return cross(e.server.ctx, e.wire, e.up) }

// cross takes the next message, once it has come over the wire.
func cross[T any](ctx context.Context, over *fakeetcd.Link, queue <-chan T) (T, error) {
	msg, err := pull(ctx, queue)
	if err != nil {
		return msg, err
	}
	return msg, over.Cross(ctx)
}

var errNoWelcome = errors.New("the server's first message is no welcome")

// over is the life of one stream, as [link.stream] has it; end ends it.
func (l *link) over(
	ctx context.Context, stream wire.Link_ConnectClient, end context.CancelFunc, inbox chan<- *wire.FromServer, reports sink,
) error {
	hello := &wire.Hello{Agent: wire.Encode(l.self), Runs: l.runs()}
	if err := stream.Send(&wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: hello}}); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetWelcome() == nil {
		return errNoWelcome
	}
	l.begin()
	if err := push(ctx, inbox, first); err != nil {
		return err
	}
	sender := make(chan struct{})
	why := func(error) { end() }
	go func() {
		defer close(sender)
		l.sendAll(ctx, why, stream)
	}()
	reports.begin(ctx)
	err = l.receiveAll(ctx, why, stream, inbox, reports)
	end()
	<-sender
	return err
}
