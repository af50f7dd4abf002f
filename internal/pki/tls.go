package pki

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Source returns the certificate to present. It is asked at each handshake, so that a renewed one is used from then on, and
// must be safe for concurrent use.
type Source func() (*tls.Certificate, error)

// ServerTLS returns the configuration of a listener that is open to holders of a certificate of the anchors' cluster in one of
// roles, and to nobody else. Without roles it is open to nobody. A connection is judged by what the anchors are when it is
// made; none is resumed, so that each is.
func ServerTLS(a Anchors, own Source, roles ...Role) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		ClientAuth:             tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2"}, // all such listeners are gRPC's
		VerifyConnection: func(state tls.ConnectionState) error {
			who, err := PeerIdentity(state)
			if err != nil {
				return fmt.Errorf("verify peer: %w", err)
			}
			return welcome(a, who, roles...)
		},
	}
	base.ClientCAs = poolOf(a)
	var mu sync.Mutex
	var roots []*Root
	var current *tls.Config // of roots; shared by all connections that are made under them
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := a.Roots(); current == nil || !slices.Equal(now, roots) {
			roots, current = now, base.Clone()
			current.GetConfigForClient, current.ClientCAs = nil, poolOf(a)
		}
		return current, nil
	}
	return base
}

// ClientTLS returns the configuration to dial a server of the anchors' cluster at any address. A nil own presents no
// certificate: that is how a host comes that has none yet.
//
// The address that was dialled is not verified, and need not be. The standard verification is done in full (chain to the anchors
// of the moment and to nothing else, validity, use as a server), only under the name [ServerName], which these authorities put
// in the certificate of every server and of nobody else; then the identity itself must be that of a server of the cluster. It
// is done in VerifyConnection, as the configuration's own roots could not change.
func ClientTLS(a Anchors, own Source) *tls.Config {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         ServerName,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := verifyServer(a, state.PeerCertificates)
			return err
		},
	}
	if own != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	}
	return config
}

// PeerIdentity returns who is at the other end of a connection that came in by [ServerTLS].
func PeerIdentity(state tls.ConnectionState) (Identity, error) {
	if len(state.VerifiedChains) == 0 {
		return Identity{}, errors.New("the peer has no verified certificate")
	}
	return IdentityOf(state.VerifiedChains[0][0])
}

// welcome says why a peer is not: it is of another cluster, or of a role that has no business here.
func welcome(a Anchors, peer Identity, roles ...Role) error {
	switch {
	case peer.Cluster != clusterOf(a):
		return fmt.Errorf("verify peer: %s is not of cluster %s", peer, clusterOf(a))
	case !slices.Contains(roles, peer.Role):
		return fmt.Errorf("verify peer: %s is not welcome here: the roles are %q", peer, roles)
	}
	return nil
}
