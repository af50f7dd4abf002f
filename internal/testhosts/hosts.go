// Package testhosts makes hosts for tests: network namespaces on a bridge, each with an address of its own, in which the real
// programs run as processes. Hosts can be cut off from each other, lose packets, change their address; processes can be
// killed, frozen, and started again.
//
// The one thing to know: it takes root, and touches nothing of the machine's own network: the bridge is in a namespace too, and
// the test is not on it. So a test speaks to a host's programs by running a program in the host.
package testhosts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lab is a bridge with hosts.
type Lab struct {
	Dir string // of the test: each host has its own in it

	t     testing.TB
	name  string
	hosts []*Host
}

// Host is one host.
type Host struct {
	Name string // h1, h2, ...
	IP   string
	Dir  string // for its data; on no file system of its own

	lab   *Lab
	ns    string
	veth  string // its end of the cable at the bridge
	procs []*Process
}

// New makes n hosts. The test is skipped where that can't be done: unless CRONY_REQUIRE_ALL is set, when it fails.
func New(t testing.TB, n int) *Lab {
	t.Helper()
	if why := missing(); why != "" {
		if os.Getenv("CRONY_REQUIRE_ALL") != "" {
			t.Fatal("hosts can't be made: " + why)
		}
		t.Skip("hosts can't be made: " + why)
	}
	// The kernel's names of interfaces have 15 characters at most.
	l := &Lab{t: t, Dir: t.TempDir(), name: fmt.Sprintf("cr%d", os.Getpid()%100000)}
	for i := 0; exec.Command("ip", "netns", "add", l.bridge()).Run() != nil; i++ {
		if i == 100 {
			t.Fatal("no namespace can be made")
		}
		l.name = fmt.Sprintf("cr%dx%d", os.Getpid()%100000, i)
	}
	t.Cleanup(l.close)
	l.must("ip", "-n", l.bridge(), "link", "add", "br0", "type", "bridge")
	l.must("ip", "-n", l.bridge(), "link", "set", "br0", "up")
	for range n {
		l.Add()
	}
	return l
}

func missing() string {
	if os.Geteuid() != 0 {
		return "that takes root"
	}
	for _, tool := range []string{"ip", "nft", "nsenter", "strace"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "there is no " + tool
		}
	}
	ns := fmt.Sprintf("cr%dp", os.Getpid())
	defer exec.Command("ip", "netns", "del", ns).Run() //nolint:errcheck // it may not have been made
	for _, try := range []string{"netns add " + ns, "-n " + ns + " link add br0 type bridge",
		"-n " + ns + " link add v0 type veth peer name v1", "netns exec " + ns + " nft list ruleset"} {
		if out, err := exec.Command("ip", strings.Fields(try)...).CombinedOutput(); err != nil { // root in a container may not
			return fmt.Sprintf("ip %s: %v: %s", try, err, bytes.TrimSpace(out))
		}
	}
	return ""
}

func (l *Lab) bridge() string { return l.name + "b" }

// Add makes one more host.
func (l *Lab) Add() *Host {
	l.t.Helper()
	n := len(l.hosts) + 1
	h := &Host{Name: fmt.Sprintf("h%d", n), IP: fmt.Sprintf("10.77.0.%d", n), lab: l, ns: fmt.Sprintf("%sh%d", l.name, n),
		veth: fmt.Sprintf("v%d", n), Dir: filepath.Join(l.Dir, fmt.Sprintf("h%d", n))}
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		l.t.Fatal(err)
	}
	l.hosts = append(l.hosts, h)
	l.must("ip", "netns", "add", h.ns)
	l.must("ip", "-n", l.bridge(), "link", "add", h.veth, "type", "veth", "peer", "name", "eth0", "netns", h.ns)
	l.must("ip", "-n", l.bridge(), "link", "set", h.veth, "master", "br0", "up")
	l.must("ip", "-n", h.ns, "addr", "add", h.IP+"/24", "dev", "eth0")
	l.must("ip", "-n", h.ns, "link", "set", "eth0", "up")
	l.must("ip", "-n", h.ns, "link", "set", "lo", "up")
	return h
}

// Host returns a host by its number, from 1.
func (l *Lab) Host(n int) *Host { return l.hosts[n-1] }

// Hosts returns all hosts.
func (l *Lab) Hosts() []*Host { return l.hosts }

