package appliance

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"crony"
	"crony/embedded/state"
	"crony/internal/durable"
	"crony/internal/pki"
)

// The files of a server's identity, in DIR/pki.
const (
	bundleFile    = "ca.crt"         // PEM: all authorities that are trusted; for people and tools
	leafFile      = "server.pem"     // the server's certificate and key
	sealFile      = "seal.key"       // opens what the servers share in secret
	authorityFile = "authority.json" // a copy of the keyspace's record, sealed: to renew with when there is no quorum
)

// renewFrom is how long before its end a certificate is replaced: a third of its life.
const renewFrom = pki.LeafValidity / 3

// identity is who a server is and whom it trusts: what it has in DIR/pki, in use. All of it can change while the server runs.
// It is safe for concurrent use.
type identity struct {
	dir   string
	who   pki.Identity
	seal  pki.SealKey
	trust *pki.Trust
	now   func() time.Time

	mu     sync.Mutex
	hosts  []string // under which people reach the server
	cas    []*pki.CA
	record state.Authority // as cas
	leaf   *pki.Leaf
	cert   *tls.Certificate
	intro  *tls.Certificate // for those who know only a fingerprint
}

// newIdentity makes what a new cluster's first server needs, on disk.
func newIdentity(dir, cluster, id string, now func() time.Time) (*identity, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	ca, err := pki.NewCA(cluster, now())
	if err != nil {
		return nil, err
	}
	seal := pki.NewSealKey()
	if err := seal.Save(filepath.Join(dir, sealFile)); err != nil {
		return nil, err
	}
	leaf, err := ca.Issue(pki.Identity{Role: pki.Server, ID: id}, nil, now())
	if err != nil {
		return nil, err
	}
	record := state.Authority{Sealed: [][]byte{ca.Seal(seal)}, Roots: string(ca.Root().PEM())}
	if err := writeIdentity(dir, record, leaf); err != nil {
		return nil, err
	}
	return openIdentity(dir, now)
}

// writeIdentity writes whom a server trusts and who it is, the certificate last.
func writeIdentity(dir string, record state.Authority, leaf *pki.Leaf) error {
	if err := writeAuthority(dir, record); err != nil {
		return err
	}
	return leaf.Save(filepath.Join(dir, leafFile))
}

func writeAuthority(dir string, record state.Authority) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the authority: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, authorityFile), data, 0o600); err != nil {
		return fmt.Errorf("write the authority: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, bundleFile), []byte(record.Roots), 0o644); err != nil {
		return fmt.Errorf("write the authorities' certificates: %w", err)
	}
	return nil
}

// openIdentity reads what a server has in its directory. A server that has joined, and has not seen the keyspace yet, has
// authorities to trust and none to sign with.
func openIdentity(dir string, now func() time.Time) (*identity, error) {
	i := &identity{dir: dir, now: now}
	var err error
	if i.seal, err = pki.ReadSealKey(filepath.Join(dir, sealFile)); err != nil {
		return nil, err
	}
	bundle, err := os.ReadFile(filepath.Join(dir, bundleFile))
	if err != nil {
		return nil, fmt.Errorf("read the authorities' certificates: %w", err)
	}
	roots, err := pki.ParseRoots(bundle)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, bundleFile), err)
	}
	i.trust = pki.NewTrust(roots...)
	if i.leaf, err = pki.OpenLeaf(filepath.Join(dir, leafFile)); err != nil {
		return nil, err
	}
	if err := i.use(i.leaf); err != nil {
		return nil, err
	}
	if i.who, err = pki.IdentityOf(i.cert.Leaf); err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	if i.who.Role != pki.Server || i.who.Cluster != i.trust.Cluster() {
		return nil, fmt.Errorf("%s is the certificate of %s, and not of a server of %s",
			filepath.Join(dir, leafFile), i.who, i.trust.Cluster())
	}
	data, err := os.ReadFile(filepath.Join(dir, authorityFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return i, nil
	case err != nil:
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	var record state.Authority
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, authorityFile), err)
	}
	return i, i.adopt(record)
}

// use makes a certificate the one that is shown. It is called with the lock held, or before there are others.
func (i *identity) use(leaf *pki.Leaf) error {
	cert, err := leaf.Certificate()
	if err != nil {
		return fmt.Errorf("read the server's certificate: %w", err)
	}
	intro, err := leaf.Introduce(i.trust)
	if err != nil {
		return fmt.Errorf("read the server's certificate: %w", err)
	}
	i.leaf, i.cert, i.intro = leaf, cert, intro
	return nil
}

