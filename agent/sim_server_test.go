//go:build linux

package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"crony"
	"crony/appliance/hub"
	"crony/appliance/ledger"
	"crony/appliance/locks"
	"crony/appliance/lost"
	"crony/appliance/placement"
	"crony/embedded/fakeetcd"
	"crony/embedded/state"
)

// simServer is a server, in one life after the other.
type simServer struct {
	sim    *sim
	id     string
	life   int
	behind time.Duration // how far its view of the keyspace lags; the sim's mu guards it

	mu    sync.Mutex
	up    bool
	link  *fakeetcd.Link // to the keyspace: of this life
	store *state.Store
	hub   *hub.Hub
	ctx   context.Context //nolint:containedctx // it is the life's
	stop  context.CancelFunc
	work  *sync.WaitGroup
	fuse  *simFuse
}

// begin starts a life of the server.
func (v *simServer) begin() error {
	s := v.sim
	v.life++
	link, fuse := &fakeetcd.Link{Lag: v.lag, Late: s.late(v.id)}, newSimFuse()
	delay := s.delays(v.id, uint64(10_000*v.life)+uint64(v.id[1]))
	link.Delay = func() time.Duration {
		if !fuse.step() {
			link.Cut(true)
		}
		return delay()
	}
	ctx, stop := context.WithCancel(context.Background())
	store, err := state.Open(ctx, state.Options{Client: s.etcd.ClientOver(ctx, link), Log: s.quietly()})
	if err != nil {
		stop()
		return fmt.Errorf("open the store of %s: %w", v.id, err)
	}
	log := &simLog{s.runs, link}
	metrics := prometheus.NewRegistry()
	h, err := hub.New(hub.Options{Server: v.id, TLS: &tls.Config{}, State: store, Runs: log, Registerer: metrics,
		Log: s.quietly(), Ready: func() error { return log.reaches() }})
	if err != nil {
		stop()
		return errors.Join(err, store.Close())
	}
	placer, err := placement.New(placement.Options{Server: v.id, Store: store, Unfinished: s.runs.Unfinished, Registerer: metrics,
		Log: s.quietly()})
	if err != nil {
		stop()
		return errors.Join(err, store.Close())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.link, v.store, v.hub, v.ctx, v.stop, v.up, v.fuse = link, store, h, ctx, stop, true, fuse
	v.work.Go(func() { v.register(ctx, store) })
	v.work.Go(func() { h.Serve(ctx, newDeafListener()) })
	v.work.Go(func() { v.lead(ctx, store, placer, log) })
	return nil
}

// lag is how far the server's view of the keyspace is behind.
func (v *simServer) lag() time.Duration {
	v.sim.mu.Lock()
	defer v.sim.mu.Unlock()
	return v.behind
}

// register has the server known to be up.
func (v *simServer) register(ctx context.Context, store *state.Store) {
	for ctx.Err() == nil {
		p, err := store.RegisterServer(ctx, state.Server{ID: v.id, Name: v.id})
		if err == nil {
			select {
			case <-p.Lost():
			case <-ctx.Done():
			}
		}
		sleep(ctx, time.Second)
	}
}

// lead has the server do the leader's work whenever its member leads.
func (v *simServer) lead(ctx context.Context, store *state.Store, placer *placement.Placement, log *simLog) {
	leading := func() bool {
		v.sim.mu.Lock()
		defer v.sim.mu.Unlock()
		return v.sim.leads == v.id
	}
	store.Lead(ctx, v.id, leading, func(ctx context.Context, term state.Term) error {
		work, ctx := errgroup.WithContext(ctx)
		work.Go(func() error { return placer.Run(ctx, term) })
		work.Go(func() error { return store.KeepSeen(ctx, term) })
		work.Go(func() error { return ledger.Deliver(ctx, store, log, v.sim.quietly(), time.Now) })
		work.Go(func() error { return locks.Run(ctx, store, log, v.sim.quietly(), time.Now) })
		work.Go(func() error {
			return lost.Run(ctx, lost.Options{Fleet: store, Runs: log, Term: term, Log: v.sim.quietly(), Now: time.Now})
		})
		return work.Wait()
	})
}

// accept serves a stream of an agent.
func (v *simServer) accept(ctx context.Context, h *simHost, over *fakeetcd.Link) *dialled {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.up {
		return nil
	}
	stream := newSimStream(ctx, v.ctx, h.id, over)
	stream.trace, stream.host, stream.agent.fuse, stream.server.fuse = v.sim.trace, h, h.fuse, v.fuse
	serving := v.hub
	v.work.Go(func() {
		defer stream.server.cut()
		serving.Connect(simServerEnd{simStream: stream})
	})
	return &dialled{ctx: stream.agent.ctx, end: stream.agent.cut, stream: simAgentEnd{simStream: stream}}
}

// end ends the life in order.
func (v *simServer) end() error {
	store := v.leave(false)
	v.work.Wait()
	return store.Close()
}

// kill ends the life without another word to anybody.
func (v *simServer) kill() {
	store, work := v.leave(true), v.work
	v.work = &sync.WaitGroup{}
	v.sim.graves.Go(func() {
		work.Wait()
		store.Close()
	})
}

func (v *simServer) leave(silent bool) *state.Store {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.up = false
	if silent {
		v.fuse.blow()
		v.link.Cut(true)
	}
	v.stop()
	return v.store
}

// cut cuts the server off from the others, or ends that.
func (v *simServer) cut(cut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.up && !v.fuse.dead.Load() {
		v.link.Cut(cut)
	}
}

func (v *simServer) isUp() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.up
}

// simLog is the run log of all servers as one has it: while that is cut off, nothing can be stored and nobody asked.
type simLog struct {
	*soakLog
	link *fakeetcd.Link
}

func (l *simLog) reaches() error {
	if cut, _ := l.link.State(); cut {
		return crony.Errorf(crony.Unavailable, "the server reaches no quorum")
	}
	return nil
}

// Append implements hub.RunLog. What is being stored while the server is cut off may have been, and nobody is told.
func (l *simLog) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	if err := l.link.Cross(ctx); err != nil {
		return crony.Errorf(crony.Unavailable, "too few servers answer: %v", err)
	}
	if err := l.soakLog.Append(ctx, facts, chunks); err != nil {
		return err
	}
	return l.link.Cross(ctx)
}

// AppendStretches implements ledger.Keeper.
func (l *simLog) AppendStretches(ctx context.Context, list []crony.Stretch) error {
	if err := l.link.Cross(ctx); err != nil {
		return err
	}
	return l.soakLog.AppendStretches(ctx, list)
}

// Refresh implements hub.RunLog.
func (l *simLog) Refresh(context.Context, ...crony.RunID) error { return l.reaches() }

// deafListener hears nobody: agents come by other ways.
type deafListener struct {
	closed chan struct{}
	once   *sync.Once
}

func newDeafListener() deafListener { return deafListener{make(chan struct{}), &sync.Once{}} }

// Accept implements net.Listener.
func (l deafListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l deafListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (deafListener) Addr() net.Addr { return &net.TCPAddr{} }
