package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// shake lets the two ends shake hands and returns what each says. A TLS 1.3 client hears of its certificate's refusal only
// when it reads, so it reads a byte.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	a, b := connect(t)
	done := make(chan error)
	go func() {
		conn := tls.Server(a, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte{1})
		}
		_ = a.Close()
		done <- err
	}()
	conn := tls.Client(b, client)
	clientErr = conn.Handshake()
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	_ = b.Close()
	return <-done, clientErr
}

// connect returns the two ends of a connection that waits 10 seconds at most. Not a net.Pipe: there, two ends that refuse
// each other at the same moment would both wait for their alert to be read.
func connect(t *testing.T) (accepted, dialled net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{accepted, dialled} {
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return accepted, dialled
}

// forge signs, with the authority's own key, whatever a bug of it might once have signed.
func forge(t *testing.T, ca *CA, change func(*x509.Certificate)) Source {
	t.Helper()
	template, err := ca.template(Identity{"c1", Server, "forged"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	change(template)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := sign(template, ca.root.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
	}
}

func uri(cluster, path string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: scheme, Host: cluster, Path: path}} }
}

func old(t *testing.T, ca *CA, role Role) Source {
	t.Helper()
	leaf, err := ca.Issue(Identity{Role: role, ID: "old"}, nil, time.Now().Add(-LeafValidity-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Certificate
}

// change changes the configuration that a server has for each of its connections.
func change(server *tls.Config, f func(*tls.Config)) {
	inner := server.GetConfigForClient
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := inner(hello)
		if err == nil {
			f(c)
		}
		return c, err
	}
}

func TestPeersMeet(t *testing.T) {
	ca := newCA(t, "c1")
	for _, role := range []Role{Server, Agent} {
		var seen Identity
		server := ServerTLS(ca.Root(), issue(t, ca, Server, "s1").Certificate, Agent, Server)
		change(server, func(c *tls.Config) {
			inner := c.VerifyConnection
			c.VerifyConnection = func(state tls.ConnectionState) (err error) {
				seen, err = PeerIdentity(state)
				if err != nil {
					return err
				}
				return inner(state)
			}
		})
		serverErr, clientErr := shake(t, server, ClientTLS(ca.Root(), issue(t, ca, role, "me").Certificate))
		if serverErr != nil || clientErr != nil {
			t.Errorf("%s: server says %v, client says %v", role, serverErr, clientErr)
		}
		check(t, "the identity seen", seen, Identity{"c1", role, "me"})
	}
}

func TestServerRefuses(t *testing.T) {
	ca, other := newCA(t, "c1"), newCA(t, "c1")
	open := ServerTLS(ca.Root(), issue(t, ca, Server, "s1").Certificate, Server, Agent)
	agentsOnly := ServerTLS(ca.Root(), issue(t, ca, Server, "s1").Certificate, Agent)
	nobody := ServerTLS(ca.Root(), issue(t, ca, Server, "s1").Certificate)
	for name, c := range map[string]struct {
		server *tls.Config
		own    Source
		want   string
	}{
		"no certificate":                    {open, nil, "didn't provide a certificate"},
		"another authority, same cluster":   {open, issue(t, other, Agent, "a1").Certificate, "unknown authority"},
		"expired":                           {open, old(t, ca, Agent), "expired"},
		"a role that is not asked for":      {agentsOnly, issue(t, ca, Server, "s2").Certificate, "not welcome"},
		"no roles":                          {nobody, issue(t, ca, Agent, "a1").Certificate, "not welcome"},
		"another cluster of this authority": {open, forge(t, ca, uri("c2", "/agent/a1")), "not of cluster c1"},
		"an unknown role":                   {open, forge(t, ca, uri("c1", "/root/a1")), "no role"},
		"no identity":                       {open, forge(t, ca, func(c *x509.Certificate) { c.URIs = nil }), "0 URIs"},
		"the authority's own identity":      {open, forge(t, ca, uri("c1", "")), "no identity"},
		"two identities": {open, forge(t, ca, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, c.URIs[0])
		}), "2 URIs"},
		"not made for clients": {open, forge(t, ca, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), "incompatible key usage"},
	} {
		serverErr, clientErr := shake(t, c.server, ClientTLS(ca.Root(), c.own))
		if serverErr == nil || !strings.Contains(serverErr.Error(), c.want) {
			t.Errorf("%s: server says %v, want %q", name, serverErr, c.want)
		}
		if clientErr == nil {
			t.Errorf("%s: the client believes that it is connected", name)
		}
	}
}

