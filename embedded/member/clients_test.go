package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"crony"
	"crony/internal/pki"
)

// TestClients: etcd's own clients get in with a server's certificate alone, and don't keep the member from closing.
func TestClients(t *testing.T) {
	t.Parallel()
	f, others := newFellows(t), newFellows(t)
	o := f.options("s1")
	o.Create = true
	f.certificate(o.Server, "127.0.0.1") // etcd's clients verify the address that they were given
	m := open(t, o)
	put(t, m, "k", "v")
	admit := func(who pki.Identity) error {
		if who.ID == "removed" {
			return errors.New("it was removed")
		}
		return nil
	}
	if err := m.ServeClients("localhost:1", admit); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("serving at a name: %v", err)
	}
	if err := m.ServeClients("127.0.0.1:0", admit); err != nil {
		t.Fatal(err)
	}

	server := f.certificate(pki.Identity{Cluster: "c1", Role: pki.Server, ID: "operator"})
	for name, c := range map[string]struct {
		certificate string
		welcome     bool
	}{
		"a server":                      {server, true},
		"an agent":                      {f.certificate(pki.Identity{Cluster: "c1", Role: pki.Agent, ID: "a1"}), false},
		"a server that was removed":     {f.certificate(pki.Identity{Cluster: "c1", Role: pki.Server, ID: "removed"}), false},
		"nobody":                        {"", false},
		"a server of another authority": {others.certificate(o.Server), false},
	} {
		client := f.client(m, c.certificate)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		if !c.welcome {
			ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond) // it would try for ever
		}
		r, err := client.Get(ctx, "k")
		cancel()
		if welcome := err == nil && r.Count == 1; welcome != c.welcome {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}

	watch := f.client(m, server).Watch(t.Context(), "k", clientv3.WithRev(3))
	put(t, m, "k", "w")
	select {
	case r := <-watch:
		if r.Err() != nil || len(r.Events) != 1 {
			t.Errorf("watched: %+v", r)
		}
	case <-time.After(30 * time.Second):
		t.Error("the watch sees nothing")
	}
	etcdctl(t, m, server, o.Peer.CAFile)
	began := time.Now()
	shut(t, m)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("closing with an open watch took %s", took)
	}
}

// client dials with a certificate, or with none.
func (f *fellows) client(m *Member, certificate string) *clientv3.Client {
	f.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(f.ca.Root().PEM())
	config := &tls.Config{RootCAs: roots}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, certificate)
		if err != nil {
			f.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Clients()}, TLS: config, Logger: zap.NewNop()})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() })
	return client
}

// etcdctl reads with the tool that administrators know, where it is installed.
func etcdctl(t *testing.T, m *Member, certificate, authority string) {
	t.Helper()
	tool, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Log("etcdctl is not here")
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	run := exec.CommandContext(ctx, tool, "--endpoints", m.Clients(), "--cacert", authority, "--cert", certificate,
		"--key", certificate, "get", "k")
	run.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := run.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "k\nw") {
		t.Errorf("etcdctl: %v\n%s", err, out)
	}
}
