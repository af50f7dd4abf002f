package runlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"crony"
)

// The bounds of what one transaction reads of a run's output, and of what a follower may leave unread.
const (
	stepChunks    = 128
	stepBytes     = 1 << 20 // passed by the last chunk at most
	followerQueue = 4096    // places, not bytes; a follower that falls further behind reads the stored output again
)

// errStopped ends an output whose consumer wants no more of it.
var errStopped = errors.New("stopped")

// Output implements [crony.RunRecords]. With follow, what is stored comes in its order and what comes in afterwards in the order
// of its arrival; a consumer so slow that arrivals can't be remembered gets them in the order of their places. The last
// error is ctx's if ctx ended it, and Unavailable if the log was closed. The data of a chunk is the caller's.
func (l *Log) Output(ctx context.Context, id crony.RunID, follow bool) iter.Seq2[crony.Chunk, error] {
	return func(yield func(crony.Chunk, error) bool) {
		o := &output{log: l, id: id, yield: yield, seen: map[place]spans{}}
		if err := o.run(ctx, follow); err != nil && !errors.Is(err, errStopped) {
			yield(crony.Chunk{}, err)
		}
	}
}

// output is one reading of a run's output.
type output struct {
	log   *Log
	id    crony.RunID
	key   runKey
	yield func(crony.Chunk, error) bool
	seen  map[place]spans // what was yielded
}

// place is one stream of one attempt.
type place struct {
	attempt int
	stream  crony.Stream
}

