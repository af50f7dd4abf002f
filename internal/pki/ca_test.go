package pki

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newCA(t *testing.T, cluster string) *CA {
	t.Helper()
	ca, err := NewCA(cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *CA, role Role, id string, hosts ...string) *Leaf {
	t.Helper()
	leaf, err := ca.Issue(Identity{Role: role, ID: id}, hosts, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func certificate(t *testing.T, leaf *Leaf) *x509.Certificate {
	t.Helper()
	pair, err := leaf.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestIssue(t *testing.T) {
	ca := newCA(t, "c1")
	server := certificate(t, issue(t, ca, Server, "s1", "10.0.0.7", "::1", "cron.example.com"))
	agent := certificate(t, issue(t, ca, Agent, "a1"))

	var ips []string
	for _, ip := range server.IPAddresses {
		ips = append(ips, ip.String())
	}
	check(t, "hosts", append(server.DNSNames, ips...), []string{ServerName, "cron.example.com", "10.0.0.7", "::1"})
	check(t, "server's usage", server.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth})
	check(t, "agent's usage", agent.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	check(t, "agent's hosts", len(agent.DNSNames)+len(agent.IPAddresses), 0)
	check(t, "leaf is an authority", agent.IsCA || server.IsCA, false)
	check(t, "serial numbers differ", agent.SerialNumber.Cmp(server.SerialNumber) != 0 && agent.SerialNumber.Sign() > 0, true)

	id, err := IdentityOf(agent)
	if err != nil || id != (Identity{"c1", Agent, "a1"}) {
		t.Errorf("identity is %v, %v", id, err)
	}
	lasts := agent.NotAfter.Sub(agent.NotBefore)
	check(t, "lasts", lasts, LeafValidity+backdating)
}

func TestIssueRefuses(t *testing.T) {
	now := time.Now()
	ca := newCA(t, "c1")
	for name, c := range map[string]struct {
		who   Identity
		hosts []string
		now   time.Time
		want  string
	}{
		"another cluster":  {Identity{"c2", Server, "s1"}, nil, now, "cluster c1"},
		"no id":            {Identity{Role: Agent}, nil, now, "no agent id"},
		"no role":          {Identity{ID: "a1"}, nil, now, "no role"},
		"an agent's host":  {Identity{Role: Agent, ID: "a1"}, []string{ServerName}, now, "no hosts"},
		"a URL for a host": {Identity{Role: Server, ID: "s1"}, []string{"https://x"}, now, "neither"},
		"an empty host":    {Identity{Role: Server, ID: "s1"}, []string{""}, now, "neither"},
		"too late":         {Identity{Role: Server, ID: "s1"}, nil, now.Add(RootValidity + time.Hour), "expired"},
	} {
		_, err := ca.Issue(c.who, c.hosts, c.now)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, c.want)
		}
	}
}

func TestLeafNeverOutlivesItsAuthority(t *testing.T) {
	now := time.Now()
	ca, err := NewCA("c1", now.Add(-RootValidity+time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificate(t, issue(t, ca, Agent, "a1"))
	check(t, "the leaf's end", leaf.NotAfter, ca.root.cert.NotAfter)
}

func TestNewCARefusesBadCluster(t *testing.T) {
	for _, cluster := range []string{"", "a/b", "a.b", "a b", strings.Repeat("x", 64)} {
		if _, err := NewCA(cluster, time.Now()); err == nil {
			t.Errorf("a CA was made for cluster %q", cluster)
		}
	}
}

func TestSaveAndOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenCA(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("opening nothing: %v", err)
	}
	ca := newCA(t, "c1")
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := OpenCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "cluster", again.Root().Cluster(), "c1")
	check(t, "fingerprint", again.Root().Fingerprint(), ca.Root().Fingerprint())
	check(t, "key", again.key.Equal(ca.key), true)
	check(t, "files", modes(t, dir), map[string]string{"ca.crt": "-rw-r--r--", "ca.key": "-rw-------"})
	if err := newCA(t, "c2").Save(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second authority was saved over the first: %v", err)
	}
	root, err := ParseRoot(again.Root().PEM())
	if err != nil || root.Cluster() != "c1" {
		t.Errorf("the root did not survive its PEM: %v", err)
	}
}

func TestSaveMendsAnInterruptedOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("of the first attempt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newCA(t, "c1").Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(dir); err != nil {
		t.Fatal(err)
	}
}

func TestOpenCARefuses(t *testing.T) {
	ca, other := newCA(t, "c1"), newCA(t, "c1")
	key := func(ca *CA) []byte {
		text, err := encodeKey(ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	leaf := issue(t, ca, Server, "s1")
	for name, c := range map[string]struct {
		crt, key []byte
		want     string
	}{
		"another's key":    {ca.Root().PEM(), key(other), "do not belong together"},
		"a leaf":           {leaf.CertPEM, leaf.KeyPEM, "not an authority"},
		"junk":             {[]byte("junk"), key(ca), "no PEM block"},
		"junk for the key": {ca.Root().PEM(), []byte("junk"), "no PEM block"},
		"two certificates": {append(ca.Root().PEM(), other.Root().PEM()...), key(ca), "more than one"},
	} {
		dir := t.TempDir()
		for file, text := range map[string][]byte{RootFile: c.crt, keyFile: c.key} {
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenCA(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, c.want)
		}
	}
}

func TestLeafSaveReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "server.pem")
	ca := newCA(t, "c1")
	for _, id := range []string{"s1", "s2"} {
		if err := issue(t, ca, Server, id).Save(path); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := OpenLeaf(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := IdentityOf(certificate(t, leaf))
	check(t, "identity", id, Identity{"c1", Server, "s2"})
	check(t, "error", err, nil)
	check(t, "files", modes(t, dir), map[string]string{"server.pem": "-rw-------"})
}

func TestOpenLeafRefusesHalves(t *testing.T) {
	ca := newCA(t, "c1")
	one, two := issue(t, ca, Server, "s1"), issue(t, ca, Server, "s1")
	path := filepath.Join(t.TempDir(), "server.pem")
	for name, leaf := range map[string]*Leaf{
		"another's key":  {CertPEM: one.CertPEM, KeyPEM: two.KeyPEM},
		"no key":         {CertPEM: one.CertPEM},
		"no certificate": {KeyPEM: one.KeyPEM},
	} {
		if err := leaf.Save(path); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLeaf(path); err == nil {
			t.Errorf("%s: was opened", name)
		}
	}
}

func modes(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = info.Mode().String()
	}
	return got
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
