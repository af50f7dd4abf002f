package replica

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"crony"
	"crony/embedded/runlog"
)

const (
	maxQueue   = 8 << 20         // bytes of batches that wait for one server
	maxWindow  = 4 << 20         // bytes of batches that were sent to it and not answered
	maxSend    = 512 << 10       // bytes that are sent together
	silence    = 5 * time.Second // without an answer: the server is frozen, or its disk is
	retryFirst = 200 * time.Millisecond
	retryLast  = 2 * time.Second
)

// other is another server: what it is to be sent, and how its log compares with this one.
type other struct {
	id  string
	l   *Log
	log *slog.Logger

	wake    chan struct{} // there is something to send, or room to send it
	hinted  chan struct{} // there are hints that could be sent
	compare chan struct{} // the logs are to be compared

	mu      sync.Mutex
	address string
	gone    bool // it votes no more

	queue    []*entry
	queued   int // bytes
	hint     *entry
	sent     map[uint64]*entry
	sending  int // bytes
	last     uint64
	heard    time.Time // when it answered last, or was sent something after all had been answered
	open     bool      // there is a stream to it
	silent   bool      // the last stream ended as it said nothing
	reached  bool      // it answers, for all that is known; logged when it changes
	hints    hints
	tell     bool      // it is to compare the logs: there were more hints than are kept
	behind   time.Time // since when there are hints; zero: there are none
	exchange exchanged
}

// entry is a batch on its way to a server.
type entry struct {
	batch  *runlog.Batch
	at     time.Time  // when it was to be sent first
	commit *commit    // nil: of hints
	done   chan error // of hints: what became of it
}

func (e *entry) size() int { return len(e.batch.Bytes()) }

// waitedFor says whether somebody waits to hear of it.
func (e *entry) waitedFor() bool { return e.commit == nil || !e.commit.over.Load() }

func newOther(l *Log, id string) *other {
	return &other{id: id, l: l, log: l.log.With("to", id), sent: map[uint64]*entry{}, reached: true,
		wake: make(chan struct{}, 1), hinted: make(chan struct{}, 1), compare: make(chan struct{}, 1)}
}

func (o *other) at(address string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.address = address
}

func (o *other) where() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.address
}

// run sends batches and hints, and compares logs, until ctx is done.
func (o *other) run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { o.deliver(ctx) })
	work.Go(func() { o.deliverHints(ctx) })
	work.Go(func() { o.keepComparing(ctx) })
	work.Wait()
}

// offer has a batch sent. It never waits: what there is no room for becomes a hint.
func (o *other) offer(b *runlog.Batch, c *commit) {
	e := &entry{batch: b, at: o.l.opts.Now(), commit: c}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.queued+e.size() > maxQueue {
		o.sweep()
	}
	if o.gone || o.queued+e.size() > maxQueue && len(o.queue) > 0 {
		o.miss(e)
		c.tell(result{err: crony.Errorf(crony.Unavailable, "the server %s does not keep up", o.id)})
		return
	}
	o.queue = append(o.queue, e)
	o.queued += e.size()
	poke(o.wake)
}

// sweep makes hints of what waits to be sent and nobody waits for any more.
func (o *other) sweep() {
	kept := o.queue[:0]
	for _, e := range o.queue {
		if e.waitedFor() {
			kept = append(kept, e)
			continue
		}
		o.queued -= e.size()
		o.miss(e)
	}
	clear(o.queue[len(kept):])
	o.queue = kept
}

// miss keeps in mind what the server was not sent.
func (o *other) miss(e *entry) {
	if o.gone {
		return
	}
	o.keep(e.batch.Items(), e.at)
}

// keep takes hints of what the server was to be sent at a time.
func (o *other) keep(items []runlog.Item, since time.Time) {
	if o.behind.IsZero() || since.Before(o.behind) {
		o.behind = since
	}
	if !o.hints.add(items...) && !o.tell {
		o.tell = true
		o.log.Warn("a server lacks more records than are kept in mind: it is told to compare the logs")
	}
	poke(o.hinted)
}

// giveUp forgets a server that votes no more.
func (o *other) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone, o.tell = true, false
	o.queue, o.queued = nil, 0
	o.hints.clear()
}

// deliver keeps a stream to the server.
func (o *other) deliver(ctx context.Context) {
	pause := retryFirst
	for ctx.Err() == nil {
		start := time.Now()
		err := o.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		o.broken(err)
		if time.Since(start) > 2*silence {
			pause = retryFirst
		}
		wait(ctx, pause)
		pause = min(2*pause, retryLast)
	}
}

