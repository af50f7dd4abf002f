package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Role is what the holder of a certificate is to the cluster.
type Role string

// The roles.
const (
	Server Role = "server"
	Agent  Role = "agent"
)

// Identity is who the holder of a certificate is. Cluster and ID are 1 to 63 of [A-Za-z0-9_-], beginning with a letter or a
// digit, so that they are at home in a URI, a host name and a file name alike.
type Identity struct {
	Cluster string
	Role    Role
	ID      string
}

const scheme = "crony"

var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// String returns the identity's URI, crony://CLUSTER/ROLE/ID.
func (i Identity) String() string {
	return scheme + "://" + i.Cluster + "/" + string(i.Role) + "/" + i.ID
}

// Validate says what is wrong with the identity; nil if nothing is.
func (i Identity) Validate() error {
	switch {
	case !word.MatchString(i.Cluster):
		return fmt.Errorf("%q is no cluster id: 1 to 63 of [A-Za-z0-9_-], beginning with a letter or a digit", i.Cluster)
	case i.Role != Server && i.Role != Agent:
		return fmt.Errorf("%q is no role: server or agent", i.Role)
	case !word.MatchString(i.ID):
		return fmt.Errorf("%q is no %s id: 1 to 63 of [A-Za-z0-9_-], beginning with a letter or a digit", i.ID, i.Role)
	}
	return nil
}

// ParseIdentity reads what [Identity.String] wrote and nothing else: no escapes, no port, no query, no trailing slash.
func ParseIdentity(text string) (Identity, error) {
	rest, ok := strings.CutPrefix(text, scheme+"://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return Identity{}, fmt.Errorf("%.200q is no identity: it must read crony://CLUSTER/ROLE/ID", text)
	}
	id := Identity{Cluster: parts[0], Role: Role(parts[1]), ID: parts[2]}
	if err := id.Validate(); err != nil {
		return Identity{}, fmt.Errorf("%.200q is no identity: %w", text, err)
	}
	return id, nil
}

// IdentityOf reads the identity in a certificate, which must have exactly one URI. It does not ask who signed: that must
// have been verified before.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("the certificate of %.200q has %d URIs, not one identity", cert.Subject, len(cert.URIs))
	}
	return ParseIdentity(cert.URIs[0].String())
}

func (i Identity) url() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Cluster, Path: "/" + string(i.Role) + "/" + i.ID}
}
