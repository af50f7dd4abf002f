package agent

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"crony"
	"crony/internal/wire"
)

// reporter delivers facts and output in the order in which they came, and again on each new stream until they are
// acknowledged. Output waits in its files, not in memory. When a run has ended and all of it is acknowledged, its files go
// and the journal forgets it.
type reporter struct {
	journal *journal
	link    poster
	now     func() time.Time
	log     *slog.Logger
	wake    chan struct{}

	chance   func(below time.Duration) time.Duration // a random time
	starting func() bool                             // says whether processes that are due wait to be started
	rush     time.Time                               // since when they have; zero if none do

	spool spool
	full  atomic.Bool // the disk is: what is written may fail

	mu       sync.Mutex
	queue    []item
	inflight map[uint64][]item
	last     uint64                       // the last report's id
	stream   context.Context              //nolint:containedctx // done when the stream is; nil before the first
	open     map[*output]bool             // that may still grow
	owed     map[crony.RunID]*outstanding // by run
	apart    map[crony.RunID][]item       // of runs that are not to be delivered yet
	names    map[crony.RunID]crony.RunID  // of runs that are delivered under another id
	turn     []*output                    // that are being looked at; of one goroutine
	used     int64                        // bytes of the disk that outputs take
	short    bool                         // the disk is: what is not queued soon is given up
	lost     int64                        // bytes of output that were given up
	failures int                          // streams in a row that ended with reports under way and none acknowledged
	probe    bool                         // one report goes, and the others when it is acknowledged
	hold     time.Time                    // no report goes before; monotonic
}

// poster takes messages for the server; see [link.post].
type poster interface {
	post(msg *wire.FromAgent) bool
}

// item is a fact or a stretch of output, of any length.
type item struct {
	fact *crony.Fact
	stretch
	at time.Time   // when the stretch was seen
	as crony.RunID // the run's id as it goes; set when it does
}

func (it *item) run() crony.RunID {
	if it.fact != nil {
		return it.fact.Run
	}
	return it.from.run
}

// outstanding is what of a run is not acknowledged.
type outstanding struct {
	items   int
	ended   bool
	outputs []*output
}

const (
	window     = 8                      // reports under way at once
	reportSize = 256 << 10              // bytes of output and facts in a report; one fact may go over it
	reportMost = 512                    // items in a report
	maxReport  = reportSize + 64<<10    // bytes of a report, with what frames it
	chunkSize  = 64 << 10               // bytes of output in one piece
	outputPoll = 200 * time.Millisecond // how often growing outputs are looked at
	busy       = 4096                   // items: behind a longer queue, outputs that still grow wait in their files
	few        = 1000                   // outputs: of so many, all are looked at each time
	lookPart   = 128                    // outputs that are looked at while nobody else can report
	giveWay    = 2 * time.Second        // the longest that reports wait for processes to be started
	wayPoll    = 10 * time.Millisecond  // how often it is looked whether they still do
	firstHold  = 500 * time.Millisecond // how long reports wait after two streams that took none
	lastHold   = 15 * time.Second       // and at most, after many
)

func newReporter(journal *journal, link poster, now func() time.Time, log *slog.Logger) *reporter {
	return &reporter{journal: journal, link: link, now: now, log: log, wake: make(chan struct{}, 1),
		chance: rand.N[time.Duration], starting: func() bool { return false }, inflight: map[uint64][]item{}, open: map[*output]bool{},
		owed: map[crony.RunID]*outstanding{}, apart: map[crony.RunID][]item{}, names: map[crony.RunID]crony.RunID{}}
}

// run sends reports until ctx is done.
func (r *reporter) run(ctx context.Context) error {
	poll, bounds := time.NewTicker(outputPoll), time.NewTicker(spoolPoll)
	defer poll.Stop()
	defer bounds.Stop()
	for {
		var calm <-chan time.Time
		if r.givesWay() {
			calm = time.After(wayPoll)
		}
		select {
		case <-calm:
		case <-r.wake:
		case <-bounds.C:
			if r.spool.size > 0 || r.spool.free > 0 {
				r.relieve()
			}
		case <-poll.C:
			if !r.givesWay() {
				r.look()
			}
		case <-ctx.Done():
			return nil
		}
		for !r.givesWay() && r.sendOne() {
		}
	}
}

