package agent

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"crony"
	"crony/internal/wire"
)

// loop is the one goroutine that owns the timetable: it hears what the server says (hear.go), asks for what comes due, and
// hands the runner what starts.
type loop struct {
	inbox   chan *wire.FromServer // from the link; a message of no kind says that a new stream began
	link    poster
	runner  *runner
	journal *journal
	now     func() time.Time
	log     *slog.Logger

	table   *timetable
	seen    time.Time // the latest that the clock has shown since it last went back
	request uint64
	asked   map[uint64][]ask        // by request
	waiting map[string][]crony.Fact // by job: runs of an earlier life that were claimed and not started
	untaken []grant                 // that could not be written down yet
	orders  []*wire.Start           // likewise
	holding string                  // why nothing is asked for; "" while it is
}

// ask is one occurrence that was asked for.
type ask struct {
	job *job // nil: asked for again, by a later request
	at  time.Time
}

// grant is an ask that was granted.
type grant struct {
	ask
	run crony.RunID
}

// tick is how long the loop sleeps at most, so that a step of the wall clock is noticed.
const tick = time.Second

// maxAsks is how many occurrences go into one request.
const maxAsks = 1024

// maxRuns is about how many runs an agent answers for at once. One that can't deliver takes on no more: what comes due waits
// on the servers, and not in this host's memory and on its disk.
const maxRuns = 16 << 10

func newLoop(link poster, runner *runner, journal *journal, now func() time.Time, log *slog.Logger) *loop {
	return &loop{inbox: make(chan *wire.FromServer, 64), link: link, runner: runner, journal: journal, now: now,
		log: log, table: newTimetable(), asked: map[uint64][]ask{}, waiting: map[string][]crony.Fact{}}
}

// run works until ctx is done. Recovered are the claims of an earlier life: they wait for their job to be assigned again.
func (l *loop) run(ctx context.Context, recovered []crony.Fact) {
	for _, f := range recovered {
		l.waiting[f.Claimed.Job] = append(l.waiting[f.Claimed.Job], f)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case msg := <-l.inbox:
			l.hear(msg)
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(l.work())
	}
}

// ignore hears nothing of what the server says, until ctx is done: the link must not stand still while runs come to their
// end. What is granted meanwhile the server knows to be owed.
func (l *loop) ignore(ctx context.Context) error {
	for {
		select {
		case <-l.inbox:
		case <-ctx.Done():
			return nil
		}
	}
}

// work does what is to be done now, and returns how long nothing more is.
func (l *loop) work() time.Duration {
	l.retry()
	now := l.clock()
	for _, g := range l.table.ready(now) {
		l.runner.start(newAttempt(g.run, g.job, g.at))
	}
	asking := l.mayAsk()
	if asking {
		l.claim(l.table.due(now))
	}
	wake := l.table.wake(asking)
	if wake.IsZero() {
		return tick
	}
	return min(max(wake.Sub(now), 0), tick)
}

// clock returns the time on the wall, which schedules follow. When it went back, everything is planned anew.
func (l *loop) clock() time.Time {
	now := l.now().Round(0)
	if back := l.seen.Sub(now); back > tick {
		l.log.Warn("the clock went back", "by", back)
		l.table.rewind(now)
		l.seen = now
	}
	if now.After(l.seen) {
		l.seen = now
	}
	return now
}

// retry tries again to write down what the servers gave the agent.
func (l *loop) retry() {
	untaken, orders := l.untaken, l.orders
	l.untaken, l.orders = nil, nil
	for _, g := range untaken {
		l.take(g)
	}
	for _, o := range orders {
		l.order(o)
	}
}

// mayAsk says whether the agent may take on more. If the journal can't be written, nothing may start that would be known
// to nobody after a crash.
func (l *loop) mayAsk() bool {
	why := ""
	switch err := l.journal.flush(); {
	case err != nil:
		why = "the journal can't be written: " + err.Error()
	case l.full():
		why = "too many runs are not delivered"
	case len(l.untaken)+len(l.orders) > 0:
		why = "the journal can't be written"
	}
	switch {
	case why != "" && l.holding == "":
		l.log.Error("nothing more is claimed", "reason", why)
	case why == "" && l.holding != "":
		l.log.Info("claims go on")
	}
	l.holding = why
	return why == ""
}

func (l *loop) full() bool { return l.journal.count() >= maxRuns }

// claim asks the server for the next occurrence of each job. What can't be sent now comes due again.
func (l *loop) claim(jobs []*job) {
	for batch := range slices.Chunk(jobs, maxAsks) {
		l.request++
		asks, msg := make([]ask, len(batch)), &wire.ClaimRequest{Id: l.request}
		for i, j := range batch {
			l.disown(j)
			asks[i] = ask{j, j.next}
			msg.Occurrences = append(msg.Occurrences,
				&wire.Occurrence{Job: j.def.Job.Name, Epoch: j.epoch, At: j.next.UnixNano()})
			j.ask = l.request
		}
		if l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: msg}}) {
			l.asked[l.request] = asks
		}
	}
}

// disown makes the answer to the request that asked for j before count for nothing: the next one's counts.
func (l *loop) disown(j *job) {
	for i, a := range l.asked[j.ask] {
		if a.job == j {
			l.asked[j.ask][i].job = nil
		}
	}
}