func TestClientRefuses(t *testing.T) {
	ca, other, foreign := newCA(t, "c1"), newCA(t, "c1"), newCA(t, "c2")
	for name, c := range map[string]struct {
		own  Source
		want string
	}{
		"another authority, same cluster":   {issue(t, other, Server, "s1").Certificate, "unknown authority"},
		"another cluster":                   {issue(t, foreign, Server, "s1").Certificate, "unknown authority"},
		"another cluster of this authority": {forge(t, ca, uri("c2", "/server/s1")), "not of cluster c1"},
		"an agent as a server":              {issue(t, ca, Agent, "a1").Certificate, ServerName},
		"an agent that looks like a server": {forge(t, ca, uri("c1", "/agent/a1")), "not welcome"},
		"a server of hosts alone":           {forge(t, ca, func(c *x509.Certificate) { c.DNSNames = []string{"x"} }), ServerName},
		"not made for servers": {forge(t, ca, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), "incompatible key usage"},
		"expired": {old(t, ca, Server), "expired"},
	} {
		// The server lets everybody in, as an impostor would.
		server := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.own() }}
		_, clientErr := shake(t, server, ClientTLS(ca.Root(), issue(t, ca, Agent, "a1").Certificate))
		if clientErr == nil || !strings.Contains(clientErr.Error(), c.want) {
			t.Errorf("%s: client says %v, want %q", name, clientErr, c.want)
		}
	}
}

func TestOnlyTLS13(t *testing.T) {
	ca := newCA(t, "c1")
	leaf := issue(t, ca, Server, "s1")

	client := ClientTLS(ca.Root(), leaf.Certificate)
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	serverErr, _ := shake(t, ServerTLS(ca.Root(), leaf.Certificate, Server), client)
	if serverErr == nil || !strings.Contains(serverErr.Error(), "unsupported versions") {
		t.Errorf("a client of TLS 1.2: server says %v", serverErr)
	}

	server := ServerTLS(ca.Root(), leaf.Certificate, Server)
	change(server, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 })
	_, clientErr := shake(t, server, ClientTLS(ca.Root(), leaf.Certificate))
	if clientErr == nil || !strings.Contains(clientErr.Error(), "version") {
		t.Errorf("a server of TLS 1.2: client says %v", clientErr)
	}
}

func TestServerRefusesJunk(t *testing.T) {
	ca := newCA(t, "c1")
	own := issue(t, ca, Server, "s1").Certificate
	a, b := connect(t)
	done := make(chan error)
	go func() {
		err := tls.Server(a, ServerTLS(ca.Root(), own, Server)).Handshake()
		_ = a.Close()
		done <- err
	}()
	if _, err := b.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("plain HTTP was taken for a handshake")
	}
	_ = b.Close()
}

func TestRenewedCertificateIsUsedFromTheNextHandshake(t *testing.T) {
	ca := newCA(t, "c1")
	current := old(t, ca, Server)
	server := ServerTLS(ca.Root(), func() (*tls.Certificate, error) { return current() }, Agent)
	client := ClientTLS(ca.Root(), issue(t, ca, Agent, "a1").Certificate)
	if _, err := shake(t, server, client); err == nil {
		t.Fatal("the expired certificate was accepted")
	}
	current = issue(t, ca, Server, "s1").Certificate
	if serverErr, clientErr := shake(t, server, client); serverErr != nil || clientErr != nil {
		t.Errorf("after renewal: server says %v, client says %v", serverErr, clientErr)
	}
}
