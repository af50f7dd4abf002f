package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"crony"
	"crony/internal/pki"
	"crony/internal/wire"
)

// link keeps one stream to a server open, to whichever of them, and opens the next when it breaks.
type link struct {
	id     *identity
	first  []string // addresses to begin with, beside those that are known
	self   crony.Agent
	runs   func() []string // that the agent answers for
	now    func() time.Time
	outbox chan *wire.FromAgent
	log    *slog.Logger

	watched   func(on bool) // is told whether somebody looks at the host; not nil
	connected atomic.Bool   // there is a stream
	news      chan struct{} // has a sign when something was sent that is to be answered

	mu     sync.Mutex
	asked  map[uint64]time.Time // claims that have no answer yet; monotonic
	told   map[uint64]time.Time // reports, likewise
	wanted string               // the id of the server to connect to next, "" for any
	issuer string               // who signs certificates now
	asking bool                 // for a certificate, on this stream
}

// greeting stands for the server's first word among claims that are asked for: their numbers begin with 1.
const greeting = 0

// sink takes in what the server says of reports. Its methods are called by one goroutine.
type sink interface {
	// begin says that a stream is open, over which reports can be sent until the context is done.
	begin(stream context.Context)
	// acked says that the report is on disk.
	acked(id uint64)
}

// The wait after all servers have been tried in vain grows from the first to the last of these, and begins anew after a stream
// that lasted longer than the last: an agent that is refused each time, for whatever reason, tries every few seconds and no
// oftener.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 3 * time.Second
)

// A server that is frozen takes connections and says nothing. It is given up when it has not answered so long; one that does
// not even say that it is there, sooner (alive.go).
const (
	connectTime = 500 * time.Millisecond // to connect, at first; after all were tried in vain it is twice as long each time
	connectMost = 4 * time.Second
	welcomeTime = 5 * time.Second        // to say its first word
	claimTime   = 3 * time.Second        // to answer a claim
	reportTime  = 45 * time.Second       // to acknowledge a report; one that can't, and knows, says so before
	claimTick   = 500 * time.Millisecond // how often these are looked at
	renewTick   = time.Hour              // how often the certificate is looked at
	renewSpread = 5 * time.Second        // over which a fleet's new certificates are taken into use
)

func newLink(id *identity, first []string, self crony.Agent, runs func() []string, now func() time.Time, log *slog.Logger) *link {
	return &link{id: id, first: first, self: self, runs: runs, now: now, outbox: make(chan *wire.FromAgent, 256), log: log,
		watched: func(bool) {}, news: make(chan struct{}, 1), asked: map[uint64]time.Time{}, told: map[uint64]time.Time{}}
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

// run keeps the stream open until ctx is done. When one is lost, the next server is tried at once; only when none will have the
// agent does it wait.
func (l *link) run(ctx context.Context, inbox chan<- *wire.FromServer, reports sink) error {
	wait, patience := firstWait, connectTime
	var last string
	for {
		again := false // at once, in a new order
		for _, address := range l.order(last) {
			began := l.now()
			why := l.visit(ctx, address, patience, inbox, reports)
			if ctx.Err() != nil || push(ctx, inbox, &wire.FromServer{}) != nil {
				return nil //nolint:nilerr // told to stop
			}
			last = address
			if errors.Is(why, errMoved) || errors.Is(why, errRenewed) {
				l.log.Info("link is opened anew", "server", address, "reason", why)
				again = true
				break
			}
			l.log.Warn("link down", "server", address, "err", why)
			if again = l.now().Sub(began) > lastWait && !errors.Is(why, errSilent); again {
				break
			}
		}
		if again {
			wait, patience = firstWait, connectTime
			continue
		}
		if sleep(ctx, wait/2+rand.N(wait/2)) != nil {
			return nil //nolint:nilerr // told to stop
		}
		wait, patience = min(2*wait, lastWait), min(2*patience, connectMost)
	}
}

// order returns the addresses to try: the one that was asked for first, then the others in any order, and the one that was
// just lost last.
func (l *link) order(lost string) []string {
	l.mu.Lock()
	wanted := l.wanted
	l.wanted = ""
	l.mu.Unlock()
	var list []string
	var begin string
	for _, s := range l.id.known() {
		if s.ID != "" && s.ID == wanted {
			begin = s.Address
		}
		list = append(list, s.Address)
	}
	for _, address := range l.first {
		if !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	rand.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	rank := func(address string) int {
		switch address {
		case begin:
			return 0
		case lost:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank(a) - rank(b) })
	return list
}

// visit is the life of one stream to the server at an address, which is given up if it can't be connected to in time.
func (l *link) visit(
	ctx context.Context, address string, patience time.Duration, inbox chan<- *wire.FromServer, reports sink,
) error {
	again := backoff.DefaultConfig
	again.BaseDelay = patience // the transport waits so long for a connection, if that is longer
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientTLS(l.id.trust, l.id.own))),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: patience}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}), // the least
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
	if err != nil {
		return fmt.Errorf("prepare the link: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing is left to save
	return l.stream(ctx, address, conn, inbox, reports)
}

var (
	errSilent  = errors.New("the server says nothing")
	errMoved   = errors.New("the server asked the agent to connect to another")
	errRenewed = errors.New("the agent has a new certificate, and shows it")
)

func (l *link) stream(
	ctx context.Context, address string, conn *grpc.ClientConn, inbox chan<- *wire.FromServer, reports sink,
) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(welcomeTime, func() { cancel(errSilent) })
	defer silent.Stop()
	client := wire.NewLinkClient(conn)
	began := time.Now()
	stream, err := client.Connect(ctx)
	if err != nil {
		return caused(ctx, err)
	}
	l.greet()
	way := time.Since(began) // and back, several times, for each side to see who the other is
	work.Go(func() { l.watch(ctx, cancel, client, way) })
	hello := &wire.Hello{Agent: wire.Encode(l.self), Runs: l.runs()}
	if err := stream.Send(&wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: hello}}); err != nil {
		return caused(ctx, err)
	}
	first, err := stream.Recv()
	if err != nil {
		return caused(ctx, err)
	}
	silent.Stop()
	if first.GetWelcome() == nil {
		return errors.New("the server's first message is no welcome")
	}
	if n := first.GetWelcome().GetMaxReportBytes(); n < maxReport {
		return fmt.Errorf("the server takes reports of %d bytes; this agent sends up to %d", n, maxReport)
	}
	l.log.Info("link up", "server", first.GetWelcome().GetServer(), "address", address)
	l.begin()
	if err := push(ctx, inbox, first); err != nil {
		return err
	}
	work.Go(func() { l.sendAll(ctx, cancel, stream) })
	l.connected.Store(true)
	defer l.connected.Store(false)
	defer l.watched(false)
	reports.begin(ctx)
	err = caused(ctx, l.receiveAll(ctx, cancel, stream, inbox, reports))
	cancel(err)
	return err
}

