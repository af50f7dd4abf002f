// Package upkeep keeps the servers' stores well, so that no operator has to: it gives joining servers their vote, removes
// those that never catch up, gives back what the stores' files don't use, and gets a full store going again.
//
// The one thing to know: it is the work of the member that leads in raft, and does one thing at a time. It asks for no term, as
// a store that is full takes no write by which one could begin, and full stores are its business; what it does is harmless if two
// do it. What makes a member stand still for a moment is done to one member after the other, to the leader's own last, and only
// while all are well.
//
// It adds nobody, and removes nobody who has a vote: that is for people.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"crony"
	"crony/embedded/member"
)

// Store is the server's own member. Its methods are safe for concurrent use.
type Store interface {
	// Leading says whether it leads.
	Leading() bool
	// Members returns the members of the cluster.
	Members(ctx context.Context) ([]member.Info, error)
	// Promote gives a learner its vote; Conflict while it has not caught up.
	Promote(ctx context.Context, id uint64) error
	// Remove removes a member.
	Remove(ctx context.Context, id uint64) error
	// Status says how the store is, the alarms of all members among it.
	Status() member.Status
	// Compact forgets what was before a revision; 0 is the newest.
	Compact(ctx context.Context, revision int64) error
	// Disarm lets stores that were full take writes again.
	Disarm(ctx context.Context) error
}

// Servers are all servers of the cluster, this one among them.
type Servers interface {
	// Statuses asks each server how it is. One that does not answer is down.
	Statuses(ctx context.Context) []crony.ServerStatus
	// Defragment has a server give back what its store does not use.
	Defragment(ctx context.Context, server string) error
}

// Options is what upkeep needs; all are required.
type Options struct {
	Self    string // the id of the server
	Store   Store
	Servers Servers
	Log     *slog.Logger
	Now     func() time.Time
}

// The rules.
const (
	joinTick   = time.Second      // between two looks at joining servers, and at alarms
	stalled    = 5 * time.Minute  // how long a server may take to catch up before it is removed
	sizeTick   = time.Minute      // between two looks at the sizes of the stores
	sizeFloor  = 64 << 20         // a smaller file is left as it is
	slackLimit = 2                // a file is defragmented when it is this many times what it holds
	roomNeeded = 0.9              // of the quota: a store that holds more than this after compaction stays shut
	oneAct     = 30 * time.Second // for a single act
)

// keeper is upkeep, with what it knows of earlier looks.
type keeper struct {
	opts    Options
	log     *slog.Logger
	joining map[uint64]time.Time // learners, and since when they are known
	full    bool                 // it was said that the store is full of what is needed
	corrupt bool                 // it was said that the members' data differs
}

// Run works whenever the server's member leads, until ctx is done, which is no error.
func Run(ctx context.Context, opts Options) error {
	if opts.Self == "" || opts.Store == nil || opts.Servers == nil || opts.Log == nil || opts.Now == nil {
		return errors.New("upkeep: an option is missing")
	}
	k := &keeper{opts: opts, log: opts.Log.With("part", "upkeep"), joining: map[uint64]time.Time{}}
	joins, sizes := time.NewTicker(joinTick), time.NewTicker(sizeTick)
	defer joins.Stop()
	defer sizes.Stop()
	for {
		select {
		case <-joins.C:
			if !opts.Store.Leading() {
				clear(k.joining)
				continue
			}
			k.attempt(ctx, "look after joining servers", k.admit)
			k.attempt(ctx, "look for full stores", k.cure)
		case <-sizes.C:
			if !opts.Store.Leading() {
				continue
			}
			k.attempt(ctx, "look at the stores' sizes", k.shrink)
		case <-ctx.Done():
			return nil
		}
	}
}

// attempt does one thing, for a bounded time. What fails is tried again by the next tick.
func (k *keeper) attempt(ctx context.Context, what string, act func(context.Context) error) {
	if err := act(ctx); err != nil && ctx.Err() == nil {
		k.log.Warn("upkeep has to wait", "what", what, "err", err)
	}
}

