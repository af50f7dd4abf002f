package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"crony"
	"crony/internal/wire"
)

// link keeps one stream to a server open, and opens the next when it breaks.
type link struct {
	opts   Options
	self   crony.Agent
	runs   func() []string // that the agent answers for
	outbox chan *wire.FromAgent
	log    *slog.Logger
}

// sink takes in what the server says of reports. Its methods are called by one goroutine.
type sink interface {
	// begin says that a stream is open, over which reports can be sent until the context is done.
	begin(stream context.Context)
	// acked says that the report is on disk.
	acked(id uint64)
}

// The wait before the next try grows from the first to the last of these, and begins anew after a stream that lasted longer
// than the last: one that is refused each time, for whatever reason, is tried every few seconds and no oftener.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 3 * time.Second
)

func newLink(opts Options, self crony.Agent, runs func() []string, log *slog.Logger) *link {
	return &link{opts: opts, self: self, runs: runs, outbox: make(chan *wire.FromAgent, 256), log: log}
}

// post hands a message to the stream. Behind a full queue, or when the stream ends before it is sent, it is dropped: whoever
// posts asks again.
func (l *link) post(msg *wire.FromAgent) bool {
	select {
	case l.outbox <- msg:
		return true
	default:
		return false
	}
}

// run keeps the stream open until ctx is done.
func (l *link) run(ctx context.Context, inbox chan<- *wire.FromServer, reports sink) error {
	conn, err := grpc.NewClient(l.opts.Server,
		grpc.WithTransportCredentials(credentials.NewTLS(l.opts.TLS)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}), // the least
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
	if err != nil {
		return fmt.Errorf("prepare the link: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing is left to save
	wait := firstWait
	for {
		began := l.opts.Now()
		err := l.stream(ctx, conn, inbox, reports)
		if ctx.Err() != nil {
			return nil
		}
		if l.opts.Now().Sub(began) > lastWait {
			wait = firstWait
		}
		if push(ctx, inbox, &wire.FromServer{}) != nil {
			return nil
		}
		l.log.Warn("link down", "server", l.opts.Server, "err", err, "retry", wait)
		if sleep(ctx, wait/2+rand.N(wait/2)) != nil {
			return nil
		}
		conn.ResetConnectBackoff()
		wait = min(2*wait, lastWait)
	}
}

// stream is the life of one stream.
func (l *link) stream(ctx context.Context, conn *grpc.ClientConn, inbox chan<- *wire.FromServer, reports sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := wire.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		return err
	}
	hello := &wire.Hello{Agent: wire.Encode(l.self), Runs: l.runs()}
	if err := stream.Send(&wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: hello}}); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetWelcome() == nil {
		return errors.New("the server's first message is no welcome")
	}
	if n := first.GetWelcome().GetMaxReportBytes(); n < maxReport {
		return fmt.Errorf("the server takes reports of %d bytes; this agent sends up to %d", n, maxReport)
	}
	l.log.Info("link up", "server", first.GetWelcome().GetServer())
	l.empty()
	if err := push(ctx, inbox, first); err != nil {
		return err
	}
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		l.sendAll(ctx, stream)
	}()
	reports.begin(ctx)
	err = l.receiveAll(ctx, stream, inbox, reports)
	cancel()
	<-sender
	return err
}

// empty drops what was posted for the stream of before.
func (l *link) empty() {
	for {
		select {
		case <-l.outbox:
		default:
			return
		}
	}
}

// sendAll sends what is posted until the stream is over; why it is over is told to the receiver.
func (l *link) sendAll(ctx context.Context, stream wire.Link_ConnectClient) {
	for {
		select {
		case msg := <-l.outbox:
			if err := stream.Send(msg); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) receiveAll(
	ctx context.Context, stream wire.Link_ConnectClient, inbox chan<- *wire.FromServer, reports sink,
) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if ack := msg.GetAck(); ack != nil {
			reports.acked(ack.GetId())
			continue
		}
		if err := push(ctx, inbox, msg); err != nil {
			return err
		}
	}
}

func push(ctx context.Context, inbox chan<- *wire.FromServer, msg *wire.FromServer) error {
	select {
	case inbox <- msg:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
