//go:build linux

package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/pki"
)

func TestIdentityIsRefused(t *testing.T) {
	f := newFakeCluster(t)
	log := slog.New(slog.DiscardHandler)
	if _, err := New(Options{Dir: t.TempDir(), Log: log}); crony.CodeOf(err) != crony.NotFound || !strings.Contains(err.Error(), "has not joined") {
		t.Errorf("an empty directory: %v", err)
	}
	for name, c := range map[string]struct {
		spoil func(dir string)
		want  string
	}{
		"a server's certificate": {func(dir string) { save(t, f.issue(t, pki.Server, "s1"), dir) }, "it must be that of an agent"},
		"junk":                   {func(dir string) { writeTo(t, filepath.Join(dir, pkiDir, leafFile), "junk") }, "agent.pem"},
		"no certificate":         {func(dir string) { os.Remove(filepath.Join(dir, pkiDir, leafFile)) }, "agent.pem"},
		"junk for authorities":   {func(dir string) { writeTo(t, filepath.Join(dir, pkiDir, bundleFile), "junk") }, "ca.crt"},
		"junk for servers":       {func(dir string) { writeTo(t, filepath.Join(dir, serversFile), "{") }, "servers.json"},
		"another's authority": {func(dir string) {
			ca, err := pki.NewCA("another", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			writeTo(t, filepath.Join(dir, pkiDir, bundleFile), string(ca.Root().PEM()))
		}, "of the cluster another"},
	} {
		dir := f.agent(t, "127.0.0.1:1")
		c.spoil(dir)
		if _, err := New(Options{Dir: dir, Log: log}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func save(t *testing.T, leaf *pki.Leaf, dir string) {
	t.Helper()
	if err := leaf.Save(filepath.Join(dir, pkiDir, leafFile)); err != nil {
		t.Fatal(err)
	}
}

// TestRenewal takes an identity through the end of its certificate, and through a change of the authority, and reads it anew from
// its directory each time.
func TestRenewal(t *testing.T) {
	f := newFakeCluster(t)
	dir := f.agent(t)
	open := func() *identity {
		t.Helper()
		i, err := openIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	i, now := open(), time.Now()
	issuer := f.ca.Root().Fingerprint()
	if request, err := i.renewal(issuer, now); request != nil || err != nil {
		t.Errorf("a fresh certificate is to be renewed: %v", err)
	}
	late := now.Add(pki.LeafValidity - renewFrom + time.Hour)
	request, err := i.renewal(issuer, late)
	if request == nil || err != nil {
		t.Fatalf("one that ends soon is not: %v", err)
	}
	chain, err := f.ca.Sign(request, pki.Identity{Role: pki.Agent, ID: "a1"}, nil, late)
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{
		"another agent's": must(f.ca.Sign(request, pki.Identity{Role: pki.Agent, ID: "a2"}, nil, late)),
		"a stranger's":    must(newFakeCluster(t).ca.Sign(request, pki.Identity{Role: pki.Agent, ID: "a1"}, nil, late)),
		"another key's":   f.issue(t, pki.Agent, "a1").CertPEM,
		"junk":            []byte("junk"),
	} {
		if err := i.renewed(bad); err == nil {
			t.Errorf("%s certificate was taken over", what)
		}
	}
	if err := i.renewed(chain); err != nil {
		t.Fatal(err)
	}
	if err := i.renewed(chain); err == nil {
		t.Error("a certificate was taken over that nobody had asked for")
	}
	if got, _ := open().own(); !got.Leaf.NotAfter.After(now.Add(pki.LeafValidity)) {
		t.Errorf("on disk is the one that ends at %s", got.Leaf.NotAfter)
	}

	next, err := f.ca.Successor(now)
	if err != nil {
		t.Fatal(err)
	}
	both := pki.NewTrust(next.Root(), f.ca.Root())
	if err := i.trusts(both.PEM()); err != nil {
		t.Fatal(err)
	}
	if request, err = i.renewal(next.Root().Fingerprint(), now); request == nil || err != nil {
		t.Fatalf("a certificate of the authority of before is not renewed: %v", err)
	}
	if err := i.renewed(must(next.Sign(request, pki.Identity{Role: pki.Agent, ID: "a1"}, nil, now))); err != nil {
		t.Fatal(err)
	}
	i = open()
	cert, _ := i.own()
	if pki.Issuer(cert.Leaf, both) != next.Root().Fingerprint() || len(i.trust.Roots()) != 2 {
		t.Errorf("on disk is a certificate of %s, and %d authorities", pki.Issuer(cert.Leaf, both), len(i.trust.Roots()))
	}
	foreign, err := pki.NewCA("another", now)
	if err != nil {
		t.Fatal(err)
	}
	for what, bundle := range map[string][]byte{"another cluster's": foreign.Root().PEM(), "junk": []byte("junk"), "nothing": nil} {
		if err := i.trusts(bundle); err == nil {
			t.Errorf("%s authorities were taken over", what)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
