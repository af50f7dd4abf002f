package state

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// What is known of an agent whether or not it is connected stands under three keys, each with one kind of writer, so that none
// has to wait for another or overwrite it:
//
//   - agent/<agent> is the agent as it registered last, by the server that it connected to, and only if it differs;
//   - agent/<agent>/set is what people set;
//   - agent/<agent>/seen is since when it is not connected: written with the removal of its presence, or by the leader if that
//     went with its lease, and removed when it registers.
func setKey(agent string) string  { return agents + agent + "/set" }
func seenKey(agent string) string { return agents + agent + "/seen" }

// override is what people set for an agent.
type override struct {
	Traits crony.AgentTraits `json:"traits"`
	Cordon *crony.Cordon     `json:"cordon,omitempty"`
}

// known is what the mirror holds of an agent beside its presence. It is changed in place, with the mirror's lock held.
type known struct {
	said    crony.Agent // as it registered last
	saidRev int64       // of its key; 0: it has none
	set     override
	setRev  int64
	seen    time.Time // since when it is not connected, as it is written
	seenRev int64
	lapsed  time.Time // when this server saw its presence go with nothing written; zero if that is not so
	gone    time.Time // since when this server has seen that it is not connected, if it is not
	came    time.Time // since when it has seen that it is, if it is
}

// registration is what is kept of an agent that registers: what stays the same when it connects again.
func registration(a crony.Agent) string {
	a.Since, a.Server = time.Time{}, ""
	return encode(a)
}

// enroll returns what is done with the registration of an agent: what it says is kept if it is not what is kept already.
func (s *Store) enroll(a crony.Agent) []clientv3.Op {
	value := registration(a)
	said, rev := s.mirror.said(a.ID)
	put := []clientv3.Op{clientv3.OpPut(agents+a.ID, value)}
	ops := []clientv3.Op{clientv3.OpDelete(seenKey(a.ID))}
	if rev == 0 || registration(said) != value {
		return append(ops, put...)
	}
	same := clientv3.Compare(clientv3.ModRevision(agents+a.ID), "=", rev) // another server may have written it anew
	return append(ops, clientv3.OpTxn([]clientv3.Cmp{same}, nil, put))
}

func (m *mirror) said(agent string) (crony.Agent, int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k := m.known[agent]; k != nil {
		return k.said, k.saidRev
	}
	return crony.Agent{}, 0
}

// putKnown takes in a key of an agent.
func (m *mirror) putKnown(name string, kv *mvccpb.KeyValue) (err error) {
	agent, part, _ := strings.Cut(name, "/")
	k := m.known[agent]
	if k == nil {
		k = &known{}
		m.known[agent] = k
	}
	switch part {
	case "":
		err = take(kv, &k.said, &k.saidRev)
	case "set":
		err = take(kv, &k.set, &k.setRev)
	case "seen":
		err = take(kv, &k.seen, &k.seenRev)
		k.lapsed = time.Time{}
	}
	m.touchAgent(agent)
	return err
}

// take decodes a value; one that can't be read leaves the one before it.
func take[T any](kv *mvccpb.KeyValue, value *T, rev *int64) error {
	v, err := decode[T](kv.Value)
	if err != nil {
		return err
	}
	*value, *rev = v, kv.ModRevision
	return nil
}

func (m *mirror) removeKnown(name string) {
	agent, part, _ := strings.Cut(name, "/")
	k := m.known[agent]
	if k == nil {
		return
	}
	switch part {
	case "":
		k.said, k.saidRev = crony.Agent{}, 0
	case "set":
		k.set, k.setRev = override{}, 0
	case "seen":
		k.seen, k.seenRev = time.Time{}, 0
	}
	if k.saidRev == 0 && k.setRev == 0 && k.seenRev == 0 {
		delete(m.known, agent)
	}
	m.touchAgent(agent)
}

// came and went follow an agent's presence.
func (m *mirror) came(agent string) {
	if k := m.known[agent]; k != nil {
		k.lapsed, k.came = time.Time{}, m.now()
	}
	m.touchAgent(agent)
}

func (m *mirror) went(agent string) {
	if k := m.known[agent]; k != nil {
		if k.gone = m.now(); k.seenRev == 0 {
			k.lapsed = k.gone.UTC()
		}
	}
	m.touchAgent(agent)
}

// relapse is for when the mirror has been loaded anew: who was connected, or had lapsed, and is neither connected now nor was
// seen off by anybody, has lapsed.
func (m *mirror) relapse(connected map[string]crony.Agent, before map[string]*known) {
	for agent, k := range m.known {
		old := before[agent]
		k.came, k.gone = m.now(), m.now()
		_, up := m.agents[agent]
		_, was := connected[agent]
		if old != nil && up == was {
			k.came, k.gone = old.came, old.gone
		}
		if up || k.seenRev != 0 {
			continue
		}
		if old != nil && !old.lapsed.IsZero() {
			k.lapsed = old.lapsed
		} else if was {
			k.lapsed = m.now().UTC()
		}
	}
}

