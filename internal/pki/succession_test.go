package pki

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

func successor(t *testing.T, ca *CA) *CA {
	t.Helper()
	next, err := ca.Successor(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestSuccession has each generation of certificates meet each state of trust, from both sides.
func TestSuccession(t *testing.T) {
	before := newCA(t, "c1")
	next := successor(t, before)
	trust := map[string]Anchors{"old": before.Root(), "both": NewTrust(next.Root(), before.Root()), "new": NewTrust(next.Root())}
	for _, c := range []struct {
		who     string
		signer  *CA
		welcome map[string]bool
	}{
		{"signed by the old one", before, map[string]bool{"old": true, "both": true}},
		{"signed by the new one", next, map[string]bool{"old": true, "both": true, "new": true}},
		{"signed by the new one, the old one forgotten", next.Forget(), map[string]bool{"both": true, "new": true}},
	} {
		for name, anchors := range trust {
			ours := issue(t, next, Server, "s1").Certificate // is welcome with all of them
			serverErr, clientErr := shake(t, ServerTLS(anchors, ours, Agent), ClientTLS(anchors, issue(t, c.signer, Agent, "a1").Certificate))
			if ok := serverErr == nil && clientErr == nil; ok != c.welcome[name] {
				t.Errorf("an agent, %s, at a server that trusts %s: %v, %v", c.who, name, serverErr, clientErr)
			}
			server := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return issue(t, c.signer, Server, "s1").Certificate()
			}}
			_, clientErr = shake(t, server, ClientTLS(anchors, ours))
			if (clientErr == nil) != c.welcome[name] {
				t.Errorf("a server, %s, for a client that trusts %s: %v", c.who, name, clientErr)
			}
			plain := &tls.Config{RootCAs: poolOf(anchors), ServerName: ServerName} // as the store's members verify each other
			if _, err := shake(t, server, plain); (err == nil) != c.welcome[name] {
				t.Errorf("a server, %s, for a plain client that trusts %s: %v", c.who, name, err)
			}
		}
	}
}

// TestTrustChanges has the anchors of one configuration change: the next connection is judged by what they are then.
func TestTrustChanges(t *testing.T) {
	before := newCA(t, "c1")
	next := successor(t, before).Forget()
	trust := NewTrust(before.Root())
	server := ServerTLS(trust, issue(t, next, Server, "s1").Certificate, Agent)
	client := ClientTLS(trust, issue(t, next, Agent, "a1").Certificate)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	meet := func(when string, want bool) {
		t.Helper()
		if serverErr, clientErr := shake(t, server, client); (serverErr == nil && clientErr == nil) != want {
			t.Errorf("%s: server says %v, client says %v", when, serverErr, clientErr)
		}
	}
	meet("the new one is not trusted yet", false)
	trust.Set(next.Root(), before.Root())
	meet("both are trusted", true)
	meet("once more", true)
	trust.Set(before.Root())
	meet("the new one is trusted no more", false)
}

func TestIssuer(t *testing.T) {
	before := newCA(t, "c1")
	next := successor(t, before)
	both := NewTrust(next.Root(), before.Root())
	for _, ca := range []*CA{before, next} {
		cert, err := issue(t, ca, Agent, "a1").Certificate()
		if err != nil {
			t.Fatal(err)
		}
		check(t, "the issuer", Issuer(cert.Leaf, both), ca.Root().Fingerprint())
		check(t, "the issuer among strangers", Issuer(cert.Leaf, newCA(t, "c1").Root()), "")
	}
}

func TestParseRoots(t *testing.T) {
	a, b, other := newCA(t, "c1").Root(), newCA(t, "c1").Root(), newCA(t, "c2").Root()
	roots, err := ParseRoots(NewTrust(a, b).PEM())
	if err != nil || len(roots) != 2 || roots[0].Fingerprint() != a.Fingerprint() || roots[1].Fingerprint() != b.Fingerprint() {
		t.Errorf("%v, %v", roots, err)
	}
	leaf := issue(t, newCA(t, "c1"), Server, "s1")
	many := NewTrust(a, a, a, a, a, a, a, a, a)
	for want, text := range map[string]string{
		"there is no PEM block":     "\n",
		"something that is not PEM": string(a.PEM()) + "x",
		"of two clusters":           string(a.PEM()) + string(other.PEM()),
		"not an authority's":        string(leaf.CertPEM),
		`a PEM block "PRIVATE KEY"`: string(leaf.KeyPEM),
		"there are 9 authorities":   string(many.PEM()),
		"x509":                      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		if _, err := ParseRoots([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzParseRoots(f *testing.F) {
	ca, err := NewCA("c1", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.Root().PEM())
	f.Fuzz(func(t *testing.T, text []byte) {
		roots, err := ParseRoots(text)
		if err != nil {
			return
		}
		again, err := ParseRoots(NewTrust(roots...).PEM())
		if err != nil || len(again) != len(roots) {
			t.Errorf("%d roots, read again %d: %v", len(roots), len(again), err)
		}
	})
}