// adopt takes over what the keyspace says of the authorities: whom to trust, and by whose key to sign. A certificate that
// another has signed than the one that signs now is made anew.
func (i *identity) adopt(record state.Authority) error {
	var cas []*pki.CA
	for _, sealed := range record.Sealed {
		ca, err := pki.OpenSealedCA(i.seal, sealed)
		if err != nil {
			return fmt.Errorf("open the authority: %w", err)
		}
		cas = append(cas, ca)
	}
	roots, err := pki.ParseRoots([]byte(record.Roots))
	if err != nil {
		return fmt.Errorf("read the authorities' certificates: %w", err)
	}
	if len(cas) == 0 || roots[0].Cluster() != i.trust.Cluster() {
		return fmt.Errorf("the authority's record is of %d keys of cluster %s", len(cas), roots[0].Cluster())
	}
	if err := writeAuthority(i.dir, record); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cas, i.record = cas, record
	i.trust.Set(roots...)
	if err := i.use(i.leaf); err != nil { // which is introduced by them
		return err
	}
	return i.renew()
}

// reach says under which hosts people reach the server; its certificate is made anew if it does not hold for them.
func (i *identity) reach(hosts []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hosts = hosts
	return i.renew()
}

// refresh makes the certificate anew if it ends soon.
func (i *identity) refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.renew()
}

// renew makes the certificate anew if there is a reason to, and an authority to sign it.
func (i *identity) renew() error {
	if len(i.cas) == 0 || !i.stale() {
		return nil
	}
	leaf, err := i.cas[0].Issue(i.who, i.hosts, i.now())
	if err != nil {
		return err
	}
	if err := leaf.Save(filepath.Join(i.dir, leafFile)); err != nil {
		return err
	}
	return i.use(leaf)
}

func (i *identity) stale() bool {
	if i.cert.Leaf.NotAfter.Sub(i.now()) < renewFrom || pki.Issuer(i.cert.Leaf, i.trust) != i.cas[0].Root().Fingerprint() {
		return true
	}
	for _, host := range i.hosts {
		if i.cert.Leaf.VerifyHostname(host) != nil {
			return true
		}
	}
	return false
}

// own is a [pki.Source]: the certificate that is shown to servers and agents.
func (i *identity) own() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert, nil
}

// introduction is a [pki.Source]: the certificate with its authority's, for whoever knows only the authority's fingerprint.
func (i *identity) introduction() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.intro, nil
}

// authority returns the keyspace's record as this server knows it; false before it has seen any.
func (i *identity) authority() (state.Authority, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.record, len(i.cas) > 0
}

// signer returns the authority that signs now.
func (i *identity) signer() (*pki.CA, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.cas) == 0 {
		return nil, crony.Errorf(crony.Unavailable, "this server does not have the authority's key yet").WithHint("try again soon")
	}
	return i.cas[0], nil
}

// sign makes a certificate for the key of a certificate request.
func (i *identity) sign(request []byte, role pki.Role, id string) ([]byte, error) {
	ca, err := i.signer()
	if err != nil {
		return nil, err
	}
	return ca.Sign(request, pki.Identity{Role: role, ID: id}, nil, i.now())
}

// trusted returns whom agents are to trust, as PEM, and the fingerprint of the one that signs.
func (i *identity) trusted() ([]byte, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.cas) == 0 {
		return i.trust.PEM(), ""
	}
	return i.trust.PEM(), i.cas[0].Root().Fingerprint()
}

// rotated returns the record with a new authority that signs from now on.
func (i *identity) rotated() (state.Authority, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.cas) != 1 {
		return state.Authority{}, crony.Errorf(crony.Conflict, "the authority is being replaced already").
			WithHint("finish that first: `crony cluster rotate-ca --finish`")
	}
	next, err := i.cas[0].Successor(i.now())
	if err != nil {
		return state.Authority{}, err
	}
	return state.Authority{
		Sealed: [][]byte{next.Seal(i.seal), i.cas[0].Seal(i.seal)},
		Roots:  string(next.Root().PEM()) + string(i.cas[0].Root().PEM()),
	}, nil
}

// rotationDone returns the record without the authority of before.
func (i *identity) rotationDone() (state.Authority, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.cas) < 2 {
		return state.Authority{}, crony.Errorf(crony.Conflict, "the authority is not being replaced").
			WithHint("begin with `crony cluster rotate-ca`")
	}
	only := i.cas[0].Forget()
	return state.Authority{Sealed: [][]byte{only.Seal(i.seal)}, Roots: string(only.Root().PEM())}, nil
}

// introduces returns the fingerprint of the authority by which a host that joins knows this cluster.
func (i *identity) introduces() string { return i.trust.Roots()[0].Fingerprint() }
