package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"crony"
	"crony/internal/wire"
)

// reporter delivers facts and output in the order in which they came, and again on each new stream until they are
// acknowledged. Output waits in its files, not in memory. When a run has ended and all of it is acknowledged, its files go
// and the journal forgets it.
type reporter struct {
	dir     string
	journal *journal
	link    *link
	now     func() time.Time
	log     *slog.Logger
	wake    chan struct{}

	mu       sync.Mutex
	queue    []item
	inflight map[uint64][]item
	last     uint64                       // the last report's id
	stream   context.Context              //nolint:containedctx // done when the stream is; nil before the first
	open     map[*output]bool             // that may still grow
	owed     map[crony.RunID]*outstanding // by run
}

// item is a fact or a piece of output.
type item struct {
	fact  *crony.Fact
	piece piece
	at    time.Time // when the piece was seen
}

func (it *item) run() crony.RunID {
	if it.fact != nil {
		return it.fact.Run
	}
	return it.piece.from.run
}

// outstanding is what of a run is not acknowledged.
type outstanding struct {
	items int
	ended bool
	files []*output
}

const (
	window     = 8                      // reports under way at once
	reportSize = 256 << 10              // bytes of output in a report
	reportMost = 512                    // items in a report
	outputPoll = 200 * time.Millisecond // how often growing outputs are looked at
)

func newReporter(dir string, journal *journal, link *link, now func() time.Time, log *slog.Logger) *reporter {
	return &reporter{dir: dir, journal: journal, link: link, now: now, log: log, wake: make(chan struct{}, 1),
		inflight: map[uint64][]item{}, open: map[*output]bool{}, owed: map[crony.RunID]*outstanding{}}
}

// run sends reports until ctx is done.
func (r *reporter) run(ctx context.Context) error {
	poll := time.NewTicker(outputPoll)
	defer poll.Stop()
	for {
		select {
		case <-r.wake:
		case <-poll.C:
			r.look()
		case <-ctx.Done():
			return nil
		}
		for r.sendOne() {
		}
	}
}

func (r *reporter) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// fact queues a fact.
func (r *reporter) fact(f crony.Fact) {
	r.mu.Lock()
	r.put(item{fact: &f})
	if f.Ended != nil {
		r.owed[f.Run].ended = true
	}
	r.mu.Unlock()
	r.ring()
}

// put queues an item. r.mu is held.
func (r *reporter) put(it item) {
	r.of(it.run()).items++
	r.queue = append(r.queue, it)
}

func (r *reporter) of(run crony.RunID) *outstanding {
	o := r.owed[run]
	if o == nil {
		o = &outstanding{}
		r.owed[run] = o
	}
	return o
}

// output begins to follow the outputs of an attempt.
func (r *reporter) output(files ...*output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range files {
		r.open[f] = true
		o := r.of(f.run)
		o.files = append(o.files, f)
	}
}

// look queues what outputs have grown by.
func (r *reporter) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.open {
		r.pieces(f.grown())
	}
}

func (r *reporter) pieces(list []piece) {
	now := r.now().UTC()
	for _, p := range list {
		r.put(item{piece: p, at: now})
	}
}

// finish queues what is left of an attempt's outputs, and returns the sizes that they came to.
func (r *reporter) finish(files []*output) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sizes := make([]int64, len(files))
	for i, f := range files {
		delete(r.open, f)
		var list []piece
		list, sizes[i] = f.rest()
		r.pieces(list)
	}
	return sizes
}

// settled says that nothing more comes of a run; its facts may have been acknowledged by now.
func (r *reporter) settled(run crony.RunID) {
	r.mu.Lock()
	o := r.of(run)
	o.ended = true
	done := o.items == 0
	r.mu.Unlock()
	if done {
		r.forget(run)
	}
}

// sendOne sends the next report, if there is one and it may go. It reports whether it did.
func (r *reporter) sendOne() bool {
	r.mu.Lock()
	if len(r.queue) == 0 || r.stream == nil || r.stream.Err() != nil || len(r.inflight) >= window {
		r.mu.Unlock()
		return false
	}
	n, size := 0, 0
	for n < len(r.queue) && n < reportMost && size < reportSize {
		size += r.queue[n].piece.n
		n++
	}
	items := slices.Clone(r.queue[:n])
	r.queue = r.queue[n:]
	if len(r.queue) == 0 {
		r.queue = nil
	}
	r.last++
	id := r.last
	r.inflight[id] = items
	r.mu.Unlock()
	if r.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Report{Report: r.report(id, items)}}) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inflight[id] != nil {
		delete(r.inflight, id)
		r.queue = append(items, r.queue...)
	}
	return false
}

func (r *reporter) report(id uint64, items []item) *wire.Report {
	report := &wire.Report{Id: id}
	for i := range items {
		if it := &items[i]; it.fact != nil {
			report.Facts = append(report.Facts, wire.Encode(it.fact))
		} else if chunk := r.chunk(it); len(chunk.Data) > 0 {
			report.Chunks = append(report.Chunks, wire.FromChunk(&chunk))
		}
	}
	return report
}

// chunk reads a piece from its file.
func (r *reporter) chunk(it *item) crony.Chunk {
	p := it.piece
	data := make([]byte, p.n)
	n, err := p.from.file.ReadAt(data, p.off)
	if n < p.n {
		r.log.Error("output not readable", "run", p.from.run, "stream", p.from.stream, "offset", p.off, "err", err)
	}
	return crony.Chunk{Run: p.from.run, Attempt: p.from.attempt, Stream: p.from.stream, Offset: p.off, At: it.at, Data: data[:n]}
}

// up implements sink: what was under way on the old stream goes again on the new one, before everything else.
func (r *reporter) up(ctx context.Context) {
	r.mu.Lock()
	var again []item
	for _, id := range slices.Sorted(maps.Keys(r.inflight)) {
		again = append(again, r.inflight[id]...)
	}
	clear(r.inflight)
	r.queue = append(again, r.queue...)
	r.stream = ctx
	r.mu.Unlock()
	r.ring()
}

// acked implements sink.
func (r *reporter) acked(id uint64) {
	r.mu.Lock()
	var done []crony.RunID
	for i := range r.inflight[id] {
		run := r.inflight[id][i].run()
		o := r.owed[run]
		if o.items--; o.items == 0 && o.ended {
			done = append(done, run)
		}
	}
	delete(r.inflight, id)
	r.mu.Unlock()
	for _, run := range done {
		r.forget(run)
	}
	r.ring()
}

// forget drops a run that the servers have all of.
func (r *reporter) forget(run crony.RunID) {
	if _, err := r.journal.add(entry{Settled: run}); err != nil {
		r.log.Warn("journal does not forget a run; it will be reported again", "run", run, "err", err)
	}
	r.mu.Lock()
	files := r.owed[run].files
	delete(r.owed, run)
	r.mu.Unlock()
	for _, f := range files {
		f.remove()
	}
}

// flush waits until everything is acknowledged, but not longer than patience.
func (r *reporter) flush(patience time.Duration) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		r.mu.Lock()
		left := len(r.queue) + len(r.inflight)
		r.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-look.C:
		case <-deadline.C:
			r.log.Warn("reports not delivered; the next agent on this directory delivers them", "items", left)
			return
		}
	}
}
