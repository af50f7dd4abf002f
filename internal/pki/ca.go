package pki

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"crony/internal/durable"
)

// How long certificates hold. They begin a little in the past, as the clocks of a fleet differ.
const (
	LeafValidity = 90 * 24 * time.Hour
	RootValidity = 20 * 365 * 24 * time.Hour
	backdating   = 5 * time.Minute
)

// The files of an authority in its directory.
const (
	RootFile = "ca.crt" // 0644
	keyFile  = "ca.key" // 0600
)

// ServerName is the host name that every server's certificate has beside its own hosts, and no agent's ever has. Clients
// verify a server under this name, whatever its address.
const ServerName = "server.crony.internal"

const label = `[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`

var hostName = regexp.MustCompile(`^` + label + `(\.` + label + `)*$`)

// CA is a cluster's authority with its key. Who has it can be anybody in the cluster. It is safe for concurrent use.
type CA struct {
	root  *Root
	key   *ecdsa.PrivateKey
	cross *x509.Certificate // by which the authority of before vouches for this one; nil: there is none
}

// NewCA makes the authority of a cluster. It lasts for [RootValidity].
func NewCA(cluster string, now time.Time) (*CA, error) {
	if !word.MatchString(cluster) {
		return nil, fmt.Errorf("make a certificate authority: %w", Identity{Cluster: cluster}.Validate())
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"crony"}, CommonName: "crony " + cluster},
		NotBefore:             now.Add(-backdating),
		NotAfter:              now.Add(RootValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // a successor may come in between
		URIs:                  []*url.URL{{Scheme: scheme, Host: cluster}},
	}
	cert, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	root, err := newRoot(cert)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	return &CA{root: root, key: key}, nil
}

// OpenCA reads the authority that [CA.Save] wrote in dir. Without one the error is [fs.ErrNotExist].
func OpenCA(dir string) (*CA, error) {
	text, err := os.ReadFile(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	root, err := ParseRoot(text)
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %s: %w", filepath.Join(dir, RootFile), err)
	}
	text, err = os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %s: %w", filepath.Join(dir, keyFile), err)
	}
	if !key.PublicKey.Equal(root.cert.PublicKey) {
		return nil, fmt.Errorf("open certificate authority: %s and %s in %s do not belong together", RootFile, keyFile, dir)
	}
	return &CA{root: root, key: key}, nil
}

// Save writes the authority to dir, which must exist, and returns once it is on disk. It never replaces another authority:
// that would cut off a whole cluster. The key is written first, so that an interrupted Save left no authority and can be
// done again.
func (ca *CA) Save(dir string) error {
	path := filepath.Join(dir, RootFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save certificate authority: %s: %w", path, errors.Join(err, fs.ErrExist))
	}
	text, err := encodeKey(ca.key)
	if err != nil {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, keyFile), text, 0o600); err != nil {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	if err := durable.WriteFile(path, ca.root.PEM(), 0o644); err != nil {
		return fmt.Errorf("save certificate authority: %w", err)
	}
	return nil
}

// Root returns the authority's public part.
func (ca *CA) Root() *Root { return ca.root }

// Issue makes a key and signs a certificate for who, which holds for [LeafValidity] but never longer than the authority. The
// cluster of who may be left empty. Hosts are the IP addresses and host names under which people reach a server; an agent
// is never reached and has none.
func (ca *CA) Issue(who Identity, hosts []string, now time.Time) (*Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", who, err)
	}
	chain, err := ca.certify(&key.PublicKey, who, hosts, now)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", who, err)
	}
	return &Leaf{CertPEM: chain, KeyPEM: keyPEM}, nil
}

// Sign is [CA.Issue] for a key that stays with its owner: of the request (PEM, see [NewRequest]) only the key is used. It
// returns the certificate as PEM, with what links it to the authority.
func (ca *CA) Sign(request []byte, who Identity, hosts []string, now time.Time) ([]byte, error) {
	key, err := parseRequest(request)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", who, err)
	}
	return ca.certify(key, who, hosts, now)
}

func (ca *CA) certify(key *ecdsa.PublicKey, who Identity, hosts []string, now time.Time) ([]byte, error) {
	who.Cluster = cmp.Or(who.Cluster, ca.root.cluster)
	template, err := ca.template(who, hosts, now)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", who, err)
	}
	cert, err := sign(template, ca.root.cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", who, err)
	}
	return ca.chain(cert), nil
}

func (ca *CA) template(who Identity, hosts []string, now time.Time) (*x509.Certificate, error) {
	root := ca.root.cert
	switch err := who.Validate(); {
	case err != nil:
		return nil, err
	case who.Cluster != ca.root.cluster:
		return nil, fmt.Errorf("the authority is that of cluster %s", ca.root.cluster)
	case now.After(root.NotAfter):
		return nil, fmt.Errorf("the authority's own certificate expired at %s", root.NotAfter.Format(time.RFC3339))
	case who.Role == Agent && len(hosts) > 0:
		return nil, errors.New("an agent's certificate has no hosts")
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"crony"}, CommonName: string(who.Role) + " " + who.ID},
		NotBefore:             now.Add(-backdating),
		NotAfter:              earlier(now.Add(LeafValidity), root.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{who.url()},
	}
	if who.Role != Server {
		return template, nil
	}
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	template.DNSNames = []string{ServerName}
	for _, host := range hosts {
		ip := net.ParseIP(host)
		switch {
		case ip != nil:
			template.IPAddresses = append(template.IPAddresses, ip)
		case len(host) <= 253 && hostName.MatchString(host):
			template.DNSNames = append(template.DNSNames, host)
		default:
			return nil, fmt.Errorf("%.260q is neither an IP address nor a host name", host)
		}
	}
	return template, nil
}

// sign makes the certificate of key's holder; a random serial number is drawn for it.
func sign(template, parent *x509.Certificate, key *ecdsa.PublicKey, authority *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, authority)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode(keyBlock, der), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := block(text, keyBlock)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, errors.New("the key is not of the curve P-256")
	}
	return ec, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
