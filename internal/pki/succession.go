package pki

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// Successor makes the authority that replaces ca. The certificates that it issues come with one more, by which ca vouches for
// it: so whoever trusts only ca yet accepts them, until [CA.Forget].
func (ca *CA) Successor(now time.Time) (*CA, error) {
	next, err := NewCA(ca.root.cluster, now)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               next.root.cert.Subject,
		SubjectKeyId:          next.root.cert.SubjectKeyId,
		NotBefore:             now.Add(-backdating),
		NotAfter:              earlier(next.root.cert.NotAfter, ca.root.cert.NotAfter),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		URIs:                  []*url.URL{{Scheme: scheme, Host: ca.root.cluster}},
	}
	if next.cross, err = sign(template, ca.root.cert, &next.key.PublicKey, ca.key); err != nil {
		return nil, fmt.Errorf("vouch for the new certificate authority: %w", err)
	}
	return next, nil
}

// Forget returns ca without what the authority of before vouched for.
func (ca *CA) Forget() *CA { return &CA{root: ca.root, key: ca.key} }

// chain returns a certificate as PEM, with what links it to an authority of before.
func (ca *CA) chain(cert *x509.Certificate) []byte {
	text := encode(certificateBlock, cert.Raw)
	if ca.cross != nil {
		text = append(text, encode(certificateBlock, ca.cross.Raw)...)
	}
	return text
}

// sealedCA is an authority as it is sealed: all PEM.
type sealedCA struct {
	Root  string `json:"root"`
	Key   string `json:"key"`
	Cross string `json:"cross,omitempty"`
}

const sealPurpose = "crony certificate authority"

// Seal returns the authority with its key so that only the seal key opens it.
func (ca *CA) Seal(k SealKey) []byte {
	key, err := encodeKey(ca.key)
	if err != nil {
		panic(err) // a P-256 key can always be encoded
	}
	parts := sealedCA{Root: string(ca.root.PEM()), Key: string(key)}
	if ca.cross != nil {
		parts.Cross = string(encode(certificateBlock, ca.cross.Raw))
	}
	plain, err := json.Marshal(parts)
	if err != nil {
		panic(err) // texts can always be encoded
	}
	return k.Seal(plain, sealPurpose)
}

// OpenSealedCA reads what [CA.Seal] returned.
func OpenSealedCA(k SealKey, sealed []byte) (*CA, error) {
	plain, err := k.Open(sealed, sealPurpose)
	if err != nil {
		return nil, fmt.Errorf("open sealed certificate authority: %w", err)
	}
	var parts sealedCA
	if err := json.Unmarshal(plain, &parts); err != nil {
		return nil, fmt.Errorf("open sealed certificate authority: %w", err)
	}
	root, err := ParseRoot([]byte(parts.Root))
	if err != nil {
		return nil, fmt.Errorf("open sealed certificate authority: %w", err)
	}
	key, err := parseKey([]byte(parts.Key))
	if err != nil {
		return nil, fmt.Errorf("open sealed certificate authority: %w", err)
	}
	if !key.PublicKey.Equal(root.cert.PublicKey) {
		return nil, fmt.Errorf("open sealed certificate authority: certificate and key do not belong together")
	}
	ca := &CA{root: root, key: key}
	if parts.Cross != "" {
		if ca.cross, err = parseCertificate([]byte(parts.Cross)); err != nil {
			return nil, fmt.Errorf("open sealed certificate authority: %w", err)
		}
	}
	return ca, nil
}
