package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxRequest bounds a certificate request, in bytes of PEM.
const maxRequest = 8 << 10

// NewRequest makes a key, and a certificate request (RFC 2986) that proves to have it. Both are PEM. The request says nothing
// but that: whose certificate it becomes, the signer decides.
func NewRequest() (request, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if key, err = encodeKey(private); err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	request, err = RequestFor(key)
	return request, key, err
}

// RequestFor makes a certificate request for a key that [NewRequest] made, to ask again.
func RequestFor(key []byte) ([]byte, error) {
	private, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return encode(requestBlock, der), nil
}

// RequestKey returns the SHA-256 of a request's public key in lower-case hexadecimal digits: the same for each request of one
// key. The request's proof that its maker has the key is verified.
func RequestKey(request []byte) (string, error) {
	key, err := parseRequest(request)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return KeyFingerprint(der), nil
}

// KeyFingerprint returns the SHA-256 of a public key, given as a certificate's SubjectPublicKeyInfo (RFC 5280), in lower-case
// hexadecimal digits.
func KeyFingerprint(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// parseRequest returns the key of a request that proves to have it.
func parseRequest(request []byte) (*ecdsa.PublicKey, error) {
	if len(request) > maxRequest {
		return nil, fmt.Errorf("a certificate request of %d bytes; at most %d", len(request), maxRequest)
	}
	b, rest := pem.Decode(request)
	if b == nil || b.Type != requestBlock || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("there is not one PEM block %q", requestBlock)
	}
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request's key is not of the curve P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed by its own key: %w", err)
	}
	return key, nil
}
