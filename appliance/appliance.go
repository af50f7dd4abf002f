// Package appliance makes a crony server of its parts: the etcd member, the keyspace on it, the run log, placement under
// leadership, the hub for agents and the web server for people. Dev adds an agent, and is a whole crony in one process.
//
// The one thing to know: [Open] is the wiring, one straight line from the bottom up. Each part is given what stands below it
// and nothing else; stopping is the same line backwards.
//
// A server's data directory is made by [Found] for the first server of a cluster, by [Join] for every other, and by [Restore]
// from a backup. Open never makes one: a disk that was wiped must not come up as a new, empty cluster.
//
// It handles no signals and reads no flags: that is for the mains.
package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"crony"
	"crony/appliance/callbacks"
	"crony/appliance/hub"
	"crony/appliance/ledger"
	"crony/appliance/locks"
	"crony/appliance/lost"
	"crony/appliance/orders"
	"crony/appliance/peers"
	"crony/appliance/placement"
	"crony/appliance/replica"
	"crony/appliance/upkeep"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/lifecycle"
	"crony/internal/pki"
	"crony/webui"
)

// Options is what a Server is made of.
type Options struct {
	Dir  string // of the server's data, which must be there
	Name string // of the server, for people; as it was made with if empty

	People    net.Listener // for the web app and the API
	PeopleURL string       // as people reach it: by http, plain; by https, with TLS
	CertFile  string       // PEM: the certificate that people see; the cluster's own if empty
	KeyFile   string       // PEM: its key

	Agents        net.Listener // for agents, and for the other servers
	AgentsAddress string       // HOST:PORT as they reach it; the listener's own if empty

	PeerListen    string        // IP:PORT for the other servers' stores; "": there are none, and can't be
	PeerAddress   string        // HOST:PORT as they reach it; PeerListen if empty
	ClientListen  string        // IP:PORT for etcd's own tools; "": closed
	Quota         crony.Size    // of the store; 2 GiB if 0
	RunsAge       time.Duration // how long the run log keeps a day; 90 days if 0
	RunsSize      crony.Size    // of the run log's files; [runlog.Policy] if 0
	Grace         time.Duration // how long an agent may be gone before its jobs move; 3 s if 0
	Stay          bool          // shell jobs that don't say stay with an agent that is down
	PublicMetrics bool          // /metrics answers everyone
	Log           *slog.Logger
	Now           func() time.Time // the wall clock; time.Now if nil
}

// Server is a running crony server.
type Server struct {
	ID      string
	Cluster string
	Name    string
	Store   *state.Store
	Runs    *runlog.Log

	opts      Options
	log       *slog.Logger
	id        *identity
	member    *member.Member
	peers     *peers.Client
	replica   *replica.Log
	placement *placement.Placement
	started   time.Time
	stack     *lifecycle.Stack
}

