// Package agent is a host's part of the fleet: it holds the schedules of the jobs that are assigned to it, claims each
// occurrence shortly before it is due, runs it as a process, and reports what happened until the servers have it on disk.
//
// The one thing to know: a run is in the agent's journal before anything of it happens, and leaves it only when a server has
// acknowledged all of it. Output goes from the process straight into files, not through the agent. So a run survives the
// agent: after a crash the next agent on the same directory finds it by the journal, reads on in its files, and reports it.
//
// The parts, each a file: the link to a server (link.go), the loop that knows what is due (loop.go over timetable.go), the
// scripts that prepare the host (prepare.go), the runner of processes and calls (runner.go, call.go), the reporter
// (reporter.go), the bounds of what waits (spool.go) and the journal (journal.go). What a crash leaves is taken up in
// recover.go. The agent never talks to the state store, runs nothing but what it has claimed and what prepares for that, and
// starts nothing that may have started before: what became of it is then lost, and said so.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"crony"
	"crony/agent/callback"
)

// Options is what an Agent is made of.
type Options struct {
	Dir     string            // its own directory, made by [Join] or [MoveIn]; one agent at a time
	Name    string            // for people; the hostname if empty
	Labels  map[string]string // for placement
	Weight  int               // its share of the jobs; 1 if 0
	MaxJobs int               // that it is given; any number if 0
	Version string            // of the program
	Servers []string          // HOST:PORT of servers' ports for agents, beside those that the directory knows
	Drain   time.Duration     // how long runs may go on when the agent stops, before they are killed; below 0: as long as they take

	SpoolSize     crony.Size // most that what is not delivered may take of the disk; 1 GiB if 0
	SpoolFree     crony.Size // what it leaves free of the disk, but no more than 5 %; 64 MiB if 0
	Allow         Allow      // what runs may be
	Cgroup        string     // directory of the cgroup below which runs have theirs; the agent's own if empty
	MetricsListen string     // HOST:PORT for /metrics and /livez; "": nowhere

	CallLinkLocal bool // HTTP and gRPC jobs may call link-local addresses
	Launches      bool // the program calls [Launch] first of all; without that no run has rlimits

	Log *slog.Logger
	Now func() time.Time // the wall clock; time.Now if nil
}

// Agent runs jobs. New makes one; Run is its life.
type Agent struct {
	opts Options
	log  *slog.Logger
	id   *identity
	self crony.Agent
}

// New returns an agent that does nothing yet. The error is NotFound if the directory is no agent's.
func New(opts Options) (*Agent, error) {
	if opts.Dir == "" || opts.Log == nil {
		return nil, errors.New("agent: Dir and Log are required")
	}
	id, err := openIdentity(opts.Dir)
	if err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.SpoolSize, opts.SpoolFree = cmp.Or(opts.SpoolSize, defaultSpool), cmp.Or(opts.SpoolFree, defaultFree)
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for the host's name: %w", err)
	}
	if opts.Name == "" {
		opts.Name = hostname
	}
	return &Agent{opts: opts, log: opts.Log.With("part", "agent"), id: id, self: crony.Agent{
		Name: opts.Name, Hostname: hostname, Version: opts.Version, OS: runtime.GOOS, Arch: runtime.GOARCH,
		Labels: opts.Labels, Weight: max(opts.Weight, 1), MaxJobs: opts.MaxJobs, Lacks: lacks()}}, nil
}

// ID returns the agent's id, as in its certificate.
func (a *Agent) ID() string { return a.id.who.ID }

// flushWait is how long a stopping agent waits for a server to take its last reports. What is not taken then is in the
// journal and is reported by the next agent.
const flushWait = 5 * time.Second

// ErrRenew ends a context when the process is to become the agent's next life, by execve(2), which has another configuration or
// is of another version: the processes of its runs stay its children.
var ErrRenew = errors.New("the agent is to begin anew")

// Run is the agent's life, until ctx is done: it then starts nothing more, waits for its runs as long as Drain says, kills
// what is left, and delivers its reports. With Drain below 0, or if ctx ends with [ErrRenew], its runs go on, and the next life
// takes them up.
func (a *Agent) Run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(a.opts.Dir, outputDir), 0o700); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	lock, err := lockDir(a.opts.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	journal, err := openJournal(filepath.Join(a.opts.Dir, "journal"), a.log)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	defer journal.close() //nolint:errcheck // every entry is written when it is added
	journal.reserve(int64(a.opts.SpoolSize))

	working, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx until runs have ended
	defer stop()
	link := newLink(a.id, a.opts.Servers, a.self, journal.runs, a.opts.Now, a.log)
	host := newWatcher(a.opts.Dir, a.opts.Now, link.post, a.log)
	link.watched = host.turn
	reporter := newReporter(journal, link, a.opts.Now, a.log)
	reporter.spool = spool{dir: a.opts.Dir, size: int64(a.opts.SpoolSize), free: int64(a.opts.SpoolFree)}
	runner, err := newRunner(a.ID(), a.opts.Dir, journal, reporter, a.opts.Now, a.log)
	if err != nil {
		return err
	}
	runner.caller, runner.urls = callback.NewCaller(callback.Options{AllowLinkLocal: a.opts.CallLinkLocal}), a.id.urls
	boots, err := openBoots(a.opts.Dir)
	if err != nil {
		return err
	}
	loop := newLoop(link, runner, journal, boots, a.opts.Now, a.log)

	runner.allow, runner.launches = a.opts.Allow, a.opts.Launches
	reap, undo := runner.contain(a.opts.Cgroup)
	defer undo()
	recovered := runner.recover()
	runner.begin()
	services, working := errgroup.WithContext(working)
	services.Go(func() error { return link.run(working, loop.inbox, reporter) })
	services.Go(func() error { return reporter.run(working) })
	services.Go(func() error { return host.run(working) })
	services.Go(func() error { return reap(working) })
	if a.opts.MetricsListen != "" {
		services.Go(func() error { return a.serveMetrics(working, &watched{journal, reporter, runner, link, loop}) })
	}
	services.Go(func() error {
		defer stop()
		starting, release := joined(ctx, working)
		defer release()
		loop.run(starting, recovered)
		services.Go(func() error { return loop.ignore(working) })
		renews := errors.Is(context.Cause(ctx), ErrRenew)
		switch {
		case renews:
			runner.leave(renewPatience)
		case a.opts.Drain < 0:
			runner.leave(callPatience)
		default:
			runner.drain(a.opts.Drain)
		}
		if !renews { // else nothing is to be late for it
			reporter.flush(flushWait)
		}
		return nil
	})
	return services.Wait()
}

// lockWait is how long a directory may still be locked by what the last agent has left: a process that it was just forking has
// the lock until it has become another program.
const lockWait = time.Second

// lockDir makes the directory this process's own: two agents would write over each other's journal.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the agent's directory: %w", err)
	}
	for began := time.Now(); ; time.Sleep(lockWait / 20) {
		if err = lockFile(lock); err == nil || time.Since(began) > lockWait {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&crony.Error{Code: crony.Conflict, Message: "another agent uses the directory " + dir,
			Hint: "stop it, or give each its own dir", Err: err}, lock.Close())
	}
	return lock, nil
}

// joined returns a context that is done when either of two is, and what releases it.
func joined(a, b context.Context) (context.Context, func()) {
	both, cancel := context.WithCancelCause(b)
	stop := context.AfterFunc(a, func() { cancel(context.Cause(a)) })
	return both, func() {
		stop()
		cancel(context.Canceled)
	}
}
