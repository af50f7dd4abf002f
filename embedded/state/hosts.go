package state

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Whoever looks at an agent's host puts a switch under system/<agent>/switch, on a lease of its own, and a new one while it goes
// on looking. The agent's server sees the switch, and puts what the agent then tells under system/<agent>/get, on the switch's
// lease: so both are gone soon after the last look, and nothing is written for a host at which nobody looks.
const (
	watchTTL    = 15              // seconds that a look has the agent go on looking
	watchAgain  = 5 * time.Second // after which a look puts another switch
	figuresAge  = 6 * time.Second // after which figures tell nothing of now: an agent's come every two seconds
	figuresWait = 5 * time.Second // for the first
)

func switchKey(agent string) string  { return systems + agent + "/switch" }
func figuresKey(agent string) string { return systems + agent + "/get" }

// host is what the mirror holds of an agent's host. It is replaced, and not changed.
type host struct {
	lease   int64 // of the switch; 0: nobody looks
	figures crony.HostFigures
	at      time.Time // when the figures came, by this server's clock; zero: there are none
}

// viewers are those who look at hosts through this server.
type viewers struct {
	mu     sync.Mutex
	looked map[string]time.Time // when a switch was put, by agent
}

// due says whether it is time to put a switch, and takes it that this is done now.
func (v *viewers) due(agent string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at, looked := v.looked[agent]; looked && now.Sub(at) < watchAgain && !now.Before(at) {
		return false
	}
	for agent, at := range v.looked {
		if now.Sub(at) > watchTTL*time.Second {
			delete(v.looked, agent)
		}
	}
	if v.looked == nil {
		v.looked = map[string]time.Time{}
	}
	v.looked[agent] = now
	return true
}

// forget has the next look put a switch.
func (v *viewers) forget(agent string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.looked, agent)
}

// Watched says whether somebody looks at the agent's host.
func (s *Store) Watched(agent string) bool { return s.mirror.host(agent).lease != 0 }

func (m *mirror) host(agent string) host {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.hosts[agent]
}

// PublishFigures shows what an agent tells of its host to those who look. If nobody does any more, nothing is written.
func (s *Store) PublishFigures(ctx context.Context, agent string, figures crony.HostFigures) error {
	lease := s.mirror.host(agent).lease
	if lease == 0 {
		return nil
	}
	same := clientv3.Compare(clientv3.LeaseValue(switchKey(agent)), "=", lease)
	put := clientv3.OpPut(figuresKey(agent), encode(figures), clientv3.WithLease(clientv3.LeaseID(lease)))
	_, err := s.transact(ctx, []clientv3.Cmp{same}, []clientv3.Op{put})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil // it has just ended
	}
	return err
}

// AgentFigures implements [crony.Agents].
func (s *Store) AgentFigures(ctx context.Context, idOrName string) (crony.HostFigures, error) {
	a, err := s.Agent(ctx, idOrName)
	if err != nil {
		return crony.HostFigures{}, err
	}
	if !a.Up {
		return crony.HostFigures{}, crony.Errorf(crony.Unavailable, "the agent %s is not connected", a.Name).
			WithHint("how its host is can't be asked until it is back")
	}
	feed := s.Changes(a.ID)
	defer feed.Close()
	if err := s.lookAt(ctx, a.ID); err != nil {
		return crony.HostFigures{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, figuresWait)
	defer cancel()
	for {
		if h := s.mirror.host(a.ID); !h.at.IsZero() && s.now().Sub(h.at) < figuresAge {
			return h.figures, nil
		}
		if _, err := feed.Next(waiting); err != nil {
			if ctx.Err() != nil {
				return crony.HostFigures{}, context.Cause(ctx)
			}
			return crony.HostFigures{}, crony.Errorf(crony.Unavailable, "the agent %s does not say how its host is", a.Name).
				WithHint("an agent of an older version can't; its log says more")
		}
	}
}

// lookAt puts a switch for an agent that is connected, unless one was put just now.
func (s *Store) lookAt(ctx context.Context, agent string) error {
	if !s.viewers.due(agent, s.now()) {
		return nil
	}
	lease, err := s.grant(ctx, watchTTL)
	if err != nil {
		s.viewers.forget(agent)
		return err
	}
	here := clientv3.Compare(clientv3.ModRevision(nodes+agent), ">", 0)
	put := clientv3.OpPut(switchKey(agent), encode(s.now().UTC()), clientv3.WithLease(lease))
	ok, err := s.commit(ctx, []clientv3.Cmp{here}, []clientv3.Op{put})
	if err != nil || !ok {
		s.viewers.forget(agent)
		s.revoke(ctx, int64(lease))
	}
	if err == nil && !ok {
		err = crony.Errorf(crony.Unavailable, "the agent %s is not connected any more", agent)
	}
	return err
}

// putHost takes in a key of an agent's host.
func (m *mirror) putHost(name string, kv *mvccpb.KeyValue) error {
	agent, part, _ := strings.Cut(name, "/")
	h := m.hosts[agent]
	switch part {
	case "switch":
		was := h.lease
		h.lease = kv.Lease
		if m.hosts[agent] = h; was == 0 {
			m.touchHost(agent)
		}
	case "get":
		figures, err := decode[crony.HostFigures](kv.Value)
		if err != nil {
			return err
		}
		h.figures, h.at = figures, m.now()
		m.hosts[agent] = h
		m.touchHost(agent)
	}
	return nil
}

func (m *mirror) removeHost(name string) {
	agent, part, _ := strings.Cut(name, "/")
	h := m.hosts[agent]
	switch part {
	case "switch":
		h.lease = 0
	case "get":
		h.figures, h.at = crony.HostFigures{}, time.Time{}
	}
	if h.lease == 0 && h.at.IsZero() {
		delete(m.hosts, agent)
	} else {
		m.hosts[agent] = h
	}
	m.touchHost(agent)
}
