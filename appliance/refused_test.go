package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"crony"
	"crony/appliance/peers"
	"crony/internal/pki"
	"crony/internal/wire"
	"crony/sdk"
)

// openPorts starts a server with every port that one can have, on loopback.
func openPorts(t *testing.T) *Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "server")
	log := slog.New(slog.DiscardHandler)
	ports := make([]net.Listener, 4)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l
	}
	peer, client := ports[2].Addr().String(), ports[3].Addr().String()
	for _, l := range ports[2:] { // the store opens its own
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	url := "https://" + ports[0].Addr().String()
	if _, err := Found(t.Context(), FoundOptions{Dir: dir, Name: "s1", People: url, Log: log}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, Options{Dir: dir, People: ports[0], PeopleURL: url, Agents: ports[1], PeerListen: peer, PeerAddress: peer,
		ClientListen: client, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// guests are those who knock, by what they show.
func guests(t *testing.T, s *Server) map[string]pki.Source {
	t.Helper()
	issue := func(role pki.Role, id string) pki.Source {
		leaf, err := s.Issue(role, id)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Certificate
	}
	other, err := pki.NewCA(s.Cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	of := func(ca *pki.CA, role pki.Role, now time.Time) pki.Source {
		leaf, err := ca.Issue(pki.Identity{Role: role, ID: "stranger"}, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Certificate
	}
	own, err := s.id.signer()
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-pki.LeafValidity - time.Hour)
	for _, role := range []crony.JoinRole{crony.JoinServer, crony.JoinAgent} {
		if err := s.Store.Bury(t.Context(), crony.Tombstone{ID: "removed" + string(role), Role: role, Name: "x", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]pki.Source{
		"nobody":                        nil,
		"a server":                      issue(pki.Server, "server2"),
		"an agent":                      issue(pki.Agent, "agent1"),
		"a server of another authority": of(other, pki.Server, time.Now()),
		"an agent of another authority": of(other, pki.Agent, time.Now()),
		"a server that has expired":     of(own, pki.Server, past),
		"an agent that has expired":     of(own, pki.Agent, past),
		"a server that was removed":     issue(pki.Server, "removedserver"),
		"an agent that was removed":     issue(pki.Agent, "removedagent"),
	}
}

// TestWhoIsWelcome has everyone knock at every port. What is not in the table is refused.
func TestWhoIsWelcome(t *testing.T) {
	s := openPorts(t)
	welcome := map[string][]string{
		"the agents' link": {"an agent"},
		"servers' calls":   {"a server"},
		"the store":        {"a server", "a server that was removed"}, // the store itself knows who its members are
		"etcd's tools":     {"a server"},
	}
	for name, own := range guests(t, s) {
		config := pki.ClientTLS(s.Trust(), own)
		for port, knock := range map[string]func() error{
			"the agents' link": func() error { return link(t, s, config) },
			"servers' calls": func() error {
				calls := peers.NewClient(config)
				defer calls.Close()
				_, err := calls.Status(t.Context(), s.opts.AgentsAddress)
				return err
			},
			"the store":    func() error { return fetch(config, "https://"+s.opts.PeerListen+"/version") },
			"etcd's tools": func() error { return shakeHands(config, s.opts.ClientListen) },
		} {
			err := knock()
			if ok := slices.Contains(welcome[port], name); ok != (err == nil) {
				t.Errorf("%s at %s: %v", name, port, err)
			}
		}
	}
}

// link opens a stream as an agent does.
func link(t *testing.T, s *Server, config *tls.Config) error {
	conn, err := grpc.NewClient("passthrough:///"+s.opts.AgentsAddress, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := wire.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		return err
	}
	hello := &wire.Hello{Agent: wire.Encode(crony.Agent{Name: "x"})}
	if err := stream.Send(&wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	msg, err := stream.Recv()
	if err == nil && msg.GetWelcome() == nil {
		err = fmt.Errorf("no welcome, but %T", msg.GetKind())
	}
	return err
}

func fetch(config *tls.Config, url string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

// shakeHands connects, and waits for the server's word on the certificate, which comes after the handshake.
func shakeHands(config *tls.Config, address string) error {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 9)) // the first frame's head
	return err
}

// TestRemovedIsLetGo removes an agent that is connected: its stream ends at once, and the next is refused.
func TestRemovedIsLetGo(t *testing.T) {
	s := openPorts(t)
	leaf, err := s.Issue(pki.Agent, "agent1")
	if err != nil {
		t.Fatal(err)
	}
	config := pki.ClientTLS(s.Trust(), leaf.Certificate)
	conn, err := grpc.NewClient("passthrough:///"+s.opts.AgentsAddress, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := wire.NewLinkClient(conn).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := &wire.Hello{Agent: wire.Encode(crony.Agent{Name: "the one"})}
	if err := stream.Send(&wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		var once sync.Once
		for {
			_, err := stream.Recv()
			once.Do(func() { close(first) })
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	<-first
	if err := s.RemoveAgent(t.Context(), "the one"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	select {
	case err := <-ended:
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the stream goes on")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the stream ended after %s", took)
	}
	if err := link(t, s, config); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the next stream: %v", err)
	}
}

// TestStrangersAtThePorts has those come who do not even speak TLS, or stop in the middle. Each port gets rid of them, and
// serves others meanwhile.
func TestStrangersAtThePorts(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the servers' patience to end")
	}
	t.Parallel()
	s := openPorts(t)
	server, err := s.Issue(pki.Server, "server2")
	if err != nil {
		t.Fatal(err)
	}
	config := pki.ClientTLS(s.Trust(), server.Certificate)
	var all sync.WaitGroup
	for port, address := range map[string]string{"people": strings.TrimPrefix(s.opts.PeopleURL, "https://"), "agents": s.opts.AgentsAddress} {
		for what, words := range map[string][]byte{
			"silence":          nil,
			"junk":             bytes.Repeat([]byte("x"), 100),
			"plain HTTP":       []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			"half a handshake": {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
		} {
			all.Go(func() {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if _, err := conn.Write(words); err != nil {
					t.Error(err)
					return
				}
				if err := conn.SetReadDeadline(time.Now().Add(45 * time.Second)); err != nil {
					t.Error(err)
				}
				_, err = io.Copy(io.Discard, conn)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s at the port for %s is still there", what, port)
				}
			})
		}
	}
	for range 20 {
		calls := peers.NewClient(config)
		if _, err := calls.Status(t.Context(), s.opts.AgentsAddress); err != nil {
			t.Errorf("a server, meanwhile: %v", err)
		}
		calls.Close()
		time.Sleep(50 * time.Millisecond)
	}
	all.Wait()
}

// TestTokensAtTheDoor joins with tokens that are good, used, expired, another role's, of another cluster, and none.
func TestTokensAtTheDoor(t *testing.T) {
	s, foreign := openPorts(t), openPorts(t)
	mint := func(s *Server, spec crony.JoinTokenSpec) string {
		t.Helper()
		token, err := s.CreateJoinToken(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return token.Secret
	}
	request := func() crony.JoinRequest {
		csr, _, err := pki.NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		return crony.JoinRequest{Request: string(csr), Name: "h9"}
	}
	agents := crony.JoinTokenSpec{For: crony.JoinAgent}
	once := mint(s, agents)
	first := request()
	joined, err := sdk.Join(t.Context(), s.opts.PeopleURL, once, first)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sdk.Join(t.Context(), s.opts.PeopleURL, once, first); err != nil || again.ID != joined.ID {
		t.Errorf("asked again, as the answer was lost: %v, %v", again.ID, err)
	}
	if joined.SealKey != "" {
		t.Error("an agent was given the servers' secret")
	}
	good := mint(s, agents)
	parsed, err := crony.ParseJoinSecret(good)
	if err != nil {
		t.Fatal(err)
	}
	asServer, forged := parsed, parsed
	asServer.For = crony.JoinServer
	forged.Random = strings.Repeat("A", len(forged.Random))
	deleted := mint(s, agents)
	if p, err := crony.ParseJoinSecret(deleted); err != nil || s.DeleteJoinToken(t.Context(), p.ID) != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{
		"a used one":             once,
		"an agents' as a server": asServer.String(),
		"a forged one":           forged.String(),
		"another cluster's":      mint(foreign, agents),
		"one that was deleted":   deleted,
		"nonsense":               "cronyjoin_agent_x",
	} {
		answer, err := sdk.Join(t.Context(), s.opts.PeopleURL, token, request())
		if err == nil {
			t.Errorf("%s was taken: %s", what, answer.ID)
		}
		if err != nil && len(token) > 40 && strings.Contains(err.Error(), token[20:40]) {
			t.Errorf("%s: the error tells the token: %v", what, err)
		}
	}
	if _, err := sdk.Join(t.Context(), s.opts.PeopleURL, good, request()); err != nil {
		t.Errorf("the good one, after all that: %v", err)
	}
}
