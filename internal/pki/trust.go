package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Anchors are the authorities that are trusted at the moment, one at least and all of one cluster: a [Root], or a [Trust].
type Anchors interface {
	// Roots returns them, the one that signs now first. It is safe for concurrent use.
	Roots() []*Root
}

// Trust is a set of authorities that can change while it is in use: connections that are made later are judged by the new
// set. It is safe for concurrent use.
type Trust struct {
	mu    sync.Mutex
	roots []*Root
}

// NewTrust returns a set of one authority or more.
func NewTrust(roots ...*Root) *Trust { return &Trust{roots: slices.Clone(roots)} }

// Roots implements [Anchors].
func (t *Trust) Roots() []*Root {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.roots)
}

// Set replaces the set.
func (t *Trust) Set(roots ...*Root) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roots = slices.Clone(roots)
}

// Cluster returns the id of the authorities' cluster.
func (t *Trust) Cluster() string { return t.Roots()[0].Cluster() }

// PEM returns the certificates, one after the other, as [ParseRoots] reads them.
func (t *Trust) PEM() []byte {
	var text bytes.Buffer
	for _, r := range t.Roots() {
		text.Write(r.PEM())
	}
	return text.Bytes()
}

// maxRoots is how many authorities a cluster has at most: two while one is replaced, and room for an operator's haste.
const maxRoots = 8

// ParseRoots reads the PEM of one authority or more of one cluster.
func ParseRoots(text []byte) ([]*Root, error) {
	var roots []*Root
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			if strings.TrimSpace(string(rest)) != "" {
				return nil, errors.New("there is something that is not PEM")
			}
			break
		}
		if b.Type != certificateBlock {
			return nil, fmt.Errorf("there is a PEM block %.40q, not %q", b.Type, certificateBlock)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		root, err := newRoot(cert)
		if err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	switch {
	case len(roots) == 0:
		return nil, fmt.Errorf("there is no PEM block %q", certificateBlock)
	case len(roots) > maxRoots:
		return nil, fmt.Errorf("there are %d authorities; at most %d", len(roots), maxRoots)
	}
	for _, r := range roots {
		if r.cluster != roots[0].cluster {
			return nil, fmt.Errorf("the authorities are of two clusters, %s and %s", roots[0].cluster, r.cluster)
		}
	}
	return roots, nil
}

// Issuer returns the fingerprint of the authority that signed a certificate, "" if it is none of those. It compares names, not
// signatures: it is for certificates that were verified.
func Issuer(cert *x509.Certificate, a Anchors) string {
	for _, r := range a.Roots() {
		if len(cert.AuthorityKeyId) > 0 && bytes.Equal(cert.AuthorityKeyId, r.cert.SubjectKeyId) {
			return r.Fingerprint()
		}
	}
	return ""
}

func poolOf(a Anchors) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, r := range a.Roots() {
		pool.AddCert(r.cert)
	}
	return pool
}

func clusterOf(a Anchors) string { return a.Roots()[0].cluster }
