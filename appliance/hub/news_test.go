package hub

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"crony/embedded/state"
	"crony/internal/pki"
	"crony/internal/wire"
)

func (p *byHand) trusts() *wire.Trust {
	p.t.Helper()
	return p.until(func(m *wire.FromServer) bool { return m.GetTrust() != nil }).GetTrust()
}

// servers waits for the next list of servers, and returns it as text.
func (p *byHand) servers() string {
	p.t.Helper()
	var list []string
	for _, s := range p.until(func(m *wire.FromServer) bool { return m.GetServers() != nil }).GetServers().GetServers() {
		list = append(list, s.GetId()+"="+s.GetAddress())
	}
	return strings.Join(list, " ")
}

// up registers a server, and returns a function that has it go.
func (s *server) up(id, address string) (down func()) {
	s.t.Helper()
	presence, err := s.state.RegisterServer(s.t.Context(), state.Server{ID: id, Name: "z" + id, Agents: address})
	if err != nil {
		s.t.Fatal(err)
	}
	return func() { presence.Leave(s.t.Context()) }
}

// TestServers tells agents where servers are: all those that are up, and again when that has changed.
func TestServers(t *testing.T) {
	s := newServer(t)
	early := s.connect("a1")
	s.up("s1", "192.0.2.1:8471")
	if got, want := early.servers(), "s1=192.0.2.1:8471"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	down := s.up("s2", "192.0.2.2:8471")
	s.up("s0", "") // without an address for agents
	if got, want := early.servers(), "s1=192.0.2.1:8471 s2=192.0.2.2:8471"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	late := s.connect("a2")
	if got, want := late.servers(), "s1=192.0.2.1:8471 s2=192.0.2.2:8471"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	down()
	for _, p := range []*byHand{early, late} {
		if got, want := p.servers(), "s1=192.0.2.1:8471"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestTrust tells agents whom to trust, and again when that has changed, and writes down by whose certificate they came.
func TestTrust(t *testing.T) {
	s := newServer(t)
	old := s.ca.Root()
	p := s.connect("a1")
	if got := p.trusts(); string(got.GetAuthorities()) != string(old.PEM()) || got.GetIssuer() != old.Fingerprint() {
		t.Errorf("%v", got)
	}
	if got := s.authority("a1"); got != old.Fingerprint() {
		t.Errorf("the agent's authority is %q", got)
	}
	next, err := s.ca.Successor(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.trust.Set(next.Root(), old)
	if got := p.trusts(); string(got.GetAuthorities()) != string(s.trust.PEM()) || got.GetIssuer() != next.Root().Fingerprint() {
		t.Errorf("%v", got)
	}
	s.ca = next
	s.connect("a2")
	if got := s.authority("a2"); got != next.Root().Fingerprint() {
		t.Errorf("the new agent's authority is %q", got)
	}
}

func (s *server) authority(id string) string {
	s.t.Helper()
	agents, err := s.state.ListAgents(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, a := range agents {
		if a.ID == id {
			return a.Authority
		}
	}
	s.t.Fatalf("there is no agent %s", id)
	return ""
}

// TestBulletin tells no more than what is new, and nothing of what there is not.
func TestBulletin(t *testing.T) {
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := string(ca.Root().PEM())
	empty, here := &bulletin{}, []place{{"s1", "x:1", "https://x:2"}}
	full := &bulletin{roots: text, issuer: "i", servers: here, anchors: ca.Root().Roots()}
	for name, c := range map[string]struct {
		now, old *bulletin
		want     int
	}{
		"all":              {full, empty, 2},
		"nothing":          {full, full, 0},
		"there is nothing": {empty, full, 0},
		"another issuer":   {&bulletin{roots: text, issuer: "j", servers: here, anchors: full.anchors}, full, 1},
		"another address":  {&bulletin{roots: text, issuer: "i", servers: []place{{"s1", "y:1", "https://x:2"}}, anchors: full.anchors}, full, 1},
		"unreadable":       {&bulletin{roots: "junk", issuer: "i", servers: here}, empty, 1},
	} {
		if got := c.now.since(c.old); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := (&bulletin{roots: "junk"}).read(empty); err == nil {
		t.Error("junk is read")
	}
}

func renewal(request []byte) *wire.FromAgent {
	return &wire.FromAgent{Kind: &wire.FromAgent_Renew{Renew: &wire.Renew{Request: request}}}
}

func (p *byHand) certificate() *wire.Certificate {
	p.t.Helper()
	return p.until(func(m *wire.FromServer) bool { return m.GetCertificate() != nil }).GetCertificate()
}

// TestRenew gives an agent a new certificate, for itself and nobody else, and not over and over again.
func TestRenew(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	request, key, err := pki.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	p.send(renewal(request))
	leaf, err := pki.NewLeaf(p.certificate().GetChain(), key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := leaf.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if who, err := pki.IdentityOf(pair.Leaf); err != nil || who != (pki.Identity{Cluster: "test", Role: pki.Agent, ID: "a1"}) {
		t.Errorf("%v, %v", who, err)
	}
	if err := s.call(leaf.Certificate, connecting); err != nil {
		t.Errorf("the new certificate is refused: %v", err)
	}
	p = s.connect("a2")
	for range 3 {
		p.send(renewal([]byte("junk")))
		if got := p.certificate(); got.GetRefused() == "" || got.GetChain() != nil {
			t.Errorf("%v", got)
		}
	}
	s.logged("a certificate was asked for less than a minute ago")
	p.acked(1, life("a2", newRun())) // and goes on
	p.send(renewal(make([]byte, maxRequest+1)))
	p.refused(codes.InvalidArgument, "a certificate request of 8193 bytes")
}

// TestSign signs once a minute on a stream, and not for longer than it may take.
func TestSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &stream{hub: &Hub{}}
		if _, err := s.sign(t.Context(), nil); err == nil {
			t.Error("signed by nobody")
		}
		s.hub.opts.Sign = func(ctx context.Context, agent string, request []byte) ([]byte, error) {
			asked++
			if string(request) == "slow" {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return []byte(agent), nil
		}
		s.agent.ID = "a1"
		for i, want := range []bool{true, false, true, false} {
			chain, err := s.sign(t.Context(), nil)
			if (err == nil) != want || want && string(chain) != "a1" {
				t.Errorf("%d: %s, %v", i, chain, err)
			}
			time.Sleep(renewWait / 2)
		}
		if _, err := s.sign(t.Context(), []byte("slow")); !errors.Is(err, context.DeadlineExceeded) || asked != 3 {
			t.Errorf("%v after %d calls", err, asked)
		}
	})
}
