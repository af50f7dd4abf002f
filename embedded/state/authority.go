package state

import (
	"context"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Authority is whom the cluster trusts, and what its servers need to sign in its name.
type Authority struct {
	Sealed [][]byte `json:"sealed"` // the certificate authorities' keys, sealed; the newest first, and that one signs
	Roots  string   `json:"roots"`  // PEM: the certificates of all that are trusted
}

// Authority returns the cluster's authority, which is not to be changed, at which revision it was written, and whether there
// is one.
func (s *Store) Authority() (Authority, int64, bool) {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	c := &s.mirror.cluster
	return c.authority, c.authRev, c.authRev != 0
}

// PutAuthority replaces the cluster's authority if it still is the one that was written at a revision; 0: if there is none.
// Conflict if not.
func (s *Store) PutAuthority(ctx context.Context, a Authority, ifRev int64) error {
	same := clientv3.Compare(clientv3.ModRevision(authority), "=", ifRev)
	ok, err := s.commit(ctx, []clientv3.Cmp{same}, []clientv3.Op{clientv3.OpPut(authority, encode(a))})
	switch {
	case err != nil:
		return err
	case !ok:
		return crony.Errorf(crony.Conflict, "the cluster's authority was changed meanwhile").
			WithHint("`crony cluster status` shows whom the cluster trusts now")
	}
	return nil
}

// backupSetting is the area of settings that is about backups.
const backupSetting = "backup"

// Recipients returns to whom backups are sealed; none if nobody has said.
func (s *Store) Recipients() []string {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	return slices.Clone(s.mirror.cluster.recipients)
}

// SetRecipients sets to whom backups are sealed from now on.
func (s *Store) SetRecipients(ctx context.Context, list []string) error {
	return s.change(ctx, "set to whom backups are sealed", func() (*txn, error) {
		t := s.newTxn(ctx)
		s.mirror.mu.RLock()
		defer s.mirror.mu.RUnlock()
		t.expect(settings+backupSetting, s.mirror.cluster.sealedRev)
		t.put(settings+backupSetting, encode(list))
		return t, nil
	})
}
