package hub

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"crony"
	"crony/appliance/placement"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/pki"
	"crony/internal/wire"
)

// server is a hub over a real keyspace and a real run log, whose log a test can read.
type server struct {
	*Hub
	t       *testing.T
	ca      *pki.CA
	trust   *pki.Trust
	client  *clientv3.Client
	state   *state.Store
	runs    *faultyLog
	cutOff  atomic.Bool  // it reaches no quorum
	asked   atomic.Int64 // how often whether it does
	address string
	text    *logText
	stop    func()
}

// onlyLog is the log of the only server.
type onlyLog struct{ *runlog.Log }

func (onlyLog) Refresh(context.Context, ...crony.RunID) error { return nil }

// faultyLog is a run log that can be made to fail.
type faultyLog struct {
	*runlog.Log
	mu     sync.Mutex
	append error
	run    error

	refresh   func() error // what other servers answer; nil: that they know no more
	refreshed int
}

func (l *faultyLog) fail(appending, reading error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append, l.run = appending, reading
}

func (l *faultyLog) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	l.mu.Lock()
	err := l.append
	l.mu.Unlock()
	if err != nil && len(facts)+len(chunks) > 0 {
		return err
	}
	return l.Log.Append(ctx, facts, chunks)
}

// Refresh finds that the other servers know no more, unless reading fails.
func (l *faultyLog) Refresh(context.Context, ...crony.RunID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refreshed++
	if l.refresh != nil {
		return l.refresh()
	}
	return nil
}

func (l *faultyLog) Run(ctx context.Context, id crony.RunID) (crony.Run, error) {
	l.mu.Lock()
	err := l.run
	l.mu.Unlock()
	if err != nil {
		return crony.Run{}, err
	}
	return l.Log.Run(ctx, id)
}

type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const patience = 30 * time.Second

