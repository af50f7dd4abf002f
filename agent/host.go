package agent

import (
	"context"
	"log/slog"
	"time"

	"crony"
	"crony/internal/wire"
)

// The times of looking at the host.
const (
	lookEvery = 2 * time.Second
	firstLook = 300 * time.Millisecond // after which the first share of the CPUs is known
)

// watcher looks at the host while somebody wants to know how it is, and else does nothing.
type watcher struct {
	look  func(*glance) (crony.HostFigures, error)
	post  func(*wire.FromAgent) bool
	log   *slog.Logger
	turns chan bool // the last word on whether somebody looks, until it is heard
}

func newWatcher(dir string, now func() time.Time, post func(*wire.FromAgent) bool, log *slog.Logger) *watcher {
	look := func(before *glance) (crony.HostFigures, error) { return lookAtHost(dir, now(), before) }
	return &watcher{look: look, post: post, log: log, turns: make(chan bool, 1)}
}

// turn says whether somebody looks. One goroutine at a time may call it.
func (w *watcher) turn(on bool) {
	select {
	case <-w.turns:
	default:
	}
	w.turns <- on
}

// run looks whenever somebody wants it, until ctx is done.
func (w *watcher) run(ctx context.Context) error {
	for {
		select {
		case on := <-w.turns:
			if on {
				w.watch(ctx)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// watch looks until nobody wants it any more, or the host can't be looked at.
func (w *watcher) watch(ctx context.Context) {
	var before glance
	_, err := w.look(&before)
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	for err == nil {
		select {
		case on := <-w.turns:
			if !on {
				return
			}
		case <-timer.C:
			var figures crony.HostFigures
			if figures, err = w.look(&before); err == nil {
				w.post(&wire.FromAgent{Kind: &wire.FromAgent_Figures{Figures: &wire.Figures{Figures: wire.Encode(figures)}}})
			}
			timer.Reset(lookEvery)
		case <-ctx.Done():
			return
		}
	}
	w.log.Warn("the host can't be looked at", "err", err)
}

// glance is how much time the CPUs had spent when somebody looked, in seconds since the host booted.
type glance struct{ busy, all float64 }

// share returns which share of the CPUs' time was spent since the glance, which the later one replaces.
func (g *glance) share(after glance) (share float64) {
	if spent := after.all - g.all; spent > 0 {
		share = min(1, max(0, (after.busy-g.busy)/spent))
	}
	*g = after
	return share
}
