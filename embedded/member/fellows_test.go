package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crony"
	"crony/internal/pki"
)

// fellows are the servers of one cluster in a test, each on an address of loopback of its own.
type fellows struct {
	t    *testing.T
	ca   *pki.CA
	dir  string
	net  byte
	next atomic.Uint32
}

// networks tells the networks of a process's tests apart: a port that is free in one is not taken by a call from another.
var networks atomic.Uint32

func newFellows(t *testing.T) *fellows {
	t.Helper()
	ca, err := pki.NewCA("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &fellows{t: t, ca: ca, dir: t.TempDir(), net: byte(networks.Add(1))}
}

// address returns one that nobody listens on.
func (f *fellows) address() string {
	f.t.Helper()
	host := fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%250, f.net, f.next.Add(1))
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// options are those of a server's member: it has its certificate, and an address of its own.
func (f *fellows) options(id string) Options {
	f.t.Helper()
	dir := filepath.Join(f.dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	o := options(filepath.Join(dir, "etcd"))
	o.Server, o.Create = pki.Identity{Cluster: "c1", Role: pki.Server, ID: id}, false
	o.Log = slog.New(slog.DiscardHandler) // their falling out with each other is what is tested
	leaf, roots := f.certificate(o.Server), filepath.Join(dir, pki.RootFile)
	if err := os.WriteFile(roots, f.ca.Root().PEM(), 0o600); err != nil {
		f.t.Fatal(err)
	}
	o.Peer = Peer{Listen: f.address(), CertFile: leaf, KeyFile: leaf, CAFile: roots}
	return o
}

// certificate returns the file of somebody's.
func (f *fellows) certificate(who pki.Identity, hosts ...string) string {
	f.t.Helper()
	leaf, err := f.ca.Issue(who, hosts, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	file := filepath.Join(f.dir, who.ID+".pem")
	if err := leaf.Save(file); err != nil {
		f.t.Fatal(err)
	}
	return file
}

// wait looks again and again until a condition is met.
func (f *fellows) wait(what string, met func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// found opens the first member.
func (f *fellows) found(id string) (*Member, Options) {
	f.t.Helper()
	o := f.options(id)
	o.Create = true
	m := open(f.t, o)
	o.Create = false
	return m, o
}

// learn has a server's member join that of another. It has no vote yet.
func (f *fellows) learn(by *Member, o Options) *Member {
	f.t.Helper()
	if err := by.Add(f.t.Context(), o.Peer.Listen); err != nil {
		f.t.Fatal(err)
	}
	return open(f.t, f.admit(by, o))
}

// admit returns the options with which a server joins, after its address was added.
func (f *fellows) admit(by *Member, o Options) Options {
	o.Members, o.Token = nil, by.Token()
	for _, m := range members(f.t, by) {
		o.Members = append(o.Members, Address{m.Server, m.Address})
	}
	return o
}

// join has a server's member join that of another, and get its vote.
func (f *fellows) join(by *Member, id string) (*Member, Options) {
	f.t.Helper()
	o := f.options(id)
	m := f.learn(by, o)
	f.promote(by, m)
	return m, o
}

func (f *fellows) promote(by, m *Member) {
	f.t.Helper()
	f.wait("the vote of "+m.dir.path, func() bool {
		err := by.Promote(f.t.Context(), m.ID())
		if err != nil && crony.CodeOf(err) != crony.Conflict {
			f.t.Fatal(err)
		}
		return err == nil
	})
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	if err := m.WaitVoter(ctx); err != nil {
		f.t.Fatal(err)
	}
}

// three opens a cluster of three.
func (f *fellows) three() ([]*Member, []Options) {
	f.t.Helper()
	one, o1 := f.found("s1")
	two, o2 := f.join(one, "s2")
	three, o3 := f.join(one, "s3")
	return []*Member{one, two, three}, []Options{o1, o2, o3}
}

// reopen opens members that are there, all at once.
func (f *fellows) reopen(os ...Options) []*Member {
	f.t.Helper()
	ms, errs := make([]*Member, len(os)), make([]error, len(os))
	var group sync.WaitGroup
	for i, o := range os {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
			defer cancel()
			ms[i], errs[i] = Open(ctx, o)
		})
	}
	group.Wait()
	for _, m := range ms {
		if m != nil {
			f.t.Cleanup(func() { shut(f.t, m) })
		}
	}
	if err := errors.Join(errs...); err != nil {
		f.t.Fatal(err)
	}
	return ms
}

// closeAll closes members all at once.
func closeAll(t *testing.T, ms ...*Member) {
	t.Helper()
	var group sync.WaitGroup
	for _, m := range ms {
		group.Go(func() { shut(t, m) })
	}
	group.Wait()
}

func members(t *testing.T, m *Member) []Info {
	t.Helper()
	list, err := m.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// voters are the servers with a vote, as one of them sees it.
func voters(t *testing.T, m *Member) string {
	t.Helper()
	votes := map[string]bool{}
	for _, x := range members(t, m) {
		votes[x.Server] = !x.Learner
	}
	return fmt.Sprint(votes)
}

// leader returns the place of the one that leads.
func (f *fellows) leader(ms ...*Member) int {
	f.t.Helper()
	at := -1
	f.wait("a leader", func() bool {
		for i, m := range ms {
			if m.Leading() {
				at = i
			}
		}
		return at >= 0
	})
	return at
}

func writeSnapshot(t *testing.T, m *Member) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// fails tells if an error is one of crony's with this code and text.
func fails(t *testing.T, what string, err error, code crony.Code, want string) {
	t.Helper()
	if crony.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("%s: error is %v, want %s with %q", what, err, code, want)
	}
}
