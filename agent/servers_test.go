//go:build linux

package agent

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/pki"
	"crony/internal/wire"
)

// keepOpen serves a stream until it ends, and acknowledges nothing.
func keepOpen(link wire.Link_ConnectServer, first ...*wire.FromServer) error {
	if _, err := welcome(link, maxReport); err != nil {
		return err
	}
	for _, msg := range first {
		if err := link.Send(msg); err != nil {
			return err
		}
	}
	<-link.Context().Done()
	return nil
}

func serversAre(hubs ...*fakeHub) *wire.FromServer {
	list := &wire.Servers{}
	for i, h := range hubs {
		list.Servers = append(list.Servers, &wire.Server{Id: string(rune('a' + i)), Address: h.address})
	}
	return &wire.FromServer{Kind: &wire.FromServer_Servers{Servers: list}}
}

// TestAnotherServerAtOnce loses an agent's server, and then the next: it is at another within a second each time, though it
// was told of only one when it joined.
func TestAnotherServerAtOnce(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t)
	hubs := make([]*fakeHub, 3)
	for i := range hubs {
		hubs[i] = f.hub(t, func(_ int, link wire.Link_ConnectServer) error { return keepOpen(link, serversAre(hubs...)) })
	}
	dir := f.agent(t, hubs[0].address)
	var text logText
	runAgentIn(t, Options{Dir: dir, Log: text.logger()})
	at := func() int { return slices.IndexFunc(hubs, func(h *fakeHub) bool { return h.streams() > 0 }) }
	eventually(t, "the agent to come", func() bool { return at() == 0 })
	eventually(t, "the agent to know the servers", func() bool {
		data, err := os.ReadFile(dir + "/" + serversFile)
		return err == nil && strings.Contains(string(data), hubs[2].address)
	})
	gone := map[int]bool{}
	for range 2 {
		last := slices.IndexFunc(hubs, func(h *fakeHub) bool { return h.streams() > 0 && !gone[slices.Index(hubs, h)] })
		gone[last] = true
		began := time.Now()
		hubs[last].stop()
		eventually(t, "the agent to come to another", func() bool {
			return slices.ContainsFunc(hubs, func(h *fakeHub) bool { return h.streams() > 0 && !gone[slices.Index(hubs, h)] })
		})
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	}

	// An agent that starts again needs nobody to tell it.
	i, err := openIdentity(dir)
	if err != nil || len(i.known()) != 3 {
		t.Errorf("%v, %v", i.known(), err)
	}
}

// TestFrozenServer has a server that takes everything in and says nothing more, and one that does not even say welcome: the
// agent asks the third. It does so when a claim is too long without an answer, if the first still says that it is there, or is
// older than the question; and soon if it does not.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		alive func(ctx context.Context) error // nil: it is
		log   string
	}{
		"it waits for others": {nil, "a claim has no answer"},
		"it is an old one": {func(context.Context) error { return status.Error(codes.Unimplemented, "unknown") },
			"a claim has no answer"},
		"it is frozen": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "not even that it is there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			frozenServer(t, test.alive, test.log)
		})
	}
}

func frozenServer(t *testing.T, alive func(ctx context.Context) error, reason string) {
	t.Helper()
	def := definition("m", "* * * * * *")
	f := newFakeCluster(t)
	asked := make(chan struct{}, 100)
	var frozen, mute, other *fakeHub
	frozen = f.hub(t, func(_ int, link wire.Link_ConnectServer) error {
		return keepOpen(link, serversAre(frozen, mute, other), assigned(def, 1, time.Now(), ""), synced())
	})
	var calls atomic.Int32
	frozen.alive = func(ctx context.Context) error {
		if calls.Add(1) == 1 || alive == nil {
			return nil
		}
		return alive(ctx)
	}
	mute = f.hub(t, func(_ int, link wire.Link_ConnectServer) error {
		<-link.Context().Done()
		return nil
	})
	other = f.hub(t, func(_ int, link wire.Link_ConnectServer) error {
		if _, err := welcome(link, maxReport); err != nil {
			return err
		}
		if err := link.Send(assigned(def, 1, time.Now(), "")); err != nil {
			return err
		}
		for {
			msg, err := link.Recv()
			if err != nil {
				return err
			}
			if msg.GetClaims() != nil {
				asked <- struct{}{}
			}
		}
	})
	var text logText
	runAgentIn(t, Options{Dir: f.agent(t, frozen.address), Log: text.logger()})
	select {
	case <-asked:
	case <-time.After(30 * time.Second):
		t.Fatalf("the third was not asked: %d, %d and %d streams", frozen.streams(), mute.streams(), other.streams())
	}
	if frozen.streams() != 1 || mute.streams() > 1 {
		t.Errorf("%d and %d streams", frozen.streams(), mute.streams())
	}
	if !strings.Contains(text.String(), reason) {
		t.Errorf("log: %s", text.String())
	}
}

