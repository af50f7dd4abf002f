// Package state is the typed /crony keyspace: what a fleet shares, kept in etcd and mirrored in memory.
//
// Every write is one etcd transaction that compares what it was computed from; every read comes from the mirror, a copy of
// the keyspace that one watch keeps current. After a write the caller waits until the mirror shows it, so that whoever
// writes through a store reads its own writes from it.
//
// The one thing to know: the revision of an assignment's key is its epoch. It needs no counter, grows with each change of
// the job or of its place, and a claim compares it in the same transaction that grants the claim: an agent that has lost a
// job, whatever it believes, can start nothing of it.
//
// Keys are listed in keys.go. Values are JSON with a schema version, "v". Run logs never come here.
package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Options is what a Store is made of.
type Options struct {
	Client *clientv3.Client // required; stays the caller's
	Log    *slog.Logger     // required
	Now    func() time.Time // the wall clock; time.Now if nil
}

// Store is the keyspace. It is safe for concurrent use.
type Store struct {
	client *clientv3.Client
	log    *slog.Logger
	now    func() time.Time
	mirror *mirror
	cancel context.CancelFunc
	done   chan struct{}
}

// Open reads the keyspace and begins to follow it.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Client == nil || opts.Log == nil {
		return nil, errors.New("state: Client and Log are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	watching, cancel := context.WithCancel(context.Background())
	s := &Store{
		client: opts.Client, log: opts.Log.With("part", "state"), now: opts.Now,
		mirror: newMirror(), cancel: cancel, done: make(chan struct{}),
	}
	rev, err := s.list(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read the keyspace: %w", err)
	}
	go func() {
		defer close(s.done)
		s.follow(watching, rev)
	}()
	return s, nil
}

// Close stops following. Reads go on to answer from what was last seen.
func (s *Store) Close() error {
	s.cancel()
	<-s.done
	return nil
}

// Revision returns the revision that reads are at.
func (s *Store) Revision() int64 { return s.mirror.revision() }

// commit runs a transaction and waits until the mirror has seen it. It reports whether the transaction's conditions held;
// if not, the mirror has caught up with whatever made them fail.
func (s *Store) commit(ctx context.Context, conditions []clientv3.Cmp, ops []clientv3.Op) (bool, error) {
	resp, err := s.client.Txn(ctx).If(conditions...).Then(ops...).Commit()
	if err != nil {
		return false, translate(err)
	}
	seen := s.mirror.wait(ctx, resp.Header.Revision)
	if resp.Succeeded && seen != nil {
		return true, &crony.Error{Code: crony.Unavailable, Message: "the change was made, but this server does not show it yet", Err: seen}
	}
	return resp.Succeeded, seen
}

// attempts bounds how often a transaction is computed anew because somebody else was faster.
const attempts = 10

// retry calls try until it reports that its transaction went through.
func (s *Store) retry(what string, try func() (bool, error)) error {
	for range attempts {
		if ok, err := try(); ok || err != nil {
			return err
		}
	}
	return crony.Errorf(crony.Unavailable, "%s: others keep changing the same thing", what).WithHint("try again")
}

// translate says etcd's errors in crony's.
func translate(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &crony.Error{Code: crony.Unavailable, Message: "the state store is full: nothing can be changed", Err: err}
	default:
		return &crony.Error{Code: crony.Unavailable, Message: "the state store does not answer", Err: err,
			Hint: "a majority of the servers must be up; see /readyz"}
	}
}

// version is the schema version of every value.
const version = 1

// record is a value with its schema version.
type record[T any] struct {
	V    int `json:"v"`
	Body T   `json:"body"`
}

func encode[T any](body T) string {
	data, err := json.Marshal(record[T]{V: version, Body: body})
	if err != nil {
		panic(fmt.Sprintf("state: encode %T: %v", body, err)) // the types of this package can all be encoded
	}
	return string(data)
}

func decode[T any](data []byte) (T, error) {
	var r record[T]
	if err := json.Unmarshal(data, &r); err != nil {
		return r.Body, err
	}
	if r.V != version {
		return r.Body, fmt.Errorf("schema version %d; this crony reads %d", r.V, version)
	}
	return r.Body, nil
}
