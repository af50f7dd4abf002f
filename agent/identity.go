package agent

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"crony"
	"crony/internal/durable"
	"crony/internal/pki"
)

// What an agent's directory holds of its identity.
const (
	pkiDir      = "pki"
	bundleFile  = "ca.crt"       // PEM: whom the agent trusts
	leafFile    = "agent.pem"    // its certificate and key
	keyFile     = "join.pem"     // its key while it joins
	serversFile = "servers.json" // where servers were last
)

// renewFrom is how long before its end a certificate is replaced: a third of its life.
const renewFrom = pki.LeafValidity / 3

// identity is who an agent is and whom it trusts, as in its directory. Both can change while it runs. It is safe for concurrent
// use.
type identity struct {
	dir   string
	who   pki.Identity
	trust *pki.Trust

	mu      sync.Mutex
	cert    *tls.Certificate
	key     []byte // of the certificate that was asked for; nil: none was
	servers []knownServer
}

// knownServer is where a server can be reached.
type knownServer struct {
	ID      string `json:"id"`
	Address string `json:"address"`       // HOST:PORT
	URL     string `json:"url,omitempty"` // for people, and for whom the agent has called
}

// openIdentity reads the identity of the agent of a directory.
func openIdentity(dir string) (*identity, error) {
	i := &identity{dir: dir}
	bundle, err := os.ReadFile(i.path(bundleFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, crony.Errorf(crony.NotFound, "%s is no agent's: this host has not joined a cluster", dir).
			WithHint("`crony token create --for agent` on a server prints the command that does it")
	}
	if err != nil {
		return nil, fmt.Errorf("read the authorities: %w", err)
	}
	roots, err := pki.ParseRoots(bundle)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", i.path(bundleFile), err)
	}
	i.trust = pki.NewTrust(roots...)
	leaf, err := pki.OpenLeaf(i.path(leafFile))
	if err != nil {
		return nil, err
	}
	if i.cert, err = leaf.Certificate(); err != nil {
		return nil, fmt.Errorf("read %s: %w", i.path(leafFile), err)
	}
	if i.who, err = pki.IdentityOf(i.cert.Leaf); err != nil {
		return nil, fmt.Errorf("read %s: %w", i.path(leafFile), err)
	}
	if i.who.Role != pki.Agent || i.who.Cluster != i.trust.Cluster() {
		return nil, crony.Errorf(crony.Invalid, "%s is the certificate of %s", i.path(leafFile), i.who).
			WithHint("it must be that of an agent of the cluster %s, whose authority is beside it", i.trust.Cluster())
	}
	data, err := os.ReadFile(filepath.Join(dir, serversFile))
	if err == nil {
		err = json.Unmarshal(data, &i.servers)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, serversFile), err)
	}
	return i, nil
}

func (i *identity) makeDir() error {
	err := makePrivate(i.dir)
	if err == nil {
		err = os.MkdirAll(filepath.Join(i.dir, pkiDir), 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	return nil
}

func (i *identity) path(name string) string { return filepath.Join(i.dir, pkiDir, name) }

// MoveIn makes a directory an agent's: it writes whom the agent trusts, where servers are, and its certificate, that one last.
func MoveIn(dir string, authorities []byte, leaf *pki.Leaf, servers []string) error {
	i := &identity{dir: dir}
	if err := i.makeDir(); err != nil {
		return err
	}
	var known []knownServer
	for _, address := range servers {
		known = append(known, knownServer{Address: address})
	}
	if err := i.know(known); err != nil {
		return err
	}
	if err := durable.WriteFile(i.path(bundleFile), authorities, 0o644); err != nil {
		return fmt.Errorf("write the authorities: %w", err)
	}
	return leaf.Save(i.path(leafFile))
}

// own is a [pki.Source].
func (i *identity) own() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert, nil
}

// endsAt returns when the agent's certificate ends.
func (i *identity) endsAt() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert.Leaf.NotAfter
}

// trusts takes over whom to trust, on disk first.
func (i *identity) trusts(bundle []byte) error {
	roots, err := pki.ParseRoots(bundle)
	if err != nil {
		return fmt.Errorf("read the authorities: %w", err)
	}
	if roots[0].Cluster() != i.who.Cluster {
		return fmt.Errorf("the authorities are those of cluster %s", roots[0].Cluster())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if string(bundle) == string(i.trust.PEM()) {
		return nil
	}
	if err := durable.WriteFile(i.path(bundleFile), bundle, 0o644); err != nil {
		return fmt.Errorf("write the authorities: %w", err)
	}
	i.trust.Set(roots...)
	return nil
}

// renewal returns a certificate request with a new key if the certificate ends soon, or another authority signs now than the
// one that signed it; nil if there is no need.
func (i *identity) renewal(issuer string, now time.Time) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cert.Leaf.NotAfter.Sub(now) > renewFrom && pki.Issuer(i.cert.Leaf, i.trust) == issuer {
		return nil, nil
	}
	request, key, err := pki.NewRequest()
	if err != nil {
		return nil, err
	}
	i.key = key
	return request, nil
}

// renewed takes over the certificate that was asked for, on disk first.
func (i *identity) renewed(chain []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.key == nil {
		return errors.New("a certificate came that was not asked for")
	}
	leaf, err := pki.NewLeaf(chain, i.key)
	if err != nil {
		return fmt.Errorf("read the new certificate: %w", err)
	}
	cert, err := leaf.Certificate()
	if err != nil {
		return fmt.Errorf("read the new certificate: %w", err)
	}
	who, err := pki.IdentityOf(cert.Leaf)
	if err != nil || who != i.who || pki.Issuer(cert.Leaf, i.trust) == "" {
		return fmt.Errorf("the new certificate is not this agent's, or not signed by whom it trusts: %v %w", who, err)
	}
	if err := leaf.Save(i.path(leafFile)); err != nil {
		return err
	}
	i.cert, i.key = cert, nil
	return nil
}

// know remembers where servers are.
func (i *identity) know(servers []knownServer) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if slices.Equal(servers, i.servers) {
		return nil
	}
	data, err := json.MarshalIndent(servers, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the servers: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(i.dir, serversFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember the servers: %w", err)
	}
	i.servers = servers
	return nil
}

// known returns where servers were last.
func (i *identity) known() []knownServer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.servers)
}

// urls returns where servers take the answers of whom the agent has called.
func (i *identity) urls() []string {
	var list []string
	for _, s := range i.known() {
		if s.URL != "" {
			list = append(list, s.URL)
		}
	}
	return list
}

// Settled reports whether a directory is an agent's.
func Settled(dir string) (bool, error) {
	i := &identity{dir: dir}
	_, err := os.Stat(i.path(leafFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
