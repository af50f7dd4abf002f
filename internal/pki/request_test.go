package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"
)

func TestSignedRequest(t *testing.T) {
	ca := newCA(t, "c1")
	request, key, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Sign(request, Identity{Role: Agent, ID: "a1"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := NewLeaf(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	server := ServerTLS(ca.Root(), issue(t, ca, Server, "s1").Certificate, Agent)
	if serverErr, clientErr := shake(t, server, ClientTLS(ca.Root(), leaf.Certificate)); serverErr != nil || clientErr != nil {
		t.Errorf("server says %v, client says %v", serverErr, clientErr)
	}

	again, err := RequestFor(key)
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := RequestKey(request)
	two, err2 := RequestKey(again)
	if one != two || len(one) != 64 || err1 != nil || err2 != nil || bytes.Equal(request, again) {
		t.Errorf("the same key asks as %s and %s: %v, %v", one, two, err1, err2)
	}
	other, _, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	if three, err := RequestKey(other); three == one || err != nil {
		t.Errorf("another key asks as the same: %v", err)
	}
	if _, err := NewLeaf(chain, keyOf(t, newCA(t, "c1"))); err == nil {
		t.Error("a certificate and another's key are a pair")
	}
}

// TestRequestSaysNothingButItsKey has a request ask for more than it may have.
func TestRequestSaysNothingButItsKey(t *testing.T) {
	ca := newCA(t, "c1")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "root"}, DNSNames: []string{ServerName}}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Sign(encode(requestBlock, der), Identity{Role: Agent, ID: "a1"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(chain)
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.DNSNames) > 0 || cert.Subject.CommonName != "agent a1" || cert.IsCA {
		t.Errorf("the certificate says %v %v", cert.Subject, cert.DNSNames)
	}
}

func TestBadRequests(t *testing.T) {
	ca := newCA(t, "c1")
	good, _, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	der, err := block(good, requestBlock)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(der)
	forged[len(forged)-1] ^= 1
	of := func(key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return encode(requestBlock, der)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, request := range map[string][]byte{
		"there is not one PEM block": []byte("junk"),
		"not one PEM":                append(bytes.Clone(good), good...),
		"one PEM block":              ca.Root().PEM(),
		"not signed by its own key":  encode(requestBlock, forged),
		"of the curve P-256":         of(weak),
		"the curve P-256":            of(curve),
		"at most 8192":               bytes.Repeat([]byte("x"), 1<<20),
		"read the certificate":       encode(requestBlock, der[:20]),
	} {
		if _, err := ca.Sign(request, Identity{Role: Agent, ID: "a1"}, nil, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := RequestKey(request); err == nil {
			t.Errorf("%q has a key", want)
		}
	}
}

func FuzzRequest(f *testing.F) {
	request, _, err := NewRequest()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Fuzz(func(t *testing.T, request []byte) {
		if key, err := RequestKey(request); err == nil && len(key) != 64 {
			t.Errorf("the key is %q", key)
		}
	})
}

// TestFirstContact has a host that knows a fingerprint dial servers of all kinds.
func TestFirstContact(t *testing.T) {
	ca, other := newCA(t, "c1"), newCA(t, "c1")
	next := successor(t, ca)
	introduced := func(signer *CA, role Role, root Anchors) Source {
		return func() (*tls.Certificate, error) { return issue(t, signer, role, "x").Introduce(root) }
	}
	for name, c := range map[string]struct {
		own  Source
		want string
	}{
		"a server":                                {introduced(ca, Server, ca.Root()), ""},
		"one of the successor":                    {introduced(next, Server, NewTrust(next.Root(), ca.Root())), ""},
		"one that does not introduce itself":      {issue(t, ca, Server, "s1").Certificate, "fingerprint"},
		"one of another authority":                {introduced(other, Server, other.Root()), "fingerprint"},
		"one that shows an authority not its own": {introduced(other, Server, ca.Root()), "unknown authority"},
		"an agent":                                {introduced(ca, Agent, ca.Root()), ServerName},
		"an expired one": {func() (*tls.Certificate, error) {
			leaf, err := ca.Issue(Identity{Role: Server, ID: "s1"}, nil, time.Now().Add(-LeafValidity-time.Hour))
			if err != nil {
				return nil, err
			}
			return leaf.Introduce(ca.Root())
		}, "expired"},
	} {
		var found *Root
		server := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.own() }}
		_, err := shake(t, server, FirstContact(ca.Root().Fingerprint(), func(r *Root) { found = r }))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if (found != nil) != (err == nil) || found != nil && found.Fingerprint() != ca.Root().Fingerprint() {
			t.Errorf("%s: found %v", name, found)
		}
	}
	if _, err := shake(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return introduced(ca, Server, ca.Root())()
	}}, FirstContact("nonsense", func(*Root) {})); err == nil {
		t.Error("a fingerprint that is none is met")
	}
}
