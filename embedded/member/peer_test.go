package member

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"

	"crony/internal/pki"
)

// authority makes a CA and the files that a member needs, and returns what issues further certificates of it.
func authority(t *testing.T) (*pki.CA, Peer) {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.NewCA("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	leaf := filepath.Join(dir, "server.pem")
	if err := issue(t, ca, pki.Server).Save(leaf); err != nil {
		t.Fatal(err)
	}
	return ca, Peer{Listen: "127.0.0.1:0", CertFile: leaf, KeyFile: leaf, CAFile: filepath.Join(dir, pki.RootFile)}
}

// issue gives a certificate that holds for addresses which are not the test's: none may matter.
func issue(t *testing.T, ca *pki.CA, role pki.Role) *pki.Leaf {
	t.Helper()
	var hosts []string
	if role == pki.Server {
		hosts = []string{"192.0.2.7", "elsewhere.example.com"}
	}
	leaf, err := ca.Issue(pki.Identity{Role: role, ID: "s1"}, hosts, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestPeerPortIsForServersAlone(t *testing.T) {
	ca, peer := authority(t)
	other, _ := authority(t)
	o := options(t.TempDir())
	o.Peer = peer
	m := open(t, o)
	url := "https://" + m.etcd.Peers[0].Addr().String() + "/version"

	as := func(own pki.Source) *tls.Config { return pki.ClientTLS(ca.Root(), own) }
	tls12 := as(issue(t, ca, pki.Server).Certificate)
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, c := range map[string]struct {
		config  *tls.Config
		welcome bool
	}{
		"a server":                     {as(issue(t, ca, pki.Server).Certificate), true},
		"an agent":                     {as(issue(t, ca, pki.Agent).Certificate), false},
		"nobody":                       {as(nil), false},
		"a server of another CA":       {as(issue(t, other, pki.Server).Certificate), false},
		"a server that speaks TLS 1.2": {tls12, false},
	} {
		rt := &http.Transport{TLSClientConfig: c.config}
		if err := fetch(rt, url); (err == nil) != c.welcome {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := fetch(&http.Transport{}, "http://"+m.etcd.Peers[0].Addr().String()+"/version"); err == nil {
		t.Error("the port answers plain HTTP")
	}
}

// TestMembersVerifyEachOther dials as etcd dials its peers.
func TestMembersVerifyEachOther(t *testing.T) {
	ca, peer := authority(t)
	o := options(t.TempDir())
	o.Peer = peer
	m := open(t, o)
	url := "https://" + m.etcd.Peers[0].Addr().String() + "/version"
	rt, err := transport.NewTransport(peer.tls(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := fetch(rt, url); err != nil {
		t.Errorf("one member does not reach the other: %v", err)
	}

	agent := filepath.Join(t.TempDir(), "agent.pem")
	if err := issue(t, ca, pki.Agent).Save(agent); err != nil {
		t.Fatal(err)
	}
	impostor, err := tls.LoadX509KeyPair(agent, agent)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{impostor}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ErrorLog:          log.New(io.Discard, "", 0),
		Handler:           http.NotFoundHandler(),
		ReadHeaderTimeout: time.Second,
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	if err := fetch(rt, "https://"+l.Addr().String()); err == nil {
		t.Error("a member takes an agent for a member")
	}
}

func fetch(rt *http.Transport, url string) error {
	defer rt.CloseIdleConnections()
	r, err := (&http.Client{Transport: rt, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return err
}

// TestAddressChanges opens a member on one free port, then on another, then without any, then with an address of its own.
func TestAddressChanges(t *testing.T) {
	_, peer := authority(t)
	o := options(t.TempDir())
	urls := func(m *Member) string {
		r, err := m.Client().MemberList(t.Context())
		if err != nil || len(r.Members) != 1 || len(r.Members[0].GetPeerURLs()) != 1 {
			t.Fatalf("members are %v, %v", r, err)
		}
		return r.Members[0].GetPeerURLs()[0]
	}
	m := open(t, o)
	put(t, m, "a", "1")
	if got := urls(m); got != "https://"+nowhere {
		t.Errorf("without a listener the address is %s", got)
	}
	shut(t, m)
	o.Peer = peer
	var last string
	for range 2 {
		m = open(t, o)
		last = urls(m)
		if want := "https://" + m.etcd.Peers[0].Addr().String(); last != want {
			t.Errorf("the address is %s, want %s", last, want)
		}
		shut(t, m)
	}
	o.Peer.Advertise = "cron1.example.com:8472"
	m = open(t, o)
	if got := urls(m); got != "https://cron1.example.com:8472" {
		t.Errorf("the address is %s", got)
	}
	shut(t, m)
	o.Peer = Peer{}
	m = open(t, o)
	if got := get(t, m, "a"); got != "1" {
		t.Errorf("a is %q", got)
	}
}

func TestPeerFilesMustBeThere(t *testing.T) {
	_, peer := authority(t)
	o := options(t.TempDir())
	o.Peer = peer
	if err := os.Remove(peer.CertFile); err != nil {
		t.Fatal(err)
	}
	refused(t, o, "internal", peer.CertFile)
}
