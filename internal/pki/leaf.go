package pki

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"

	"crony/internal/durable"
)

// Leaf is a certificate with its private key.
type Leaf struct {
	CertPEM []byte // of the holder first, then what links it to the authority
	KeyPEM  []byte // PKCS #8
}

// OpenLeaf reads what [Leaf.Save] wrote, and verifies that certificate and key belong together; not that they still hold.
func OpenLeaf(path string) (*Leaf, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open certificate: %w", err)
	}
	leaf, err := NewLeaf(text, text)
	if err != nil {
		return nil, fmt.Errorf("open certificate: %s: %w", path, err)
	}
	return leaf, nil
}

// NewLeaf puts a certificate, with what links it to its authority, together with its key. Both are PEM; what else is in the texts
// is left out. They must belong together.
func NewLeaf(chain, key []byte) (*Leaf, error) {
	var certs []byte
	n := 0
	for rest := chain; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == certificateBlock {
			certs = append(certs, encode(certificateBlock, b.Bytes)...)
			n++
		}
	}
	switch {
	case n == 0:
		return nil, fmt.Errorf("there is no PEM block %q", certificateBlock)
	case n > maxRoots:
		return nil, fmt.Errorf("there are %d certificates; at most %d", n, maxRoots)
	}
	private, err := block(key, keyBlock)
	if err != nil {
		return nil, err
	}
	leaf := &Leaf{CertPEM: certs, KeyPEM: encode(keyBlock, private)}
	if _, err := leaf.Certificate(); err != nil {
		return nil, err
	}
	return leaf, nil
}

// Save writes certificate and key to one file of mode 0600, in place of what was there, and returns once it is on disk. One
// file, because two can't be replaced at once: a renewal that is cut off leaves the old pair or the new one, never halves.
// Who wants two paths, as many programs do, gives this one twice.
func (l *Leaf) Save(path string) error {
	text := append(append([]byte{}, l.CertPEM...), l.KeyPEM...)
	if err := durable.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("save certificate: %w", err)
	}
	return nil
}

// Certificate returns the pair for use by TLS, with its Leaf parsed. The method is a [Source].
func (l *Leaf) Certificate() (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(l.CertPEM, l.KeyPEM)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}
