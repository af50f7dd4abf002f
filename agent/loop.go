package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"crony"
	"crony/internal/wire"
)

// loop is the one goroutine that owns the timetable: it hears what the server says (hear.go), asks for what comes due, and
// hands the runner what starts.
type loop struct {
	inbox   chan *wire.FromServer // from the link; a message of no kind says that the stream is over
	link    poster
	runner  *runner
	journal *journal
	now     func() time.Time
	log     *slog.Logger

	table    *timetable
	zones    zones
	prep     *preparer
	boots    boots
	listed   bool            // all jobs have been heard of since the host booted, and those that come with it are not started
	booted   map[string]bool // jobs that this boot has started
	boot     []*seat         // their runs, until the boot is written down
	late     bool            // it could not be
	began    time.Time       // when the loop began
	up, cut  time.Time       // when the newest stream began, and when the one before it was over
	seen     time.Time       // the latest that the clock has shown since it last went back, with its monotonic reading
	linked   bool            // there is a stream, for all that was heard
	lease    *lease          // see there
	pinged   time.Duration   // by the lease's clock, when something was asked last
	request  uint64
	asked    map[uint64]inquiry      // by request
	claims   map[string]lastAsk      // by leased job: what was claimed last
	waiting  map[string][]crony.Fact // by job: runs of an earlier life that were claimed and not started
	unjudged map[string]bool         // jobs: what the servers decided of runs without a claim could not be written down yet
	fates    time.Duration           // when to ask whose unclaimed runs are, by the lease's clock; 0: not yet
	untaken  []grant                 // that could not be written down yet
	orders   []*wire.Start           // likewise
	later    []*wire.Start           // runs of other agents that can't be taken over yet
	locked   map[crony.RunID]*seat   // runs that wait for their job's lock
	holding  string                  // why nothing is asked for; "" while it is
	held     hold                    // the last time that nothing was
	looked   time.Time               // when processes that last were last looked for
	born     time.Time               // when it was made; monotonic
	beat     atomic.Int64            // nanoseconds from born to when it last went round; -1: its work is over
}

// hold is a time in which the agent took on nothing.
type hold struct {
	from, to time.Time
	why      string
}

// ask is one occurrence that was asked for, or up to which all are to be passed over.
type ask struct {
	job     *job
	at      time.Time
	catchUp bool
	pass    bool
}

// inquiry is a request that has no answer yet.
type inquiry struct {
	asks []ask
	sent time.Duration // by the lease's clock
}

// lastAsk is what was claimed of a job last.
type lastAsk struct {
	at   time.Time
	sent time.Duration // by the lease's clock
}

// grant is an ask that was granted.
type grant struct {
	ask
	run   crony.RunID
	waits bool          // for its lock
	sent  time.Duration // by the lease's clock, when it was asked; [longAgo] if that is not known
}

// longAgo is before all that the lease's clock has shown.
const longAgo = time.Duration(math.MinInt64 / 2)

// tick is how long the loop sleeps at most, so that a step of the wall clock is noticed.
const tick = time.Second

// maxAsks is how many occurrences go into one request.
const maxAsks = 1024

// maxRuns is about how many runs an agent answers for at once: those that go on, wait for an answer, or are not delivered. Beyond
// it takes on no more: what comes due waits on the servers, and not in this host's memory and on its disk, and is for the job's
// misfire policy when there is room again.
const maxRuns = 16 << 10

func newLoop(
	link poster, runner *runner, journal *journal, boots boots, now func() time.Time, log *slog.Logger,
) *loop {
	l := &loop{born: time.Now(), inbox: make(chan *wire.FromServer, 64), link: link, runner: runner, journal: journal, now: now,
		log: log, boots: boots, booted: map[string]bool{}, lease: runner.lease, asked: map[uint64]inquiry{},
		claims: map[string]lastAsk{}, unjudged: map[string]bool{}, waiting: map[string][]crony.Fact{},
		locked: map[crony.RunID]*seat{}}
	l.table, l.prep = newTimetable(l.zones.load), newPreparer(openPrepared(runner))
	l.table.holders = func(j *job) (first, last crony.RunID) { return journal.holders(j.name, int(j.slots)) }
	return l
}

// run works until ctx is done. Recovered are the claims of an earlier life: they wait for their job to be assigned again.
func (l *loop) run(ctx context.Context, recovered []crony.Fact) {
	l.began = l.now().Round(0)
	for _, f := range recovered {
		if f.Claimed.Trigger == crony.ByPrepare { // whoever needs the script has it run anew
			l.runner.skip(f.Run, "its agent stopped before the script began")
			continue
		}
		l.waiting[f.Claimed.Job] = append(l.waiting[f.Claimed.Job], f)
		if f.Claimed.Trigger == crony.ByReboot {
			l.booted[f.Claimed.Job] = true
		}
	}
	for _, g := range l.runner.ordered {
		l.startOrdered(g)
	}
	l.remember()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case msg := <-l.inbox:
			l.hear(msg)
		case <-l.prep.wake:
		case <-timer.C:
		case <-l.runner.over:
			l.table.unblock(l.clock())
			l.freed()
		case <-ctx.Done():
			l.beat.Store(-1)
			return
		}
		timer.Reset(l.work())
		l.beat.Store(int64(time.Since(l.born)))
	}
}

// stuck is how long a round of the loop may take before the agent counts as dead.
const stuck = 30 * time.Second

