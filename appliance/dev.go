package appliance

import (
	"context"
	"crypto/rand"
	_ "embed" // for the demo's jobs
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"crony"
	"crony/agent"
	"crony/internal/durable"
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
}

const (
	devDrain   = 10 * time.Second // for runs to end when it stops
	linkTTL    = time.Hour        // for the one-time link to be used
	renewFrom  = 30 * 24 * time.Hour
	devName    = "dev"
	adminName  = "admin"
	clientFile = "client.yaml"
)

// Dev runs a server and an agent in one process until ctx is done. What it keeps, it keeps in its directory: started again, it
// goes on where it was.
func Dev(ctx context.Context, opts DevOptions) (err error) {
	if err := loopback(opts.Listen); err != nil {
		return err
	}
	if err := makeDir(opts.Dir); err != nil {
		return err
	}
	ids, err := openIdentities(opts.Dir, time.Now())
	if err != nil {
		return err
	}
	server, err := openDevServer(ctx, opts, ids)
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
	dir := filepath.Join(opts.Dir, "agent")
	if err := agent.MoveIn(dir, ids.root.PEM(), ids.agent, nil); err != nil {
		return err
	}
	local, err := agent.New(agent.Options{Dir: dir, Version: version.Read().Version,
		Servers: []string{server.opts.Agents.Addr().String()}, Drain: devDrain, Log: opts.Log})
	if err != nil {
		return err
	}
	//nolint:contextcheck // the agent lives by the stack's contexts
	server.stack.Work("agent", devDrain+30*time.Second, func(taking, _ context.Context) error { return local.Run(taking) })
	if err := server.Wait(ctx); err != nil {
		return err
	}
	if n := running(server, ids.agentID); n > 0 {
		fmt.Fprintf(opts.Out, "\nstopping: runs that go on (%d) have %s to end; interrupt again to stop at once\n", n, devDrain)
	}
	return nil
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

func openDevServer(ctx context.Context, opts DevOptions, ids *identities) (*Server, error) {
	people, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, &crony.Error{Code: crony.Unavailable, Message: "listen on " + opts.Listen + ": " + cause(err).Error(),
			Hint: "choose another address with --listen", Err: err}
	}
	agents, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the agent: %w", err), people.Close())
	}
	return Open(ctx, Options{Dir: opts.Dir, Create: true, Root: ids.root, Leaf: ids.server, People: people,
		PeopleURL: "http://" + people.Addr().String(), Agents: agents, PublicMetrics: true, Log: opts.Log})
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
	token, err := server.Store.CreateToken(ctx, devName, adminName, crony.Admin)
	if err != nil {
		return fmt.Errorf("make a token for the command line: %w", err)
	}
	file := filepath.Join(opts.Dir, clientFile)
	config := fmt.Sprintf("# Written by crony dev at each start.\naddress: %s\ntoken: %s\n", server.opts.PeopleURL, token)
	if err := durable.WriteFile(file, []byte(config), 0o600); err != nil {
		return fmt.Errorf("write the command line's configuration: %w", err)
	}
	link, err := server.Store.CreateLink(ctx, "link-"+devName, adminName, crony.Admin, linkTTL)
	if err != nil {
		return fmt.Errorf("make a one-time link: %w", err)
	}
	fmt.Fprintf(opts.Out, `crony dev is ready.
  web app       %s
  sign in once  %s/login#%s
  command line  export CRONY_CONFIG=%s
`, server.opts.PeopleURL, server.opts.PeopleURL, link, file)
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

// identities are the authority of a crony in one process, and the certificates of its two parts.
type identities struct {
	root    *pki.Root
	server  *pki.Leaf
	agent   *pki.Leaf
	agentID string
}

// openIdentities reads the authority and the certificates in the data directory; it makes what is missing, and anew what
// ends soon.
func openIdentities(dir string, now time.Time) (*identities, error) {
	dir = filepath.Join(dir, "pki")
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	ca, err := pki.OpenCA(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if ca, err = pki.NewCA(newID(), now); err == nil {
			err = ca.Save(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the authority: %w", err)
	}
	ids := &identities{root: ca.Root()}
	if ids.server, _, err = openLeaf(ca, filepath.Join(dir, "server.pem"), pki.Server, now); err != nil {
		return nil, err
	}
	ids.agent, ids.agentID, err = openLeaf(ca, filepath.Join(dir, "agent.pem"), pki.Agent, now)
	return ids, err
}

// openLeaf reads a certificate, or makes it; it returns it with the id that it names. One that ends soon is made anew for
// the same id.
func openLeaf(ca *pki.CA, path string, role pki.Role, now time.Time) (*pki.Leaf, string, error) {
	id := newID()
	leaf, err := pki.OpenLeaf(path)
	if err == nil {
		cert, err := leaf.Certificate()
		if err != nil {
			return nil, "", err
		}
		who, err := pki.IdentityOf(cert.Leaf)
		if err != nil {
			return nil, "", fmt.Errorf("read %s: %w", path, err)
		}
		if cert.Leaf.NotAfter.Sub(now) > renewFrom {
			return leaf, who.ID, nil
		}
		id = who.ID
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	if leaf, err = ca.Issue(pki.Identity{Role: role, ID: id}, nil, now); err != nil {
		return nil, "", fmt.Errorf("issue a certificate: %w", err)
	}
	if err := leaf.Save(path); err != nil {
		return nil, "", fmt.Errorf("save a certificate: %w", err)
	}
	return leaf, id, nil
}

// newID returns 16 random letters and digits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }
