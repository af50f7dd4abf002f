package runlog

import (
	"context"

	"crony"
)

// request is a batch on its way to the writer. Its sender may give up waiting.
type request struct {
	*Batch
	merge bool // where a different record is in place, the one that outweighs the other is kept
	done  chan error

	err       error // this and the next are the writer's
	conflicts []string
}

// outcome is what the sender is told.
func (r *request) outcome() error {
	if r.err != nil || len(r.conflicts) == 0 {
		return r.err
	}
	err := crony.Errorf(crony.Conflict, "%s", r.conflicts[0])
	if more := len(r.conflicts) - 1; more > 0 {
		return err.WithHint("%d more of what was sent with it conflict too", more)
	}
	return err
}

// Append stores facts and chunks and returns when they are on the disk. It may be called with the same ones again: what is
// stored already stays as it is. A run becomes visible with its first fact, whatever came before.
//
// Invalid says that a record can't be right; then nothing of the call is stored. Conflict says that a fact differs from the
// one that its run has under its number, or a chunk from one as long in its place; then that is not stored, and everything
// else of the call is. After any other error, ctx's included, the records may be stored or not: append them again.
func (l *Log) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	return l.encodeAndStore(ctx, Records{Facts: facts, Chunks: chunks})
}

// AppendStretches stores stretches and returns when they are on the disk, under the terms of [Log.Append]: what is stored
// already stays as it is; after Invalid nothing of the call is stored, after Conflict all but what differs from the stored.
// A stretch belongs to the day of its To; it must lie within the years 1970 to 2261, as nanoseconds in 64 bits do.
func (l *Log) AppendStretches(ctx context.Context, list []crony.Stretch) error {
	return l.encodeAndStore(ctx, Records{Stretches: list})
}

func (l *Log) encodeAndStore(ctx context.Context, r Records) error {
	if err := l.alive(ctx); err != nil {
		return err
	}
	b, err := l.Encode(r)
	if err != nil {
		return err
	}
	return l.Store(ctx, b)
}

// Store stores a batch's records under the terms of [Log.Append].
func (l *Log) Store(ctx context.Context, b *Batch) error {
	return l.send(ctx, &request{Batch: b, done: make(chan error, 1)})
}

// Merge makes the log the union of what it holds and a batch's records, and returns when it is on the disk. Where a different
// record is in place, one of the two is kept, and on every server the same, in whatever order they come: of facts and
// stretches the earlier one, by At and DecidedAt, and of those the one whose encoding is less; of chunks the longer one.
func (l *Log) Merge(ctx context.Context, b *Batch) error {
	return l.send(ctx, &request{Batch: b, merge: true, done: make(chan error, 1)})
}

// send hands a request to the writer and waits for its outcome.
func (l *Log) send(ctx context.Context, r *request) error {
	if err := l.alive(ctx); err != nil || r.records() == 0 {
		return err
	}
	select {
	case l.queue <- r:
	case <-l.closing:
		return errClosed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
