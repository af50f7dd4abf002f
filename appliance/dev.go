package appliance

import (
	"context"
	_ "embed" // for the demo's jobs
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"crony"
	"crony/agent"
	"crony/internal/pki"
	"crony/internal/version"
)

// DevOptions say how a crony in one process is run.
type DevOptions struct {
	Dir    string // of all its data, made if need be
	Listen string // HOST:PORT for people, on loopback: it speaks plain HTTP
	Demo   bool   // define a few small jobs, unless they are there
	Out    io.Writer
	Log    *slog.Logger

	Launches bool // see [agent.Options]
}

const (
	devDrain = 10 * time.Second // for runs to end when it stops
	devName  = "dev"
)

// Dev runs a server and an agent in one process until ctx is done. What it keeps, it keeps in its directory: started again, it
// goes on where it was. The directory is a server's like any other, so that `crony server` can open it when a trial is over.
func Dev(ctx context.Context, opts DevOptions) (err error) {
	if err := loopback(opts.Listen); err != nil {
		return err
	}
	if err := devData(ctx, opts); err != nil {
		return err
	}
	server, err := openDevServer(ctx, opts)
	if err != nil {
		return err
	}
	stopping := context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, server.Close(stopping)) }()

	if err := welcome(ctx, opts, server); err != nil {
		return err
	}
	if opts.Demo {
		if err := defineDemo(ctx, server); err != nil {
			return err
		}
	}
	local, err := devAgent(opts, server)
	if err != nil {
		return err
	}
	//nolint:contextcheck // the agent lives by the stack's contexts
	server.stack.Work("agent", devDrain+30*time.Second, func(taking, _ context.Context) error { return local.Run(taking) })
	if err := server.Wait(ctx); err != nil {
		return err
	}
	if n := running(server, local.ID()); n > 0 {
		fmt.Fprintf(opts.Out, "\nstopping: runs that go on (%d) have %s to end; interrupt again to stop at once\n", n, devDrain)
	}
	return nil
}

// devData makes the directory of a trial, unless it is there.
func devData(ctx context.Context, opts DevOptions) error {
	if err := checkServerDir(opts.Dir); crony.CodeOf(err) == crony.NotFound {
		_, err := Found(ctx, FoundOptions{Dir: opts.Dir, Name: devName, Log: opts.Log})
		return err
	}
	if trial, err := isTrial(opts.Dir); err != nil || trial {
		return err
	}
	return crony.Errorf(crony.Conflict, "%s is the data of a cluster's server", opts.Dir).
		WithHint("`crony server` starts it; give crony dev a directory of its own with --data-dir")
}

// running counts the agent's runs that have started and not ended.
func running(server *Server, agent string) int {
	n := 0
	for _, run := range server.Runs.Unfinished(agent) {
		if run.State == crony.Running {
			n++
		}
	}
	return n
}

// loopback refuses an address that others could reach.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return crony.Errorf(crony.Invalid, "--listen %q is no address", address).WithHint("write it as 127.0.0.1:8470")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return crony.Errorf(crony.Invalid, "--listen %q is not on loopback", address).
			WithHint("crony dev speaks plain HTTP, so only this host may reach it: 127.0.0.1:8470")
	}
	return nil
}

func openDevServer(ctx context.Context, opts DevOptions) (*Server, error) {
	people, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, unheard("--listen", opts.Listen, err)
	}
	agents, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the agent: %w", err), people.Close())
	}
	return Open(ctx, Options{Dir: opts.Dir, People: people, PeopleURL: "http://" + people.Addr().String(), Agents: agents,
		PublicMetrics: true, Log: opts.Log})
}

// unheard says that an address can't be listened on, and where it was given.
func unheard(where, address string, err error) error {
	return &crony.Error{Code: crony.Unavailable, Message: "listen on " + address + ": " + cause(err).Error(),
		Hint: "choose another address with " + where, Err: err}
}

// devAgent makes the agent of the process. It is made known to the server without a token: both are one.
func devAgent(opts DevOptions, server *Server) (*agent.Agent, error) {
	dir := filepath.Join(opts.Dir, agentDir)
	settled, err := agent.Settled(dir)
	if err == nil && !settled {
		var leaf *pki.Leaf
		if leaf, err = server.Issue(pki.Agent, newID()); err == nil {
			err = agent.MoveIn(dir, server.Trust().PEM(), leaf, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	return agent.New(agent.Options{Dir: dir, Version: version.Read().Version, Servers: []string{server.opts.Agents.Addr().String()},
		Drain: devDrain, Launches: opts.Launches, Log: opts.Log})
}

// cause returns the last of a chain of errors: what the kernel said.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// welcome writes the file that the command line reads, and says how to sign in.
func welcome(ctx context.Context, opts DevOptions, server *Server) error {
	url := server.opts.PeopleURL
	file, err := writeClient(ctx, opts.Dir, devName, url, server.Store)
	if err != nil {
		return err
	}
	link, err := makeLink(ctx, "link-"+devName, url, server.Store)
	if err != nil {
		return err
	}
	fmt.Fprintf(opts.Out, `crony dev is ready.
  web app       %s
  sign in once  %s
  command line  export CRONY_CONFIG=%s
`, url, link, file)
	return nil
}

//go:embed demo.yaml
var demo []byte

// defineDemo defines the demo's jobs that are not there. One that was changed stays changed.
func defineDemo(ctx context.Context, server *Server) error {
	m, err := crony.DecodeManifest(demo)
	if err != nil {
		return err
	}
	for _, job := range m.Jobs {
		absent := int64(0)
		_, err := server.Store.Define(crony.WithActor(ctx, devName), crony.Manifest{Jobs: []crony.Job{job}},
			crony.ApplyOptions{IfGeneration: &absent})
		if err != nil && crony.CodeOf(err) != crony.Conflict {
			return fmt.Errorf("define the demo's jobs: %w", err)
		}
	}
	return nil
}
