package state

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// credential is a token or a session at rest. Its secret is 128 random bits or more, so that a plain hash keeps it.
type credential struct {
	Kind      credentialKind `json:"kind"`
	Name      string         `json:"name"` // in whose name it acts
	Role      crony.Role     `json:"role"`
	Hash      string         `json:"hash"` // SHA-256 of the secret, in hexadecimal
	CreatedAt time.Time      `json:"created_at"`
	ExpiresAt time.Time      `json:"expires_at,omitzero"`

	rev   int64 // of its key
	lease int64 // that its key is held by; 0: none
}

type credentialKind string

const (
	apiToken credentialKind = "token"
	linkKind credentialKind = "link" // signs in once
	session  credentialKind = "session"
)

// sessionTTL is how long a session lasts from signing in.
const sessionTTL = 12 * time.Hour

// secretPrefix begins every secret of crony's, for those who look for leaked ones.
const secretPrefix = "crony"

// newSecret returns a secret for the credential of an id, and the hash to keep.
func newSecret(id string) (secret, hash string) {
	random := rand.Text()
	return secretPrefix + "_" + id + "_" + random, hashOf(random)
}

func hashOf(random string) string {
	sum := sha256.Sum256([]byte(random))
	return hex.EncodeToString(sum[:])
}

// CreateToken makes, or makes anew, the API token of an id and returns its secret, which is kept nowhere.
func (s *Store) CreateToken(ctx context.Context, id, name string, role crony.Role) (string, error) {
	secret, hash := newSecret(id)
	c := credential{Kind: apiToken, Name: name, Role: role, Hash: hash, CreatedAt: s.now().UTC()}
	err := s.change(ctx, "make a token", func() (*txn, error) {
		t := s.newTxn(ctx)
		t.expect(tokens+id, s.mirror.credential(tokens+id).rev)
		t.put(tokens+id, encode(c))
		return t, nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// CreateLink makes, or makes anew, the one-time link of an id and returns its secret: whoever brings it first signs in.
func (s *Store) CreateLink(ctx context.Context, id, name string, role crony.Role, ttl time.Duration) (string, error) {
	before := s.mirror.credential(tokens + id)
	secret, hash := newSecret(id)
	c := credential{Kind: linkKind, Name: name, Role: role, Hash: hash}
	if _, err := s.keep(ctx, tokens+id, &c, ttl, nil); err != nil {
		return "", err
	}
	s.revoke(ctx, before.lease)
	return secret, nil
}

// keep stores a credential for the time of ttl if the conditions hold, and runs the other operations with it. It sets the
// credential's times, of which its own expiry counts: the lease only clears away.
func (s *Store) keep(ctx context.Context, key string, c *credential, ttl time.Duration, conditions []clientv3.Cmp,
	others ...clientv3.Op) (bool, error) {
	lease, err := s.grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return false, err
	}
	c.CreatedAt = s.now().UTC()
	c.ExpiresAt = c.CreatedAt.Add(ttl)
	put := clientv3.OpPut(key, encode(*c), clientv3.WithLease(lease))
	ok, err := s.commit(ctx, conditions, append(others, put))
	if !ok {
		s.revoke(ctx, int64(lease))
	}
	return ok, err
}

// SignIn opens a session for the holder of a token or a link, whose link is then spent, and returns it with its secret.
func (s *Store) SignIn(ctx context.Context, secret string) (crony.Session, string, error) {
	key, c, ok := s.find(tokens, secret)
	if !ok {
		return crony.Session{}, "", crony.Errorf(crony.Unauthorized, "the link or token is not valid").
			WithHint("a link signs in once; `crony dev` prints a new one when it starts")
	}
	id := strings.ToLower(rand.Text())
	sessionSecret, hash := newSecret(id)
	made := credential{Kind: session, Name: c.Name, Role: c.Role, Hash: hash}
	var spent []clientv3.Op
	if c.Kind == linkKind {
		spent = append(spent, clientv3.OpDelete(key))
	}
	unchanged := clientv3.Compare(clientv3.ModRevision(key), "=", c.rev)
	ok, err := s.keep(ctx, sessions+id, &made, sessionTTL, []clientv3.Cmp{unchanged}, spent...)
	switch {
	case err != nil:
		return crony.Session{}, "", err
	case !ok:
		return crony.Session{}, "", crony.Errorf(crony.Unauthorized, "the link has just been used, or the token replaced")
	case c.Kind == linkKind:
		s.revoke(ctx, c.lease)
	}
	return crony.Session{Name: made.Name, Role: made.Role, ExpiresAt: made.ExpiresAt}, sessionSecret, nil
}

// Authenticate returns the session of a secret that SignIn returned.
func (s *Store) Authenticate(_ context.Context, secret string) (crony.Session, error) {
	_, c, ok := s.find(sessions, secret)
	if !ok {
		return crony.Session{}, crony.Errorf(crony.Unauthorized, "the session is over").WithHint("sign in again")
	}
	return crony.Session{Name: c.Name, Role: c.Role, ExpiresAt: c.ExpiresAt}, nil
}

// AuthenticateToken returns whom an API token speaks for.
func (s *Store) AuthenticateToken(_ context.Context, secret string) (crony.Session, error) {
	_, c, ok := s.find(tokens, secret)
	if !ok || c.Kind != apiToken {
		return crony.Session{}, crony.Errorf(crony.Unauthorized, "the token is not valid").
			WithHint("it may have been replaced: read it from its file again")
	}
	return crony.Session{Name: c.Name, Role: c.Role, ExpiresAt: c.ExpiresAt}, nil
}

// SignOut ends the session of a secret; to end one that is over is no error.
func (s *Store) SignOut(ctx context.Context, secret string) error {
	key, c, ok := s.find(sessions, secret)
	if !ok {
		return nil
	}
	if _, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpDelete(key)}); err != nil {
		return err
	}
	s.revoke(ctx, c.lease)
	return nil
}

// find returns the credential that a secret belongs to, if it is right and in time.
func (s *Store) find(kind, secret string) (key string, c credential, ok bool) {
	prefix, rest, _ := strings.Cut(secret, "_")
	i := strings.LastIndexByte(rest, '_')
	if prefix != secretPrefix || i < 0 {
		return "", c, false
	}
	key = kind + rest[:i]
	c = s.mirror.credential(key)
	same := subtle.ConstantTimeCompare([]byte(c.Hash), []byte(hashOf(rest[i+1:]))) == 1
	return key, c, same && (c.ExpiresAt.IsZero() || s.now().Before(c.ExpiresAt))
}

func (m *mirror) credential(key string) credential {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.creds[key]
}
