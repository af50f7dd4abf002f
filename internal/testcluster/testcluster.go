// Package testcluster starts real servers and agents in a test, wired as in production: real etcd, real bbolt, real mTLS,
// real processes. Only the ports are free ones and the directories a test's own.
//
// The one thing to know: [Start] returns a cluster that is ready, and everything that it starts is stopped when the test
// ends. Waiting is by [Cluster.Wait], which polls one condition and prints the state of the cluster when it is not met.
package testcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/agent"
	"crony/appliance"
	"crony/internal/pki"
	"crony/sdk"
)

// Cluster is one server and its agents.
type Cluster struct {
	*sdk.Client // as an admin

	URL     string // of the server, for people
	Token   string // an admin's
	Address string // of the server, for agents
	Dir     string

	t      testing.TB
	log    *slog.Logger
	server *appliance.Server
	tells  string // the address that agents are told of; "": the server's own
	agents map[string]*node
}

// node is one agent.
type node struct {
	stop context.CancelFunc
	done chan error
}

// patience is how long a condition may take on a busy machine.
const patience = 30 * time.Second

// Start starts a server and n agents, whose ids are a1, a2 and so on.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Dir: t.TempDir(), log: slog.New(slog.NewTextHandler(testWriter(t), nil)), agents: map[string]*node{}}
	if _, err := appliance.Found(t.Context(), appliance.FoundOptions{Dir: c.serverDir(), Name: "s1", Log: c.log}); err != nil {
		t.Fatal(err)
	}
	c.startServer("127.0.0.1:0", "127.0.0.1:0")
	t.Cleanup(c.stop)
	for i := range n {
		c.StartAgent(fmt.Sprintf("a%d", i+1))
	}
	c.Wait(fmt.Sprintf("%d agents to connect", n), func() bool {
		agents, err := c.ListAgents(t.Context())
		return err == nil && len(Up(agents)) == n
	})
	return c
}

// Up returns those of the agents that are connected.
func Up(agents []crony.AgentStatus) []crony.AgentStatus {
	return slices.DeleteFunc(slices.Clone(agents), func(a crony.AgentStatus) bool { return !a.Up })
}

func (c *Cluster) serverDir() string { return filepath.Join(c.Dir, "server") }

func (c *Cluster) issue(role pki.Role, id string) *pki.Leaf {
	leaf, err := c.server.Issue(role, id)
	if err != nil {
		c.t.Fatal(err)
	}
	return leaf
}

func (c *Cluster) startServer(people, agents string) {
	c.t.Helper()
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			c.t.Fatal(err)
		}
		return l
	}
	web, link := listen(people), listen(agents)
	c.URL, c.Address = "http://"+web.Addr().String(), link.Addr().String()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	c.server, err = appliance.Open(ctx, appliance.Options{
		Dir: c.serverDir(), People: web, PeopleURL: c.URL, Agents: link, AgentsAddress: c.tells, PublicMetrics: true, Log: c.log})
	if err != nil {
		c.t.Fatal(err)
	}
	if c.Token, err = c.server.Store.CreateToken(ctx, "test", "tester", crony.Admin); err != nil {
		c.t.Fatal(err)
	}
	if c.Client, err = sdk.New(sdk.Options{Address: c.URL, Token: c.Token}); err != nil {
		c.t.Fatal(err)
	}
}

// Server returns the server, for what no client can do. It is another one after [Cluster.RestartServer].
func (c *Cluster) Server() *appliance.Server { return c.server }

