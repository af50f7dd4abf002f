//go:build linux

package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/pki"
	"crony/internal/wire"
)

// fakeHub is a server that does with each stream what a test says.
type fakeHub struct {
	wire.UnimplementedLinkServer
	serve   func(n int, link wire.Link_ConnectServer) error
	alive   func(ctx context.Context) error // nil: it is
	address string
	stop    func()
	mu      sync.Mutex
	n       int
}

func (h *fakeHub) Connect(link wire.Link_ConnectServer) error {
	h.mu.Lock()
	h.n++
	n := h.n
	h.mu.Unlock()
	return h.serve(n, link)
}

func (h *fakeHub) Alive(ctx context.Context, _ *wire.AliveRequest) (*wire.AliveReply, error) {
	if h.alive == nil {
		return &wire.AliveReply{}, nil
	}
	return nil, h.alive(ctx)
}

func (h *fakeHub) streams() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// newFakeHub starts it, and returns the options of an agent that connects to it.
func newFakeHub(t *testing.T, serve func(n int, link wire.Link_ConnectServer) error) (*fakeHub, Options, *logText) {
	t.Helper()
	f := newFakeCluster(t)
	h := f.hub(t, serve)
	var text logText
	return h, Options{Dir: f.agent(t, h.address), Drain: 10 * time.Second, Log: text.logger()}, &text
}

// fakeCluster is an authority, and as many servers as a test starts.
type fakeCluster struct{ ca *pki.CA }

func newFakeCluster(t *testing.T) *fakeCluster {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &fakeCluster{ca}
}

