package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// mirror is the keyspace in memory. What it hands out is never changed afterwards: a change replaces the value.
type mirror struct {
	mu     sync.RWMutex
	rev    int64
	awaits []await       // by revision, those above rev
	closed chan struct{} // closed when rev will not grow any more
	now    func() time.Time
	agents map[string]crony.Agent // that are connected
	here   map[string]here        // who is present, by key
	known  map[string]*known      // agents, connected or not
	hosts  map[string]host        // that somebody looks at, by agent
	jobs   index
	orders map[string]map[string]*order     // by job and request
	procs  map[string]map[crony.RunID]*Proc // by agent
	creds  map[string]credential            // by key
	passes map[string]Pass                  // by key
	locks  map[string]lock                  // by key
	subs   map[string]map[*Feed]bool

	lockKeys  map[string]map[string]bool // of a job's locks, by its name
	presets   map[string]preset          // by key; their keepers are in jobs
	handlings map[crony.RunID]Handling
	handOvers map[crony.RunID]*HandOver
	cluster   cluster
}

// here is the record of who is present.
type here struct {
	rev   int64
	lease clientv3.LeaseID
}

func hereOf(kv *mvccpb.KeyValue) here { return here{kv.ModRevision, clientv3.LeaseID(kv.Lease)} }

// hereAt returns at which revision the record of who is present was written; 0: there is none.
func (m *mirror) hereAt(key string) int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.here[key].rev
}

// await is what is closed when the mirror is at a revision.
type await struct {
	rev   int64
	there chan struct{}
}

func newMirror(now func() time.Time) *mirror {
	m := &mirror{now: now, closed: make(chan struct{}), subs: map[string]map[*Feed]bool{}}
	m.clear()
	return m
}

func (m *mirror) clear() {
	m.presets = map[string]preset{}
	m.agents, m.here, m.jobs = map[string]crony.Agent{}, map[string]here{}, newIndex()
	m.known, m.hosts = map[string]*known{}, map[string]host{}
	m.orders, m.procs = map[string]map[string]*order{}, map[string]map[crony.RunID]*Proc{}
	m.creds, m.passes = map[string]credential{}, map[string]Pass{}
	m.handlings, m.handOvers = map[crony.RunID]Handling{}, map[crony.RunID]*HandOver{}
	m.locks, m.lockKeys = map[string]lock{}, map[string]map[string]bool{}
	m.cluster = newCluster()
}

func (m *mirror) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.closed:
	default:
		close(m.closed)
	}
}

func (m *mirror) revision() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.rev
}

var errClosed = errors.New("the state store is closed")

// wait returns once the mirror is at rev.
func (m *mirror) wait(ctx context.Context, rev int64) error {
	select {
	case <-m.at(rev):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-m.closed:
		return stopping()
	}
}

func stopping() error {
	return &crony.Error{Code: crony.Unavailable, Message: "this server is stopping", Err: errClosed}
}

// at returns a channel that is closed once the mirror is at rev. Many wait at once, each for a revision of its own, and a
// revision wakes only those that it concerns.
func (m *mirror) at(rev int64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rev >= rev {
		past := make(chan struct{})
		close(past)
		return past
	}
	i, found := slices.BinarySearchFunc(m.awaits, rev, func(a await, rev int64) int { return cmp.Compare(a.rev, rev) })
	if !found {
		m.awaits = slices.Insert(m.awaits, i, await{rev, make(chan struct{})})
	}
	return m.awaits[i].there
}

// advance moves the revision on. m.mu is held.
func (m *mirror) advance(rev int64) {
	m.rev = max(m.rev, rev)
	n := 0
	for n < len(m.awaits) && m.awaits[n].rev <= m.rev {
		close(m.awaits[n].there)
		n++
	}
	m.awaits = slices.Delete(m.awaits, 0, n)
}

// load replaces everything by what kvs hold, as of rev. A value that can't be read is left out.
func (m *mirror) load(kvs []*mvccpb.KeyValue, rev int64) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	connected, before := m.agents, m.known
	m.clear()
	var errs []error
	for _, kv := range kvs {
		if err := m.put(kv); err != nil {
			errs = append(errs, err)
		}
	}
	m.relapse(connected, before)
	m.advance(rev)
	for _, feeds := range m.subs {
		for f := range feeds {
			f.reset()
		}
	}
	return errs
}

// update applies the events up to a revision, all at once. A value that can't be read leaves the one before it.
func (m *mirror) update(events []change, rev int64) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, e := range events {
		if e.deleted {
			m.remove(string(e.kv.Key))
		} else if err := m.put(e.kv); err != nil {
			errs = append(errs, err)
		}
	}
	m.advance(rev)
	return errs
}

