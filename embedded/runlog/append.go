package runlog

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"crony"
)

// The bounds of one record, in bytes.
const (
	MaxFact  = 64 << 10 // of a fact as JSON
	MaxChunk = 1 << 20  // of a chunk's data
	maxName  = 255      // of a job's name and an agent's id, which are keys of indexes
)

// request is one call of Append or AppendStretches on its way to the writer. It shares no memory with the caller, who may
// give up waiting.
type request struct {
	facts     []factRecord
	chunks    []chunkRecord
	stretches []stretchRecord
	size      int // bytes to write, about
	done      chan error

	err       error // this and the next are the writer's
	conflicts []string
}

func (r *request) records() int { return len(r.facts) + len(r.chunks) + len(r.stretches) }

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

type factRecord struct {
	run   runKey
	fact  crony.Fact
	key   []byte
	value []byte
	from  *request
}

type chunkRecord struct {
	run   runKey
	ref   chunkRef
	key   []byte
	value []byte
}

// Append stores facts and chunks and returns when they are on the disk. It may be called with the same ones again: what is
// stored already stays as it is. A run becomes visible with its first fact, whatever came before.
//
// Invalid says that a record can't be right; then nothing of the call is stored. Conflict says that a fact differs from the
// one that its run has under its number; then that fact is not stored, and everything else of the call is. After any other
// error, ctx's included, the records may be stored or not: append them again.
func (l *Log) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	if err := l.alive(ctx); err != nil {
		return err
	}
	if len(facts) == 0 && len(chunks) == 0 {
		return nil
	}
	r, err := l.request(facts, chunks)
	if err != nil {
		return err
	}
	return l.send(ctx, r)
}

// send hands a request to the writer and waits for its outcome.
func (l *Log) send(ctx context.Context, r *request) error {
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

// request checks the records and encodes them, here rather than in the writer, so that appends share the work.
func (l *Log) request(facts []crony.Fact, chunks []crony.Chunk) (*request, error) {
	r := &request{
		facts: make([]factRecord, 0, len(facts)), chunks: make([]chunkRecord, 0, len(chunks)), done: make(chan error, 1),
	}
	for i := range facts {
		rec, err := newFactRecord(&facts[i])
		if err != nil {
			return nil, err
		}
		rec.from = r
		r.facts = append(r.facts, rec)
		r.size += len(rec.key) + len(rec.value)
	}
	for i := range chunks {
		rec, err := l.newChunkRecord(&chunks[i])
		if err != nil {
			return nil, err
		}
		r.chunks = append(r.chunks, rec)
		r.size += len(rec.key) + len(rec.value)
	}
	return r, nil
}

func newFactRecord(f *crony.Fact) (factRecord, error) {
	k, err := parseID(f.Run)
	if err != nil {
		return factRecord{}, err
	}
	if wrong := faultOfFact(f); wrong != "" {
		return factRecord{}, crony.Errorf(crony.Invalid, "fact %d of run %s: %s", f.Seq, f.Run, wrong)
	}
	own := ownFact(f)
	value, err := encodeJSON(&own)
	if err != nil {
		return factRecord{}, &crony.Error{
			Code: crony.Invalid, Message: fmt.Sprintf("fact %d of run %s can't be written as JSON", f.Seq, f.Run), Err: err,
		}
	}
	if len(value) > MaxFact {
		return factRecord{}, crony.Errorf(crony.Invalid, "fact %d of run %s has %d bytes", f.Seq, f.Run, len(value)).
			WithHint("at most %d, as JSON", MaxFact)
	}
	return factRecord{run: k, fact: own, key: factKey(k, f.Seq), value: value}, nil
}

// faultOfFact returns what is wrong with f, or "".
func faultOfFact(f *crony.Fact) string {
	switch {
	case f.Seq < 1 || f.Seq > crony.VerdictSeq:
		return fmt.Sprintf("its number is outside 1 to %d", crony.VerdictSeq)
	case (f.Claimed != nil) != (f.Seq == 1):
		return "the first fact, and no other, says what was claimed"
	case count(f.Claimed != nil, f.Started != nil, f.Exited != nil, f.Ended != nil) != 1:
		return "it must say one thing"
	case f.Claimed != nil:
		return faultOfClaim(f.Claimed)
	case f.Started != nil && !attemptFits(f.Started.Attempt), f.Exited != nil && !attemptFits(f.Exited.Attempt):
		return "attempts are numbered from 1"
	case f.Exited != nil && !utf8.ValidString(f.Exited.Signal), f.Ended != nil && !utf8.ValidString(f.Ended.Reason):
		return "its text is not UTF-8"
	case f.Ended != nil && !(knownState(f.Ended.State) && f.Ended.State.Ended()):
		return fmt.Sprintf("no run ends in state %.40q", f.Ended.State)
	}
	return ""
}

func faultOfClaim(c *crony.ClaimedFact) string {
	for _, name := range []struct{ what, text string }{{"job", c.Job}, {"agent", c.Agent}} {
		if name.text == "" || len(name.text) > maxName || strings.ContainsRune(name.text, 0) {
			return fmt.Sprintf("its %s's name is empty, longer than %d bytes, or holds a NUL", name.what, maxName)
		}
	}
	for _, text := range []string{c.Job, c.JobUID, c.Group, c.Agent, string(c.Trigger), c.By} {
		if !utf8.ValidString(text) {
			return "its text is not UTF-8"
		}
	}
	return ""
}

func (l *Log) newChunkRecord(c *crony.Chunk) (chunkRecord, error) {
	k, err := parseID(c.Run)
	if err != nil {
		return chunkRecord{}, err
	}
	stream, ok := streamByte(c.Stream)
	wrong := ""
	switch {
	case !ok:
		wrong = fmt.Sprintf("there is no stream %.40q", c.Stream)
	case !attemptFits(c.Attempt):
		wrong = "attempts are numbered from 1"
	case len(c.Data) == 0:
		wrong = "it is empty"
	case len(c.Data) > MaxChunk:
		wrong = fmt.Sprintf("its %d bytes are more than %d", len(c.Data), MaxChunk)
	case c.Offset < 0 || c.Offset > math.MaxInt64-int64(len(c.Data)):
		wrong = fmt.Sprintf("its offset %d is out of range", c.Offset)
	}
	if wrong != "" {
		return chunkRecord{}, crony.Errorf(crony.Invalid, "a chunk of run %s: %s", c.Run, wrong)
	}
	ref := chunkRef{attempt: uint32(c.Attempt), stream: stream, offset: uint64(c.Offset)}
	return chunkRecord{run: k, ref: ref, key: chunkKey(k, ref), value: l.codec.encodeChunk(c)}, nil
}

func attemptFits(n int) bool { return n >= 1 && n <= math.MaxInt32 }

func knownState(s crony.RunState) bool { return slices.Contains(s.Allowed(), string(s)) }

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// ownFact returns a copy of f that shares nothing with it, with its times as they come back from the disk.
func ownFact(f *crony.Fact) crony.Fact {
	own := crony.Fact{
		Run: f.Run, Seq: f.Seq, At: stored(f.At),
		Claimed: clone(f.Claimed), Started: clone(f.Started), Exited: clone(f.Exited), Ended: clone(f.Ended),
	}
	if own.Claimed != nil {
		own.Claimed.ScheduledAt = stored(own.Claimed.ScheduledAt)
	}
	if own.Exited != nil {
		own.Exited.ExitCode = clone(own.Exited.ExitCode)
	}
	return own
}

func stored(t time.Time) time.Time { return t.UTC().Round(0) }

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
