package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
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

// source returns the certificate of a holder, issued at an instant.
func source(t *testing.T, ca *pki.CA, role pki.Role, id string, at time.Time) pki.Source {
	t.Helper()
	leaf, err := ca.Issue(pki.Identity{Role: role, ID: id}, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Certificate
}

// call dials with a certificate and makes a call, on a connection of its own.
func (s *server) call(own pki.Source, call func(context.Context, *grpc.ClientConn) error) error {
	conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientTLS(s.trust, own))))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return call(ctx, conn)
}

// connecting opens an agent's stream.
func connecting(ctx context.Context, conn *grpc.ClientConn) error {
	link, err := wire.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		return err
	}
	link.Send(hello("{}"))
	_, err = link.Recv()
	return err
}

// calling asks whether the server is there.
func calling(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := wire.NewLinkClient(conn).Alive(ctx, &wire.AliveRequest{})
	return err
}

// asking asks what servers ask.
func asking(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := wire.NewPeersClient(conn).Status(ctx, &wire.StatusRequest{})
	return err
}

func (s *server) bury(role crony.JoinRole, id string) {
	s.t.Helper()
	if err := s.state.Bury(s.t.Context(), crony.Tombstone{ID: id, Role: role, Name: "the " + id, At: time.Now()}); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the tombstone", func() bool {
		_, buried := s.state.Buried(id)
		return buried
	})
}

