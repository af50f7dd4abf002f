package member

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"crony"
)

func TestDataIsKept(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log bytes.Buffer
	o := options(t.TempDir())
	o.Log = slog.New(slog.NewTextHandler(&log, nil))

	began := time.Now()
	m := open(t, o)
	put(t, m, "job/a", "1")
	t.Logf("first start to first put: %s", time.Since(began).Round(time.Millisecond))
	if err := m.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
	if n := len(m.etcd.Peers) + len(m.etcd.Clients); n != 0 {
		t.Errorf("a member that nobody can join has %d listeners", n)
	}
	id := m.ID()
	shut(t, m)

	o.Create = false
	began = time.Now()
	m = open(t, o)
	if got := get(t, m, "job/a"); got != "1" {
		t.Errorf("after a restart job/a is %q", got)
	}
	put(t, m, "job/a", "2")
	t.Logf("restart to first put: %s", time.Since(began).Round(time.Millisecond))
	if m.ID() != id {
		t.Errorf("the id changed from %x to %x", id, m.ID())
	}
	shut(t, m)
	if log.Len() > 0 {
		t.Errorf("a healthy member is not quiet:\n%s", &log)
	}
}

func TestClosedMember(t *testing.T) {
	m := open(t, options(t.TempDir()))
	watch := m.Client().Watch(t.Context(), "job/", clientv3.WithPrefix())
	shut(t, m)
	shut(t, m)
	select {
	case <-m.Done():
	case <-time.After(10 * time.Second):
		t.Error("Done is not closed")
	}
	for range watch { // ends with the member, or the test never does
	}
	if err := m.Ready(); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("Ready: %v, want Unavailable", err)
	}
	if _, err := m.Client().Put(t.Context(), "job/a", "1"); err == nil {
		t.Error("a closed member took a write")
	}
}

func TestLargeTransactions(t *testing.T) {
	m := open(t, options(t.TempDir()))
	puts := func(n int, value string) []clientv3.Op {
		ops := make([]clientv3.Op, n)
		for i := range ops {
			ops[i] = clientv3.OpPut("k"+strconv.Itoa(i), value)
		}
		return ops
	}
	if _, err := m.Client().Txn(t.Context()).Then(puts(1500, strings.Repeat("x", 4<<10))...).Commit(); err != nil {
		t.Errorf("1500 puts of 4 KiB: %v", err)
	}
	ops := puts(maxTxnOps, "x")
	if _, err := m.Client().Txn(t.Context()).Then(ops...).Commit(); err != nil {
		t.Errorf("%d puts: %v", len(ops), err)
	}
	if _, err := m.Client().Txn(t.Context()).Then(append(ops, clientv3.OpPut("k", ""))...).Commit(); err == nil {
		t.Errorf("%d puts were taken", len(ops)+1)
	}
}

func TestContextEndsOpen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	o := options(t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if m, err := Open(ctx, o); !errors.Is(err, enough) {
		t.Fatalf("Open: %v, %v; want %v", m, err, enough)
	}
	m := open(t, o) // what was left is no hindrance
	put(t, m, "a", "1")
	shut(t, m)
}

func TestOptionsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"no data directory": func(o *Options) { o.Dir = "" },
		"no logger":         func(o *Options) { o.Log = nil },
		"no cluster id":     func(o *Options) { o.Server.Cluster = "" },
		"not a server's":    func(o *Options) { o.Server.Role = "agent" },
		"must be IP:PORT":   func(o *Options) { o.Peer = Peer{Listen: "localhost:1", CertFile: "c", KeyFile: "k", CAFile: "a"} },
		"its key":           func(o *Options) { o.Peer = Peer{Listen: "127.0.0.1:0"} },
		"to advertise is needed": func(o *Options) {
			o.Peer = Peer{Listen: "0.0.0.0:1", CertFile: "c", KeyFile: "k", CAFile: "a"}
		},
		"must be HOST:PORT": func(o *Options) {
			o.Peer = Peer{Listen: "127.0.0.1:1", Advertise: "x", CertFile: "c", KeyFile: "k", CAFile: "a"}
		},
	} {
		o := options(t.TempDir())
		change(&o)
		_, err := Open(t.Context(), o)
		if crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want Invalid with %q", err, want)
		}
	}
}

// TestKill kills a process that writes. Whatever it was told is stored must be there, and its directory free.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "50" {
		if _, err := strconv.Atoi(lines.Text()); err != nil {
			t.Fatalf("the child says: %s", lines.Text())
		}
	}
	refused(t, options(dir), crony.Conflict, "another crony")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	last := 50
	for lines.Scan() { // what it had said before it died
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatalf("the child says: %s", lines.Text())
		}
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	m := open(t, options(dir))
	for i := range last + 1 {
		if get(t, m, strconv.Itoa(i)) != "x" {
			t.Fatalf("key %d of %d is lost", i, last)
		}
	}
	t.Logf("%d keys were acknowledged and kept", last+1)
}
