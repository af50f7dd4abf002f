package agent

import (
	"context"
	"log/slog"
	"time"

	"crony"
	"crony/internal/wire"
)

// loop is the one goroutine that owns the timetable: it hears what the server says, asks for what comes due, and hands the
// runner what starts.
type loop struct {
	inbox   chan *wire.FromServer // from the link; nil says that a new stream began
	link    *link
	runner  *runner
	journal *journal
	now     func() time.Time
	log     *slog.Logger

	table   *timetable
	request uint64
	asked   map[uint64][]ask        // by request
	waiting map[string][]crony.Fact // by job: runs of an earlier life that were claimed and not started
}

// ask is one occurrence that was asked for.
type ask struct {
	job *job // nil: asked for again, by a later request
	at  time.Time
}

// tick is how long the loop sleeps at most, so that a step of the wall clock is noticed.
const tick = time.Second

// maxAsks is how many occurrences go into one request.
const maxAsks = 1024

func newLoop(link *link, runner *runner, journal *journal, now func() time.Time, log *slog.Logger) *loop {
	return &loop{inbox: make(chan *wire.FromServer, 64), link: link, runner: runner, journal: journal, now: now,
		log: log, table: newTimetable(), asked: map[uint64][]ask{}, waiting: map[string][]crony.Fact{}}
}

// run works until ctx is done. Recovered are the claims of an earlier life: they wait for their job to be assigned again.
func (l *loop) run(ctx context.Context, recovered []crony.Fact) error {
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
			return nil
		}
		now := l.now()
		for _, g := range l.table.ready(now) {
			l.runner.start(newAttempt(g.run, g.job, g.at))
		}
		l.claim(l.table.due(now))
		timer.Reset(l.sleep(now))
	}
}

func (l *loop) sleep(now time.Time) time.Duration {
	wake := l.table.wake()
	if wake.IsZero() {
		return tick
	}
	return min(max(wake.Sub(now), 0), tick)
}

// claim asks the server for the next occurrence of each job. What can't be sent now comes due again.
func (l *loop) claim(jobs []*job) {
	for len(jobs) > 0 {
		n := min(len(jobs), maxAsks)
		l.request++
		asks, msg := make([]ask, n), &wire.ClaimRequest{Id: l.request}
		for i, j := range jobs[:n] {
			l.disown(j)
			asks[i] = ask{j, j.next}
			msg.Occurrences = append(msg.Occurrences,
				&wire.Occurrence{Job: j.def.Job.Name, Epoch: j.epoch, At: j.next.UnixNano()})
			j.ask = l.request
		}
		if l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: msg}}) {
			l.asked[l.request] = asks
		}
		jobs = jobs[n:]
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

func (l *loop) hear(msg *wire.FromServer) {
	switch kind := msg.GetKind().(type) {
	case nil: // a new stream: what was asked on the old one is answered no more
		clear(l.asked)
		l.table.loosen()
	case *wire.FromServer_Assign:
		l.assign(kind.Assign)
	case *wire.FromServer_Unassign:
		l.unassign(kind.Unassign.GetJob())
	case *wire.FromServer_Synced:
		l.synced()
	case *wire.FromServer_Claims:
		l.decided(kind.Claims)
	case *wire.FromServer_Start:
		l.order(kind.Start)
	}
}

func (l *loop) assign(msg *wire.Assign) {
	def, err := wire.Decode[crony.Definition](msg.GetDefinition())
	if err != nil {
		l.log.Error("assignment is not readable", "err", err)
		return
	}
	name := def.Job.Name
	l.table.assign(def, msg.GetEpoch(), wire.Time(msg.GetCursor()), l.now())
	l.drop("the job was changed before the run was due")
	l.log.Debug("job assigned", "job", name, "epoch", msg.GetEpoch())
	for _, f := range l.waiting[name] {
		l.resume(f)
	}
	delete(l.waiting, name)
	if run := crony.RunID(msg.GetOwed()); run != "" && !l.journal.knows(run) {
		l.take(run, ask{l.table.jobs[name], wire.Time(msg.GetCursor())})
	}
}

func (l *loop) unassign(name string) {
	l.table.unassign(name)
	l.drop("the job was removed, or given to another agent, before the run was due")
}

// synced ends the list of assignments that a new stream begins with.
func (l *loop) synced() {
	for _, name := range l.table.confirmed() {
		l.unassign(name)
	}
	for name, facts := range l.waiting {
		for _, f := range facts {
			l.runner.skip(f.Run, "the agent stopped before the run was due, and has the job no more")
		}
		delete(l.waiting, name)
	}
}

// drop skips the runs that wait for their time under a state of their job that is no more.
func (l *loop) drop(reason string) {
	for _, g := range l.table.revoked() {
		l.runner.skip(g.run, reason)
	}
}

// decided takes in the answer to a request.
func (l *loop) decided(reply *wire.ClaimReply) {
	asks, ok := l.asked[reply.GetId()]
	delete(l.asked, reply.GetId())
	if !ok || len(asks) != len(reply.GetDecisions()) {
		return
	}
	now := l.now()
	for i, d := range reply.GetDecisions() {
		a := asks[i]
		if a.job == nil {
			continue
		}
		if d.GetGranted() {
			l.take(crony.RunID(d.GetRun()), a)
		} else {
			l.log.Debug("claim refused", "job", a.job.def.Job.Name, "at", a.at, "reason", d.GetReason())
		}
		l.table.settle(a.job, a.at, now)
	}
}

// take writes a granted claim down and seats its run. If the job has changed since, the run is skipped with the reason.
func (l *loop) take(run crony.RunID, a ask) {
	if l.journal.knows(run) {
		return
	}
	name := a.job.def.Job.Name
	if err := l.runner.claim(run, a.job, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: a.at}); err != nil {
		l.log.Error("run not written down, and so not started", "job", name, "run", run, "err", err)
		return
	}
	if !l.table.current(a.job) {
		l.runner.skip(run, "the job was changed, removed or given to another agent before the run was due")
		return
	}
	l.table.grant(&granted{run: run, job: a.job, at: a.at})
}

// order takes an order to start a job now. The same order may come again.
func (l *loop) order(msg *wire.Start) {
	req, err := wire.Decode[crony.StartRequest](msg.GetRequest())
	if err != nil {
		l.log.Error("order is not readable", "err", err)
		return
	}
	j := l.table.jobs[req.Job]
	if j == nil {
		l.log.Warn("order for a job that this agent has not", "job", req.Job)
		return
	}
	if !l.journal.knows(req.Run) {
		err := l.runner.claim(req.Run, j, crony.ClaimedFact{Trigger: crony.ByHand, By: req.By, ScheduledAt: req.At})
		if err != nil {
			l.log.Error("order not written down, and so not taken", "job", req.Job, "err", err)
			return
		}
		l.runner.start(newAttempt(req.Run, j, req.At))
	}
	l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Taken{Taken: &wire.Taken{Job: req.Job, Run: string(req.Run)}}})
}

// resume seats a run that was claimed in an earlier life, if the job is still what it was claimed for.
func (l *loop) resume(f crony.Fact) {
	j, c := l.table.jobs[f.Claimed.Job], f.Claimed
	if j.def.UID != c.JobUID || j.def.Generation != c.Generation {
		l.runner.skip(f.Run, "the job was changed before the run was due")
		return
	}
	l.table.grant(&granted{run: f.Run, job: j, at: c.ScheduledAt})
}
