package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/appliance/hub"
	"crony/appliance/peers"
	"crony/appliance/replica"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/pki"
	"crony/internal/storetest"
)

// servers are three whose hubs speak gRPC over TLS on loopback, on one keyspace and with a run log each.
type servers struct {
	t     testing.TB
	dir   string
	ca    *pki.CA
	trust *pki.Trust
	store *state.Store

	mu  sync.Mutex
	all []*server
}

type server struct {
	*replica.Log
	id      string
	address string
	own     *runlog.Log
	stop    func()
}

func startServers(t testing.TB) *servers {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{t: t, dir: t.TempDir(), ca: ca, trust: pki.NewTrust(ca.Root())}
	quiet := slog.New(slog.DiscardHandler)
	m, err := member.Open(t.Context(), member.Options{Dir: filepath.Join(s.dir, "etcd"), Create: true, Log: quiet,
		Server: pki.Identity{Cluster: "test", Role: pki.Server, ID: "s1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if s.store, err = state.Open(t.Context(), state.Options{Client: m.Client(), Log: quiet}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	for i := range 3 {
		s.all = append(s.all, &server{id: fmt.Sprintf("s%d", i+1), address: "127.0.0.1:0"})
	}
	listeners := make([]net.Listener, 3)
	for i, x := range s.all {
		listeners[i] = s.listen(x)
	}
	for i, x := range s.all {
		s.start(x, listeners[i])
	}
	t.Cleanup(func() {
		for _, x := range s.all {
			x.stop()
		}
	})
	return s
}

func (s *servers) listen(x *server) net.Listener {
	s.t.Helper()
	l, err := net.Listen("tcp", x.address)
	if err != nil {
		s.t.Fatal(err)
	}
	x.address = l.Addr().String()
	return l
}

func (s *servers) members() ([]replica.Member, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []replica.Member
	for _, x := range s.all {
		list = append(list, replica.Member{ID: x.id, Address: x.address})
	}
	return list, nil
}

// oneMember is enough of a member for the calls that are made here.
type oneMember struct{ peers.Member }

func (s *servers) start(x *server, l net.Listener) {
	s.t.Helper()
	check := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	leaf, err := s.ca.Issue(pki.Identity{Role: pki.Server, ID: x.id}, []string{"127.0.0.1"}, time.Now())
	check(err)
	client := peers.NewClient(pki.ClientTLS(s.trust, leaf.Certificate))
	x.own, err = runlog.Open(runlog.Options{Dir: filepath.Join(s.dir, x.id), Log: log})
	check(err)
	x.Log, err = replica.New(replica.Options{Self: x.id, Own: x.own, Peers: client, Members: s.members, Registerer: registry, Log: log})
	check(err)
	calls, err := peers.New(peers.Options{Self: x.id, Member: oneMember{}, Status: func() crony.ServerStatus { return crony.ServerStatus{} },
		RunLog: x.Log, Caller: hub.Caller, Log: log})
	check(err)
	agents, err := hub.New(hub.Options{Server: x.id, TLS: pki.ServerTLS(s.trust, leaf.Certificate, pki.Agent, pki.Server),
		State: s.store, Runs: runsOf{x.own, x.Log}, Peers: calls, Registerer: registry, Log: log})
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := agents.Serve(ctx, l); err != nil {
			s.t.Error(err)
		}
	})
	running.Go(func() {
		if err := x.Log.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	x.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := errors.Join(client.Close(), x.own.Close()); err != nil {
			s.t.Error(err)
		}
	})
}

// runsOf is what a hub reads and writes.
type runsOf struct {
	*runlog.Log
	all *replica.Log
}

func (r runsOf) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	return r.all.Append(ctx, facts, chunks)
}

func (r runsOf) Refresh(ctx context.Context, runs ...crony.RunID) error {
	return r.all.Refresh(ctx, runs...)
}

func (s *servers) same() bool {
	s.t.Helper()
	var first map[string]runlog.Sum
	for _, x := range s.all {
		days, err := x.Days(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		if first == nil {
			first = days
		}
		if !maps.Equal(first, days) {
			return false
		}
	}
	return true
}

func (s *servers) within(d time.Duration, what string, met func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(d); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, x := range s.all {
				s.t.Logf("%s: %+v", x.id, x.Status())
			}
			s.t.Fatalf("waited %s for %s", d, what)
		}
	}
}

func lifeOf(at time.Time, job string) []crony.Fact {
	return storetest.Life(crony.NewRunID(at), job, "a1", crony.Succeeded)
}

// TestOverTheWire appends, loses a server, and heals it, by the calls that servers make in production.
func TestOverTheWire(t *testing.T) {
	s := startServers(t)
	now := time.Now()
	append1 := func(x *server, at time.Time) {
		t.Helper()
		if err := x.Append(t.Context(), lifeOf(at, "job"), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range s.all {
		append1(x, now)
	}
	large := lifeOf(now, "large")
	var chunks []crony.Chunk
	for i := range 3 {
		data := make([]byte, runlog.MaxChunk)
		for j := range data {
			data[j] = byte(i*j + j>>8*31)
		}
		chunks = append(chunks, crony.Chunk{Run: large[0].Run, Attempt: 1, Stream: crony.Stdout, At: now, Offset: int64(i * len(data)), Data: data})
	}
	if err := s.all[0].Append(t.Context(), large, chunks); err != nil {
		t.Fatal(err)
	}
	s.within(10*time.Second, "the logs to be the same", s.same)
	for chunk, err := range s.all[2].own.Output(t.Context(), large[0].Run, false) {
		if i := chunk.Offset / runlog.MaxChunk; err != nil || !bytes.Equal(chunk.Data, chunks[i].Data) {
			t.Errorf("output at %d: %v", chunk.Offset, err)
		}
	}

	s.all[2].stop()
	for day := range 3 { // of two of these days the third has nothing
		for i := range 20 {
			append1(s.all[i%2], now.AddDate(0, 0, -day))
		}
	}
	last := lifeOf(now, "last")
	if err := s.all[0].Append(t.Context(), last, nil); err != nil {
		t.Fatal(err)
	}
	s.start(s.all[2], s.listen(s.all[2]))
	if err := s.all[2].Refresh(t.Context(), last[0].Run); err != nil {
		t.Fatal(err)
	}
	if run, err := s.all[2].own.Run(t.Context(), last[0].Run); err != nil || run.State != crony.Succeeded {
		t.Errorf("asked of the others: %v %s", err, run.State)
	}
	s.within(30*time.Second, "the log that was away to be healed", s.same)
	s.within(30*time.Second, "all logs to be known as whole", func() bool {
		for _, x := range s.all {
			if status := x.Status(); !status.Whole || status.Copying > 0 || status.Others[0].Behind+status.Others[1].Behind > 0 {
				return false
			}
		}
		return true
	})
}
