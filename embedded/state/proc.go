package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Proc is a process that an agent has told of, the order to end a run, the answer of whom a run has called, or several of these.
// That a process is there lasts as long as its agent is connected; an order and an answer stay until the run has ended.
//
// Whoever may write the keyspace can order an end by hand: the value {"kill":{"by":"eve","reason":"stuck"}} is enough.
type Proc struct {
	Agent     string           `json:"-"`
	Job       string           `json:"-"`
	Run       crony.RunID      `json:"-"`
	StartedAt time.Time        `json:"started_at,omitzero"`
	PID       int              `json:"pid,omitempty"`
	Kill      *crony.KillOrder `json:"kill,omitempty"`
	Answer    *crony.Answer    `json:"answer,omitempty"`

	rev, lease int64
}

// Stays returns since when there is something that its agent is to be told of, and whether there is.
func (p *Proc) Stays() (since time.Time, stays bool) {
	switch {
	case p.Kill != nil:
		return p.Kill.At, true
	case p.Answer != nil:
		return p.Answer.At, true
	}
	return time.Time{}, false
}

func (p *Proc) key() string { return procs + p.Agent + "/" + p.Job + "/" + string(p.Run) }

// decodeProc reads a value as this package writes it, or as people do: without the schema version, or with kill as true.
func decodeProc(data []byte) (Proc, error) {
	var loose struct {
		V    int             `json:"v"`
		Body json.RawMessage `json:"body"`
		Kill json.RawMessage `json:"kill"`
	}
	if err := json.Unmarshal(data, &loose); err != nil {
		return Proc{}, err
	}
	if loose.Body != nil {
		return decode[Proc](data)
	}
	var p Proc
	if string(bytes.TrimSpace(loose.Kill)) == "true" {
		return Proc{Kill: &crony.KillOrder{}}, nil
	}
	err := json.Unmarshal(data, &p)
	return p, err
}

func (m *mirror) putProc(name string, kv *mvccpb.KeyValue) error {
	p, err := decodeProc(kv.Value)
	if err != nil {
		return err
	}
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return errors.New("the key is not AGENT/JOB/RUN")
	}
	p.Agent, p.Job, p.Run = parts[0], parts[1], crony.RunID(parts[2])
	p.rev, p.lease = kv.ModRevision, kv.Lease
	if p.Kill != nil && p.Kill.At.IsZero() {
		p.Kill.At = p.Run.Time() // there is no other; who reads it must have one, and always the same
	}
	if m.procs[p.Agent] == nil {
		m.procs[p.Agent] = map[crony.RunID]*Proc{}
	}
	m.procs[p.Agent][p.Run] = &p
	if _, stays := p.Stays(); stays {
		m.touchTold(p.Agent, p.Run)
	}
	return nil
}

func (m *mirror) removeProc(name string) {
	agent, rest, _ := strings.Cut(name, "/")
	_, run, _ := strings.Cut(rest, "/")
	if delete(m.procs[agent], crony.RunID(run)); len(m.procs[agent]) == 0 {
		delete(m.procs, agent)
	}
}

// proc returns what is known of a run of an agent; with no revision, if nothing is.
func (m *mirror) proc(agent, job string, run crony.RunID) Proc {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if p := m.procs[agent][run]; p != nil && p.Job == job {
		return *p
	}
	return Proc{Agent: agent, Job: job, Run: run}
}

// OrderKill stores the order to end a run of an agent, or of the one that the run has moved to since. The first order for a run
// counts: another changes nothing.
func (s *Store) OrderKill(ctx context.Context, agent, job string, run crony.RunID, kill crony.KillOrder) error {
	return s.change(ctx, "kill "+string(run), func() (*txn, error) {
		t := s.newTxn(ctx)
		h := HandOver{Run: run, To: agent}
		if is := s.mirror.handOver(run); is != nil {
			h = *is
		}
		p := s.mirror.proc(h.To, job, run)
		if p.Kill == nil {
			t.expect(h.key(), h.rev)
			t.expect(p.key(), p.rev)
			p.Kill = &kill
			t.put(p.key(), encode(p)) // without a lease: it outlasts the agent's stream
		}
		return t, nil
	})
}

// AnswerRun stores how a run of an agent ends that waits for whom it has called. The first answer to an attempt counts, and none
// to one before the last that was answered: another changes nothing.
func (s *Store) AnswerRun(ctx context.Context, agent, job string, run crony.RunID, answer crony.Answer) error {
	return s.change(ctx, "answer "+string(run), func() (*txn, error) {
		t := s.newTxn(ctx)
		p := s.mirror.proc(agent, job, run)
		if p.Answer == nil || p.Answer.Attempt < answer.Attempt {
			t.expect(p.key(), p.rev)
			p.Answer = &answer
			t.put(p.key(), encode(p)) // without a lease: it outlasts the agent's stream
		}
		return t, nil
	})
}

