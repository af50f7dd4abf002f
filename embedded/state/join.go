package state

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// joinToken is a join token at rest. Its secret is 128 random bits or more, so that a plain hash keeps it.
//
// Who joined by it is kept beside it, each under the hash of its public key, so that the same key joins once however often
// it asks. All of it is on one lease, which only clears away: what counts is the token's own time.
type joinToken struct {
	For       crony.JoinRole `json:"for"`
	Hash      string         `json:"hash"` // SHA-256 of the secret, in hexadecimal
	Uses      int            `json:"uses"` // that are left
	CreatedAt time.Time      `json:"created_at"`
	CreatedBy string         `json:"created_by,omitempty"`
	ExpiresAt time.Time      `json:"expires_at"`

	rev   int64 // of its key
	lease int64
}

func (j *joinToken) status(id string) crony.JoinToken {
	return crony.JoinToken{ID: id, For: j.For, Uses: j.Uses,
		CreatedAt: j.CreatedAt, CreatedBy: j.CreatedBy, ExpiresAt: j.ExpiresAt}
}

// CreateJoinToken makes a token by which a host joins the cluster that trusts the authority of a fingerprint. Its secret is
// in what it returns, and is kept nowhere.
func (s *Store) CreateJoinToken(ctx context.Context, spec crony.JoinTokenSpec, fingerprint string) (crony.JoinToken, error) {
	if err := spec.Complete(); err != nil {
		return crony.JoinToken{}, err
	}
	ttl := spec.TTL.Std()
	lease, err := s.grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return crony.JoinToken{}, err
	}
	secret := crony.JoinSecret{For: spec.For, ID: strings.ToLower(rand.Text())[:16], Random: rand.Text(),
		Fingerprint: fingerprint}
	now := s.now().UTC()
	token := joinToken{For: spec.For, Hash: hashOf(secret.Random), Uses: spec.Uses, CreatedAt: now,
		CreatedBy: crony.ActorFrom(ctx), ExpiresAt: now.Add(ttl)}
	put := clientv3.OpPut(joins+secret.ID, encode(token), clientv3.WithLease(lease))
	if _, err := s.commit(ctx, nil, []clientv3.Op{put}); err != nil {
		s.revoke(ctx, int64(lease)) // nobody will have its secret
		return crony.JoinToken{}, err
	}
	made := token.status(secret.ID)
	made.Secret = secret.String()
	return made, nil
}

// RedeemJoinToken uses a token for the host that holds the private half of a public key, which key names, and returns the id
// that the host has from now on: newID, or the one it was given before. The same key takes one use however often it asks, so
// that a host whose answer was lost asks again. Unauthorized if the token can't be used, and why is said only to who has the
// secret; Forbidden if the host was removed since.
func (s *Store) RedeemJoinToken(ctx context.Context, secret crony.JoinSecret, key, newID string) (id string, err error) {
	sum := sha256.Sum256([]byte(key))
	entry := secret.ID + "/" + hex.EncodeToString(sum[:])
	err = s.change(ctx, "use a join token", func() (*txn, error) {
		token, before := s.mirror.join(secret.ID, entry)
		if err := s.usable(&token, secret, before); err != nil {
			return nil, err
		}
		t := s.newTxn(ctx)
		if id = before; id != "" {
			return t, nil
		}
		id = newID
		token.Uses--
		lease := clientv3.WithLease(clientv3.LeaseID(token.lease))
		t.expect(joins+secret.ID, token.rev) // every use writes it, so that no other comes between
		t.ops = append(t.ops, clientv3.OpPut(joins+secret.ID, encode(token), lease),
			clientv3.OpPut(joins+entry, encode(id), lease))
		return t, nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// usable says why a token can't be used; before is the id that the host was given for it already.
func (s *Store) usable(token *joinToken, secret crony.JoinSecret, before string) error {
	const another = "make another with `crony token create --for %s`"
	right := subtle.ConstantTimeCompare([]byte(token.Hash), []byte(hashOf(secret.Random))) == 1
	switch {
	case !right || token.For != secret.For:
		return crony.Errorf(crony.Unauthorized, "the join token is not valid").
			WithHint("it may have been deleted, or have expired; "+another, secret.For)
	case !s.now().Before(token.ExpiresAt):
		return crony.Errorf(crony.Unauthorized, "the join token expired at %s", token.ExpiresAt.UTC().Format(time.RFC3339)).
			WithHint(another, secret.For)
	case before != "":
		if _, buried := s.Buried(before); buried {
			return removedFromCluster(before)
		}
	case token.Uses < 1:
		return crony.Errorf(crony.Unauthorized, "the join token has been used up").WithHint(another, secret.For)
	}
	return nil
}

// join returns a token, the zero token if there is none, and the id that was given for an entry of it, "" if none was.
func (m *mirror) join(id, entry string) (joinToken, string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.cluster.joins[id], m.cluster.joined[entry]
}

// ListJoinTokens returns the tokens that can still be used, by id.
func (s *Store) ListJoinTokens(context.Context) ([]crony.JoinToken, error) {
	now := s.now()
	s.mirror.mu.RLock()
	list := []crony.JoinToken{}
	for id, token := range s.mirror.cluster.joins {
		if token.Uses > 0 && now.Before(token.ExpiresAt) {
			list = append(list, token.status(id))
		}
	}
	s.mirror.mu.RUnlock()
	slices.SortFunc(list, func(a, b crony.JoinToken) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// DeleteJoinToken makes a token worth nothing, also to those who have used it and ask again. NotFound if there is none.
func (s *Store) DeleteJoinToken(ctx context.Context, id string) error {
	var lease int64
	err := s.change(ctx, "delete a join token", func() (*txn, error) {
		token, _ := s.mirror.join(id, "")
		if token.rev == 0 {
			return nil, crony.Errorf(crony.NotFound, "there is no join token %.80q", id).
				WithHint("`crony token list` shows the tokens")
		}
		lease = token.lease
		t := s.newTxn(ctx)
		t.expect(joins+id, token.rev)
		t.remove(joins + id)
		t.ops = append(t.ops, clientv3.OpDelete(joins+id+"/", clientv3.WithPrefix()))
		return t, nil
	})
	if err != nil {
		return err
	}
	s.revoke(ctx, lease)
	return nil
}
