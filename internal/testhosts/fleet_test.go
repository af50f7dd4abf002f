package testhosts_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/testhosts"
)

// fleet is a cluster of the real programs on hosts of their own: a server on each of the first hosts, an agent on each of the
// others.
type fleet struct {
	*testhosts.Lab

	t       *testing.T
	bin     string
	servers []*server
	agents  []*agent
	out     string                      // where the jobs write: the hosts share the machine's files
	extra   string                      // what is in each server's configuration besides
	clocks  map[string]*testhosts.Clock // by host: of its programs; nil: the machine's

	observer *observer // of a fleet that is judged
}

type server struct {
	*testhosts.Host
	proc *testhosts.Process
	data string
	conf string
	gone bool
}

type agent struct {
	*testhosts.Host
	proc *testhosts.Process
	conf string
}

// programs builds both programs, once for all tests of this binary.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build(t, dir, "./cmd/crony", "./cmd/crony-agent")
	return dir
}

func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as they are shipped; and they start sooner
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// newFleet makes a cluster and waits until it is whole.
func newFleet(t *testing.T, servers, agents int) *fleet {
	t.Helper()
	f := &fleet{t: t, Lab: testhosts.New(t, servers+agents), bin: programs(t)}
	f.form(servers, agents)
	f.Wait(time.Minute, "the cluster to be whole", func() bool { return f.up() == servers && f.connected() == agents })
	return f
}

// form makes the first hosts a cluster, and the others its agents.
func (f *fleet) form(servers, agents int) {
	f.t.Helper()
	f.out = filepath.Join(f.Dir, "out")
	if err := os.Mkdir(f.out, 0o700); err != nil {
		f.t.Fatal(err)
	}
	for i, h := range f.Hosts()[:servers+agents] {
		if i < servers {
			dir := filepath.Join(h.Dir, "server")
			if i == 2 {
				dir = h.Disk("server", "1g") // one that can be filled
			}
			f.servers = append(f.servers, f.server(h, dir))
		} else {
			f.agents = append(f.agents, &agent{Host: h, conf: filepath.Join(h.Dir, "agent.yaml")})
		}
	}
	f.run(f.servers[0].Host, "crony", "cluster", "init", "-c", f.servers[0].conf, "--recovery-key", f.recoveryKey())
	f.start(f.servers[0])
	f.ready(f.servers[0])
	for _, s := range f.servers[1:] {
		f.joinServer(s)
	}
	for _, a := range f.agents {
		f.joinAgent(a)
	}
}

func (f *fleet) server(h *testhosts.Host, data string) *server {
	s := &server{Host: h, data: data, conf: filepath.Join(h.Dir, "crony.yaml")}
	config := fmt.Sprintf("dir: %s\nname: %s\nmetrics: {public: true}\n%s", data, h.Name, strings.ReplaceAll(f.extra, "HOST", h.IP))
	if err := os.WriteFile(s.conf, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *fleet) joinServer(s *server, args ...string) {
	f.t.Helper()
	token := f.token("server")
	f.run(s.Host, "crony", append([]string{"cluster", "join", f.first().url(), "--token", token, "-c", s.conf}, args...)...)
	f.start(s)
	f.ready(s)
}

func (f *fleet) joinAgent(a *agent) {
	f.t.Helper()
	f.run(a.Host, "crony-agent", "join", f.first().url(), "--token", f.token("agent"), "-c", a.conf,
		"--dir", filepath.Join(a.Dir, "agent"), "--name", a.Name)
	f.startAgent(a)
}

func (f *fleet) startAgent(a *agent) {
	a.proc = f.program(a.Host, "agent", "crony-agent", "run", "-c", a.conf)
}

func (f *fleet) start(s *server) {
	s.proc = f.program(s.Host, "server", "crony", "server", "-c", s.conf)
}

// program starts one of the programs in a host, by the host's clock if it has one. These hosts share processors, which hosts in
// the world don't: what servers do is not to take time from an agent, nor from what it starts.
func (f *fleet) program(h *testhosts.Host, log, name string, args ...string) *testhosts.Process {
	command := append([]string{filepath.Join(f.bin, name)}, args...)
	if clock := f.clocks[h.Name]; clock != nil {
		command = append([]string{"env", clock.Env()}, command...)
	}
	p := h.Start(log, command[0], command[1:]...)
	switch {
	case f.clocks == nil:
	case name == "crony":
		p.Weigh(10)
	default:
		p.Weigh(-10)
	}
	return p
}

func (s *server) url() string { return "https://" + s.IP + ":8470" }

// ready waits until a server answers that it is.
func (f *fleet) ready(s *server) {
	f.t.Helper()
	f.Wait(time.Minute, s.Name+" to be ready", func() bool {
		_, err := f.ask(s, "cluster", "status", "-o", "json")
		return err == nil
	})
}

// first is a server that is there.
func (f *fleet) first() *server {
	for _, s := range f.servers {
		if !s.gone {
			return s
		}
	}
	f.t.Fatal("no server is left")
	return nil
}

// run runs a program in a host; it must succeed.
func (f *fleet) run(h *testhosts.Host, program string, args ...string) string {
	f.t.Helper()
	out, complaint, err := h.Run(nil, filepath.Join(f.bin, program), args...)
	if err != nil {
		f.Dump()
		f.t.Fatalf("on %s: %s %s: %v\n%s%s", h.Name, program, strings.Join(args, " "), err, out, complaint)
	}
	return out
}

// ask runs the command line against a server, on its host.
func (f *fleet) ask(s *server, args ...string) (string, error) {
	env := []string{"CRONY_CONFIG=" + filepath.Join(f.servers[0].data, "client.yaml"), "CRONY_ADDRESS=" + s.url()}
	out, complaint, err := s.Run(env, filepath.Join(f.bin, "crony"), args...)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, complaint)
	}
	return out, err
}