// live says whether the loop goes round, or has come to its end.
func (l *loop) live() bool {
	last := l.beat.Load()
	return last < 0 || time.Since(l.born)-time.Duration(last) < stuck
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
	if l.listed {
		l.reboot()
	}
	l.prepare(now)
	for _, g := range l.table.ready(now) {
		l.begin(g)
	}
	l.askLocks(now)
	l.askHandOvers(now)
	l.askFates()
	over := l.lapse()
	asking := l.mayAsk()
	switch {
	case over && !l.linked:
		l.alone(now, asking)
	case asking:
		l.claim(l.table.due(now))
	}
	l.tellRunning(now)
	l.ping()
	most := l.runner.again(tick)
	if !over && !l.linked {
		most = min(most, l.lease.left())
	}
	wake := l.table.wake(asking)
	if wake.IsZero() {
		return most
	}
	return min(max(wake.Sub(now), 0), most)
}

// clock returns the time on the wall, which schedules follow. When it went back, or the zones' rules have changed,
// everything is planned anew. When it went forward, what was not decided in between is missed, and found so when it is next
// looked at.
func (l *loop) clock() time.Time {
	now := l.now()
	wall, seen := now.Round(0), l.seen.Round(0)
	switch step := wall.Sub(seen) - now.Sub(l.seen); {
	case seen.Sub(wall) > tick:
		l.log.Warn("the clock went back", "by", seen.Sub(wall))
		l.runner.metrics.steps.WithLabelValues("back").Inc()
		l.table.rewind()
		l.seen = now
	case step > tick && !l.seen.IsZero():
		l.log.Warn("the clock went forward, or the host was suspended", "by", step)
		l.runner.metrics.steps.WithLabelValues("forward").Inc()
	}
	if l.zones.changed(wall) {
		l.log.Warn("the rules of time zones have changed: schedules are computed anew")
		l.table.recompile()
	}
	if wall.After(seen) {
		l.seen = now
	}
	return wall
}

// retry tries again to write down what the servers gave the agent.
func (l *loop) retry() {
	untaken, orders := l.untaken, slices.Concat(l.orders, l.later)
	l.untaken, l.orders, l.later = nil, nil, nil
	for _, g := range untaken {
		l.take(g)
	}
	for _, o := range orders {
		l.order(o)
	}
	for name := range l.unjudged {
		l.judge(name)
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
		why = fmt.Sprintf("%d of its runs go on, wait, or are not delivered, and it has no more at once", maxRuns)
	case len(l.untaken)+len(l.orders) > 0:
		why = "the journal can't be written"
	}
	switch {
	case why != "" && l.holding == "":
		l.log.Error("nothing more is claimed", "reason", why)
		l.held = hold{from: l.seen, why: why}
	case why == "" && l.holding != "":
		l.log.Info("claims go on")
		l.held.to = l.seen
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
			var o *wire.Occurrence
			asks[i], o = l.ask(j)
			msg.Occurrences = append(msg.Occurrences, o)
			j.ask = l.request
		}
		l.post(msg, asks)
	}
}

// post asks the server. What can't be sent comes due again.
func (l *loop) post(msg *wire.ClaimRequest, asks []ask) {
	sent := l.lease.now() // before it goes: what is answered was asked no earlier
	if !l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: msg}}) {
		return
	}
	l.pinged, l.asked[msg.GetId()] = sent, inquiry{asks, sent}
	for _, a := range asks {
		if a.job.leased && !a.pass {
			l.claims[a.job.name] = lastAsk{a.at, sent}
		}
	}
}

// ask returns what is to be asked about a job. What is passed over is told in parts of one cause each.
func (l *loop) ask(j *job) (ask, *wire.Occurrence) {
	step := j.asked
	o := &wire.Occurrence{Job: j.name, Epoch: j.epoch, At: step.At.UnixNano(), Due: step.due, Behind: string(step.behind)}
	if until, ran, ok := l.table.tell(j); ok && !step.skipped {
		return l.tell(j, o, until, ran)
	}
	switch {
	case step.skipped:
		o.At, o.Skipped = step.Until.UnixNano(), true
		o.Pass = &wire.Pass{After: int64(j.cursor), Reason: step.Reason}
		return ask{job: j, at: step.Until, pass: true}, o
	case step.Until.IsZero():
		if step.row != nil {
			o.Skipped = true
			o.Pass = &wire.Pass{After: int64(j.cursor), Until: int64(step.row.until), Reason: step.row.reason}
		}
		return ask{job: j, at: step.At, catchUp: step.CatchUp}, o
	}
	until := step.Until
	for _, change := range []time.Time{j.since.time(), l.began} {
		if change.After(j.cursor.time()) && change.Before(until) {
			until = change
		}
	}
	o.At = until.UnixNano()
	o.Pass = &wire.Pass{After: int64(j.cursor), Reason: strings.TrimPrefix(l.cause(j, until)+"; "+step.Reason, "; ")}
	return ask{job: j, at: until, pass: true}, o
}

// cause says why occurrences up to a time were not asked for when they came due; "" if that is for the step to say.
func (l *loop) cause(j *job, until time.Time) string {
	switch {
	case !until.After(j.since.time()):
		return "no agent that was up had the job"
	case !until.After(l.began):
		return "its agent was not running"
	case !l.cut.IsZero() && until.After(l.cut) && !until.After(l.up):
		return "its agent reached no server"
	case j.lacked: // the step itself says why
		return ""
	case until.After(l.held.from) && !until.After(l.held.to):
		return "its agent took on nothing more: " + l.held.why
	}
	return "its host stood still, or the clock went forward"
}