func (l *Lab) close() {
	for _, h := range l.hosts {
		for _, p := range h.procs {
			p.Kill()
		}
	}
	for _, h := range l.hosts {
		if err := h.killAll(); err != nil { // runs that outlive their agents
			l.t.Log(err)
		}
		l.try("ip", "netns", "del", h.ns)
	}
	l.try("ip", "netns", "del", l.bridge())
	if dir := os.Getenv("CRONY_HOSTS_KEEP"); dir != "" {
		l.keep(filepath.Join(dir, l.t.Name()+"-"+time.Now().UTC().Format("150405")))
	}
}

// keep copies what all processes have logged, the store's history among it, to where it outlasts the test.
func (l *Lab) keep(dir string) {
	l.t.Log("what was logged is kept in " + dir)
	for _, h := range l.hosts {
		for _, p := range h.procs {
			to := filepath.Join(dir, h.Name, filepath.Base(p.file))
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				l.t.Error(err)
			} else if err := os.WriteFile(to, []byte(p.Log()), 0o600); err != nil {
				l.t.Error(err)
			}
		}
	}
}

func (l *Lab) must(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (l *Lab) try(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Logf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// Wait polls a condition until it is met, for at most d, and returns how long it took. If it is not met, the test fails with
// the last of what each process has logged.
func (l *Lab) Wait(d time.Duration, what string, met func() bool) time.Duration {
	l.t.Helper()
	began := time.Now()
	for !met() {
		if time.Since(began) > d {
			l.Dump()
			l.t.Fatalf("waited %s for %s", d, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// Dump logs the last of what each process has logged.
func (l *Lab) Dump() {
	for _, h := range l.hosts {
		for _, p := range h.procs {
			l.t.Logf("--- %s: %s\n%s", h.Name, p.name, p.tail())
		}
	}
}

// command is a program in the host's namespace.
func (h *Host) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + h.ns, name}, args...)...)
}

// Run runs a program in the host to its end and returns what it says.
func (h *Host) Run(env []string, name string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.command(ctx, name, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Env = append(os.Environ(), env...)
	err = cmd.Run()
	return out.String(), complaint.String(), err
}

// LinkDown pulls the host's cable; LinkUp puts it in again.
func (h *Host) LinkDown() { h.lab.must("ip", "-n", h.lab.bridge(), "link", "set", h.veth, "down") }

// LinkUp puts the host's cable in again.
func (h *Host) LinkUp() { h.lab.must("ip", "-n", h.lab.bridge(), "link", "set", h.veth, "up") }

// CutOff lets nothing pass between the host and others; with none named, all others.
func (h *Host) CutOff(from ...*Host) {
	if len(from) == 0 {
		h.filter("iifname eth0 drop", "oifname eth0 drop")
		return
	}
	var in, out []string
	for _, other := range from {
		in = append(in, "ip saddr "+other.IP+" drop")
		out = append(out, "ip daddr "+other.IP+" drop")
	}
	h.filter(strings.Join(in, "\n"), strings.Join(out, "\n"))
}

// Lose drops a share of the packets that come in, in percent.
func (h *Host) Lose(percent int) {
	h.filter(fmt.Sprintf("iifname eth0 numgen random mod 100 < %d drop", percent), "")
}

// Heal ends what CutOff and Lose began.
func (h *Host) Heal() { h.lab.must("ip", "netns", "exec", h.ns, "nft", "flush", "ruleset") }

func (h *Host) filter(in, out string) {
	h.lab.t.Helper()
	rules := fmt.Sprintf(`flush ruleset
table inet crony {
	chain in {
		type filter hook input priority 0
		%s
	}
	chain out {
		type filter hook output priority 0
		%s
	}
}
`, in, out)
	file := filepath.Join(h.Dir, "rules.nft")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		h.lab.t.Fatal(err)
	}
	h.lab.must("ip", "netns", "exec", h.ns, "nft", "-f", file)
}

// MoveTo gives the host another address on the bridge.
func (h *Host) MoveTo(ip string) {
	h.lab.must("ip", "-n", h.ns, "addr", "flush", "dev", "eth0")
	h.lab.must("ip", "-n", h.ns, "addr", "add", ip+"/24", "dev", "eth0")
	h.IP = ip
}

// Disk mounts a file system of a size, as "64m", on a directory of the host's, and returns the directory.
func (h *Host) Disk(name, size string) string {
	h.lab.t.Helper()
	dir := filepath.Join(h.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.lab.t.Fatal(err)
	}
	h.lab.must("mount", "-t", "tmpfs", "-o", "size="+size+",mode=0700", "crony-test", dir)
	h.lab.t.Cleanup(func() { h.lab.try("umount", "-l", dir) })
	return dir
}