func (o *output) run(ctx context.Context, follow bool) (err error) {
	if o.key, err = parseID(o.id); err != nil {
		return err
	}
	var f *follower
	if follow { // before anything is read, so that nothing falls in between
		f = o.log.mem.follow(o.key)
		defer o.log.mem.unfollow(o.key, f)
	}
	run, err := o.log.Run(ctx, o.id)
	if err != nil {
		return err
	}
	if err := o.stored(ctx); err != nil {
		return err
	}
	for ended := !follow || run.State.Ended(); !ended; {
		var refs []chunkRef
		var lagged bool
		if refs, lagged, ended, err = f.next(ctx, o.log.closing); err != nil {
			return err
		}
		if lagged {
			err = o.stored(ctx)
		} else {
			err = o.arrivals(ctx, refs)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stored yields what is stored and was not yielded yet.
func (o *output) stored(ctx context.Context) error {
	for from := o.key[:]; from != nil; {
		if err := o.log.alive(ctx); err != nil {
			return err
		}
		var chunks []crony.Chunk
		err := o.log.days.view(o.key.day(), func(tx *bbolt.Tx) (err error) {
			chunks, from, err = o.step(tx, from)
			return err
		})
		if err != nil {
			return fmt.Errorf("read output of run %s: %w", o.id, err)
		}
		if err := o.emit(chunks); err != nil {
			return err
		}
	}
	return nil
}

// step reads a bounded number of chunks, and where to go on; nil is the end.
func (o *output) step(tx *bbolt.Tx, from []byte) (chunks []crony.Chunk, next []byte, err error) {
	size := 0
	c := tx.Bucket([]byte(bucketChunks)).Cursor()
	for key, value := c.Seek(from); bytes.HasPrefix(key, o.key[:]); key, value = c.Next() {
		if len(chunks) == stepChunks || size >= stepBytes {
			return chunks, bytes.Clone(key), nil
		}
		ch, err := o.log.codec.decodeChunk(o.id, key, value)
		if err != nil {
			return nil, nil, err
		}
		if len(ch.Data) == 0 { // given up: a gap
			continue
		}
		chunks = append(chunks, ch)
		size += len(ch.Data)
	}
	return chunks, nil, nil
}

// arrivals yields the chunks at refs, as far as they were not yielded yet.
func (o *output) arrivals(ctx context.Context, refs []chunkRef) error {
	for len(refs) > 0 {
		if err := o.log.alive(ctx); err != nil {
			return err
		}
		var chunks []crony.Chunk
		err := o.log.days.view(o.key.day(), func(tx *bbolt.Tx) (err error) {
			chunks, refs, err = o.pick(tx, refs)
			return err
		})
		if err != nil {
			return fmt.Errorf("read output of run %s: %w", o.id, err)
		}
		if err := o.emit(chunks); err != nil {
			return err
		}
	}
	return nil
}

// pick reads a bounded number of the chunks at refs, and returns the refs that are left.
func (o *output) pick(tx *bbolt.Tx, refs []chunkRef) (chunks []crony.Chunk, rest []chunkRef, err error) {
	bucket := tx.Bucket([]byte(bucketChunks))
	for size := 0; len(refs) > 0 && len(chunks) < stepChunks && size < stepBytes; refs = refs[1:] {
		key := chunkKey(o.key, refs[0])
		ch, err := o.log.codec.decodeChunk(o.id, key, bucket.Get(key))
		if err != nil {
			return nil, nil, err
		}
		chunks = append(chunks, ch)
		size += len(ch.Data)
	}
	return chunks, refs, nil
}

// emit yields the parts of chunks that were not yielded yet.
func (o *output) emit(chunks []crony.Chunk) error {
	for _, c := range chunks {
		at := place{c.Attempt, c.Stream}
		rest, fresh := o.seen[at].add(span{c.Offset, c.End()})
		o.seen[at] = rest
		for _, s := range fresh {
			piece := c
			piece.Offset, piece.Data = s.from, c.Data[s.from-c.Offset:s.to-c.Offset:s.to-c.Offset]
			if !o.yield(piece, nil) {
				return errStopped
			}
		}
	}
	return nil
}

// span is the bytes from one offset up to another.
type span struct{ from, to int64 }

// spans are apart from each other, in order: two that touch are one.
type spans []span

// add returns the union of s and n, and the parts of n that are not in s.
func (s spans) add(n span) (union, fresh spans) {
	lo, _ := slices.BinarySearchFunc(s, n.from, func(a span, from int64) int { return cmp.Compare(a.to, from) })
	hi, merged, at := lo, n, n.from
	for ; hi < len(s) && s[hi].from <= n.to; hi++ {
		if at < s[hi].from {
			fresh = append(fresh, span{at, s[hi].from})
		}
		at = s[hi].to
		merged.from, merged.to = min(merged.from, s[hi].from), max(merged.to, s[hi].to)
	}
	if at < n.to {
		fresh = append(fresh, span{at, n.to})
	}
	return slices.Replace(s, lo, hi, merged), fresh
}

// follower is told where chunks of a run arrived, in their order, and when the run ended. It holds places rather than
// chunks: a slow one costs little, and the store has the bytes.
type follower struct {
	wake chan struct{} // of one: there is something to take

	mu     sync.Mutex
	refs   []chunkRef
	lagged bool // refs were left out
	end    bool
}

func (m *memory) follow(k runKey) *follower {
	f := &follower{wake: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.followers[k] == nil {
		m.followers[k] = map[*follower]struct{}{}
	}
	m.followers[k][f] = struct{}{}
	return f
}

func (m *memory) unfollow(k runKey, f *follower) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.followers[k], f)
	if len(m.followers[k]) == 0 {
		delete(m.followers, k)
	}
}

func (f *follower) arrived(ref chunkRef) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lagged = f.lagged || len(f.refs) == followerQueue; f.lagged {
		f.refs = nil
	} else {
		f.refs = append(f.refs, ref)
	}
	f.signal()
}

// lost says that chunks may have arrived anywhere, and that the run may have ended.
func (f *follower) lost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs, f.lagged = nil, true
	f.signal()
}

func (f *follower) ended() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end = true
	f.signal()
}

func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next waits for news: where chunks arrived, or, lagged, that some did somewhere; and whether the run has ended, after them.
func (f *follower) next(ctx context.Context, closing <-chan struct{}) (refs []chunkRef, lagged, ended bool, err error) {
	select {
	case <-f.wake:
	case <-closing:
		return nil, false, false, errClosed()
	case <-ctx.Done():
		return nil, false, false, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	refs, lagged, ended = f.refs, f.lagged, f.end
	f.refs, f.lagged = nil, false
	return refs, lagged, ended, nil
}
