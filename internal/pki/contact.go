package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// Introduce returns the pair with the authorities' certificates at the end of its chain, for those who know one of them by its
// fingerprint alone; see [FirstContact].
func (l *Leaf) Introduce(a Anchors) (*tls.Certificate, error) {
	pair, err := l.Certificate()
	if err != nil {
		return nil, err
	}
	for _, root := range a.Roots() {
		pair.Certificate = append(pair.Certificate, root.cert.Raw)
	}
	return pair, nil
}

// FirstContact returns the configuration by which a host that knows no more of a cluster than its authority's fingerprint
// dials one of its servers, at any address. Found is given the authority, once it is verified and before anything is sent.
//
// The standard verification is replaced, as there is no authority to begin with, by one that is as strict: the certificate of
// that fingerprint must be in the chain, and the server's must be signed by it, and be a server's.
func FirstContact(fingerprint string, found func(*Root)) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         ServerName,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		NextProtos:         []string{"http/1.1"},
		VerifyConnection: func(state tls.ConnectionState) error {
			root, err := introduced(state.PeerCertificates, fingerprint)
			if err != nil {
				return err
			}
			if _, err := verifyServer(root, state.PeerCertificates); err != nil {
				return err
			}
			found(root)
			return nil
		},
	}
}

// ErrNotIntroduced says that a server is not one of the cluster whose authority's fingerprint is known.
var ErrNotIntroduced = errors.New("the server's authority has not the fingerprint that is expected")

// introduced returns the authority of a fingerprint that a chain brings along.
func introduced(chain []*x509.Certificate, fingerprint string) (*Root, error) {
	want, err := hex.DecodeString(fingerprint)
	if err != nil {
		return nil, ErrNotIntroduced
	}
	for _, cert := range chain {
		if sum := sha256.Sum256(cert.Raw); bytes.Equal(sum[:], want) {
			return newRoot(cert)
		}
	}
	return nil, ErrNotIntroduced
}

// verifyServer verifies a chain as that of a server of the anchors' cluster, and returns whose it is.
func verifyServer(a Anchors, chain []*x509.Certificate) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, errors.New("verify server: it shows no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: ServerName, Roots: poolOf(a), Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return Identity{}, fmt.Errorf("verify server: %w", err)
	}
	who, err := IdentityOf(chain[0])
	if err != nil {
		return Identity{}, fmt.Errorf("verify server: %w", err)
	}
	return who, welcome(a, who, Server)
}
