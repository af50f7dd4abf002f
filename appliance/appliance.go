// Package appliance makes a crony server of its parts: the etcd member, the keyspace on it, the run log, placement under
// leadership, the hub for agents and the web server for people. Dev adds an agent, and is a whole crony in one process.
//
// The one thing to know: [Open] is the wiring, one straight line from the bottom up. Each part is given what stands below it
// and nothing else; stopping is the same line backwards.
//
// It handles no signals and reads no flags: that is for the mains.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"crony/appliance/hub"
	"crony/appliance/ledger"
	"crony/appliance/placement"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/lifecycle"
	"crony/internal/pki"
	"crony/internal/version"
	"crony/webui"
)

// Options is what a Server is made of.
type Options struct {
	Dir           string       // of the server's data
	Create        bool         // begin a new cluster if Dir holds none; otherwise that is refused
	Root          *pki.Root    // the cluster's authority
	Leaf          *pki.Leaf    // the server's certificate, which says its id
	People        net.Listener // for the web app and the API
	PeopleURL     string       // as people reach it
	Agents        net.Listener // for agents
	PublicMetrics bool         // /metrics answers everyone
	Log           *slog.Logger
	Now           func() time.Time // the wall clock; time.Now if nil
}

// Server is a running crony server.
type Server struct {
	ID      string
	Cluster string
	Store   *state.Store
	Runs    *runlog.Log

	opts    Options
	log     *slog.Logger
	member  *member.Member
	started time.Time
	stack   *lifecycle.Stack
}

// Open starts a server. It answers when Open returns. The listeners are the server's from then on, also if Open fails.
func Open(ctx context.Context, opts Options) (*Server, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{opts: opts, log: opts.Log, started: opts.Now().UTC(), stack: lifecycle.New()}
	s.stack.Push("listeners", 0, func(context.Context) error {
		return errors.Join(closed(opts.People.Close()), closed(opts.Agents.Close()))
	})
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.stack.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// closed takes a listener for closed that whoever served it has closed.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) open(ctx context.Context) error {
	cert, err := s.opts.Leaf.Certificate()
	if err != nil {
		return fmt.Errorf("read the server's certificate: %w", err)
	}
	who, err := pki.IdentityOf(cert.Leaf)
	if err != nil {
		return fmt.Errorf("read the server's certificate: %w", err)
	}
	s.ID, s.Cluster = who.ID, who.Cluster

	s.member, err = member.Open(ctx, member.Options{
		Dir: filepath.Join(s.opts.Dir, "etcd"), Server: who, Create: s.opts.Create, Log: s.log})
	if err != nil {
		return fmt.Errorf("open the etcd member: %w", err)
	}
	s.stack.Push("member", 0, func(context.Context) error { return s.member.Close() })

	if s.Store, err = state.Open(ctx, state.Options{Client: s.member.Client(), Log: s.log, Now: s.opts.Now}); err != nil {
		return fmt.Errorf("open the state store: %w", err)
	}
	s.stack.Push("state", 0, func(context.Context) error { return s.Store.Close() })

	if s.Runs, err = runlog.Open(runlog.Options{Dir: filepath.Join(s.opts.Dir, "runs"), Log: s.log}); err != nil {
		return fmt.Errorf("open the run log: %w", err)
	}
	s.stack.Push("run log", 0, func(context.Context) error { return s.Runs.Close() })
	return s.serve() //nolint:contextcheck // services live by the stack's contexts, not by the one of opening
}

// serve starts the services.
func (s *Server) serve() error {
	metrics := prometheus.NewRegistry()
	if err := s.registerMetrics(metrics); err != nil {
		return err
	}
	agents, err := hub.New(hub.Options{Server: s.ID, TLS: pki.ServerTLS(s.opts.Root, s.opts.Leaf.Certificate, pki.Agent),
		State: s.Store, Runs: s.Runs, Registerer: metrics, Log: s.log, Now: s.opts.Now})
	if err != nil {
		return err
	}
	accounts, err := ledger.New(ledger.Options{Jobs: s.Store, Runs: account{s}, Now: s.opts.Now})
	if err != nil {
		return err
	}
	people, err := webui.New(webui.Options{
		Jobs: s.Store, Runs: s.Runs, Agents: fleet{s}, Ledger: accounts, Calendars: s.Store, Access: s.Store, Events: events{s},
		LastRun: s.Runs.LastRun, Facts: s.facts, Ready: s.ready,
		Registerer: metrics, Gatherer: prometheus.Gatherers{metrics, prometheus.DefaultGatherer},
		PublicMetrics: s.opts.PublicMetrics, Log: s.log, Now: s.opts.Now})
	if err != nil {
		return err
	}
	s.stack.Go("registration", 0, s.register)
	s.stack.Go("leadership", 0, func(ctx context.Context) error { return s.Store.Lead(ctx, s.ID, s.lead) })
	s.stack.Go("hub", 0, func(ctx context.Context) error { return agents.Serve(ctx, s.opts.Agents) })
	s.stack.Go("web server", 15*time.Second, func(ctx context.Context) error { return people.Serve(ctx, s.opts.People) })
	return nil
}

// lead is all that the leader does beside what every server does.
func (s *Server) lead(ctx context.Context, term state.Term) error {
	duties, ctx := errgroup.WithContext(ctx)
	duties.Go(func() error { return placement.Run(ctx, s.Store, term, s.log, s.opts.Now) })
	duties.Go(func() error { return ledger.Deliver(ctx, s.Store, s.Runs, s.log, s.opts.Now) })
	return duties.Wait()
}

// register keeps the server's record in the keyspace.
func (s *Server) register(ctx context.Context) error {
	self := state.Server{ID: s.ID, Version: version.Read().Version, Agents: s.opts.Agents.Addr().String(), People: s.opts.PeopleURL}
	for {
		presence, err := s.Store.RegisterServer(ctx, self)
		if err == nil {
			select {
			case <-presence.Lost():
				s.log.Warn("registration lost", "server", s.ID)
				continue
			case <-ctx.Done():
				leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				presence.Leave(leaving)
				return nil
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// Wait returns nil when ctx is done, or why the server can't go on before that.
func (s *Server) Wait(ctx context.Context) error { return s.stack.Wait(ctx) }

// Close stops the server, the last part first.
func (s *Server) Close(ctx context.Context) error { return s.stack.Close(ctx) }

// makeDir makes a directory that nobody else can read.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}
