package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"crony"
	"crony/internal/pki"
)

// fellows are the servers of one cluster in a test, on free ports of loopback.
type fellows struct {
	t   *testing.T
	ca  *pki.CA
	dir string
}

func newFellows(t *testing.T) *fellows {
	t.Helper()
	ca, err := pki.NewCA("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &fellows{t, ca, t.TempDir()}
}

// options are those of a server's member: it has its certificate, and an address of its own.
func (f *fellows) options(id string) Options {
	f.t.Helper()
	who := pki.Identity{Cluster: "c1", Role: pki.Server, ID: id}
	dir := filepath.Join(f.dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	leaf, err := f.ca.Issue(who, nil, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	files := filepath.Join(dir, "leaf.pem")
	roots := filepath.Join(dir, "ca.crt")
	if err := errors.Join(leaf.Save(files), os.WriteFile(roots, f.ca.Root().PEM(), 0o600)); err != nil {
		f.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		f.t.Fatal(err)
	}
	o := options(filepath.Join(dir, "etcd"))
	o.Server, o.Create = who, false
	o.Peer = Peer{Listen: address, Advertise: address, CertFile: files, KeyFile: files, CAFile: roots}
	return o
}

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

// join has a server's member join the one of another, and get its vote.
func (f *fellows) join(leader *Member, id string) (*Member, Options) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	o := f.options(id)
	if err := leader.Add(ctx, o.Peer.Advertise); err != nil {
		f.t.Fatal(err)
	}
	members, err := leader.Members(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	joins := o
	for _, m := range members {
		if m.Address == o.Peer.Advertise {
			m.Server = id
		}
		joins.Members = append(joins.Members, Address{m.Server, m.Address})
	}
	joins.Token = leader.Token()
	m := open(f.t, joins)
	f.wait(id+" to get its vote", func() bool {
		err := leader.Promote(ctx, m.ID())
		if err != nil && crony.CodeOf(err) != crony.Conflict {
			f.t.Fatal(err)
		}
		return err == nil
	})
	if err := m.WaitVoter(ctx); err != nil {
		f.t.Fatal(err)
	}
	return m, o
}

// servers are the members with a vote, as one of them sees it.
func servers(t *testing.T, m *Member) string {
	t.Helper()
	members, err := m.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, x := range members {
		names[x.Server] = !x.Learner
	}
	return fmt.Sprint(names)
}

// TestThreeMembers takes a cluster from one to three and back to two, hands over the leadership, and lets the removed one
// find out that it was: while it runs, and when it starts again.
func TestThreeMembers(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	one, _ := f.found("s1")
	put(t, one, "k", "v")
	two, twoOptions := f.join(one, "s2")
	three, threeOptions := f.join(one, "s3")
	if got := servers(t, three); got != "map[s1:true s2:true s3:true]" || get(t, three, "k") != "v" {
		t.Errorf("the third sees %s and %q", got, get(t, three, "k"))
	}
	if err := one.Add(t.Context(), twoOptions.Peer.Advertise); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("a second member at one address: %v", err)
	}
	if err := one.Transfer(t.Context(), two.ID()); err != nil {
		t.Error(err)
	}
	f.wait("the second to lead", func() bool { return two.Leading() && !one.Leading() })

	if err := one.Remove(t.Context(), three.ID()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-three.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("a removed member goes on")
	}
	if err := three.Err(); crony.CodeOf(err) != crony.Forbidden {
		t.Errorf("the removed member says %v", err)
	}
	shut(t, three)
	refused(t, threeOptions, crony.Forbidden, "was removed from the cluster")
	if err := one.Remove(t.Context(), three.ID()); err != nil {
		t.Errorf("removed once more: %v", err)
	}

	// One that is away when it is removed is told by the others.
	again, againOptions := f.join(two, "s4")
	id := again.ID()
	began := time.Now()
	shut(t, again)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("closing took %s", took)
	}
	if err := two.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	refused(t, againOptions, crony.Forbidden, "was removed from the cluster")
	put(t, one, "k", "w")
}

// TestRecover loses two of three for good, and goes on with the third; and once more after a recovery that was cut off.
func TestRecover(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	one, o := f.found("s1")
	two, _ := f.join(one, "s2")
	three, _ := f.join(one, "s3")
	for i := range 100 {
		put(t, two, fmt.Sprintf("k%d", i), "v")
	}
	if get(t, one, "k99") != "v" {
		t.Fatal("the first has not heard of all")
	}
	before := one.etcd.Server.KV().Rev()
	shut(t, three)
	shut(t, two)
	shut(t, one)

	seen, err := Inspect(o.Dir, o.Server)
	if err != nil || len(seen.Members) != 3 || seen.Last < 100 {
		t.Errorf("seen before: %+v, %v", seen, err)
	}
	anew := RecoverOptions{Dir: o.Dir, Server: o.Server, Log: o.Log, Now: time.Now}
	if err := os.MkdirAll(o.Dir+".recovering/made", 0o700); err != nil { // one that was cut off in the middle
		t.Fatal(err)
	}
	kept, err := Recover(t.Context(), anew)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, "member")); err != nil {
		t.Errorf("the store as it was: %v", err)
	}
	one = open(t, o)
	for i := range 100 {
		if key := fmt.Sprintf("k%d", i); get(t, one, key) != "v" {
			t.Errorf("%s is lost", key)
		}
	}
	put(t, one, "after", "v")
	if now := one.etcd.Server.KV().Rev(); now < before+revisionBump/2 {
		t.Errorf("revision %d after %d", now, before)
	}
	if got := servers(t, one); got != "map[s1:true]" {
		t.Errorf("members: %s", got)
	}
	two, _ = f.join(one, "s5") // the cluster grows again
	if get(t, two, "after") != "v" {
		t.Error("the new one has not what was written")
	}
	shut(t, two)

	// Cut off between the two renames.
	shut(t, one)
	if err := errors.Join(os.MkdirAll(o.Dir+".recovering", 0o700), os.Rename(o.Dir, o.Dir+".recovering/made")); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(t.Context(), anew); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(o.Dir, o.Server); err != nil {
		t.Error(err)
	}
}

