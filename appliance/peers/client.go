package peers

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/wire"
)

// Client calls other servers. It keeps a connection to each that it has called. It is safe for concurrent use.
type Client struct {
	tls *tls.Config

	mu    sync.Mutex
	conns map[route]*grpc.ClientConn
}

// route is a connection to a server. What is large has its own, and does not hold up what is not.
type route struct {
	lane    lane
	address string
}

type lane int

const (
	laneCalls     lane = iota
	laneReplicate      // the run log's batches, as they come
	laneBulk           // what compares the run logs, and heals them
)

// NewClient returns a client that shows itself by a TLS configuration: a server's.
func NewClient(config *tls.Config) *Client {
	return &Client{tls: config, conns: map[route]*grpc.ClientConn{}}
}

// callTime is how long a call may take that has nothing to wait for.
const callTime = 2 * time.Second

const (
	connectTime = 3 * time.Second // for a connection: one that is frozen takes it, and says nothing
	redialTime  = time.Second     // between two tries to reach a server that is down, at most
)

// Close ends all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, conn := range c.conns {
		conn.Close() //nolint:errcheck // nothing is left to save
		delete(c.conns, to)
	}
	return nil
}

func (c *Client) at(lane lane, address string) (wire.PeersClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conns[route{lane, address}]
	if conn == nil {
		var err error
		if conn, err = grpc.NewClient("passthrough:///"+address,
			grpc.WithTransportCredentials(credentials.NewTLS(c.tls)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTime,
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: redialTime}}),
			grpc.WithNoProxy(), grpc.WithDisableServiceConfig()); err != nil {
			return nil, fmt.Errorf("prepare the connection to %s: %w", address, err)
		}
		c.conns[route{lane, address}] = conn
	}
	return wire.NewPeersClient(conn), nil
}

// Admission is what a server needs to open its part of the store.
type Admission struct {
	Token   string // of the store
	Members []*wire.Member
}

// Admit asks the server at an address to let this one in, whose own store will be reached at another.
func (c *Client) Admit(ctx context.Context, at, own string) (Admission, error) {
	peer, err := c.at(laneCalls, at)
	if err != nil {
		return Admission{}, err
	}
	reply, err := peer.Admit(ctx, &wire.AdmitRequest{Address: own})
	if err != nil {
		return Admission{}, said(at, err)
	}
	return Admission{Token: reply.GetToken(), Members: reply.GetMembers()}, nil
}

// Status asks the server at an address how it is.
func (c *Client) Status(ctx context.Context, at string) (crony.ServerStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	peer, err := c.at(laneCalls, at)
	if err != nil {
		return crony.ServerStatus{}, err
	}
	reply, err := peer.Status(ctx, &wire.StatusRequest{})
	if err != nil {
		return crony.ServerStatus{}, said(at, err)
	}
	return wire.Decode[crony.ServerStatus](reply.GetStatus())
}

// Defragment has the server at an address defragment its store.
func (c *Client) Defragment(ctx context.Context, at string) error {
	peer, err := c.at(laneCalls, at)
	if err != nil {
		return err
	}
	_, err = peer.Defragment(ctx, &wire.DefragmentRequest{})
	return said(at, err)
}

// Transfer has the leading server at an address hand over to another, or to any.
func (c *Client) Transfer(ctx context.Context, at, to string) error {
	peer, err := c.at(laneCalls, at)
	if err != nil {
		return err
	}
	_, err = peer.Transfer(ctx, &wire.TransferRequest{Server: to})
	return said(at, err)
}

// said turns a refusal back into an error of crony's.
func said(address string, err error) error {
	if err == nil {
		return nil
	}
	code := crony.Unavailable
	switch status.Code(err) {
	case codes.FailedPrecondition:
		code = crony.Conflict
	case codes.PermissionDenied, codes.Unauthenticated:
		code = crony.Forbidden
	case codes.NotFound:
		code = crony.NotFound
	case codes.InvalidArgument:
		code = crony.Invalid
	case codes.Internal:
		code = crony.Internal
	}
	message := status.Convert(err).Message()
	if code != crony.Conflict && code != crony.NotFound { // else it speaks of the cluster, whoever was asked
		message = fmt.Sprintf("the server at %s: %s", address, message)
	}
	return &crony.Error{Code: code, Message: message, Err: err}
}
