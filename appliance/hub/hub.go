// Package hub is the agents' end of a server: it holds one stream to each connected agent, tells it what it has to run,
// decides its claims, and takes in what it reports.
//
// The one thing to know: an agent is whom its certificate names, and nothing that it says is believed beyond that. It gets
// the jobs that are assigned to it, may claim only those (the store compares it), and may report only runs that are its own;
// anything else ends the stream with a logged reason.
//
// The hub keeps no schedule and no state that outlives a stream. If it dies, the agent connects to another.
package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/pki"
	"crony/internal/wire"
)

// RunLog is where reports go. Its methods are safe for concurrent use.
type RunLog interface {
	// Append stores facts and pieces of output, and returns once they are on disk. What is stored already changes nothing.
	Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error
	// Run returns one run; NotFound if there is none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Unfinished returns the runs of an agent that have not ended.
	Unfinished(agent string) []crony.Run
}

// Options is what a Hub is made of; all but Now are required.
type Options struct {
	Server     string // this server's id
	TLS        *tls.Config
	State      *state.Store
	Runs       RunLog
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Now        func() time.Time // the wall clock; time.Now if nil
}

// Hub serves agents.
type Hub struct {
	wire.UnimplementedLinkServer

	opts     Options
	log      *slog.Logger
	metrics  metrics
	patience time.Duration // for the first message

	mu      sync.Mutex
	streams map[string]*stream // by agent
}

// New returns a hub that serves nobody yet.
func New(opts Options) (*Hub, error) {
	if opts.Server == "" || opts.TLS == nil || opts.State == nil || opts.Runs == nil || opts.Registerer == nil || opts.Log == nil {
		return nil, errors.New("hub: an option is missing")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	h := &Hub{opts: opts, log: opts.Log.With("part", "hub"), patience: helloWait, streams: map[string]*stream{}}
	return h, h.metrics.register(opts.Registerer, h.connected)
}

// Bounds on what one agent can make a server hold.
const (
	maxReport = 1 << 20  // bytes of a report, and of every other message
	maxAgent  = 64 << 10 // bytes of what an agent says of itself
	maxClaims = 4096     // occurrences of a request
	helloWait = 10 * time.Second
)

// Serve answers agents on the listener until ctx is done, and returns when the last stream has ended. It closes the listener.
func (h *Hub) Serve(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(
		grpc.Creds(greeter{credentials.NewTLS(h.opts.TLS), h.log}),
		grpc.MaxRecvMsgSize(maxReport),
		grpc.MaxConcurrentStreams(4),
		grpc.ConnectionTimeout(helloWait),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	wire.RegisterLinkServer(server, h)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve agents: %w", err)
	}
	server.Stop() // waits for the streams
	return nil
}

// Connect implements the service: one agent's stream, from its first message to its end.
func (h *Hub) Connect(link wire.Link_ConnectServer) error {
	who, err := identity(link.Context())
	if err != nil {
		h.log.Warn("agent refused", "err", err)
		return err
	}
	log := h.log.With("agent", who.ID)
	s, err := h.admit(link, who, log)
	if err == nil {
		err = s.serve()
		h.leave(s)
	}
	if left(err) {
		log.Info("agent left")
	} else {
		log.Warn("stream ended", "err", err)
	}
	return err
}

// left says whether a stream ended by the agent's will, or with its connection.
func left(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// identity returns whom the stream's certificate names. The TLS handshake has checked the certificate.
func identity(ctx context.Context) (pki.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return pki.Identity{}, status.Error(codes.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return pki.Identity{}, status.Error(codes.Unauthenticated, "no TLS")
	}
	who, err := pki.PeerIdentity(info.State)
	if err != nil {
		return pki.Identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if who.Role != pki.Agent {
		return pki.Identity{}, status.Errorf(codes.PermissionDenied, "a %s is no agent", who.Role)
	}
	return who, nil
}

// admit reads the agent's Hello, ends its stream of before if there is one, and registers it.
func (h *Hub) admit(link wire.Link_ConnectServer, who pki.Identity, log *slog.Logger) (*stream, error) {
	hello, err := h.receiveHello(link)
	if err != nil {
		return nil, err
	}
	if n := len(hello.GetAgent()); n > maxAgent {
		return nil, status.Errorf(codes.InvalidArgument, "the agent says %d bytes of itself; at most %d", n, maxAgent)
	}
	agent, err := wire.Decode[crony.Agent](hello.GetAgent())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	agent.ID, agent.Server, agent.Since = who.ID, h.opts.Server, h.opts.Now().UTC()
	if agent.Name == "" {
		agent.Name = agent.ID
	}
	agent.Weight = max(agent.Weight, 1)

	ctx, end := context.WithCancelCause(link.Context())
	s := &stream{hub: h, link: link, agent: agent, log: log, ctx: ctx, end: end, done: make(chan struct{}),
		held: map[string]int64{}, ordered: map[crony.RunID]bool{}}
	if err := h.enter(s); err != nil {
		end(err)
		return nil, err
	}
	if err := s.begin(hello.GetRuns()); err != nil {
		h.leave(s)
		return nil, err
	}
	log.Info("agent connected", "name", agent.Name, "version", agent.Version)
	return s, nil
}

// receiveHello waits for the first message, but not for ever.
func (h *Hub) receiveHello(link wire.Link_ConnectServer) (*wire.Hello, error) {
	type result struct {
		msg *wire.FromAgent
		err error
	}
	got := make(chan result, 1)
	go func() {
		msg, err := link.Recv() // ends with the stream, at the latest
		got <- result{msg, err}
	}()
	timer := time.NewTimer(h.patience)
	defer timer.Stop()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, r.err
		}
		if hello := r.msg.GetHello(); hello != nil {
			return hello, nil
		}
		return nil, status.Error(codes.InvalidArgument, "the first message must be a hello")
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no hello within %s", h.patience)
	}
}

// enter makes s the stream of its agent. A stream of before is ended, and waited for: what it still reported is stored when
// the new one begins.
func (h *Hub) enter(s *stream) error {
	for {
		h.mu.Lock()
		before := h.streams[s.agent.ID]
		if before == nil {
			h.streams[s.agent.ID] = s
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock()
		before.end(errReplaced)
		select {
		case <-before.done:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

var errReplaced = status.Error(codes.Aborted, "the agent connected again")

func (h *Hub) leave(s *stream) {
	if s.presence != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 2*time.Second)
		s.presence.Leave(ctx)
		cancel()
	}
	s.end(context.Canceled)
	h.mu.Lock()
	delete(h.streams, s.agent.ID)
	h.mu.Unlock()
	close(s.done)
}

func (h *Hub) connected() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(len(h.streams))
}