// must asks, and must have an answer.
func (f *fleet) must(s *server, args ...string) string {
	f.t.Helper()
	out, err := f.ask(s, args...)
	if err != nil {
		f.Dump()
		f.t.Fatalf("%s: crony %s: %v", s.Name, strings.Join(args, " "), err)
	}
	return out
}

func (f *fleet) token(role string) string {
	f.t.Helper()
	var token crony.JoinToken
	f.decode(f.must(f.first(), "token", "create", "--for", role, "-o", "json"), &token)
	return token.Secret
}

func (f *fleet) decode(text string, v any) {
	f.t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		f.t.Fatalf("%v: %s", err, text)
	}
}

// status is the cluster as a server sees it; false if it does not answer.
func (f *fleet) status(s *server) (crony.ClusterStatus, bool) {
	out, _ := f.ask(s, "cluster", "status", "-o", "json") // it fails without a quorum, and answers all the same
	var status crony.ClusterStatus
	return status, json.Unmarshal([]byte(out), &status) == nil
}

func (f *fleet) up() int {
	status, _ := f.status(f.first())
	n := 0
	for _, s := range status.Servers {
		if s.State == crony.ServerUp {
			n++
		}
	}
	return n
}

func (f *fleet) connected() int {
	status, _ := f.status(f.first())
	n := 0
	for _, s := range status.Servers {
		n += s.Connected
	}
	return n
}

// alike reports whether each server has compared its run log with all others since an instant, and lacks nothing.
func (f *fleet) alike(since time.Time) bool {
	status, ok := f.status(f.first())
	for _, s := range status.Servers {
		if s.RunLog == nil || !s.RunLog.Whole || len(s.RunLog.Others) != len(status.Servers)-1 {
			return false
		}
		for _, o := range s.RunLog.Others {
			if o.Behind > 0 || o.DifferingDays > 0 || o.ComparedAt.Before(since) {
				return false
			}
		}
	}
	return ok
}

// leader returns the server that leads, as others than some see it.
func (f *fleet) leader(but ...*server) *server {
	f.t.Helper()
	var leader *server
	f.Wait(30*time.Second, "a leader", func() bool {
		for _, s := range f.servers {
			if s.gone || contains(but, s) {
				continue
			}
			status, ok := f.status(s)
			for _, l := range f.servers {
				for _, r := range status.Servers {
					if ok && r.ID == status.Leader && r.Name == l.Name && !contains(but, l) {
						leader = l
						return true
					}
				}
			}
		}
		return false
	})
	return leader
}

