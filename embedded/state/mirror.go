package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"crony"
	"crony/internal/schedule"
)

// mirror is the keyspace in memory. What it hands out is never changed afterwards: a change replaces the value.
type mirror struct {
	mu     sync.Mutex
	rev    int64
	moved  chan struct{} // closed and replaced when rev grows
	agents map[string]crony.Agent
	jobs   map[string]*job
	names  []string // of jobs, sorted
	starts map[string]start
	creds  map[string]credential // by key
	queue  map[string]candidate  // for leading, by key
	subs   map[*Feed]bool
}

// job is all that is known of one job.
type job struct {
	def        crony.Definition
	rev        int64 // of the definition's key; 0: there is none
	plan       *schedule.Schedule
	assignment *crony.Assignment
	claim      crony.Claim
}

type start struct {
	crony.StartRequest
	rev int64
}

// candidate stands for election; the oldest leads.
type candidate struct {
	created int64
	server  string
}

func newMirror() *mirror {
	m := &mirror{moved: make(chan struct{}), subs: map[*Feed]bool{}}
	m.clear()
	return m
}

func (m *mirror) clear() {
	m.agents, m.jobs, m.names = map[string]crony.Agent{}, map[string]*job{}, nil
	m.starts, m.creds, m.queue = map[string]start{}, map[string]credential{}, map[string]candidate{}
}

func (m *mirror) revision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev
}

// wait returns once the mirror is at rev.
func (m *mirror) wait(ctx context.Context, rev int64) error {
	for {
		m.mu.Lock()
		there, moved := m.rev >= rev, m.moved
		m.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// advance moves the revision on. m.mu is held.
func (m *mirror) advance(rev int64) {
	if rev > m.rev {
		m.rev = rev
		close(m.moved)
		m.moved = make(chan struct{})
	}
}

// load replaces everything by what kvs hold, as of rev.
func (m *mirror) load(kvs []*mvccpb.KeyValue, rev int64) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	var errs []error
	for _, kv := range kvs {
		if err := m.put(kv); err != nil {
			errs = append(errs, err)
		}
	}
	m.advance(rev)
	for f := range m.subs {
		f.reset()
	}
	return errs
}

// update applies the events of one revision or several, all at once.
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
		c, err := decodeClaim(kv.Value)
		if err != nil {
			return err
		}
		m.job(name).claim = c
	case nodes:
		a, err := decode[crony.Agent](kv.Value)
		if err != nil {
			return err
		}
		m.agents[name] = a
		m.touchAgent(name)
	case starts:
		r, err := decode[crony.StartRequest](kv.Value)
		if err != nil {
			return err
		}
		m.starts[name] = start{r, kv.ModRevision}
		m.touchJob(name, r.Agent)
	case tokens, sessions:
		c, err := decode[credential](kv.Value)
		if err != nil {
			return err
		}
		c.rev = kv.ModRevision
		m.creds[key] = c
	case leaders:
		m.queue[key] = candidate{created: kv.CreateRevision, server: string(kv.Value)}
	}
	return nil
}

func (m *mirror) putSpec(name string, kv *mvccpb.KeyValue) error {
	def, err := decode[crony.Definition](kv.Value)
	if err != nil {
		return err
	}
	j := m.job(name)
	if j.rev == 0 {
		i, _ := slices.BinarySearch(m.names, name)
		m.names = slices.Insert(m.names, i, name)
	}
	j.def, j.rev, j.plan = def, kv.ModRevision, def.Job.Plan()
	m.touchJob(name, j.agent())
	return nil
}

func (m *mirror) putAssignment(name string, kv *mvccpb.KeyValue) error {
	a, err := decode[crony.Assignment](kv.Value)
	if err != nil {
		return err
	}
	a.Epoch = kv.ModRevision
	j := m.job(a.Job)
	m.touchJob(a.Job, j.agent(), a.Agent)
	j.assignment = &a
	return nil
}

func (m *mirror) remove(key string) {
	switch kind, name := split(key); kind {
	case specs:
		if i, found := slices.BinarySearch(m.names, name); found {
			m.names = slices.Delete(m.names, i, i+1)
		}
		j := m.job(name)
		j.def, j.rev, j.plan = crony.Definition{}, 0, nil
		m.touchJob(name, j.agent())
		m.drop(name)
	case jobs:
		agent, name, _ := strings.Cut(name, "/")
		if j := m.job(name); j.agent() == agent {
			j.assignment = nil
		}
		m.touchJob(name, agent)
		m.drop(name)
	case claims:
		m.job(name).claim = crony.Claim{}
		m.drop(name)
	case nodes:
		delete(m.agents, name)
		m.touchAgent(name)
	case starts:
		delete(m.starts, name)
	case tokens, sessions:
		delete(m.creds, key)
	case leaders:
		delete(m.queue, key)
	}
}

// job returns the record of a name, a new one if need be.
func (m *mirror) job(name string) *job {
	j := m.jobs[name]
	if j == nil {
		j = &job{}
		m.jobs[name] = j
	}
	return j
}

// drop forgets a name of which nothing is left.
func (m *mirror) drop(name string) {
	if j := m.jobs[name]; j != nil && j.rev == 0 && j.assignment == nil && j.claim.At.IsZero() {
		delete(m.jobs, name)
	}
}

func (j *job) agent() string {
	if j.assignment == nil {
		return ""
	}
	return j.assignment.Agent
}

// split tells a key's kind, one of the prefixes of keys.go, and the rest.
func split(key string) (kind, rest string) {
	i := strings.IndexByte(key[min(len(root), len(key)):], '/')
	if i < 0 {
		return "", key
	}
	i += len(root) + 1
	return key[:i], key[i:]
}
