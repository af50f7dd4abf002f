package pki

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
)

// Source returns the certificate to present. It is asked at each handshake, so that a renewed one is used from then on, and
// must be safe for concurrent use.
type Source func() (*tls.Certificate, error)

// ServerTLS returns the configuration of a listener that is open to holders of a certificate of root's cluster in one of
// roles, and to nobody else. Without roles it is open to nobody.
func ServerTLS(root *Root, own Source, roles ...Role) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		ClientAuth:       tls.RequireAndVerifyClientCert,
		ClientCAs:        root.pool(),
		VerifyConnection: verify(root, roles),
	}
}

// ClientTLS returns the configuration to dial a server of root's cluster at any address. A nil own presents no certificate:
// that is how a host comes that has none yet.
//
// The address that was dialled is not verified, and need not be. The standard verification is in full force (chain to root
// and to nothing else, validity, use as a server), only under the name [ServerName], which this authority puts in the
// certificate of every server and of nobody else; then the identity itself must be that of a server of the cluster.
func ClientTLS(root *Root, own Source) *tls.Config {
	config := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		RootCAs:          root.pool(),
		ServerName:       ServerName,
		VerifyConnection: verify(root, []Role{Server}),
	}
	if own != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	}
	return config
}

// PeerIdentity returns who is at the other end of a connection that was made with [ServerTLS] or [ClientTLS].
func PeerIdentity(state tls.ConnectionState) (Identity, error) {
	if len(state.VerifiedChains) == 0 {
		return Identity{}, errors.New("the peer has no verified certificate")
	}
	return IdentityOf(state.VerifiedChains[0][0])
}

// verify runs after the standard verification, on resumed connections too.
func verify(root *Root, roles []Role) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		peer, err := PeerIdentity(state)
		switch {
		case err != nil:
			return fmt.Errorf("verify peer: %w", err)
		case peer.Cluster != root.cluster:
			return fmt.Errorf("verify peer: %s is not of cluster %s", peer, root.cluster)
		case !slices.Contains(roles, peer.Role):
			return fmt.Errorf("verify peer: %s is not welcome here: the roles are %q", peer, roles)
		}
		return nil
	}
}