// TestRestore makes a store of a snapshot.
func TestRestore(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	m := open(t, o)
	put(t, m, "k", "v")
	file := filepath.Join(t.TempDir(), "snapshot")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Snapshot(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, m, "later", "v")
	shut(t, m)

	to := RestoreOptions{Snapshot: file, Dir: filepath.Join(t.TempDir(), "etcd"), Log: o.Log,
		Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s9"}}
	if err := Restore(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), to); err == nil {
		t.Error("a store is restored over another")
	}
	o.Dir, o.Server, o.Create = to.Dir, to.Server, false
	restored := open(t, o)
	if get(t, restored, "k") != "v" || get(t, restored, "later") != "" {
		t.Errorf("restored: %q and %q", get(t, restored, "k"), get(t, restored, "later"))
	}
	if restored.Token() == "c1" {
		t.Error("it takes itself for the store of before")
	}
}

// TestQuota fills a small store, and gets it going again.
func TestQuota(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	o.QuotaBytes = 4 << 20
	m := open(t, o)
	value := string(make([]byte, 256<<10))
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		_, err = m.Client().Put(t.Context(), "k", value)
	}
	if err == nil || len(m.Status().Alarms) != 1 || m.Status().Alarms[0].Kind != NoSpace {
		t.Fatalf("a store over its quota: %v, %+v", err, m.Status())
	}
	if err := errors.Join(m.Compact(t.Context(), 0), m.Defragment(), m.Disarm(t.Context())); err != nil {
		t.Fatal(err)
	}
	if s := m.Status(); len(s.Alarms) > 0 || s.Size > o.QuotaBytes/2 {
		t.Errorf("after it was made room: %+v", s)
	}
	put(t, m, "k", "v")
}
