package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Root is the certificate of a cluster's authority: what its members trust. It is public and never changes.
type Root struct {
	cert    *x509.Certificate
	cluster string
}

// ParseRoot reads the PEM of one authority, as [Root.PEM] wrote it.
func ParseRoot(text []byte) (*Root, error) {
	cert, err := parseCertificate(text)
	if err != nil {
		return nil, err
	}
	return newRoot(cert)
}

func newRoot(cert *x509.Certificate) (*Root, error) {
	if !cert.IsCA {
		return nil, errors.New("the certificate is not an authority's")
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("the authority's certificate is not signed by itself: %w", err)
	}
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme || !word.MatchString(cert.URIs[0].Host) {
		return nil, errors.New("the authority's certificate names no cluster")
	}
	return &Root{cert: cert, cluster: cert.URIs[0].Host}, nil
}

// Cluster returns the id of the cluster whose authority this is.
func (r *Root) Cluster() string { return r.cluster }

// PEM returns the certificate as PEM.
func (r *Root) PEM() []byte { return encode(certificateBlock, r.cert.Raw) }

// Fingerprint returns the SHA-256 of the certificate in lower-case hexadecimal digits.
func (r *Root) Fingerprint() string {
	sum := sha256.Sum256(r.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Roots implements [Anchors].
func (r *Root) Roots() []*Root { return []*Root{r} }

// EndsAt returns until when the authority's certificate holds.
func (r *Root) EndsAt() time.Time { return r.cert.NotAfter.UTC() }

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY" // PKCS #8
	requestBlock     = "CERTIFICATE REQUEST"
)

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// block returns the contents of the only PEM block of a kind.
func block(text []byte, kind string) ([]byte, error) {
	var found []byte
	for {
		b, rest := pem.Decode(text)
		switch {
		case b == nil && found == nil:
			return nil, fmt.Errorf("there is no PEM block %q", kind)
		case b == nil:
			return found, nil
		case b.Type == kind && found != nil:
			return nil, fmt.Errorf("there is more than one PEM block %q", kind)
		case b.Type == kind:
			found = b.Bytes
		}
		text = rest
	}
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	der, err := block(text, certificateBlock)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
