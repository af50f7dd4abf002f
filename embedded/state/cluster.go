package state

import (
	"cmp"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"crony"
)

// cluster is the part of the mirror that is about the servers, and about whom the cluster trusts.
type cluster struct {
	lead       leadership
	servers    map[string]Server
	tombstones map[string]crony.Tombstone
	joins      map[string]joinToken // by id
	joined     map[string]string    // the id that a key joined as, by what follows the prefix of joins
	authority  Authority
	authRev    int64    // of the authority's key; 0: there is none
	recipients []string // of backups
	sealedRev  int64    // of their key; 0: it is not there
	rebalance  Rebalance
}

func newCluster() cluster {
	return cluster{servers: map[string]Server{}, tombstones: map[string]crony.Tombstone{},
		joins: map[string]joinToken{}, joined: map[string]string{}}
}

// putCluster takes in a key that is no job's, agent's or person's.
func (m *mirror) putCluster(kind, name string, kv *mvccpb.KeyValue) (err error) {
	c := &m.cluster
	switch kind {
	case leader:
		c.lead, err = decode[leadership](kv.Value)
		c.lead.rev = kv.ModRevision // who can't read by whom it was replaced has been replaced all the same
	case rebalance:
		c.rebalance, err = decode[Rebalance](kv.Value)
		c.rebalance.rev = kv.ModRevision
		m.touchCluster()
	case servers:
		err = set(c.servers, name, kv)
		m.touchCluster()
	case ups:
		m.here[ups+name] = hereOf(kv)
		m.touchCluster()
	case tombstones:
		var stone crony.Tombstone
		stone, err = decode[crony.Tombstone](kv.Value) // who is buried stays buried, also where nobody can read by whom
		stone.ID = name
		c.tombstones[name] = stone
		m.touchCluster()
	case authority:
		var a Authority
		if a, err = decode[Authority](kv.Value); err == nil {
			c.authority, c.authRev = a, kv.ModRevision
		}
		m.touchCluster()
	case joins:
		return c.putJoin(name, kv)
	case settings:
		if name == backupSetting {
			c.recipients, err = decode[[]string](kv.Value)
			c.sealedRev = kv.ModRevision
		}
	}
	return err
}

func (c *cluster) putJoin(name string, kv *mvccpb.KeyValue) error {
	if strings.Contains(name, "/") {
		return set(c.joined, name, kv)
	}
	token, err := decode[joinToken](kv.Value)
	if err != nil {
		return err
	}
	token.rev, token.lease = kv.ModRevision, kv.Lease
	c.joins[name] = token
	return nil
}

// set decodes a value into a map; one that can't be read leaves the one before it.
func set[T any](values map[string]T, name string, kv *mvccpb.KeyValue) error {
	v, err := decode[T](kv.Value)
	if err != nil {
		return err
	}
	values[name] = v
	return nil
}

func (m *mirror) removeCluster(kind, name string) {
	c := &m.cluster
	switch kind {
	case leader:
		c.lead = leadership{}
	case rebalance:
		c.rebalance = Rebalance{}
		m.touchCluster()
	case servers:
		delete(c.servers, name)
		m.touchCluster()
	case ups:
		delete(m.here, ups+name)
		m.touchCluster()
	case tombstones:
		delete(c.tombstones, name)
		m.touchCluster()
	case authority:
		c.authority, c.authRev = Authority{}, 0
		m.touchCluster()
	case joins:
		delete(c.joins, name)
		delete(c.joined, name)
	case settings:
		if name == backupSetting {
			c.recipients, c.sealedRev = nil, 0
		}
	}
}

// Servers returns the servers that have ever registered and were not removed, those that are down too, by name.
func (s *Store) Servers() []Server {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Server, 0, len(m.cluster.servers))
	for id, server := range m.cluster.servers {
		_, up := m.here[ups+id]
		server.ID, server.Up = id, up
		list = append(list, server)
	}
	slices.SortFunc(list, func(a, b Server) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID)) })
	return list
}

// Buried returns the tombstone of a server or an agent, by its id, and whether there is one.
func (s *Store) Buried(id string) (crony.Tombstone, bool) {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	stone, ok := s.mirror.cluster.tombstones[id]
	return stone, ok
}