// givesWay says whether to leave the host's processors to what is being started. When many runs are due at once, to report each
// while others wait would take a tenth of their time.
func (r *reporter) givesWay() bool {
	if !r.starting() {
		r.rush = time.Time{}
		return false
	}
	if r.rush.IsZero() {
		r.rush = time.Now()
	}
	return time.Since(r.rush) < giveWay
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

// put queues an item. r.mu is held, here and by all that call it.
func (r *reporter) put(it item) {
	run := it.run()
	r.of(run).items++
	if waiting, ok := r.apart[run]; ok {
		r.apart[run] = append(waiting, it)
		return
	}
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
func (r *reporter) output(list ...*output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range list {
		r.open[o] = true
		of := r.of(o.run)
		of.outputs = append(of.outputs, o)
	}
}

// look queues what outputs have grown by, if it can be sent soon. Of many outputs, those that have been quiet for a while are
// looked at in every third round only.
func (r *reporter) look() {
	r.mu.Lock()
	r.turn = slices.AppendSeq(r.turn[:0], maps.Keys(r.open))
	r.mu.Unlock()
	now := r.now().UTC()
	for part := range slices.Chunk(r.turn, lookPart) {
		r.mu.Lock()
		for _, o := range part {
			o.quiet++
			if r.open[o] && (len(r.turn) <= few || o.quiet < 5 || o.quiet%3 == 0) {
				r.lookAt(o, now)
			}
		}
		r.mu.Unlock()
	}
	clear(r.turn) // what has ended is not to be held
}

func (r *reporter) lookAt(o *output, now time.Time) {
	size := r.size(o)
	o.giveBack(size)
	before := o.queued
	if r.mayGrow(o) {
		r.stretch(o.grown(size))
	}
	if r.short {
		r.stretch(o.upTo(min(size, o.head(), smallHead)))
		r.lost += o.giveUp(size)
	}
	if o.queued > before {
		o.quiet = 0
	}
	switch waits := o.queued < min(size, o.head()); {
	case !waits:
		o.waits = time.Time{}
	case o.waits.IsZero():
		o.waits = now
	}
}

// size returns how much was written to an output, and counts what it takes of the disk.
func (r *reporter) size(o *output) int64 {
	before := o.disk
	size := o.size()
	r.used += o.disk - before
	return size
}

func (r *reporter) stretch(s stretch) {
	if s.off < s.end {
		r.put(item{stretch: s, at: r.now().UTC()})
	}
}

// mayPost says whether another report may go now.
func (r *reporter) mayPost() bool {
	most := window
	if r.probe {
		most = 1
	}
	return r.up() && len(r.inflight) < most && !time.Now().Before(r.hold)
}

// backOff is told at the start of a stream whether reports were under way when the one before it ended. If no report was
// acknowledged on that one, servers take none now, though they may grant claims: the first such time costs nothing, and then
// reports wait longer each time before the next one puts the stream at risk.
func (r *reporter) backOff(vain bool) {
	if !vain {
		return
	}
	r.failures++
	r.probe = true
	if r.failures > 1 {
		wait := min(firstHold<<min(r.failures-2, 10), lastHold)
		r.hold = time.Now().Add(wait/2 + r.chance(wait/2))
	}
}

// up says whether there is a stream to send on.
func (r *reporter) up() bool { return r.stream != nil && r.stream.Err() == nil }

// finish queues what is left of an attempt's outputs, and returns the sizes that they came to. Files that are empty go.
func (r *reporter) finish(list []*output) []int64 {
	sizes := make([]int64, len(list))
	r.mu.Lock()
	for i, o := range list {
		delete(r.open, o)
		before := o.disk
		left, size, lost := o.rest()
		r.used += o.disk - before
		r.lost += lost
		for _, s := range left {
			r.stretch(s)
		}
		sizes[i], o.none = size, o.none || size == 0
	}
	if of := r.owed[list[0].run]; of != nil {
		of.outputs = slices.DeleteFunc(of.outputs, func(o *output) bool { return o.none })
	}
	r.mu.Unlock()
	for _, o := range list {
		if o.none {
			o.remove()
		}
	}
	return sizes
}

// sendOne sends the next report, if there is one and it may go. It reports whether it did.
func (r *reporter) sendOne() bool {
	r.mu.Lock()
	if len(r.queue) == 0 || !r.mayPost() {
		r.mu.Unlock()
		return false
	}
	r.last++
	id, stream := r.last, r.stream
	items, report := r.take(id)
	r.inflight[id] = items
	r.mu.Unlock()
	r.read(items, report)

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream != stream { // its items are in the queue again
		return true
	}
	if r.up() && r.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Report{Report: report}}) {
		return true
	}
	delete(r.inflight, id)
	r.queue = append(items, r.queue...)
	return false
}

// begin implements sink: what was under way on the old stream goes again on the new one, before everything else.
func (r *reporter) begin(stream context.Context) {
	r.mu.Lock()
	var again []item
	for _, id := range slices.Sorted(maps.Keys(r.inflight)) {
		again = append(again, r.inflight[id]...)
	}
	r.backOff(len(again) > 0)
	clear(r.inflight)
	r.queue = append(again, r.queue...)
	r.stream = stream
	done := r.prune()
	r.mu.Unlock()
	r.forgetAll(done)
	r.ring()
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