func (f *fakeCluster) issue(t *testing.T, role pki.Role, id string) *pki.Leaf {
	t.Helper()
	leaf, err := f.ca.Issue(pki.Identity{Role: role, ID: id}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// agent returns the directory of an agent that knows some servers.
func (f *fakeCluster) agent(t *testing.T, servers ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := MoveIn(dir, f.ca.Root().PEM(), f.issue(t, pki.Agent, "a1"), servers); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hub starts a server.
func (f *fakeCluster) hub(t *testing.T, serve func(n int, link wire.Link_ConnectServer) error) *fakeHub {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHub{serve: serve, address: l.Addr().String()}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(pki.ServerTLS(f.ca.Root(), f.issue(t, pki.Server, "s1").Certificate, pki.Agent))))
	wire.RegisterLinkServer(server, h)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	h.stop = sync.OnceFunc(func() {
		server.Stop()
		serving.Wait()
	})
	t.Cleanup(h.stop)
	return h
}

// runAgentIn runs an agent until stop is called, or the test ends.
func runAgentIn(t *testing.T, opts Options) (stop func()) {
	t.Helper()
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func welcome(link wire.Link_ConnectServer, most int32) (*wire.Hello, error) {
	msg, err := link.Recv()
	if err != nil {
		return nil, err
	}
	return msg.GetHello(), link.Send(&wire.FromServer{Kind: &wire.FromServer_Welcome{Welcome: &wire.Welcome{Server: "s1", MaxReportBytes: most}}})
}

// TestRefusedForEver has a server that ends every stream: with its last report, at its first word, or for a bound that the
// agent can't keep. The agent tries on, and not hotly.
func TestRefusedForEver(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(n int, link wire.Link_ConnectServer) error{
		"refused": func(int, wire.Link_ConnectServer) error { return status.Error(codes.PermissionDenied, "go away") },
		"after welcome": func(_ int, link wire.Link_ConnectServer) error {
			_, err := welcome(link, maxReport)
			return errors.Join(err, status.Error(codes.InvalidArgument, "go away"))
		},
		"small reports": func(_ int, link wire.Link_ConnectServer) error {
			if _, err := welcome(link, 1000); err != nil {
				return err
			}
			<-link.Context().Done()
			return nil
		},
		"no welcome": func(_ int, link wire.Link_ConnectServer) error {
			if err := link.Send(&wire.FromServer{}); err != nil {
				return err
			}
			<-link.Context().Done()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, opts, log := newFakeHub(t, serve)
			began := time.Now()
			runAgentIn(t, opts)
			eventually(t, "the fifth try", func() bool { return h.streams() >= 5 })
			if took := time.Since(began); took < 700*time.Millisecond { // half of 100, 200, 400 and 800
				t.Errorf("five tries within %s", took)
			}
			if text := log.String(); strings.Count(text, "link down") < 4 || !strings.Contains(text, "err=") {
				t.Errorf("log: %s", text)
			}
		})
	}
}

// TestReplyIsLost ends the stream in place of the answer to a claim that was granted. On the next one the server says what
// the agent is owed, and the run starts, once, and is reported.
func TestReplyIsLost(t *testing.T) {
	t.Parallel()
	at := time.Now().Truncate(time.Second)
	def := definition("m", "* * * * * *")
	run := crony.OccurrenceRunID(def.UID, at, "")
	facts := make(chan crony.Fact, 100)
	h, opts, _ := newFakeHub(t, func(n int, link wire.Link_ConnectServer) error {
		if _, err := welcome(link, maxReport); err != nil {
			return err
		}
		var owed crony.RunID
		cursor := at.Add(-time.Second)
		if n > 1 {
			owed, cursor = run, at
		}
		if err := link.Send(assigned(def, 1, cursor, owed)); err != nil {
			return err
		}
		if err := link.Send(synced()); err != nil {
			return err
		}
		for {
			msg, err := link.Recv()
			if err != nil {
				return err
			}
			if msg.GetClaims() != nil && n == 1 {
				return status.Error(codes.Unavailable, "the answer is lost")
			}
			report := msg.GetReport()
			if report == nil {
				continue
			}
			for _, data := range report.GetFacts() {
				f, err := wire.Decode[crony.Fact](data)
				if err != nil {
					return err
				}
				facts <- f
			}
			if err := link.Send(&wire.FromServer{Kind: &wire.FromServer_Ack{Ack: &wire.Ack{Id: report.GetId()}}}); err != nil {
				return err
			}
		}
	})
	stop := runAgentIn(t, opts)
	var got []crony.Fact
	for len(got) == 0 || got[len(got)-1].Ended == nil {
		select {
		case f := <-facts:
			got = append(got, f)
		case <-time.After(30 * time.Second):
			t.Fatalf("%d facts, and then nothing", len(got))
		}
	}
	stop()
	if folded, _ := crony.Fold(got); folded.ID != run || len(got) != 4 || len(facts) > 0 || folded.State != crony.Succeeded {
		t.Errorf("%+v after %d facts and %d more", folded, len(got), len(facts))
	}
	if h.streams() < 2 {
		t.Error("there was no second stream")
	}
}

// TestFloodWhileDraining has a server that goes on talking to an agent that is stopping: its last reports are acknowledged
// all the same.
func TestFloodWhileDraining(t *testing.T) {
	t.Parallel()
	taken, flooded := make(chan struct{}), make(chan struct{})
	_, opts, log := newFakeHub(t, func(_ int, link wire.Link_ConnectServer) error {
		if _, err := welcome(link, maxReport); err != nil {
			return err
		}
		def := definition("m", "", func(j *crony.Job) { j.Shell = &crony.Shell{Command: "sleep 0.5"} })
		if err := link.Send(ordered(def, crony.StartRequest{Run: runAt(1), At: time.Now()})); err != nil {
			return err
		}
		for {
			msg, err := link.Recv()
			if err != nil {
				return err
			}
			if msg.GetTaken() != nil {
				close(taken)
				<-flooded
				for range 500 {
					if err := link.Send(unassigned("another")); err != nil {
						return err
					}
				}
			}
			if report := msg.GetReport(); report != nil {
				if err := link.Send(&wire.FromServer{Kind: &wire.FromServer_Ack{Ack: &wire.Ack{Id: report.GetId()}}}); err != nil {
					return err
				}
			}
		}
	})
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-taken
	cancel()
	close(flooded)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, "not delivered") {
		t.Error(text)
	}
	j, err := openJournal(opts.Dir+"/journal", slog.New(slog.DiscardHandler))
	if err != nil || j.count() > 0 {
		t.Errorf("%d runs are left, %v", j.count(), err)
	}
	j.close()
}

func TestOneAgentPerDirectory(t *testing.T) {
	t.Parallel()
	h, opts, _ := newFakeHub(t, func(_ int, link wire.Link_ConnectServer) error {
		<-link.Context().Done()
		return nil
	})
	stop := runAgentIn(t, opts)
	eventually(t, "the first to be there", func() bool { return h.streams() > 0 })
	second, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), opts.Dir) {
		t.Errorf("a second agent: %v", err)
	}
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := second.Run(ctx); err != nil {
		t.Errorf("after the first has stopped: %v", err)
	}
}