// TestRefusedCalls has callers of all kinds knock who may not come in. The log has a reason for each.
func TestRefusedCalls(t *testing.T) {
	s := newServer(t)
	foreign, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewCA("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now, long := time.Now(), time.Now().Add(-2*pki.LeafValidity)
	s.bury(crony.JoinAgent, "gone")
	s.bury(crony.JoinServer, "s9")
	for name, c := range map[string]struct {
		own  pki.Source
		call func(context.Context, *grpc.ClientConn) error
		code codes.Code
		why  string
	}{
		"no certificate":                  {nil, connecting, codes.Unavailable, "didn't provide a certificate"},
		"no certificate, as a server":     {nil, asking, codes.Unavailable, "didn't provide a certificate"},
		"another authority's":             {source(t, foreign, pki.Agent, "a1", now), connecting, codes.Unavailable, "signed by unknown authority"},
		"another cluster's":               {source(t, other, pki.Agent, "a1", now), connecting, codes.Unavailable, "signed by unknown authority"},
		"expired":                         {source(t, s.ca, pki.Agent, "a1", long), connecting, codes.Unavailable, "certificate has expired"},
		"expired, a server's":             {source(t, s.ca, pki.Server, "s2", long), asking, codes.Unavailable, "certificate has expired"},
		"not valid yet":                   {source(t, s.ca, pki.Agent, "a1", now.Add(time.Hour)), connecting, codes.Unavailable, "not yet valid"},
		"a server for an agent":           {source(t, s.ca, pki.Server, "s2", now), connecting, codes.PermissionDenied, "crony://test/server/s2 may not call"},
		"a server that asks as agents do": {source(t, s.ca, pki.Server, "s2", now), calling, codes.PermissionDenied, "crony://test/server/s2 may not call"},
		"an agent for a server":           {source(t, s.ca, pki.Agent, "a2", now), asking, codes.PermissionDenied, "crony://test/agent/a2 may not call"},
		"a removed agent":                 {source(t, s.ca, pki.Agent, "gone", now), connecting, codes.PermissionDenied, "the agent the gone (gone) was removed from the cluster"},
		"a removed server":                {source(t, s.ca, pki.Server, "s9", now), asking, codes.PermissionDenied, "the server the s9 (s9) was removed from the cluster"},
		"a removed agent, for a server":   {source(t, s.ca, pki.Agent, "gone", now), asking, codes.PermissionDenied, "crony://test/agent/gone may not call"},
		"a removed server, for an agent":  {source(t, s.ca, pki.Server, "s9", now), connecting, codes.PermissionDenied, "crony://test/server/s9 may not call"},
	} {
		t.Run(name, func(*testing.T) {
			if err := s.call(c.own, c.call); status.Code(err) != c.code {
				t.Errorf("refused with %v, want %s", err, c.code)
			}
			s.logged(c.why)
		})
	}
	if err := s.call(source(t, s.ca, pki.Agent, "a1", now), connecting); err != nil {
		t.Errorf("an agent is refused: %v", err)
	}
	if err := s.call(source(t, s.ca, pki.Agent, "a1", now), calling); err != nil {
		t.Errorf("an agent is not told that the server is there: %v", err)
	}
	if err := s.call(source(t, s.ca, pki.Server, "s2", now), func(ctx context.Context, conn *grpc.ClientConn) error {
		reply, err := wire.NewPeersClient(conn).Status(ctx, &wire.StatusRequest{})
		if got := string(reply.GetStatus()); got != "s2" {
			t.Errorf("the caller is taken for %q", got)
		}
		return err
	}); err != nil {
		t.Errorf("a server is refused: %v", err)
	}
	if _, err := Caller(t.Context()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a caller out of nowhere: %v", err)
	}
}

// TestRudeConnections has connections that say nothing, stop in the middle, or say nonsense, at each of the stages of coming in. Each is ended
// in time, and an agent is served meanwhile.
func TestRudeConnections(t *testing.T) {
	const limit = 500 * time.Millisecond
	s := newServer(t, func(s *server) { s.Hub.patience = limit })
	tcp := func(t *testing.T) net.Conn {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	secure := func(t *testing.T) net.Conn {
		config := pki.ClientTLS(s.trust, source(t, s.ca, pki.Agent, "a9", time.Now()))
		config.NextProtos = []string{"h2"}
		conn := tls.Client(tcp(t), config)
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	served := s.whileServed()
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			dial func(*testing.T) net.Conn
			say  string
			why  string
			in   time.Duration
		}{
			"silent":                     {tcp, "", "i/o timeout", 5 * time.Second},
			"half a hello":               {tcp, "\x16\x03\x01\x02\x00\x01", "i/o timeout", 5 * time.Second},
			"plain HTTP":                 {tcp, "GET / HTTP/1.1\r\nHost: crony\r\n\r\n", "first record does not look like a TLS handshake", 5 * time.Second},
			"plain HTTP/2":               {tcp, preface + settings, "first record does not look like a TLS handshake", 5 * time.Second},
			"random":                     {tcp, strings.Repeat("\x00\xff\x17", 5000), "first record does not look like a TLS handshake", 5 * time.Second},
			"silent inside":              {secure, "", "did not begin to speak HTTP/2 in time", 5 * time.Second},
			"half a preface":             {secure, preface[:10], "did not begin to speak HTTP/2 in time", 5 * time.Second},
			"preface, then silent":       {secure, preface, "did not begin to speak HTTP/2 in time", 5 * time.Second},
			"HTTP/1 inside":              {secure, "GET / HTTP/1.1\r\nHost: crony\r\n\r\n", "it does not speak HTTP/2", 5 * time.Second},
			"nonsense inside":            {secure, strings.Repeat("\x00\xff\x17", 5000), "it does not speak HTTP/2", 5 * time.Second},
			"a frame that is no setting": {secure, preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "", 5 * time.Second},
			"a frame of 16 MB":           {secure, preface + settings + "\xff\xff\xff\x00\x00\x00\x00\x00\x01", "", 5 * time.Second},
			"no call":                    {secure, preface + settings, "", 20 * time.Second}, // it doesn't acknowledge its leave
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				conn := c.dial(t)
				defer conn.Close()
				io.WriteString(conn, c.say) // it may be refused in the middle of it
				began := time.Now()
				conn.SetReadDeadline(began.Add(patience))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection stays open")
				}
				if took := time.Since(began); took > c.in {
					t.Errorf("it took %s", took)
				}
				s.logged(c.why)
			})
		}
		t.Run("no hello", func(t *testing.T) {
			t.Parallel()
			s.dial("a8").refused(codes.DeadlineExceeded, "no hello within")
		})
	})
	served()
}

// whileServed has an agent report again and again, until the function that it returns is called: the agent must have been
// answered in time all along.
func (s *server) whileServed() (stop func()) {
	s.t.Helper()
	p, facts := s.connect("a1"), life("a1", newRun())
	enough := make(chan struct{})
	var agent sync.WaitGroup
	agent.Go(func() {
		for id := uint64(1); ; id++ {
			began := time.Now()
			p.acked(id, facts)
			if took := time.Since(began); took > 5*time.Second {
				s.t.Errorf("an agent waits %s for its answer meanwhile", took)
			}
			select {
			case <-enough:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	return func() {
		close(enough)
		agent.Wait()
	}
}

// TestManyCalls opens more calls on one connection than one may have: those that are too many wait, and nobody else does.
func TestManyCalls(t *testing.T) {
	s := newServer(t)
	p := s.dial("a1")
	client := wire.NewLinkClient(p.conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range maxCalls - 1 {
		if _, err := client.Connect(ctx); err != nil {
			t.Fatal(err)
		}
	}
	short, end := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer end()
	link, err := client.Connect(short)
	if err == nil {
		_, err = link.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("one call more: %v", err)
	}
	s.connect("a2").acked(1, life("a2", newRun()))
}
