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
	rev       int64
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
	_, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpPut(tokens+id, encode(c))})
	return secret, err
}

// CreateLink makes, or makes anew, the one-time link of an id and returns its secret: whoever brings it first signs in.
func (s *Store) CreateLink(ctx context.Context, id, name string, role crony.Role, ttl time.Duration) (string, error) {
	secret, hash := newSecret(id)
	now := s.now().UTC()
	c := credential{Kind: linkKind, Name: name, Role: role, Hash: hash, CreatedAt: now, ExpiresAt: now.Add(ttl)}
	op, err := s.leased(ctx, tokens+id, c, ttl)
	if err != nil {
		return "", err
	}
	_, err = s.commit(ctx, nil, []clientv3.Op{op})
	return secret, err
}

func (s *Store) leased(ctx context.Context, key string, c credential, ttl time.Duration) (clientv3.Op, error) {
	grant, err := s.client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return clientv3.Op{}, translate(err)
	}
	return clientv3.OpPut(key, encode(c), clientv3.WithLease(grant.ID)), nil
}

// SignIn opens a session for the holder of a token or a link, whose link is then spent, and returns it with its secret.
func (s *Store) SignIn(ctx context.Context, secret string) (crony.Session, string, error) {
	key, c, ok := s.find(tokens, secret)
	if !ok {
		return crony.Session{}, "", crony.Errorf(crony.Unauthorized, "the link or token is not valid").
			WithHint("a link signs in once; `crony dev` prints a new one when it starts")
	}
	id := strings.ToLower(rand.Text())
	secret, hash := newSecret(id)
	now := s.now().UTC()
	made := credential{Kind: session, Name: c.Name, Role: c.Role, Hash: hash, CreatedAt: now, ExpiresAt: now.Add(sessionTTL)}
	put, err := s.leased(ctx, sessions+id, made, sessionTTL)
	if err != nil {
		return crony.Session{}, "", err
	}
	ops := []clientv3.Op{put}
	if c.Kind == linkKind {
		ops = append(ops, clientv3.OpDelete(key))
	}
	ok, err = s.commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", c.rev)}, ops)
	if err != nil {
		return crony.Session{}, "", err
	}
	if !ok {
		return crony.Session{}, "", crony.Errorf(crony.Unauthorized, "the link has just been used")
	}
	return crony.Session{Name: made.Name, Role: made.Role, ExpiresAt: made.ExpiresAt}, secret, nil
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
	key, _, ok := s.find(sessions, secret)
	if !ok {
		return nil
	}
	_, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpDelete(key)})
	return err
}

// find returns the credential that a secret belongs to, if it is right and in time.
func (s *Store) find(kind, secret string) (key string, c credential, ok bool) {
	prefix, rest, _ := strings.Cut(secret, "_")
	i := strings.LastIndexByte(rest, '_')
	if prefix != secretPrefix || i < 0 {
		return "", c, false
	}
	key = kind + rest[:i]
	s.mirror.mu.Lock()
	c = s.mirror.creds[key]
	s.mirror.mu.Unlock()
	same := subtle.ConstantTimeCompare([]byte(c.Hash), []byte(hashOf(rest[i+1:]))) == 1
	return key, c, same && (c.ExpiresAt.IsZero() || s.now().Before(c.ExpiresAt))
}