func contains(list []*server, s *server) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// holding returns the server that holds the stream of an agent.
func (f *fleet) holding(a *agent) *server {
	var agents []crony.AgentStatus
	f.decode(f.must(f.first(), "agent", "list", "-o", "json"), &agents)
	status, _ := f.status(f.first())
	for _, x := range agents {
		for _, r := range status.Servers {
			for _, s := range f.servers {
				if x.Name == a.Name && x.Server == r.ID && s.Name == r.Name {
					return s
				}
			}
		}
	}
	return nil
}

// secondly defines n jobs that come due each second, and write down when they were due.
func (f *fleet) secondly(n int) []string {
	f.t.Helper()
	var names []string
	var manifest strings.Builder
	manifest.WriteString("jobs:\n")
	for i := range n {
		name := fmt.Sprintf("tick-%d", i)
		names = append(names, name)
		fmt.Fprintf(&manifest, "  - {name: %s, schedule: '* * * * * *', shell: {command: 'echo $CRONY_SCHEDULED_AT >>%s/%s'}}\n", name, f.out, name)
	}
	file := filepath.Join(f.Dir, "jobs.yaml")
	if err := os.WriteFile(file, []byte(manifest.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.must(f.first(), "job", "apply", "-f", file)
	for _, name := range names {
		f.Wait(30*time.Second, name+" to run", func() bool { return len(f.ticks(name)) > 1 })
	}
	return names
}

// ticks returns when a job ran for, in order.
func (f *fleet) ticks(name string) []time.Time {
	file, err := os.Open(filepath.Join(f.out, name))
	if err != nil {
		return nil
	}
	defer file.Close()
	var list []time.Time
	for lines := bufio.NewScanner(file); lines.Scan(); {
		at, err := time.Parse(time.RFC3339, lines.Text())
		if err != nil {
			f.t.Fatalf("%s wrote %q", name, lines.Text())
		}
		list = append(list, at)
	}
	sort.Slice(list, func(i, k int) bool { return list[i].Before(list[k]) })
	return list
}

// unbroken waits until each job has run for a time after now, and fails if any second between its first run and that was left out
// or was run twice.
func (f *fleet) unbroken(names []string) {
	f.t.Helper()
	until := time.Now().Add(2 * time.Second)
	for _, name := range names {
		f.Wait(30*time.Second, name+" to run again", func() bool {
			list := f.ticks(name)
			return len(list) > 0 && list[len(list)-1].After(until)
		})
		list := f.ticks(name)
		for i := 1; i < len(list); i++ {
			if gap := list[i].Sub(list[i-1]); gap != time.Second {
				f.t.Errorf("%s ran for %s and next for %s\n%s", name, list[i-1].Format(time.TimeOnly), list[i].Format(time.TimeOnly),
					f.explained(name, list[i-1].Add(time.Second)))
			}
		}
	}
}

// explained is what each server that answers has to say of an occurrence.
func (f *fleet) explained(name string, at time.Time) string {
	var b strings.Builder
	for _, s := range f.servers {
		out, err := f.ask(s, "explain", name, "--at", at.Format(time.RFC3339))
		fmt.Fprintf(&b, "%s: %s%v\n", s.Name, out, err)
	}
	return b.String()
}

// runOn waits until each job has run for a time after now, and fails if any ran twice for the same time.
func (f *fleet) runOn(names []string) {
	f.t.Helper()
	until := time.Now().Add(2 * time.Second)
	for _, name := range names {
		f.Wait(30*time.Second, name+" to run again", func() bool {
			list := f.ticks(name)
			return len(list) > 0 && list[len(list)-1].After(until)
		})
		list := f.ticks(name)
		for i := 1; i < len(list); i++ {
			if list[i].Equal(list[i-1]) {
				f.t.Errorf("%s ran twice for %s", name, list[i].Format(time.TimeOnly))
			}
		}
	}
}

// writable waits until a job can be changed by a server, and returns how long that took.
func (f *fleet) writable(s *server) time.Duration {
	f.t.Helper()
	return f.Wait(30*time.Second, "writes through "+s.Name, func() bool {
		_, err := f.ask(s, "job", "pause", "marker")
		return err == nil
	})
}
