// Package hub is the agents' end of a server: it holds one stream to each connected agent, tells it what it has to run,
// decides its claims, and takes in what it reports. On the same port it has what servers ask of each other.
//
// The one thing to know: a caller is whom its certificate names, and nothing that it says is believed beyond that. An agent
// gets the jobs that are assigned to it, may claim only those (the store compares it), and may report only runs that are its
// own; anything else ends the stream with a logged reason. Who may call what is decided in guard.go and nowhere else.
//
// The hub keeps no schedule and no state that outlives a stream. If it dies, the agent connects to another; if it can do
// nothing for its agents, as the server reaches no quorum or is about to stop, it sends them to others.
//
// There are thousands of streams, and most are idle most of the time: a stream has two goroutines, and more only while there
// is work for them (lane.go).
package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// RunLog is where reports go. Its methods are safe for concurrent use.
type RunLog interface {
	// Append stores facts and pieces of output, and returns once they are on the disks of most servers. What is stored already
	// changes nothing.
	Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error
	// Run returns one run; NotFound if this server knows of none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer: what is not known here may
	// not be taken for what is not.
	Refresh(ctx context.Context, runs ...crony.RunID) error
	// Unfinished returns the runs of an agent that have not ended.
	Unfinished(agent string) []crony.Run
	// Stretches returns a job's stretches that have a part from one instant to another, both included, at most limit of them.
	Stretches(ctx context.Context, job string, from, to time.Time, limit int) (list []crony.Stretch, next time.Time, err error)
}

// Options is what a Hub is made of. What may be nil says so; the rest is required.
type Options struct {
	Server     string      // this server's id
	TLS        *tls.Config // of a listener that is open to agents and servers
	State      *state.Store
	Runs       RunLog
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Now        func() time.Time // the wall clock; time.Now if nil

	// Trust returns the authorities that agents are to trust, as PEM, and the fingerprint of the one that signs. It is asked
	// several times a second and must not block. Nil: agents are told nothing of it.
	Trust func() (roots []byte, issuer string)
	// Sign returns a new certificate for an agent, as PEM with what links it to the authority; the request (PEM) is not
	// verified yet. Nil: agents' requests are refused.
	Sign func(ctx context.Context, agent string, request []byte) (chain []byte, err error)
	// Ready says why this server reaches no quorum; nil if it does. It is asked several times a second and must not block.
	// Nil: it always does.
	Ready func() error
	// Peers is what other servers may ask; they are told by [Caller]. Nil: nothing.
	Peers wire.PeersServer
}

// Hub serves agents, and other servers.
type Hub struct {
	wire.UnimplementedLinkServer

	opts     Options
	log      *slog.Logger
	metrics  metrics
	refusals *refusals
	patience time.Duration // for the first word of a connection and of a stream
	balancer balancer
	leaving  sync.WaitGroup // streams of which something is left

	noQuorum atomic.Bool // for so long that agents are sent away
	stopping atomic.Bool
	posting  sync.Mutex // held to replace what is on the board
	board    atomic.Pointer[bulletin]

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
	h := &Hub{opts: opts, log: opts.Log.With("part", "hub"), patience: helloWait, streams: map[string]*stream{},
		balancer: newBalancer(opts.Server)}
	if err := h.metrics.register(opts.Registerer, h.connected); err != nil {
		return nil, err
	}
	h.refusals = newRefusals(h.log, h.metrics.refusals.Inc)
	return h, nil
}

// Bounds on what one caller can make a server hold.
const (
	maxReport  = 1 << 20  // bytes of a report, and of every other message
	maxAgent   = 64 << 10 // bytes of what an agent says of itself
	maxRequest = 8 << 10  // bytes of a certificate request
	maxClaims  = 4096     // occurrences of a request
	maxHeaders = 16 << 10 // bytes of a call's headers
	maxCalls   = 4        // that a connection has open at a time
	helloWait  = 10 * time.Second
)

// Serve answers on the listener until ctx is done. Then it asks the agents to go elsewhere, waits for that a second at most,
// and returns when the last call has ended. It closes the listener.
func (h *Hub) Serve(ctx context.Context, l net.Listener) error {
	server := h.server()
	serving, end := context.WithCancelCause(ctx)
	go func() { end(server.Serve(l)) }()
	h.watch(serving)
	if ctx.Err() != nil {
		h.drain()
	}
	server.Stop() // waits for the calls
	h.leaving.Wait()
	if ctx.Err() == nil {
		return fmt.Errorf("serve agents: %w", context.Cause(serving))
	}
	return nil
}

// server returns a gRPC server with the hub's services. An idle connection costs it little: write buffers are shared, and the
// TLS layer's own buffer is all that there is for reading.
func (h *Hub) server() *grpc.Server {
	idle := 3 * h.patience // of a connection without a call
	server := grpc.NewServer(
		grpc.Creds(greeter{credentials.NewTLS(h.opts.TLS), h.refusals}),
		grpc.UnaryInterceptor(h.guardUnary),
		grpc.StreamInterceptor(h.guardStream),
		grpc.MaxRecvMsgSize(maxReport),
		grpc.MaxHeaderListSize(maxHeaders), grpc.HeaderTableSize(0),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.ConnectionTimeout(h.patience),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 3 * time.Second, MaxConnectionIdle: idle}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WriteBufferSize(4<<10), grpc.ReadBufferSize(0),
		grpc.WaitForHandlers(true),
	)
	wire.RegisterLinkServer(server, h)
	if h.opts.Peers != nil {
		wire.RegisterPeersServer(server, h.opts.Peers)
	}
	return server
}

// all returns the streams that are open now.
func (h *Hub) all() []*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*stream, 0, len(h.streams))
	for _, s := range h.streams {
		list = append(list, s)
	}
	return list
}

// of returns the stream of an agent, nil if it has none.
func (h *Hub) of(agent string) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[agent]
}

func (h *Hub) connected() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(len(h.streams))
}

// reachable returns the servers that agents can connect to, by id.
func (h *Hub) reachable() []state.Server {
	list := slices.DeleteFunc(h.opts.State.Servers(), func(s state.Server) bool { return !s.Up || s.Agents == "" })
	slices.SortFunc(list, func(a, b state.Server) int { return strings.Compare(a.ID, b.ID) })
	return list
}