// status returns what is known of an agent, and whether anything is. m.mu is held.
func (m *mirror) status(id string) (crony.AgentStatus, bool) {
	now, up := m.agents[id]
	k := m.known[id]
	if _, buried := m.cluster.tombstones[id]; buried || !up && (k == nil || k.saidRev == 0) {
		return crony.AgentStatus{}, false
	}
	status := crony.AgentStatus{Agent: now, Up: up, Jobs: len(m.jobs.byAgent[id])}
	if k == nil { // it registered with a server of before the time of these keys
		k = &known{}
	}
	if !up {
		status.Agent, status.SeenAt = k.said, k.seen
		if status.SeenAt.IsZero() {
			status.SeenAt = k.lapsed
		}
	}
	status.Said = crony.AgentTraits{Labels: status.Labels, Weight: status.Weight, MaxJobs: status.MaxJobs}
	status.Set, status.Cordon = k.set.Traits, k.set.Cordon
	counts := status.Set.Over(status.Said)
	status.Labels, status.Weight, status.MaxJobs = counts.Labels, counts.Weight, counts.MaxJobs
	return status, true
}

// fleet returns all agents that are known, in no order. m.mu is held.
func (m *mirror) fleet() []crony.AgentStatus {
	list := make([]crony.AgentStatus, 0, max(len(m.agents), len(m.known)))
	for id := range m.agents {
		if a, ok := m.status(id); ok {
			list = append(list, a)
		}
	}
	for id := range m.known {
		if _, up := m.agents[id]; up {
			continue
		}
		if a, ok := m.status(id); ok {
			list = append(list, a)
		}
	}
	return list
}

// ListAgents implements [crony.Agents]. How many runs go on is not known here.
func (s *Store) ListAgents(context.Context) ([]crony.AgentStatus, error) {
	s.mirror.mu.RLock()
	list := s.mirror.fleet()
	s.mirror.mu.RUnlock()
	slices.SortFunc(list, func(a, b crony.AgentStatus) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// Agent implements [crony.Agents].
func (s *Store) Agent(ctx context.Context, idOrName string) (crony.AgentStatus, error) {
	s.mirror.mu.RLock()
	a, ok := s.mirror.status(idOrName)
	s.mirror.mu.RUnlock()
	if ok {
		return a, nil
	}
	list, err := s.ListAgents(ctx)
	if err != nil {
		return crony.AgentStatus{}, err
	}
	return crony.FindAgent(list, idOrName)
}

// ChangeAgent implements [crony.Agents].
func (s *Store) ChangeAgent(ctx context.Context, idOrName string, c crony.AgentChange) (crony.AgentStatus, error) {
	if faults := c.Faults(); len(faults) > 0 {
		return crony.AgentStatus{}, &crony.Error{Code: crony.Invalid, Message: "the change can't be made", Faults: faults}
	}
	var id string
	err := s.change(ctx, "change the agent "+idOrName, func() (*txn, error) {
		a, err := s.Agent(ctx, idOrName)
		if err != nil {
			return nil, err
		}
		id = a.ID
		return s.changeAgent(ctx, id, c)
	})
	if err != nil {
		return crony.AgentStatus{}, err
	}
	return s.Agent(ctx, id)
}

func (s *Store) changeAgent(ctx context.Context, id string, c crony.AgentChange) (*txn, error) {
	t := s.newTxn(ctx)
	before, rev := s.mirror.override(id)
	after := t.override(before, c)
	if n := len(after.Traits.Labels); n > crony.MaxLabels {
		return nil, crony.Errorf(crony.Invalid, "the agent would have %d labels set; at most %d", n, crony.MaxLabels).
			WithHint("take others away first: a label is taken away by its key and a hyphen, as in zone-")
	}
	value := encode(after)
	if value == encode(before) {
		return t, nil
	}
	t.expect(setKey(id), rev)
	t.expect(tombstones+id, 0)
	if value == encode(override{}) {
		t.remove(setKey(id))
	} else {
		t.put(setKey(id), value)
	}
	return t, nil
}

func (m *mirror) override(agent string) (override, int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k := m.known[agent]; k != nil {
		return k.set, k.setRev
	}
	return override{}, 0
}

// override returns what is set after a change.
func (t *txn) override(s override, c crony.AgentChange) override {
	if len(c.Labels) > 0 {
		labels := maps.Clone(s.Traits.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		for key, value := range c.Labels {
			if value == nil {
				delete(labels, key)
			} else {
				labels[key] = *value
			}
		}
		s.Traits.Labels = labels
	}
	if c.Weight != nil {
		s.Traits.Weight = *c.Weight
	}
	if c.MaxJobs != nil {
		s.Traits.MaxJobs = *c.MaxJobs
	}
	if c.Cordon != nil {
		s.Cordon = t.cordon(s.Cordon, *c.Cordon)
	}
	return s
}

func (t *txn) cordon(now *crony.Cordon, c crony.CordonChange) *crony.Cordon {
	switch {
	case !c.On:
		return nil
	case now != nil && now.Drain == c.Drain && (now.Reason == c.Reason || c.Reason == ""):
		return now
	}
	return &crony.Cordon{By: t.actor, At: t.now, Reason: c.Reason, Drain: c.Drain}
}

// ConnectedTo says whether it is on record that an agent is connected to a server, for all that this one has seen.
func (s *Store) ConnectedTo(agent, server string) bool {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	a, up := m.agents[agent]
	return up && a.Server == server
}
