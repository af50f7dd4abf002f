package fakeetcd

import (
	"context"
	"sync"
	"time"
)

// Link is the way between a client and the keyspace, which can be slow and can be cut. The zero Link is neither. While it is
// cut, requests wait for it or for the end of their context, answers of what was done already wait likewise, watches fall
// behind, and leases that are kept over it begin to run out: as with a member that has lost the others.
type Link struct {
	// Delay says how long the next request is on its way, and then its answer; nil: no time. It is called by many at once.
	Delay func() time.Duration
	// Lag says how much longer than that a watch is told nothing, whenever there is something to tell; nil: no time.
	Lag func() time.Duration
	// Late says of the next request that its sender gives up, while it is on its way, after what time it arrives all the same,
	// if it does; nil: none does. It is called by many at once.
	Late func() (after time.Duration, arrives bool)

	mu      sync.Mutex
	cut     bool
	changed chan struct{} // closed, and another made, when cut changes; nil until somebody waits
}

// Cut cuts the link, or mends it.
func (l *Link) Cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == cut {
		return
	}
	l.cut = cut
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// State returns whether the link is cut, and a channel that is closed when that changes.
func (l *Link) State() (cut bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.cut, l.changed
}

// late has a request that was given up be done after its time, if it is to be.
func (l *Link) late(do func()) {
	if l.Late == nil {
		return
	}
	if after, arrives := l.Late(); arrives {
		time.AfterFunc(after, do)
	}
}

// Cross returns when something has come over the link; the error is that of ctx, and says that it has not.
func (l *Link) Cross(ctx context.Context) error {
	if l.Delay != nil {
		if err := sleep(ctx, l.Delay()); err != nil {
			return err
		}
	}
	for {
		cut, changed := l.State()
		if !cut {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
