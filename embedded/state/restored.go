package state

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Restored makes a keyspace that comes from a backup fit to be used again. Its servers are no more, so they are forgotten.
// So are sessions, one-time links and join tokens: what was spent, ended or taken back after the backup was made would be
// worth something again. API tokens stay, as programs hold them: one that was taken back since then is back too.
//
// Agents' presences stay as well. Their leases give the agents the time to connect before their jobs are placed elsewhere.
func (s *Store) Restored(ctx context.Context) error {
	var ops []clientv3.Op
	for _, prefix := range []string{servers, ups, sessions, joins} {
		ops = append(ops, clientv3.OpDelete(prefix, clientv3.WithPrefix()))
	}
	for _, key := range s.mirror.links() {
		ops = append(ops, clientv3.OpDelete(key))
	}
	_, err := s.commit(ctx, nil, ops)
	return err
}

// links returns the keys of the one-time links.
func (m *mirror) links() (keys []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for key, c := range m.creds {
		if c.Kind == linkKind {
			keys = append(keys, key)
		}
	}
	return keys
}