// admit promotes learners that have caught up, and removes those that do not.
func (k *keeper) admit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, oneAct)
	defer cancel()
	members, err := k.opts.Store.Members(ctx)
	if err != nil {
		return err
	}
	now := k.opts.Now()
	learners := map[uint64]time.Time{}
	for _, m := range members {
		if !m.Learner {
			continue
		}
		since, known := k.joining[m.ID]
		if !known {
			since = now
			k.log.Info("server is joining", "server", m.Server, "address", m.Address)
		}
		learners[m.ID] = since
		if err := k.settle(ctx, m, now.Sub(since)); err != nil {
			return err
		}
	}
	k.joining = learners
	return nil
}

func (k *keeper) settle(ctx context.Context, m member.Info, waited time.Duration) error {
	err := k.opts.Store.Promote(ctx, m.ID)
	switch {
	case err == nil:
		k.log.Info("server has joined", "server", m.Server)
		return nil
	case crony.CodeOf(err) != crony.Conflict:
		return err
	case waited < stalled:
		return nil
	}
	k.log.Warn("server never caught up and is removed; it may join again", "server", m.Server, "address", m.Address)
	return k.opts.Store.Remove(ctx, m.ID)
}

// shrink defragments one store, the one with the most to gain. A store stands still meanwhile, so that all others must be up.
func (k *keeper) shrink(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, oneAct)
	defer cancel()
	var worst *crony.ServerStatus
	statuses := k.opts.Servers.Statuses(ctx)
	for i := range statuses {
		s := &statuses[i]
		switch {
		case s.State != crony.ServerUp:
			return nil
		case s.StoreSize < sizeFloor || s.StoreSize < slackLimit*s.StoreInUse:
		case worst == nil || k.before(s, worst):
			worst = s
		}
	}
	if worst == nil {
		return nil
	}
	k.log.Info("store is defragmented", "server", worst.ID, "size", worst.StoreSize, "in_use", worst.StoreInUse)
	return k.opts.Servers.Defragment(ctx, worst.ID)
}

// before says which of two stores is defragmented first: the leader's own comes last.
func (k *keeper) before(a, b *crony.ServerStatus) bool {
	if (a.ID == k.opts.Self) != (b.ID == k.opts.Self) {
		return b.ID == k.opts.Self
	}
	return a.StoreSize-a.StoreInUse > b.StoreSize-b.StoreInUse
}

// cure gets stores going again that have reached their quota: history is forgotten, what that frees is given back, and
// only then are writes let in again. A store that is full of what is needed stays shut, and says so. Data that differs between
// members is for people: which of them is right can't be known here.
func (k *keeper) cure(ctx context.Context) error {
	status := k.opts.Store.Status()
	full, corrupt := 0, false
	for _, a := range status.Alarms {
		switch a.Kind {
		case member.NoSpace:
			full++
		case member.Corrupt:
			corrupt = true
			if !k.corrupt {
				k.log.Error("a member's data differs from the others': remove its server, and let it join anew", "member", a.Member)
			}
		}
	}
	k.corrupt = corrupt
	if full == 0 {
		k.full = false
		return nil
	}
	if !k.full {
		k.log.Error("the store has reached its quota and takes no writes; making room", "members", full)
	}
	if err := k.opts.Store.Compact(ctx, 0); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	for _, s := range k.opts.Servers.Statuses(ctx) {
		if s.State == crony.ServerDown {
			continue // it compacts when it is back, and has its own alarm if it needs one
		}
		if err := k.opts.Servers.Defragment(ctx, s.ID); err != nil {
			return fmt.Errorf("defragment %s: %w", s.Name, err)
		}
	}
	for _, s := range k.opts.Servers.Statuses(ctx) {
		if float64(s.StoreInUse) > roomNeeded*float64(status.Quota) {
			if !k.full {
				k.log.Error("the store is full of what is needed: remove jobs", "server", s.ID, "in_use", s.StoreInUse,
					"quota", crony.Size(status.Quota))
			}
			k.full = true
			return nil
		}
	}
	if err := k.opts.Store.Disarm(ctx); err != nil {
		return fmt.Errorf("let writes in again: %w", err)
	}
	k.full = false
	k.log.Info("the store takes writes again")
	return nil
}
