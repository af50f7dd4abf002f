package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

// TestLeafIsNoAuthority has a server sign certificates with its own.
func TestLeafIsNoAuthority(t *testing.T) {
	ca := newCA(t, "c1")
	server := issue(t, ca, Server, "s1")
	signer, err := server.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template, err := ca.template(Identity{"c1", Server, "s2"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := sign(template, signer.Leaf, &key.PublicKey, signer.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	own := func() (*tls.Certificate, error) {
		chain := [][]byte{cert.Raw, signer.Leaf.Raw, ca.root.cert.Raw}
		return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: cert}, nil
	}
	impostor := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() }}
	serverErr, _ := shake(t, ServerTLS(ca.Root(), server.Certificate, Server), ClientTLS(ca.Root(), own))
	_, clientErr := shake(t, impostor, ClientTLS(ca.Root(), nil))
	_, contactErr := shake(t, impostor, FirstContact(ca.Root().Fingerprint(), func(*Root) { t.Error("it is trusted") }))
	for who, err := range map[string]error{"a server": serverErr, "a client": clientErr, "a host that joins": contactErr} {
		if err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("%s says %v", who, err)
		}
	}
}

// TestResumedConnectionIsJudgedAnew has a server resume sessions, as crony's own don't: the client judges each all the same.
func TestResumedConnectionIsJudgedAnew(t *testing.T) {
	before := newCA(t, "c1")
	next := successor(t, before)
	trust := NewTrust(next.Root(), before.Root())
	pair, err := issue(t, before, Server, "s1").Certificate()
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{*pair}}
	client := ClientTLS(trust, nil)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	resumed := false
	verify := client.VerifyConnection
	client.VerifyConnection = func(state tls.ConnectionState) error {
		resumed = state.DidResume
		return verify(state)
	}
	for range 2 {
		if _, err := shake(t, server, client); err != nil {
			t.Fatal(err)
		}
	}
	if !resumed {
		t.Fatal("the second connection was not resumed, and nothing is shown by this test")
	}
	trust.Set(next.Root())
	if _, err := shake(t, server, client); err == nil || !resumed {
		t.Errorf("resumed: %v, under an authority that is trusted no more: %v", resumed, err)
	}
}

// TestTrustIsItsOwn changes the slice that a set was made of.
func TestTrustIsItsOwn(t *testing.T) {
	a, b := newCA(t, "c1").Root(), newCA(t, "c1").Root()
	roots := []*Root{a}
	made := NewTrust(roots...)
	set := NewTrust(b)
	set.Set(roots...)
	roots[0] = b
	if made.Roots()[0] != a || set.Roots()[0] != a {
		t.Error("the set changed with the caller's slice")
	}
}

// TestRequestWithATail has something follow the request inside its PEM block.
func TestRequestWithATail(t *testing.T) {
	good, _, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	der, err := block(good, requestBlock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RequestKey(encode(requestBlock, append(bytes.Clone(der), 0))); err == nil {
		t.Error("a request with a tail is read")
	}
}
