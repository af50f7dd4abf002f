package sdk

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"crony"
	"crony/internal/pki"
)

// peoplePort is where servers listen for people, and so for hosts that join, unless they are told otherwise.
const peoplePort = "8470"

// Join asks a server at an address (https://HOST:PORT, or HOST, with the usual port if none is given) to make the host part
// of its cluster. The token, [crony.JoinSecret.String], says by which authority the server is known: nothing is sent to any
// other. The request's own token is overwritten by it. What is returned has been verified to be what was asked for: a
// certificate of that cluster for the request's key, in the token's role. The same request made again has the same answer.
//
// Errors are of the type [*crony.Error], but for the caller's own context ending, and never tell the token.
func Join(ctx context.Context, address, token string, req crony.JoinRequest) (crony.JoinAnswer, error) {
	secret, err := crony.ParseJoinSecret(token)
	if err != nil {
		return crony.JoinAnswer{}, err
	}
	base, err := joinAddress(address)
	if err != nil {
		return crony.JoinAnswer{}, err
	}
	client := newHTTPClient(nil)
	transport := client.Transport.(*http.Transport) //nolint:forcetypeassert // newHTTPClient's own
	transport.TLSClientConfig, transport.ForceAttemptHTTP2 = pki.FirstContact(secret.Fingerprint, func(*pki.Root) {}), false
	defer transport.CloseIdleConnections()
	c, err := New(Options{Address: base, HTTPClient: client})
	if err != nil {
		return crony.JoinAnswer{}, err
	}
	req.Token = token
	body, err := json.Marshal(req)
	if err != nil {
		return crony.JoinAnswer{}, fmt.Errorf("encode the request to join: %w", err)
	}
	var answer crony.JoinAnswer
	err = c.do(ctx, call{method: http.MethodPost, path: "/join", body: body, bodyType: "application/json"}, &answer)
	if err != nil {
		return crony.JoinAnswer{}, unmet(base, err)
	}
	if err := checkAnswer(answer, secret, req); err != nil {
		return crony.JoinAnswer{}, err
	}
	return answer, nil
}

// unmet words the errors of a first contact, where the client's own hints are for people who have the CA's certificate.
func unmet(base string, err error) error {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, misnamed := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case errors.Is(err, pki.ErrNotIntroduced), unknown, misnamed:
		return &crony.Error{Code: crony.Forbidden, Err: err,
			Message: fmt.Sprintf("the server at %s is not of the cluster that the join token is from; nothing was sent to it", base),
			Hint:    "look at the address; if the cluster's authority was replaced since, make a new token"}
	case isInvalid && invalid.Reason == x509.Expired:
		return &crony.Error{Code: crony.Unavailable, Err: err,
			Message: fmt.Sprintf("the certificate of the server at %s does not hold now: %v", base, invalid),
			Hint:    "are the clocks of both hosts right?"}
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return &crony.Error{Code: crony.Unavailable, Err: err,
			Message: fmt.Sprintf("the server at %s speaks plain HTTP; nothing was sent to it", base),
			Hint:    "hosts join by HTTPS alone: give the address of a server that has it, which `crony dev` has not"}
	}
	return err
}

// joinAddress completes an address.
func joinAddress(address string) (string, error) {
	host := strings.TrimRight(address, "/")
	if strings.HasPrefix(host, "http://") {
		return "", crony.Errorf(crony.Invalid, "a host can't join by plain HTTP").WithHint("give the server's https address")
	}
	host = strings.TrimPrefix(host, "https://")
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	if _, err := crony.ParseJoinSecret(name); err == nil { // it would be told to a name server
		return "", crony.Errorf(crony.Invalid, "there is a join token where the server's address should be").
			WithHint("write the address like https://HOST:%s", peoplePort)
	}
	if name == "" || strings.ContainsAny(host, "/?#@") {
		return "", crony.Errorf(crony.Invalid, "%q is not the address of a server", address).
			WithHint("write it like https://HOST:%s", peoplePort)
	}
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(name, cmp.Or(port, peoplePort))}).String(), nil
}

// checkAnswer says why an answer is not what was asked for; nil if it is.
func checkAnswer(a crony.JoinAnswer, secret crony.JoinSecret, req crony.JoinRequest) error {
	wrong := func(what string, err error) error {
		return &crony.Error{Code: crony.Unavailable, Err: err,
			Message: fmt.Sprintf("the server's answer can't be used: %s: %v", what, err),
			Hint:    "the server and this program may be of different versions"}
	}
	roots, err := pki.ParseRoots([]byte(a.Authorities))
	if err != nil {
		return wrong("the authorities", err)
	}
	if !slices.ContainsFunc(roots, func(r *pki.Root) bool { return r.Fingerprint() == secret.Fingerprint }) {
		return wrong("the authorities", errors.New("that of the join token is not among them"))
	}
	block, rest := pem.Decode([]byte(a.Certificate))
	if block == nil {
		return wrong("the certificate", errors.New("it is not PEM"))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return wrong("the certificate", err)
	}
	anchors, between := x509.NewCertPool(), x509.NewCertPool()
	between.AppendCertsFromPEM(rest)
	for _, root := range roots {
		anchors.AppendCertsFromPEM(root.PEM())
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: anchors, Intermediates: between, CurrentTime: cert.NotBefore.Add(time.Minute),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return wrong("the certificate", err)
	}
	want := pki.Identity{Cluster: a.Cluster, Role: pki.Role(secret.For), ID: a.ID}
	switch who, err := pki.IdentityOf(cert); {
	case err != nil:
		return wrong("the certificate", err)
	case who != want || who.Cluster != roots[0].Cluster():
		return wrong("the certificate", fmt.Errorf("it is that of %s, and should be that of %s", who, want))
	}
	if key, err := pki.RequestKey([]byte(req.Request)); err != nil || key != keyOf(cert) {
		return wrong("the certificate", errors.New("it is for another key"))
	}
	return nil
}

// keyOf returns a certificate's key as [pki.RequestKey] does.
func keyOf(cert *x509.Certificate) string { return pki.KeyFingerprint(cert.RawSubjectPublicKeyInfo) }
