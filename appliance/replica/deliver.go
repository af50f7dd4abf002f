package replica

import (
	"context"
	"time"

	"crony/embedded/runlog"
)

const refusedWait = 5 * time.Second // before hints are tried again that could not be delivered

// deliverHints sends what the server was not sent when it was new, a few items at a time, until ctx is done.
func (o *other) deliverHints(ctx context.Context) {
	for ctx.Err() == nil {
		day, keys := o.takeHints()
		if len(keys) == 0 {
			select {
			case <-o.hinted:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := o.deliverItems(ctx, day, keys); err != nil {
			o.log.Debug("records wait until the server takes them", "items", len(keys), "err", err)
			o.putBack(day, keys)
			wait(ctx, refusedWait)
		}
	}
}

func (o *other) takeHints() (string, []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open || o.silent {
		return "", nil
	}
	return o.hints.take()
}

func (o *other) putBack(day string, keys []string) {
	items := make([]runlog.Item, len(keys))
	for i, key := range keys {
		items[i] = runlog.Item{Day: day, Key: key}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.gone {
		o.keep(items, o.l.opts.Now())
	}
}

// deliverItems sends all records of items of a day, and returns when they are on the server's disk. What can't be read here
// is not tried again: the server finds by comparing who else has it.
func (o *other) deliverItems(ctx context.Context, day string, keys []string) error {
	for batch, err := range o.l.opts.Own.Records(ctx, day, keys) {
		if err != nil {
			o.log.Warn("records can't be read to be sent", "day", day, "err", err)
			break
		}
		if err := o.sendHint(ctx, batch); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hints.n == 0 && !o.tell {
		o.behind = time.Time{}
	}
	return nil
}

// sendHint sends a batch when nothing new is to be sent, and waits for the answer.
func (o *other) sendHint(ctx context.Context, b *runlog.Batch) error {
	e := &entry{batch: b, done: make(chan error, 1)}
	o.mu.Lock()
	if !o.open {
		o.mu.Unlock()
		return errSilent()
	}
	o.hint = e
	o.mu.Unlock()
	poke(o.wake)
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
