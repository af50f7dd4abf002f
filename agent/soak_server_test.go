//go:build linux

package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"crony/appliance/hub"
	"crony/appliance/ledger"
	"crony/appliance/placement"
	"crony/embedded/state"
)

// soakServer is one life of a server: its view of the keyspace, its hub, and its leading.
type soakServer struct {
	soak   *soak
	store  *state.Store
	hub    *hub.Hub
	ctx    context.Context //nolint:containedctx // it is the server's
	stop   context.CancelFunc
	serves sync.WaitGroup
	resign context.CancelFunc // ends its leading, if it leads
	leads  sync.WaitGroup
}

// serve starts a life of the server.
func (s *soak) serve() error {
	v := &soakServer{soak: s}
	v.ctx, v.stop = context.WithCancel(context.Background())
	quiet := slog.New(s.log)
	var err error
	if v.store, err = state.Open(v.ctx, state.Options{Client: s.etcd.Client(v.ctx), Log: quiet, Now: s.now}); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	v.hub, err = hub.New(hub.Options{Server: "s1", TLS: &tls.Config{}, State: v.store, Runs: s.runs,
		Registerer: prometheus.NewRegistry(), Log: quiet, Now: s.now})
	if err != nil {
		return err
	}
	v.lead()
	s.mu.Lock()
	s.server = v
	s.mu.Unlock()
	return nil
}

// lead has the server lead, until it resigns.
func (v *soakServer) lead() {
	ctx, cancel := context.WithCancel(v.ctx)
	v.resign = cancel
	quiet := slog.New(v.soak.log)
	placer, err := placement.New(placement.Options{Server: "s1", Store: v.store, Unfinished: v.soak.runs.Unfinished, Log: quiet,
		Registerer: prometheus.NewRegistry(), Now: v.soak.now})
	if err != nil {
		panic(err) // an option is missing
	}
	v.leads.Go(func() {
		v.store.Lead(ctx, "s1", leadingUntilDone(ctx), func(ctx context.Context, term state.Term) error {
			work, ctx := errgroup.WithContext(ctx)
			work.Go(func() error { return placer.Run(ctx, term) })
			work.Go(func() error { return ledger.Deliver(ctx, v.store, v.soak.runs, quiet, v.soak.now) })
			return work.Wait()
		})
	})
}

// leadingUntilDone says that its server leads. It is asked twenty times a second, which makes more than half a billion
// answers a year: all but the first take it an hour.
func leadingUntilDone(ctx context.Context) func() bool {
	asked := false
	return func() bool {
		if !asked {
			asked = true
			return true
		}
		select {
		case <-time.After(time.Hour):
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// retire gives up leading.
func (v *soakServer) retire() {
	if v.resign != nil {
		v.resign()
		v.leads.Wait()
		v.resign = nil
	}
}

func (v *soakServer) close() error {
	v.soak.mu.Lock()
	v.soak.server = nil
	v.soak.mu.Unlock()
	v.retire()
	v.stop()
	v.serves.Wait()
	return v.store.Close()
}

// dial opens a stream to the server, if it is up and the link is not cut.
func (s *soak) dial(ctx context.Context) *dialled {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.server
	if v == nil || s.isolated {
		return nil
	}
	stream, err := newSoakStream(ctx, soakAgentID, &s.lose)
	if err != nil {
		panic(err)
	}
	done := make(chan struct{})
	release := context.AfterFunc(v.ctx, stream.cut)
	v.serves.Go(func() {
		defer close(done)
		defer release()
		v.hub.Connect(hubEnd{soakStream: stream})
		stream.cut()
	})
	s.stream = stream
	return &dialled{ctx: stream.ctx, end: stream.cut, stream: agentEnd{soakStream: stream}, served: done}
}