type change struct {
	kv      *mvccpb.KeyValue
	deleted bool
}

func (m *mirror) put(kv *mvccpb.KeyValue) (err error) {
	key := string(kv.Key)
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", key, err)
		}
	}()
	switch kind, name := split(key); kind {
	case specs:
		return m.putSpec(name, kv)
	case jobs:
		return m.putAssignment(name, kv)
	case claims:
		return m.putClaim(name, kv)
	case locks:
		return m.putLock(name, kv)
	case calendars, scripts:
		return m.putPreset(key, kv.Value, kv.ModRevision)
	case nodes:
		m.here[key] = hereOf(kv)
		a, err := decode[crony.Agent](kv.Value)
		if err != nil {
			return err
		}
		m.agents[name] = a
		m.came(name)
	case agents:
		return m.putKnown(name, kv)
	case systems:
		return m.putHost(name, kv)
	case starts:
		return m.putOrder(name, kv)
	case procs:
		return m.putProc(name, kv)
	case handlings:
		return m.putHandling(name, kv)
	case handOvers:
		return m.putHandOver(name, kv)
	case tokens, sessions:
		c, err := decode[credential](kv.Value)
		if err != nil {
			return err
		}
		c.rev, c.lease = kv.ModRevision, kv.Lease
		m.creds[key] = c
	case passes:
		p, err := decode[Pass](kv.Value)
		if err != nil {
			return err
		}
		p.key, p.rev = key, kv.ModRevision
		m.passes[key] = p
		m.touchLedger()
	default:
		return m.putCluster(kind, name, kv)
	}
	return nil
}

func (m *mirror) putSpec(name string, kv *mvccpb.KeyValue) error {
	def, err := decode[crony.Definition](kv.Value)
	if err != nil {
		return err
	}
	m.share(&def)
	now := m.jobs.define(name, &def, kv.ModRevision)
	m.touchJob(name, now.agents()...)
	return nil
}

func (m *mirror) putClaim(place string, kv *mvccpb.KeyValue) error {
	c, err := decodeClaim(kv.Value)
	if err != nil {
		return err
	}
	c.rev = kv.ModRevision
	if name, agent, own := strings.Cut(place, "/"); own {
		m.jobs.setOwn(name, agent, c)
	} else {
		m.jobs.setClaim(name, c.claim, c.rev)
	}
	return nil
}

func (m *mirror) putAssignment(place string, kv *mvccpb.KeyValue) error {
	a, err := decode[crony.Assignment](kv.Value)
	if err != nil {
		return err
	}
	a.Agent, a.Job, _ = strings.Cut(place, "/")
	a.Epoch = kv.ModRevision
	m.jobs.assign(&a)
	m.touchJob(a.Job, a.Agent)
	return nil
}

func (m *mirror) remove(key string) {
	switch kind, name := split(key); kind {
	case specs:
		now := m.jobs.define(name, nil, 0)
		m.touchJob(name, now.agents()...)
	case jobs:
		agent, name, _ := strings.Cut(name, "/")
		m.jobs.unassign(agent, name)
		m.touchJob(name, agent)
		m.touchOrders(name)
	case claims:
		if job, agent, own := strings.Cut(name, "/"); own {
			m.jobs.setOwn(job, agent, cursor{})
		} else {
			m.jobs.setClaim(name, crony.Claim{}, 0)
		}
	case locks:
		m.removeLock(name)
	case calendars, scripts:
		delete(m.presets, key)
	case nodes:
		delete(m.here, key)
		delete(m.agents, name)
		m.went(name)
	case agents:
		m.removeKnown(name)
	case systems:
		m.removeHost(name)
	case starts:
		m.removeOrder(name)
	case procs:
		m.removeProc(name)
	case handlings:
		delete(m.handlings, crony.RunID(name))
	case handOvers:
		delete(m.handOvers, crony.RunID(name))
	case tokens, sessions:
		delete(m.creds, key)
	case passes:
		delete(m.passes, key)
	default:
		m.removeCluster(kind, name)
	}
}

// split tells a key's kind, one of the prefixes and keys of keys.go, and the rest.
func split(key string) (kind, rest string) {
	if !strings.HasPrefix(key, root) {
		return "", key // not crony's
	}
	i := strings.IndexByte(key[len(root):], '/')
	if i < 0 {
		return key, ""
	}
	i += len(root) + 1
	return key[:i], key[i:]
}
