package state

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Presence is a record that is there as long as its holder. All of a store's share one lease, which is kept alive as long
// as the store is open: ten thousand agents cost one sign of life. When the lease is lost all are lost, and the next to
// register takes a new one.
type Presence struct {
	store  *Store
	lease  clientv3.LeaseID
	key    string
	rev    int64                // of the key, as it was put
	leaves func() []clientv3.Op // that are done when it leaves
	lost   <-chan struct{}
	end    context.CancelFunc
	left   sync.Once
}

// RegisterAgent says that the agent is connected, and what it is. What it says of itself is known from then on, also when it is
// gone. Forbidden if it was removed from the cluster.
func (s *Store) RegisterAgent(ctx context.Context, a crony.Agent) (*Presence, error) {
	return s.present(ctx, entry{id: a.ID, key: nodes + a.ID,
		value: func(mark string) string { return encodeMarked(a, mark) },
		lasts: s.enroll(a),
		leaves: func() []clientv3.Op {
			return []clientv3.Op{clientv3.OpPut(seenKey(a.ID), encode(s.now().UTC()))}
		}})
}

// Server is a server, as it registered last.
type Server struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"` // for people
	Version        string    `json:"version"`
	Peer           string    `json:"peer"`   // HOST:PORT at which the other servers reach its store
	Agents         string    `json:"agents"` // HOST:PORT for agents
	People         string    `json:"people"` // URL for people
	StartedAt      time.Time `json:"started_at,omitzero"`
	Authority      string    `json:"authority,omitempty"` // fingerprint of the authority that signed its certificate
	CertificateEnd time.Time `json:"certificate_end,omitzero"`
	Trusts         []string  `json:"trusts,omitempty"` // fingerprints of the authorities that its store trusts

	Up bool `json:"-"` // it is here now, or was ten seconds ago
}

// RegisterServer says that the server is up, and what it is. The record stays when it is down. To change what it says it
// registers again; the presence of before is then worth nothing, and is left. Forbidden if it was removed from the cluster.
func (s *Store) RegisterServer(ctx context.Context, server Server) (*Presence, error) {
	return s.present(ctx, entry{id: server.ID, key: ups + server.ID,
		value: func(mark string) string { return encodeMarked(struct{}{}, mark) },
		lasts: []clientv3.Op{clientv3.OpPut(servers+server.ID, encode(server))}})
}

// entry is what is written of somebody who is present.
type entry struct {
	id, key string
	value   func(mark string) string // the value of key; the mark makes it a value of its own
	lasts   []clientv3.Op            // that are done with it, and outlast it
	leaves  func() []clientv3.Op     // that are done when it is removed; may be nil
}

// present makes an entry on the lease that all share.
func (s *Store) present(ctx context.Context, e entry) (*Presence, error) {
	for again := false; ; again = true {
		lease, err := s.lease(ctx)
		if err != nil {
			return nil, err
		}
		p, err := s.enter(ctx, lease, &e)
		if again || !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return p, err
		}
		lease.end() // it is gone, and who keeps it alive would hear of it only at the next beat
	}
}

// enter puts an entry in the place of what was there before. That it is still there is a condition: an entry that its server has
// given up can be on its way for long, and must not come after what others have written since.
func (s *Store) enter(ctx context.Context, lease *tenure, e *entry) (p *Presence, err error) {
	s.tenancy.hold(e.key)
	defer func() {
		if err != nil {
			s.tenancy.release(e.key)
		}
	}()
	value := e.value(rand.Text())
	ops := append(slices.Clone(e.lasts), clientv3.OpPut(e.key, value, clientv3.WithLease(lease.id)))
	alive := clientv3.Compare(clientv3.ModRevision(tombstones+e.id), "=", 0)
	for before := s.mirror.hereAt(e.key); ; {
		same := clientv3.Compare(clientv3.ModRevision(e.key), "=", before)
		var resp *clientv3.TxnResponse
		resp, err = s.transactOr(ctx, []clientv3.Cmp{alive, same}, ops, []clientv3.Op{clientv3.OpGet(e.key)})
		if err != nil {
			return nil, err
		}
		rev := resp.Header.Revision
		if !resp.Succeeded {
			is := &mvccpb.KeyValue{}
			if found := resp.Responses[0].GetResponseRange().GetKvs(); len(found) > 0 {
				is = found[0]
			}
			switch rev = is.ModRevision; {
			case string(is.Value) == value: // it was asked for twice
			case rev == before:
				return nil, removedFromCluster(e.id)
			default:
				before = rev
				continue
			}
		}
		if err = s.shown(ctx, rev); err != nil {
			return nil, err
		}
		holding, end := context.WithCancel(lease.ctx) // it lives by the lease, not by who asked for it
		return &Presence{store: s, lease: lease.id, key: e.key, rev: rev, leaves: e.leaves, lost: holding.Done(), end: end}, nil
	}
}

func removedFromCluster(id string) error {
	return crony.Errorf(crony.Forbidden, "%.40s was removed from the cluster", id).
		WithHint("to come back it joins as a new one, with a new token")
}

// Lost is closed when the record may be gone: its lease has ended, or Leave was called.
func (p *Presence) Lost() <-chan struct{} { return p.lost }

// Leave removes the record, unless somebody else has put it meanwhile: then it is theirs. It does so when ctx is done as
// well, and takes a few seconds at most; a record that can't be removed by then is removed as soon as it can. It may be
// called again.
func (p *Presence) Leave(ctx context.Context) {
	p.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeWait)
	defer cancel()
	mine := clientv3.Compare(clientv3.ModRevision(p.key), "=", p.rev)
	ops := []clientv3.Op{clientv3.OpDelete(p.key)}
	if p.leaves != nil {
		ops = append(ops, p.leaves()...)
	}
	if _, err := p.store.commit(ctx, []clientv3.Cmp{mine}, ops); err != nil {
		p.store.log.Debug("a record is left, to be removed later", "key", p.key, "err", err)
	}
	p.left.Do(func() { p.store.tenancy.release(p.key) })
}