// Open starts a server. It answers when Open returns, which may take as long as it takes to be admitted to a cluster, or for
// the others to come up: until ctx is done. The listeners are the server's from then on, also if Open fails.
func Open(ctx context.Context, opts Options) (*Server, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.AgentsAddress == "" {
		opts.AgentsAddress = opts.Agents.Addr().String()
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
	if err := s.openIdentity(); err != nil {
		return err
	}
	if err := s.openMember(ctx); err != nil {
		return err
	}
	var err error
	if s.Runs, err = runlog.Open(runlog.Options{Dir: filepath.Join(s.opts.Dir, runsDir), Log: s.log}); err != nil {
		return fmt.Errorf("open the run log: %w", err)
	}
	s.stack.Push("run log", 0, func(context.Context) error { return s.Runs.Close() })
	if err := s.openStore(ctx); err != nil {
		return err
	}
	if err := s.adopt(); err != nil {
		return err
	}
	if s.opts.ClientListen != "" {
		if err := s.member.ServeClients(s.opts.ClientListen, s.notBuried); err != nil {
			return err
		}
	}
	return s.serve() //nolint:contextcheck // services live by the stack's contexts, not by the one of opening
}

func (s *Server) openIdentity() error {
	if err := checkServerDir(s.opts.Dir); err != nil {
		return err
	}
	var known settings
	if err := readJSON(filepath.Join(s.opts.Dir, serverFile), &known); err != nil {
		return err
	}
	var err error
	if s.id, err = openIdentity(filepath.Join(s.opts.Dir, pkiDir), s.opts.Now); err != nil {
		return err
	}
	if err := s.id.reach(hostsOf(s.opts.PeopleURL, s.opts.AgentsAddress)); err != nil {
		return err
	}
	s.ID, s.Cluster, s.Name = s.id.who.ID, s.id.who.Cluster, cmp.Or(s.opts.Name, known.Name)
	s.log = s.log.With("server", s.Name)
	s.peers = peers.NewClient(pki.ClientTLS(s.id.trust, s.id.own))
	s.stack.Push("calls to other servers", 0, func(context.Context) error { return s.peers.Close() })
	return nil
}

// openMember opens the server's part of the store. If the server has joined and was not admitted yet, it asks for that first,
// and waits for its vote.
func (s *Server) openMember(ctx context.Context) error {
	opts := member.Options{Dir: filepath.Join(s.opts.Dir, etcdDir), Server: s.id.who,
		QuotaBytes: int64(s.opts.Quota), Peer: s.id.peer(s.opts.PeerListen, s.opts.PeerAddress), Log: s.log}
	var join joining
	note := filepath.Join(s.opts.Dir, joinFile)
	err := readJSON(note, &join)
	joins := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if joins {
		s.log.Info("asking to be admitted to the cluster", "servers", join.Servers)
		admission, err := admitted(ctx, join.Servers, s.opts.PeerAddress, s.peers, s.log)
		if err != nil {
			return s.removed(err)
		}
		opts.Members, opts.Token = memberAddresses(admission), admission.Token
	}
	if s.member, err = member.Open(ctx, opts); err != nil {
		return s.removed(fmt.Errorf("open the etcd member: %w", err))
	}
	s.stack.Push("member", 0, func(context.Context) error { return s.member.Close() })
	s.stack.Go("watch over the member", 0, s.watchMember) //nolint:contextcheck // services live by the stack's contexts
	if err := s.member.WaitVoter(ctx); err != nil {
		return s.removed(fmt.Errorf("wait for the server's vote: %w", err))
	}
	if joins {
		s.log.Info("the server has its vote")
		if err := os.Remove(note); err != nil {
			return fmt.Errorf("finish joining: %w", err)
		}
	}
	return nil
}

// openStore reads the keyspace, as soon as there is a quorum to read it from. The run log is open.
func (s *Server) openStore(ctx context.Context) error {
	for {
		var err error
		s.Store, err = state.Open(ctx, state.Options{Client: s.member.Client(), Log: s.log, Now: s.opts.Now,
			Running: s.Runs.RunningOn, Elected: s.member.Elected})
		switch {
		case err == nil:
			s.stack.Push("state", 0, func(context.Context) error { return s.Store.Close() }) //nolint:contextcheck // as above
			return nil
		case crony.CodeOf(err) != crony.Unavailable || ctx.Err() != nil:
			return fmt.Errorf("open the state store: %w", err)
		}
		s.log.Warn("the keyspace can't be read yet: waiting for most of the servers to be up", "err", err)
		select {
		case <-time.After(time.Second):
		case <-s.member.Done():
			return s.removed(s.member.Err())
		case <-ctx.Done():
		}
	}
}

// watchMember ends the server when its member does.
func (s *Server) watchMember(ctx context.Context) error {
	select {
	case <-s.member.Done():
		return s.removed(s.member.Err())
	case <-ctx.Done():
		return nil
	}
}

// removed leaves a note in the data directory if an error says that the cluster has removed this server.
func (s *Server) removed(err error) error {
	if crony.CodeOf(err) != crony.Forbidden {
		return err
	}
	return errors.Join(err, bury(s.opts.Dir, s.opts.Now()))
}

// adopt takes over what the keyspace says of the authorities.
func (s *Server) adopt() error {
	record, _, ok := s.Store.Authority()
	if !ok {
		return crony.Errorf(crony.Internal, "the keyspace names no authority")
	}
	return s.id.adopt(record)
}

// serve starts the services.
func (s *Server) serve() error {
	metrics := prometheus.NewRegistry()
	if err := s.registerMetrics(metrics); err != nil {
		return err
	}
	var err error
	if s.replica, err = replica.New(replica.Options{Self: s.ID, Own: s.Runs, Peers: s.peers, Members: s.voters,
		Registerer: metrics, Log: s.log, Now: s.opts.Now}); err != nil {
		return err
	}
	calls, err := peers.New(peers.Options{Self: s.ID, Member: s.member, Status: s.status, RunLog: s.replica, Caller: hub.Caller,
		Log: s.log})
	if err != nil {
		return err
	}
	agents, err := hub.New(hub.Options{Server: s.ID, TLS: pki.ServerTLS(s.id.trust, s.id.own, pki.Agent, pki.Server),
		State: s.Store, Runs: records{s.Runs, s.replica}, Trust: s.id.trusted, Sign: s.signAgent, Ready: s.member.Ready, Peers: calls,
		Registerer: metrics, Log: s.log, Now: s.opts.Now})
	if err != nil {
		return err
	}
	if s.placement, err = placement.New(placement.Options{Server: s.ID, Store: s.Store, Unfinished: s.Runs.Unfinished,
		Grace: s.opts.Grace, Stay: s.opts.Stay, Registerer: metrics, Log: s.log, Now: s.opts.Now}); err != nil {
		return err
	}
	accounts, err := ledger.New(ledger.Options{Jobs: s.Store, Runs: account{s}, Now: s.opts.Now})
	if err != nil {
		return err
	}
	given, err := orders.New(s.orders())
	if err != nil {
		return err
	}
	told, err := callbacks.New(callbacks.Options{State: s.Store, Runs: records{s.Runs, s.replica}, Log: s.log, Now: s.opts.Now})
	if err != nil {
		return err
	}
	people, err := webui.New(webui.Options{
		Jobs: s.Store, Runs: runs{s.Runs, given, s.Store}, Outputs: s.Runs, Figures: s.Runs, Agents: fleet{s}, Ledger: accounts,
		Calendars: s.Store, Scripts: s.Store, Access: s.Store, Events: events{s},
		Cluster: s, Join: s.join, Callback: told.Take, Backup: s.backup, Revision: s.Store.Revision,
		LastRun: s.Runs.LastRun, Facts: s.facts, Ready: s.ready,
		Registerer: metrics, Gatherer: prometheus.Gatherers{metrics, prometheus.DefaultGatherer},
		PublicMetrics: s.opts.PublicMetrics, Log: s.log, Now: s.opts.Now})
	if err != nil {
		return err
	}
	web, err := s.secure(s.opts.People)
	if err != nil {
		return err
	}
	s.stack.Go("replication", 0, s.replica.Run) // under all that appends
	s.stack.Go("authorities", 0, s.followAuthority)
	s.stack.Go("upkeep", 0, func(ctx context.Context) error {
		return upkeep.Run(ctx, upkeep.Options{Self: s.ID, Store: s.member, Servers: s, Log: s.log, Now: s.opts.Now})
	})
	s.stack.Go("run log's upkeep", 0, s.keepRuns)
	s.stack.Go("leadership", 0, func(ctx context.Context) error {
		return s.Store.Lead(ctx, s.ID, s.member.Leading, s.lead)
	})
	s.stack.Go("hub", 0, func(ctx context.Context) error { return agents.Serve(ctx, s.opts.Agents) })
	s.stack.Go("registration", 0, s.register) // the first to go: agents are not told any more of a server that stops
	s.stack.Go("web server", 15*time.Second, func(ctx context.Context) error { return people.Serve(ctx, web) })
	return nil
}

// lead is all that the leader does beside what every server does.
func (s *Server) lead(ctx context.Context, term state.Term) error {
	duties, ctx := errgroup.WithContext(ctx)
	duties.Go(func() error { return s.placement.Run(ctx, term) })
	duties.Go(func() error { return s.Store.KeepSeen(ctx, term) })
	duties.Go(func() error { return ledger.Deliver(ctx, s.Store, records{s.Runs, s.replica}, s.log, s.opts.Now) })
	duties.Go(func() error { return locks.Run(ctx, s.Store, records{s.Runs, s.replica}, s.log, s.opts.Now) })
	duties.Go(func() error { return orders.Keep(ctx, term, s.orders()) })
	duties.Go(func() error {
		return lost.Run(ctx, lost.Options{Fleet: s.Store, Runs: records{s.Runs, s.replica}, Term: term, Log: s.log, Now: s.opts.Now})
	})
	return duties.Wait()
}

func (s *Server) orders() orders.Options {
	return orders.Options{State: s.Store, Runs: records{s.Runs, s.replica}, Log: s.log, Now: s.opts.Now}
}

// Wait returns nil when ctx is done, or why the server can't go on before that.
func (s *Server) Wait(ctx context.Context) error { return s.stack.Wait(ctx) }

// Close stops the server, the last part first.
func (s *Server) Close(ctx context.Context) error { return s.stack.Close(ctx) }
