package state

import (
	"context"
	"maps"
	"slices"

	"crony"
)

// Changes names what is different from before; what it is now is for the reader to look up.
type Changes struct {
	Jobs   []string // defined, changed, placed, removed, or ordered to start
	Agents []string // came, went, or changed
	Ledger bool     // there are new records for the run log
	// Told are runs of the agent that are to be ended, or were answered; see [Store.Told]. Only the feed of an agent tells.
	Told []crony.RunID
	// Cluster says that servers, tombstones or the authority changed: [Store.Servers], [Store.Buried], [Store.Authority]. Only
	// the feed of everything tells.
	Cluster bool
	Reset   bool // anything may be different
	Host    bool // whether somebody looks at the agent's host, or what is seen there: [Store.Watched]. Only an agent's feed tells
}

// Feed tells of changes. It holds no more than the names that changed since it was last read, so that a slow reader costs
// nothing and misses nothing.
type Feed struct {
	mirror  *mirror
	agent   string // only what concerns this agent; "" for everything
	wake    chan struct{}
	jobs    map[string]bool
	agents  map[string]bool
	told    map[string]bool
	ledger  bool
	cluster bool
	all     bool
	host    bool
}

// Changes returns a feed of every change from now on, or, with an agent's id, of the changes to the jobs that this agent has,
// gets or loses. The first read says Reset. It must be closed.
func (s *Store) Changes(agent string) *Feed {
	f := &Feed{mirror: s.mirror, agent: agent, wake: make(chan struct{}, 1)}
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	f.reset()
	if m.subs[agent] == nil {
		m.subs[agent] = map[*Feed]bool{}
	}
	m.subs[agent][f] = true
	return f
}

// Close ends the feed.
func (f *Feed) Close() {
	m := f.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.subs[f.agent], f); len(m.subs[f.agent]) == 0 {
		delete(m.subs, f.agent)
	}
}

// Next waits for changes and returns all that came since the last call. One goroutine may call it.
func (f *Feed) Next(ctx context.Context) (Changes, error) {
	select {
	case <-f.Ready():
		return f.Take(), nil
	case <-ctx.Done():
		return Changes{}, context.Cause(ctx)
	}
}

// Ready is for those who wait for other things too: it gives a sign when there are changes, which [Feed.Take] then returns.
func (f *Feed) Ready() <-chan struct{} { return f.wake }

// Take returns, without waiting, all changes that came since the last call; none if there are none.
func (f *Feed) Take() Changes {
	f.mirror.mu.Lock()
	defer f.mirror.mu.Unlock()
	select {
	case <-f.wake: // of what came since the first was taken, and is taken now
	default:
	}
	c := Changes{Jobs: slices.Sorted(maps.Keys(f.jobs)), Agents: slices.Sorted(maps.Keys(f.agents)),
		Ledger: f.ledger, Cluster: f.cluster, Reset: f.all, Host: f.host}
	for _, run := range slices.Sorted(maps.Keys(f.told)) {
		c.Told = append(c.Told, crony.RunID(run))
	}
	f.jobs, f.agents, f.told, f.ledger, f.cluster, f.all, f.host = nil, nil, nil, false, false, false, false
	return c
}

// reset, and all below, are called with the mirror's lock held.
func (f *Feed) reset() {
	f.all = true
	f.ring()
}

func (f *Feed) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// touchJob tells the feeds of everything, and those of the agents concerned.
func (m *mirror) touchJob(name string, agents ...string) {
	m.touchJobOf("", name)
	for _, agent := range agents {
		if agent != "" {
			m.touchJobOf(agent, name)
		}
	}
}

func (m *mirror) touchJobOf(agent, name string) {
	for f := range m.subs[agent] {
		f.jobs = add(f.jobs, name)
		f.ring()
	}
}

func (m *mirror) touchAgent(id string) {
	for f := range m.subs[""] {
		f.agents = add(f.agents, id)
		f.ring()
	}
}

func (m *mirror) touchHost(agent string) {
	for f := range m.subs[agent] {
		f.host = true
		f.ring()
	}
}

func (m *mirror) touchTold(agent string, run crony.RunID) {
	for f := range m.subs[agent] {
		f.told = add(f.told, string(run))
		f.ring()
	}
}

func (m *mirror) touchLedger() {
	for f := range m.subs[""] {
		f.ledger = true
		f.ring()
	}
}

func (m *mirror) touchCluster() {
	for f := range m.subs[""] {
		f.cluster = true
		f.ring()
	}
}

func add(set map[string]bool, name string) map[string]bool {
	if set == nil {
		set = map[string]bool{}
	}
	set[name] = true
	return set
}
