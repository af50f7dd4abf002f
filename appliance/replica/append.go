package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"crony"
	"crony/embedded/runlog"
)

const (
	quorumWait = 5 * time.Second // for a majority to have a batch on disk
	ownWait    = time.Second     // longer than that for this server's disk, if the majority is others
	maxOwn     = 32 << 20        // bytes of batches that wait for the own disk
	maxFacts   = 8192            // in one batch
)

// Append stores facts and chunks, and returns when they are on the disks of most servers. It may be called with the same ones
// again. The own disk counts as one; the others have them soon.
//
// Invalid says that a record can't be right; then nothing of the call is stored. Conflict says that a fact differs from the
// one that its run has under its number here; everything else of the call is stored. After any other error the records may be
// stored or not: append them again. Unavailable is one of these: too few servers could be reached.
func (l *Log) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	if len(facts) <= maxFacts {
		return l.append(ctx, runlog.Records{Facts: facts, Chunks: chunks})
	}
	parts := []runlog.Records{{Chunks: chunks}}
	for part := range slices.Chunk(facts, maxFacts) {
		parts = append(parts, runlog.Records{Facts: part})
	}
	return l.append(ctx, parts...)
}

// AppendStretches stores stretches, on the terms of [Log.Append].
func (l *Log) AppendStretches(ctx context.Context, list []crony.Stretch) error {
	return l.append(ctx, runlog.Records{Stretches: list})
}

// append encodes all parts before it stores the first, as none is to be stored if one can't be right.
func (l *Log) append(ctx context.Context, parts ...runlog.Records) error {
	batches := make([]*runlog.Batch, 0, len(parts))
	records := 0
	for _, r := range parts {
		n := len(r.Facts) + len(r.Chunks) + len(r.Stretches)
		if n == 0 {
			continue
		}
		b, err := l.opts.Own.Encode(r)
		if err != nil {
			return err
		}
		batches, records = append(batches, b), records+n
	}
	var conflicts []error
	for _, b := range batches {
		start := time.Now()
		err := l.commit(ctx, b)
		if err != nil && crony.CodeOf(err) != crony.Conflict {
			return err
		}
		l.metrics.quorum.Observe(time.Since(start).Seconds())
		conflicts = append(conflicts, err)
	}
	l.metrics.appended.Add(float64(records))
	return errors.Join(conflicts...)
}

// commit is a batch that somebody waits for.
type commit struct {
	results chan result // has room for all: nobody waits to tell
	over    atomic.Bool // nobody listens any more
}

// result is what became of a batch on one server.
type result struct {
	own bool
	err error
}

func (c *commit) tell(r result) { c.results <- r }

// commit stores a batch here and on all other servers at the same time, and waits for most of them.
func (l *Log) commit(ctx context.Context, b *runlog.Batch) error {
	members := l.members.Load()
	c := &commit{results: make(chan result, len(members.others)+1)}
	defer c.over.Store(true)
	for _, o := range members.others {
		o.offer(b, c)
	}
	if err := l.storeOwn(b, c); err != nil { //nolint:contextcheck // what is sent to others is stored here, whoever waits
		return err
	}
	v := vote{need: members.need, servers: len(members.others) + 1}
	late := time.NewTimer(quorumWait)
	defer late.Stop()
	for {
		if over, err := l.verdict(&v, late); over {
			return err
		}
		select {
		case r := <-c.results:
			v.count(r)
		case <-late.C:
			v.late = true
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.closing:
			return errClosed()
		}
	}
}

// vote counts what became of a batch.
type vote struct {
	servers, need   int
	stored, refused int
	own             bool  // the own disk has said what became of it
	conflict        error // of the own log's
	why             error // of the last refusal
	agreed, late    bool
}

func (v *vote) count(r result) {
	v.own = v.own || r.own
	switch {
	case r.err == nil:
		v.stored++
	case r.own && crony.CodeOf(r.err) == crony.Conflict: // all but what is in conflict is stored
		v.stored++
		v.conflict = r.err
	default:
		v.refused++
		v.why = r.err
	}
}

// verdict says whether a commit is over, and how. Once most servers have the batch, its own disk is waited for only as long as
// it keeps up otherwise: who reads here what was acknowledged is to find it.
func (l *Log) verdict(v *vote, late *time.Timer) (bool, error) {
	switch {
	case v.stored >= v.need && (v.own || l.ownLate.Load()):
		return true, v.conflict
	case v.stored >= v.need && v.agreed && v.late:
		if !l.ownLate.Swap(true) {
			l.log.Warn("this server's disk does not keep up: records are acknowledged by the other servers' disks")
		}
		return true, v.conflict
	case v.stored >= v.need && !v.agreed:
		v.agreed, v.late = true, false
		late.Reset(ownWait)
	case v.stored < v.need && v.servers-v.refused < v.need:
		return true, tooFew(v, v.why)
	case v.late:
		return true, tooFew(v, errors.Join(v.why, fmt.Errorf("no answer within %s", quorumWait)))
	}
	return false, nil
}

func tooFew(v *vote, why error) error {
	if v.servers == 1 {
		return why
	}
	return &crony.Error{Code: crony.Unavailable, Err: why,
		Message: fmt.Sprintf("records are on the disks of %d of %d servers, and %d are needed", v.stored, v.servers, v.need),
		Hint:    "they are kept where they come from, and sent again; `crony cluster status` shows which servers are down"}
}

func errClosed() error { return crony.Errorf(crony.Unavailable, "the run log is closed") }

// storeOwn stores a batch here, on its own: it goes on when nobody waits for it any more.
func (l *Log) storeOwn(b *runlog.Batch, c *commit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed()
	}
	size := int64(0) // alone, whoever appends waits for the disk: that is bound enough
	if cap(c.results) > 1 {
		size = int64(len(b.Bytes()))
	}
	if l.ownBytes.Add(size) > maxOwn && size < maxOwn {
		l.ownBytes.Add(-size)
		c.tell(result{own: true, err: crony.Errorf(crony.Unavailable, "this server's disk does not keep up")})
		return nil
	}
	l.storing.Go(func() {
		err := l.opts.Own.Store(context.Background(), b)
		l.ownBytes.Add(-size)
		l.ownStored(err)
		c.tell(result{own: true, err: err})
	})
	return nil
}

// ownStored logs when the own disk begins to refuse, and when it ends. What it lacks then is fetched from the others.
func (l *Log) ownStored(err error) {
	refused := err != nil && crony.CodeOf(err) != crony.Conflict
	if was := l.ownRefuse.Swap(refused); was != refused {
		if refused {
			l.log.Error("this server's run log takes no records", "err", err)
		} else {
			l.log.Info("this server's run log takes records again")
		}
	}
	if l.ownLate.Load() && l.ownBytes.Load() == 0 && l.ownLate.Swap(false) {
		l.log.Info("this server's disk keeps up again")
	}
}

// Receive stores a batch of another server's, and returns once it is on disk. Invalid if it is damaged.
func (l *Log) Receive(ctx context.Context, batch []byte) error {
	b, err := l.opts.Own.Decode(batch)
	if err != nil {
		return err
	}
	if err := l.opts.Own.Merge(ctx, b); err != nil {
		return fmt.Errorf("merge records: %w", err)
	}
	l.metrics.merged.Inc()
	return nil
}