// Answer returns the answer to a run of an agent, and whether there is one.
func (s *Store) Answer(agent string, run crony.RunID) (crony.Answer, bool) {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	if p := m.procs[agent][run]; p != nil && p.Answer != nil {
		return *p.Answer, true
	}
	return crony.Answer{}, false
}

// Kill returns the order to end a run of an agent, and whether there is one.
func (s *Store) Kill(agent string, run crony.RunID) (crony.KillOrder, bool) {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	if p := m.procs[agent][run]; p != nil && p.Kill != nil {
		return *p.Kill, true
	}
	return crony.KillOrder{}, false
}

// Told returns the runs of an agent that it is to be told of: those that are to be ended, or were answered.
func (s *Store) Told(agent string) []crony.RunID {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var runs []crony.RunID
	for run, p := range m.procs[agent] {
		if _, stays := p.Stays(); stays {
			runs = append(runs, run)
		}
	}
	slices.Sort(runs)
	return runs
}

// Procs returns what is known of all agents' processes, in no order.
func (s *Store) Procs() []Proc {
	m := s.mirror
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Proc
	for of := range maps.Values(m.procs) {
		for p := range maps.Values(of) {
			list = append(list, *p)
		}
	}
	return list
}

// PutProcs says that processes of the agent are there, as long as it is. What it is to be told of a run stays. A hundred
// processes share a transaction.
func (s *Store) PutProcs(ctx context.Context, p *Presence, list []Proc) error {
	for batch := range slices.Chunk(list, maxPlace) {
		for range attempts {
			left, err := s.putProcs(ctx, p, batch)
			if err != nil {
				return err
			}
			if batch = left; len(batch) == 0 {
				break
			}
		}
	}
	return nil
}

// putProcs returns those that somebody else has changed meanwhile.
func (s *Store) putProcs(ctx context.Context, p *Presence, batch []Proc) (left []Proc, err error) {
	lease := p.lease
	var put []Proc
	var ops []clientv3.Op
	for _, next := range batch {
		now := s.mirror.proc(next.Agent, next.Job, next.Run)
		_, stays := now.Stays()
		if now.rev != 0 && now.PID == next.PID && (stays || now.lease == int64(lease)) {
			continue
		}
		var opts []clientv3.OpOption
		if next.Kill, next.Answer = now.Kill, now.Answer; !stays {
			opts = append(opts, clientv3.WithLease(lease))
		}
		put = append(put, next)
		ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(next.key()), "=", now.rev)},
			[]clientv3.Op{clientv3.OpPut(next.key(), encode(next), opts...)}, nil))
	}
	if len(ops) == 0 {
		return nil, nil
	}
	resp, err := s.transact(ctx, nil, ops)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil, nil // the agent's presence is over as well
	}
	if err != nil {
		return nil, fmt.Errorf("tell of processes: %w", err)
	}
	for i, r := range resp.Responses {
		if !r.GetResponseTxn().Succeeded {
			left = append(left, put[i])
		}
	}
	return left, s.mirror.wait(ctx, resp.Header.Revision)
}

// DropProcs removes what is known of an agent's runs, with what it was to be told of them. It is for runs that have ended.
func (s *Store) DropProcs(ctx context.Context, agent string, runs []crony.RunID) error {
	return s.dropProcs(ctx, s.mirror.procsOf(agent, func(p *Proc) bool { return slices.Contains(runs, p.Run) }))
}

// RestProcs removes what is known of the processes of an agent's runs that wait for something: they have none. What it is to be
// told of them stays.
func (s *Store) RestProcs(ctx context.Context, agent string, runs []crony.RunID) error {
	return s.dropProcs(ctx, s.mirror.procsOf(agent, func(p *Proc) bool {
		_, stays := p.Stays()
		return !stays && slices.Contains(runs, p.Run)
	}))
}

// LeaveProcs removes what is known of the processes of an agent that has left. What it is to be told stays.
func (s *Store) LeaveProcs(ctx context.Context, p *Presence, agent string) error {
	lease := int64(p.lease)
	return s.dropProcs(ctx, s.mirror.procsOf(agent, func(p *Proc) bool {
		_, stays := p.Stays()
		return !stays && p.lease == lease
	}))
}

func (m *mirror) procsOf(agent string, wanted func(*Proc) bool) []Proc {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Proc
	for p := range maps.Values(m.procs[agent]) {
		if wanted(p) {
			list = append(list, *p)
		}
	}
	return list
}

func (s *Store) dropProcs(ctx context.Context, list []Proc) error {
	for batch := range slices.Chunk(list, maxPlace) {
		ops := make([]clientv3.Op, len(batch))
		for i := range batch {
			ops[i] = clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(batch[i].key()), "=", batch[i].rev)},
				[]clientv3.Op{clientv3.OpDelete(batch[i].key())}, nil)
		}
		if _, err := s.transact(ctx, nil, ops); err != nil {
			return fmt.Errorf("forget processes: %w", err)
		}
	}
	return nil
}