// caused returns why the stream was ended by this side, if it was, and else err.
func caused(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// greet forgets what the stream of before was asked, and notes that the server has not said a word yet.
func (l *link) greet() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.told)
	clear(l.asked)
	l.asked[greeting] = time.Now()
}

// begin forgets what belonged to the stream of before.
func (l *link) begin() {
	l.mu.Lock()
	clear(l.asked)
	clear(l.told)
	l.asking = false
	l.mu.Unlock()
	for {
		select {
		case <-l.outbox:
		default:
			return
		}
	}
}

// sendAll sends what is posted until the stream is over; why it is over is told to the receiver. It also ends the stream when the
// server leaves claims or reports without an answer, and sees to it that the certificate is renewed in time.
func (l *link) sendAll(ctx context.Context, end context.CancelCauseFunc, stream wire.Link_ConnectClient) {
	look, renew := time.NewTicker(claimTick), time.NewTicker(renewTick)
	defer look.Stop()
	defer renew.Stop()
	for {
		select {
		case msg := <-l.outbox:
			if l.sent(msg); stream.Send(msg) != nil {
				return
			}
		case now := <-look.C:
			if what := l.unanswered(now); what != "" {
				end(fmt.Errorf("%w: %s has no answer", errSilent, what))
				return
			}
		case <-renew.C:
			l.renew()
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) sent(msg *wire.FromAgent) {
	claims, report := msg.GetClaims(), msg.GetReport()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case claims != nil:
		l.asked[claims.GetId()] = time.Now()
	case report != nil:
		l.told[report.GetId()] = time.Now()
	default:
		return
	}
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *link) receiveAll(
	ctx context.Context, end context.CancelCauseFunc, stream wire.Link_ConnectClient, inbox chan<- *wire.FromServer, reports sink,
) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if l.own(msg, end) {
			continue
		}
		if ack := msg.GetAck(); ack != nil {
			l.mu.Lock()
			delete(l.told, ack.GetId())
			l.mu.Unlock()
			reports.acked(ack.GetId())
			continue
		}
		if claims := msg.GetClaims(); claims != nil {
			l.mu.Lock()
			delete(l.asked, claims.GetId())
			l.mu.Unlock()
		}
		if err := push(ctx, inbox, msg); err != nil {
			return err
		}
	}
}

// own takes in what is about the link itself, and says whether it was. What can't be written down is as if it had not come: the
// next stream brings it again.
func (l *link) own(msg *wire.FromServer, end context.CancelCauseFunc) bool {
	var err error
	switch kind := msg.GetKind().(type) {
	case *wire.FromServer_Servers:
		err = l.id.know(knownServers(kind.Servers))
	case *wire.FromServer_Trust:
		if err = l.id.trusts(kind.Trust.GetAuthorities()); err == nil {
			l.mu.Lock()
			l.issuer = kind.Trust.GetIssuer()
			l.mu.Unlock()
			l.renew()
		}
	case *wire.FromServer_Certificate:
		err = l.certificate(kind.Certificate, end)
	case *wire.FromServer_Watched:
		l.watched(kind.Watched.GetOn())
	case *wire.FromServer_Move:
		l.mu.Lock()
		l.wanted = kind.Move.GetServer()
		l.mu.Unlock()
		end(errMoved)
	default:
		return false
	}
	if err != nil {
		l.log.Error("what the server said of itself and of trust is not taken over", "err", err)
	}
	return true
}

func knownServers(msg *wire.Servers) []knownServer {
	var list []knownServer
	for _, s := range msg.GetServers() {
		list = append(list, knownServer{ID: s.GetId(), Address: s.GetAddress(), URL: s.GetUrl()})
	}
	return list
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