// TestFrozenFromTheFirst asks an agent to go to a server that takes the connection and then freezes: it is back before that one
// would have had to say its first word.
func TestFrozenFromTheFirst(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t)
	frozen := f.hub(t, func(_ int, link wire.Link_ConnectServer) error {
		<-link.Context().Done()
		return nil
	})
	frozen.alive = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	var good *fakeHub
	back := make(chan struct{})
	good = f.hub(t, func(n int, link wire.Link_ConnectServer) error {
		if n == 2 {
			close(back)
		}
		if n > 1 {
			return keepOpen(link, serversAre(good, frozen))
		}
		return keepOpen(link, serversAre(good, frozen),
			&wire.FromServer{Kind: &wire.FromServer_Move{Move: &wire.Move{Server: "b"}}})
	})
	var text logText
	runAgentIn(t, Options{Dir: f.agent(t, good.address), Log: text.logger()})
	began := time.Now()
	select {
	case <-back:
	case <-time.After(30 * time.Second):
		t.Fatalf("it stays away; the log: %s", text.String())
	}
	if took := time.Since(began); frozen.streams() != 1 || took >= welcomeTime || !strings.Contains(text.String(), "not even that it is there") {
		t.Errorf("after %s and %d streams to it; the log: %s", took, frozen.streams(), text.String())
	}
}

// TestOrderOfServers begins with the server that was asked for, and ends with the one that was just lost.
func TestOrderOfServers(t *testing.T) {
	id := &identity{servers: []knownServer{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}, {ID: "c", Address: "c:1"}, {ID: "d", Address: "d:1"}}}
	l := newLink(id, []string{"b:1", "e:1"}, crony.Agent{}, nil, time.Now, slog.New(slog.DiscardHandler))
	seen := map[string]bool{}
	for range 200 {
		l.wanted = "c"
		got := l.order("b:1")
		if len(got) != 5 || got[0] != "c:1" || got[4] != "b:1" {
			t.Fatalf("order: %v", got)
		}
		seen[got[1]] = true
	}
	if len(seen) != 3 {
		t.Errorf("second in the order come only %v", seen)
	}
	if got := l.order(""); len(got) != 5 || l.wanted != "" {
		t.Errorf("order: %v", got)
	}
}

// TestMoved has a server ask the agent to go to another, and that one to come back.
func TestMoved(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t)
	hubs := make([]*fakeHub, 3)
	for i := range hubs {
		hubs[i] = f.hub(t, func(n int, link wire.Link_ConnectServer) error {
			to := []string{"c", "c", "a"}[i] // the first sends to the third, and the third back
			if n > 1 {
				return keepOpen(link, serversAre(hubs...))
			}
			return keepOpen(link, serversAre(hubs...), &wire.FromServer{Kind: &wire.FromServer_Move{Move: &wire.Move{Server: to}}})
		})
	}
	var text logText
	began := time.Now()
	runAgentIn(t, Options{Dir: f.agent(t, hubs[0].address), Log: text.logger()})
	eventually(t, "the agent to go and come back", func() bool { return hubs[0].streams() == 2 && hubs[2].streams() == 1 })
	if hubs[1].streams() > 0 || time.Since(began) > 5*time.Second {
		t.Errorf("the second had %d streams; it took %s", hubs[1].streams(), time.Since(began))
	}
}

// TestCertificateIsRenewed has a server whose authority was replaced: the agent trusts the new one, has its certificate renewed,
// and shows that on its next stream, which comes by itself.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	f := newFakeCluster(t)
	next, err := f.ca.Successor(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := pki.NewTrust(next.Root(), f.ca.Root())
	trust := &wire.FromServer{Kind: &wire.FromServer_Trust{Trust: &wire.Trust{Authorities: both.PEM(), Issuer: next.Root().Fingerprint()}}}
	requests := make(chan string, 10)
	h := f.hub(t, func(n int, link wire.Link_ConnectServer) error {
		if _, err := welcome(link, maxReport); err != nil {
			return err
		}
		if err := link.Send(trust); err != nil {
			return err
		}
		for {
			msg, err := link.Recv()
			if err != nil {
				return err
			}
			renew := msg.GetRenew()
			if renew == nil {
				continue
			}
			key, err := pki.RequestKey(renew.GetRequest())
			if err != nil {
				return err
			}
			requests <- key
			answer := &wire.Certificate{Refused: "not now"}
			if n > 1 {
				chain, err := next.Sign(renew.GetRequest(), pki.Identity{Role: pki.Agent, ID: "a1"}, nil, time.Now())
				if err != nil {
					return err
				}
				answer = &wire.Certificate{Chain: chain}
			}
			if err := link.Send(&wire.FromServer{Kind: &wire.FromServer_Certificate{Certificate: answer}}); err != nil {
				return err
			}
			if n == 1 {
				return status.Error(codes.Unavailable, "come again")
			}
		}
	})
	dir := f.agent(t, h.address)
	var text logText
	runAgentIn(t, Options{Dir: dir, Log: text.logger()})
	eventually(t, "a third stream", func() bool { return h.streams() >= 3 })
	if one, two := <-requests, <-requests; one == two {
		t.Error("it asked twice with the same key")
	}
	i, err := openIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := i.own()
	if err != nil || pki.Issuer(cert.Leaf, both) != next.Root().Fingerprint() {
		t.Errorf("the certificate on disk is not of the new authority: %v", err)
	}
	if len(requests) > 0 {
		t.Errorf("it asked %d times more", len(requests))
	}
}