// Link returns the token of a fresh one-time link.
func (c *Cluster) Link() string {
	link, err := c.server.Store.CreateLink(c.t.Context(), "link-test", "tester", crony.Admin, time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	return link
}

// RestartServer stops the server and starts it again on its data and its addresses.
func (c *Cluster) RestartServer() {
	c.t.Helper()
	c.stopServer()
	c.startServer(c.URL[len("http://"):], c.Address)
}

// Tell restarts the server, which from then on tells agents that it is at an address, such as that of a proxy before it.
func (c *Cluster) Tell(address string) {
	c.t.Helper()
	c.tells = address
	c.RestartServer()
}

// StartAgent starts the agent of an id, on the directory that it had before if there was one.
func (c *Cluster) StartAgent(id string) {
	c.t.Helper()
	n := c.agents[id]
	if n == nil {
		n = &node{}
		c.agents[id] = n
		if err := agent.MoveIn(filepath.Join(c.Dir, id), c.server.Trust().PEM(), c.issue(pki.Agent, id), nil); err != nil {
			c.t.Fatal(err)
		}
	}
	a, err := agent.New(agent.Options{Dir: filepath.Join(c.Dir, id), Name: id, Version: "test", Servers: []string{c.Address},
		Drain: time.Second, Log: c.log.With("on", id)})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.done = stop, make(chan error, 1)
	go func() { n.done <- a.Run(ctx) }()
}

// StopAgent stops an agent and waits until it has.
func (c *Cluster) StopAgent(id string) {
	c.t.Helper()
	n := c.agents[id]
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	if err := <-n.done; err != nil {
		c.t.Errorf("agent %s: %v", id, err)
	}
}

// Agent makes the client's side of a link for a test that speaks the protocol itself: the certificate of an agent's id.
func (c *Cluster) Agent(id string) (*pki.Trust, *pki.Leaf) {
	return c.server.Trust(), c.issue(pki.Agent, id)
}

// Apply applies a manifest.
func (c *Cluster) Apply(manifest string) {
	c.t.Helper()
	if _, err := c.Client.Apply(c.t.Context(), []byte(manifest), false); err != nil {
		c.t.Fatal(err)
	}
}

// AllRuns returns every run of a job, the newest first.
func (c *Cluster) AllRuns(job string) []crony.Run {
	c.t.Helper()
	var all []crony.Run
	for q := (crony.RunQuery{Job: job, Limit: crony.MaxLimit}); ; {
		page, err := c.ListRuns(c.t.Context(), q)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

// Text returns what is kept of one stream of a run.
func (c *Cluster) Text(id crony.RunID, stream crony.Stream) string {
	c.t.Helper()
	var b bytes.Buffer
	for chunk, err := range c.Output(c.t.Context(), id, false) {
		if err != nil {
			c.t.Fatal(err)
		}
		if chunk.Stream == stream {
			b.Write(chunk.Data)
		}
	}
	return b.String()
}

// Wait polls a condition until it is met. If it is not, the test fails, with the state of the cluster.
func (c *Cluster) Wait(what string, met func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for !met() {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %s for %s\n%s", patience, what, c.state())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// state describes the cluster for the log of a failed test.
func (c *Cluster) state() string {
	jobs, jobsErr := c.ListJobs(context.Background(), crony.JobQuery{})
	runs, runsErr := c.ListRuns(context.Background(), crony.RunQuery{Limit: 20})
	agents, agentsErr := c.ListAgents(context.Background())
	data, err := json.MarshalIndent(map[string]any{"jobs": jobs.Items, "newest runs": runs.Items, "agents": agents}, "", " ")
	return fmt.Sprintf("%s\nerrors: %v %v %v %v", data, jobsErr, runsErr, agentsErr, err)
}

func (c *Cluster) stopServer() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.server.Close(ctx); err != nil {
		c.t.Errorf("server: %v", err)
	}
}

func (c *Cluster) stop() {
	for id := range c.agents {
		c.StopAgent(id)
	}
	c.stopServer()
}

// writer sends a log to the test's own, until the test has ended: what is logged later has nobody to read it.
type writer struct {
	mu sync.Mutex
	t  testing.TB
}

func testWriter(t testing.TB) *writer {
	w := &writer{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return w
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(bytes.TrimRight(p, "\n")))
	}
	return len(p), nil
}