// newServer starts the server s1, which may be changed before it serves. There is no other on its store yet.
func newServer(t *testing.T, change ...func(*server)) *server {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	m, err := member.Open(ctx, member.Options{Dir: filepath.Join(dir, "etcd"), Create: true, Log: quiet,
		Server: pki.Identity{Cluster: "test", Role: pki.Server, ID: "s1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	runs, err := runlog.Open(runlog.Options{Dir: filepath.Join(dir, "runs"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runs.Close() })
	s := &server{t: t, ca: ca, trust: pki.NewTrust(ca.Root()), client: m.Client(), runs: &faultyLog{Log: runs}}
	s.start("s1", change...)
	placer, err := placement.New(placement.Options{Server: "s1", Store: s.state, Unfinished: runs.Unfinished, Log: quiet,
		Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	var leading sync.WaitGroup
	leading.Go(func() {
		s.state.Lead(ctx, "s1", func() bool { return true }, func(ctx context.Context, term state.Term) error {
			return placer.Run(ctx, term)
		})
	})
	t.Cleanup(func() {
		cancel()
		leading.Wait()
	})
	return s
}

// another starts one more server on the same store, and with the same run log.
func (s *server) another(id string, change ...func(*server)) *server {
	s.t.Helper()
	other := &server{t: s.t, ca: s.ca, trust: s.trust, client: s.client, runs: s.runs}
	other.start(id, change...)
	return other
}

// start serves until the test is over, or stop is called.
func (s *server) start(id string, change ...func(*server)) {
	t := s.t
	t.Helper()
	s.text = &logText{}
	var err error
	if s.state, err = state.Open(t.Context(), state.Options{Client: s.client, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	leaf := s.issue(pki.Server, id)
	s.Hub, err = New(Options{Server: id, TLS: pki.ServerTLS(s.trust, leaf.Certificate, pki.Agent, pki.Server),
		State: s.state, Runs: s.runs, Registerer: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(s.text, nil)),
		Trust: func() ([]byte, string) { return s.trust.PEM(), s.trust.Roots()[0].Fingerprint() },
		Sign: func(_ context.Context, agent string, request []byte) ([]byte, error) {
			return s.ca.Sign(request, pki.Identity{Role: pki.Agent, ID: agent}, nil, time.Now())
		},
		Ready: func() error {
			s.asked.Add(1)
			if s.cutOff.Load() {
				return errors.New("etcdserver: no leader")
			}
			return nil
		},
		Peers: answering{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	s.stop = func() {
		cancel()
		serving.Wait()
		s.state.Close()
	}
	t.Cleanup(s.stop)
}

// answering is what servers ask of each other, and answers with the caller's id.
type answering struct{ wire.UnimplementedPeersServer }

func (answering) Status(ctx context.Context, _ *wire.StatusRequest) (*wire.StatusReply, error) {
	id, err := Caller(ctx)
	return &wire.StatusReply{Status: []byte(id)}, err
}

func (s *server) issue(role pki.Role, id string) *pki.Leaf {
	s.t.Helper()
	leaf, err := s.ca.Issue(pki.Identity{Role: role, ID: id}, nil, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return leaf
}

// eventually polls one condition until it is met; if it is not, the test fails with the hub's log.
func (s *server) eventually(what string, met func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s; the log:\n%s", what, s.text)
		}
	}
}

func (s *server) logged(want string) {
	s.t.Helper()
	s.eventually("the log to say "+want, func() bool { return strings.Contains(s.text.String(), want) })
}

func (s *server) apply(jobs ...crony.Job) {
	s.t.Helper()
	if _, err := s.state.Define(s.t.Context(), crony.Manifest{Jobs: jobs}, crony.ApplyOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func testJob(name, schedule string) crony.Job {
	return crony.Job{Name: name, Schedule: schedule, Shell: &crony.Shell{Argv: []string{"/bin/true"}}}
}

// byHand is an agent that a test plays by hand.
type byHand struct {
	*server
	id     string
	conn   *grpc.ClientConn
	link   wire.Link_ConnectClient
	cancel context.CancelFunc
	seen   []*wire.FromServer // that nobody has asked for yet
}

// dial opens a stream, and says nothing.
func (s *server) dial(id string) *byHand {
	s.t.Helper()
	conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(
		credentials.NewTLS(pki.ClientTLS(s.trust, s.issue(pki.Agent, id).Certificate))))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	link, err := wire.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		conn.Close()
	})
	return &byHand{server: s, id: id, conn: conn, link: link, cancel: cancel}
}

func hello(agent string, runs ...string) *wire.FromAgent {
	return &wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: &wire.Hello{Agent: []byte(agent), Runs: runs}}}
}

// connect opens a stream and is welcomed.
func (s *server) connect(id string, runs ...string) *byHand {
	s.t.Helper()
	p := s.dial(id)
	p.send(hello(`{"name":"`+id+`"}`, runs...))
	if p.next().GetWelcome() == nil {
		s.t.Fatal("no welcome")
	}
	return p
}

func (p *byHand) leave() {
	p.link.CloseSend()
	p.cancel()
	p.conn.Close()
	p.eventually("the agent to be gone", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.streams[p.id] == nil
	})
}

func (p *byHand) send(messages ...*wire.FromAgent) {
	p.t.Helper()
	for _, msg := range messages {
		if err := p.link.Send(msg); err != nil && !errors.Is(err, io.EOF) { // io.EOF: Recv says why
			p.t.Fatal(err)
		}
	}
}

func (p *byHand) next() *wire.FromServer {
	p.t.Helper()
	msg, err := p.link.Recv()
	if err != nil {
		p.t.Fatalf("%v; the log:\n%s", err, p.text)
	}
	return msg
}

// recv returns the next message, and first those that wait.
func (p *byHand) recv() (*wire.FromServer, error) {
	if len(p.seen) > 0 {
		msg := p.seen[0]
		p.seen = p.seen[1:]
		return msg, nil
	}
	return p.link.Recv()
}

// until returns the first message that the test looks for; the others wait.
func (p *byHand) until(is func(*wire.FromServer) bool) *wire.FromServer {
	p.t.Helper()
	for i, msg := range p.seen {
		if is(msg) {
			p.seen = append(p.seen[:i], p.seen[i+1:]...)
			return msg
		}
	}
	for {
		msg := p.next()
		if is(msg) {
			return msg
		}
		p.seen = append(p.seen, msg)
	}
}

// assigned waits until the agent has been given the job.
func (p *byHand) assigned(name string) (*wire.Assign, crony.Definition) {
	p.t.Helper()
	var def crony.Definition
	msg := p.until(func(m *wire.FromServer) bool {
		if m.GetAssign() == nil {
			return false
		}
		var err error
		def, err = wire.Decode[crony.Definition](m.GetAssign().GetDefinition())
		return err == nil && def.Job.Name == name
	})
	return msg.GetAssign(), def
}

// refused waits for the end of the stream, which must have the code, and the log must say why.
func (p *byHand) refused(code codes.Code, why string) {
	p.t.Helper()
	for {
		_, err := p.link.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != code || !strings.Contains(err.Error(), why) {
			p.t.Errorf("refused with %v, want %s and %q", err, code, why)
		}
		break
	}
	p.logged(why)
}

func (p *byHand) claim(id uint64, asks ...*wire.Occurrence) *wire.ClaimReply {
	p.t.Helper()
	p.send(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: &wire.ClaimRequest{Id: id, Occurrences: asks}}})
	return p.until(func(m *wire.FromServer) bool { return m.GetClaims() != nil && m.GetClaims().GetId() == id }).GetClaims()
}

func report(id uint64, facts []crony.Fact, chunks ...crony.Chunk) *wire.FromAgent {
	r := &wire.Report{Id: id}
	for _, f := range facts {
		r.Facts = append(r.Facts, wire.Encode(f))
	}
	for i := range chunks {
		r.Chunks = append(r.Chunks, wire.FromChunk(&chunks[i]))
	}
	return &wire.FromAgent{Kind: &wire.FromAgent_Report{Report: r}}
}

// acked sends a report and waits until it is acknowledged.
func (p *byHand) acked(id uint64, facts []crony.Fact, chunks ...crony.Chunk) {
	p.t.Helper()
	p.send(report(id, facts, chunks...))
	p.until(func(m *wire.FromServer) bool { return m.GetAck().GetId() == id && m.GetAck() != nil })
}

// life is what an agent says of a run, from its claim to its end.
func life(agent string, id crony.RunID) []crony.Fact {
	zero, now := 0, time.Now().UTC()
	facts := []crony.Fact{
		{Claimed: &crony.ClaimedFact{Job: "job", JobUID: "u", Generation: 1, Group: "default", Agent: agent, Trigger: crony.ByReboot, ScheduledAt: now}},
		{Started: &crony.StartedFact{Attempt: 1, PID: 7}},
		{Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &zero}},
		{Ended: &crony.EndedFact{State: crony.Succeeded}},
	}
	for i := range facts {
		facts[i].Run, facts[i].Seq, facts[i].At = id, i+1, now
	}
	return facts
}

func (s *server) stateOf(id crony.RunID) crony.RunState {
	s.t.Helper()
	run, err := s.runs.Log.Run(s.t.Context(), id)
	if err != nil && crony.CodeOf(err) != crony.NotFound {
		s.t.Fatal(err)
	}
	return run.State
}

func newRun() crony.RunID { return crony.NewRunID(time.Now()) }
