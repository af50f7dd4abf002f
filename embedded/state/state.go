// Package state is the typed /crony keyspace: what a fleet shares, kept in etcd and mirrored in memory.
//
// Every write is one etcd transaction that compares what it was computed from; every read comes from the mirror, a copy of
// the keyspace that one watch keeps current. After a write the caller waits until the mirror shows it, so that whoever
// writes through a store reads its own writes from it. A write that is refused, or finds nothing to do, first has the mirror
// catch up, so that it never rests on less than was known anywhere when it was called.
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
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/semaphore"

	"crony"
)

// Options is what a Store is made of.
type Options struct {
	Client *clientv3.Client // required; stays the caller's
	Log    *slog.Logger     // required
	Now    func() time.Time // the wall clock; time.Now if nil
	// Running returns how many runs of an agent go on: of agents that may run a job now, the one with the fewest does. Nil:
	// none is known of.
	Running func(agent string) int
	// Elected returns a channel that is closed when this server hears of the next leader: what was on its way to the one before
	// is asked for again. Nil: that is noticed by the time that there is no answer.
	Elected func() <-chan struct{}
}

// Store is the keyspace. It is safe for concurrent use.
type Store struct {
	client *clientv3.Client
	log    *slog.Logger
	now    func() time.Time
	mirror *mirror
	turn   *semaphore.Weighted // of one: for a change that was outrun and is made again
	cancel context.CancelFunc
	work   sync.WaitGroup // what goes on until cancel is called

	tenancy *tenancy
	viewers viewers
	running func(agent string) int
	elected func() <-chan struct{}
	marks   markLease
}

// Open reads the keyspace and begins to follow it.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Client == nil || opts.Log == nil {
		return nil, errors.New("state: Client and Log are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Running == nil {
		opts.Running = func(string) int { return 0 }
	}
	if opts.Elected == nil {
		opts.Elected = func() <-chan struct{} { return nil }
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{
		client: opts.Client, log: opts.Log.With("part", "state"), now: opts.Now,
		mirror: newMirror(opts.Now), turn: semaphore.NewWeighted(1), cancel: cancel, tenancy: newTenancy(),
		marks:   markLease{turn: semaphore.NewWeighted(1)},
		running: opts.Running, elected: opts.Elected,
	}
	rev, err := s.list(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read the keyspace: %w", err)
	}
	s.work.Go(func() { s.follow(watching, rev) })
	s.work.Go(func() { s.sweep(watching) })
	return s, nil
}

// Close stops following, and ends what is present by the store. Reads go on to answer from what was last seen; a write that
// still waits to be seen is told that it won't be.
func (s *Store) Close() error {
	s.cancel()
	s.work.Wait()
	s.mirror.close()
	s.endLease()
	return nil
}

// Revision returns the revision that reads are at.
func (s *Store) Revision() int64 { return s.mirror.revision() }

// translate says etcd's errors in crony's.
func translate(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &crony.Error{Code: crony.Unavailable, Message: "the state store is full: nothing can be changed", Err: err}
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return &crony.Error{Code: crony.TooLarge, Message: "the change is too large to be made at once", Err: err,
			Hint: "split the manifest"}
	default:
		return &crony.Error{Code: crony.Unavailable, Message: "the state store does not answer", Err: err,
			Hint: "a majority of the servers must be up; see /readyz"}
	}
}

// version is the schema version of every value.
const version = 1

// record is a value with its schema version.
type record[T any] struct {
	V    int    `json:"v"`
	Mark string `json:"mark,omitempty"` // tells one writing of a value from another of the same
	Body T      `json:"body"`
}

func encode[T any](body T) string { return encodeMarked(body, "") }

func encodeMarked[T any](body T, mark string) string {
	data, err := json.Marshal(record[T]{V: version, Mark: mark, Body: body})
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