// errSilent ends a stream to a server that takes records and does not say what became of them.
func errSilent() error { return crony.Errorf(crony.Unavailable, "it has said nothing for %s", silence) }

// stream sends until ctx is done, the stream breaks or the server falls silent, and returns why.
func (o *other) stream(ctx context.Context) error {
	address := o.where()
	if address == "" {
		return crony.Errorf(crony.Unavailable, "its address is not known")
	}
	ctx, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { end(o.watch(ctx)) })
	first := true
	next := func(ctx context.Context) (uint64, [][]byte, bool, error) {
		if first {
			first = false
			o.opened()
		}
		return o.next(ctx)
	}
	err := o.l.opts.Peers.Replicate(ctx, address, next, o.answered)
	end(err)
	watching.Wait()
	return context.Cause(ctx)
}

// watch returns when the server has been silent for too long. TCP would take a frozen one for well.
func (o *other) watch(ctx context.Context) error {
	for wait(ctx, silence/10) {
		o.mu.Lock()
		silent := len(o.sent) > 0 && time.Since(o.heard) > silence
		o.silent = o.silent || silent
		o.mu.Unlock()
		if silent {
			return errSilent()
		}
	}
	return context.Cause(ctx)
}

// opened notes that there is a stream. A server that had fallen silent has to say something first.
func (o *other) opened() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = true
	if !o.silent {
		o.back()
	}
}

// back notes that the server answers.
func (o *other) back() {
	if !o.reached {
		o.log.Info("the server takes records of the run log again", "hints", o.hints.n)
	}
	o.reached, o.silent = true, false
	poke(o.compare)
	poke(o.hinted)
}

// broken takes back what was sent and not answered: what somebody waits for is sent again, of the rest there are hints.
func (o *other) broken(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reached {
		o.log.Warn("the server takes no records of the run log", "err", why)
	}
	o.open, o.reached = false, false
	var list []*entry
	for _, number := range slices.Sorted(maps.Keys(o.sent)) {
		list = append(list, o.sent[number])
	}
	clear(o.sent)
	o.sending = 0
	o.takeBack(list, why)
}

func (o *other) takeBack(list []*entry, why error) {
	var again []*entry
	if o.hint != nil {
		list = append(list, o.hint)
		o.hint = nil
	}
	for _, e := range list {
		switch {
		case e.commit == nil:
			e.done <- why
		case e.waitedFor():
			again = append(again, e)
			o.queued += e.size()
		default:
			o.miss(e)
		}
	}
	o.queue = append(again, o.queue...)
}

// next waits for what is to be sent.
func (o *other) next(ctx context.Context) (first uint64, batches [][]byte, compare bool, err error) {
	for {
		first, batches, compare = o.take()
		if len(batches) > 0 || compare {
			return first, batches, compare, nil
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return 0, nil, false, context.Cause(ctx)
		}
	}
}

// take takes what waits, as much as is sent together. Hints come after what is new.
func (o *other) take() (first uint64, batches [][]byte, compare bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if compare, o.tell = o.tell, false; compare && o.hints.n == 0 {
		o.behind = time.Time{} // from now on it is the server's to know
	}
	first = o.last + 1
	size := 0
	for len(o.queue) > 0 && size < maxSend && (o.sending < maxWindow || len(o.sent) == 0) {
		e := o.queue[0]
		o.queue[0] = nil
		o.queue = o.queue[1:]
		o.queued -= e.size()
		size += e.size()
		batches = append(batches, o.send(e))
	}
	if e := o.hint; e != nil && size < maxSend && o.sending < maxWindow {
		o.hint = nil
		batches = append(batches, o.send(e))
	}
	return first, batches, compare
}

func (o *other) send(e *entry) []byte {
	if len(o.sent) == 0 {
		o.heard = time.Now()
	}
	o.last++
	o.sent[o.last] = e
	o.sending += e.size()
	return e.batch.Bytes()
}

// answered notes what became of a batch.
func (o *other) answered(number uint64, refusal error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.sent[number]
	if e == nil {
		return
	}
	delete(o.sent, number)
	o.sending -= e.size()
	o.heard = time.Now()
	if o.silent || !o.reached {
		o.back()
	}
	poke(o.wake)
	switch {
	case e.commit == nil:
		e.done <- refusal
	case refusal != nil:
		o.miss(e)
		e.commit.tell(result{err: refusal})
	default:
		o.l.metrics.acked.WithLabelValues(o.id).Inc()
		e.commit.tell(result{})
	}
}
