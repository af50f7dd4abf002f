package agent

import (
	"slices"
	"time"

	"crony"
	"crony/internal/wire"
)

// hear takes in a message of the server.
func (l *loop) hear(msg *wire.FromServer) {
	switch kind := msg.GetKind().(type) {
	case nil:
		l.linked = false
		l.runner.linked.Store(false)
		if !l.cut.After(l.up) {
			l.cut = l.clock()
		}
	case *wire.FromServer_Welcome: // what was asked on the stream before is answered no more, what was ordered is ordered again
		l.up = l.clock()
		l.linked, l.table.alone, l.pinged = true, false, longAgo
		clear(l.asked)
		l.orders, l.later, l.fates = nil, nil, 0
		l.runner.linked.Store(true)
		l.runner.reask()
		l.doubt()
		l.runner.untold()
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
	case *wire.FromServer_Lock:
		l.placed(kind.Lock)
	case *wire.FromServer_Fates:
		l.fated(kind.Fates)
	case *wire.FromServer_Kill:
		l.kill(kind.Kill)
	case *wire.FromServer_HandedOver:
		l.handedOver(kind.HandedOver)
	case *wire.FromServer_Answer:
		l.answer(kind.Answer)
	}
}

func (l *loop) assign(msg *wire.Assign) {
	def, err := wire.Decode[crony.Definition](msg.GetDefinition())
	if err != nil {
		l.log.Error("assignment is not readable", "err", err)
		return
	}
	name := def.Job.Name
	before := l.table.jobs[name]
	l.table.assign(def, msg.GetEpoch(), wire.Time(msg.GetSince()), wire.Time(msg.GetCursor()))
	if j := l.table.jobs[name]; j != before {
		l.prep.need(j, def.Scripts, l.clock())
		l.table.name(j, &def, l.runner.agent)
	}
	l.judge(name)
	l.drop("the job was changed before the run was due")
	l.log.Debug("job assigned", "job", name, "epoch", msg.GetEpoch())
	for _, f := range l.waiting[name] {
		l.resume(f)
	}
	delete(l.waiting, name)
	if run := crony.RunID(msg.GetOwed()); run != "" {
		j := l.table.jobs[name]
		g := grant{ask: ask{job: j, at: wire.Time(msg.GetCursor())}, run: run, waits: j.slots > 0, sent: longAgo}
		if last := l.claims[name]; last.at.Equal(g.at) {
			g.sent = last.sent
		}
		l.take(g)
	}
}

func (l *loop) unassign(name string) {
	l.table.unassign(name)
	delete(l.claims, name)
	l.judge(name)
	l.drop("the job was removed, or given to another agent, before the run was due")
}

// remembered is how long the last run of a job that the agent has no more is remembered at least.
const remembered = 24 * time.Hour

// synced ends the list of assignments that a new stream begins with.
func (l *loop) synced() {
	l.listed = l.boots.news
	for _, name := range l.table.confirmed() {
		l.unassign(name)
	}
	l.journal.forget(l.table.has, l.clock().Add(-remembered))
	for name, facts := range l.waiting {
		for _, f := range facts {
			l.runner.skip(f.Run, "the agent stopped before the run was due, and has the job no more")
		}
		delete(l.waiting, name)
	}
	for name := range l.table.solo {
		l.judge(name)
	}
	l.fates = max(l.lease.now(), 1)
}

// drop skips the runs that wait for their time under a state of their job that is no more.
func (l *loop) drop(reason string) {
	for _, g := range l.table.revoked() {
		l.runner.skip(g.run, reason)
	}
	for run, g := range l.locked {
		if g.job != nil && !l.table.current(g.job) {
			delete(l.locked, run)
			l.runner.skip(run, reason)
		}
	}
}

// decided takes in the answer to a request.
func (l *loop) decided(reply *wire.ClaimReply) {
	q, ok := l.asked[reply.GetId()]
	delete(l.asked, reply.GetId())
	asks := q.asks
	if !ok || len(asks) != len(reply.GetDecisions()) {
		return
	}
	l.lapse()
	l.lease.renew(q.sent)
	for i, d := range reply.GetDecisions() {
		a, cursor := asks[i], wire.Time(d.GetCursor())
		if a.job.ask != reply.GetId() { // it was asked for again, and the later answer counts
			if l.beside(a, d) {
				l.take(grant{a, crony.RunID(d.GetRun()), a.job.awaits(crony.RunID(d.GetBusy())), q.sent})
			}
			continue
		}
		busy := crony.RunID(d.GetBusy())
		if busy != "" && !d.GetGranted() {
			l.table.wait(a.job, row{run: busy, reason: d.GetReason()}, l.journal.ended(busy), l.clock())
			continue
		}
		l.runner.metrics.claim(d.GetGranted())
		if d.GetGranted() {
			cursor = a.at
			if run := crony.RunID(d.GetRun()); run != "" { // else it was passed over
				l.take(grant{a, run, a.job.awaits(busy), q.sent})
			}
		} else {
			say := l.log.Info
			if a.job.raced && !cursor.IsZero() { // another agent was faster, as is ordinary
				say = l.log.Debug
			}
			say("claim refused", "job", a.job.name, "at", a.at, "reason", d.GetReason())
		}
		l.table.settle(a.job, cursor)
		l.judge(a.job.name)
	}
}

// beside says whether a run was granted that the later request was not for, since the clock was set back in between: then the
// answer to that one does not speak of it.
func (l *loop) beside(a ask, d *wire.Decision) bool {
	later := a.job.asked
	return d.GetGranted() && d.GetRun() != "" && (later == nil || !later.At.Equal(a.at))
}

// take writes a granted claim down and seats its run; one that was taken before is left alone. If the job has changed since
// it was asked for, the run is skipped with the reason. What can't be written is not started, and is tried again.
func (l *loop) take(g grant) {
	j := g.job
	if l.journal.knew(g.run, origin{j.name, crony.BySchedule}) {
		return
	}
	what := j.assignment()
	if j.leased {
		what.asked = g.sent
	}
	err := l.runner.claim(g.run, what, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: g.at, CatchUp: g.catchUp})
	if err != nil {
		l.log.Error("run not written down, and so not started", "job", j.name, "run", g.run, "err", err)
		l.untaken = append(l.untaken, g)
		return
	}
	s := &seat{run: g.run, job: j, what: what, at: g.at}
	if g.waits {
		l.await(s)
		return
	}
	l.seat(s)
}

// seat has a run wait for its time, or skips it if its job is not what it was.
func (l *loop) seat(g *seat) {
	if !l.table.current(g.job) {
		l.runner.skip(g.run, "the job was changed, removed or given to another agent before the run was due")
		return
	}
	l.table.grant(g)
}

// order takes an order to start a job now, which the agent need not have. The same order may come again.
func (l *loop) order(msg *wire.Start) {
	req, err := wire.Decode[crony.StartRequest](msg.GetRequest())
	if err != nil {
		l.log.Error("order is not readable", "err", err)
		return
	}
	def, err := wire.Decode[crony.Definition](msg.GetDefinition())
	if err != nil || def.Job.Name != req.Job {
		l.log.Error("the definition of an order is not readable", "job", req.Job, "err", err)
		return
	}
	if len(msg.GetContinuation()) > 0 {
		l.goOn(msg, req, &def)
		return
	}
	claimed := crony.ClaimedFact{Job: req.Job, Trigger: crony.ByHand, By: req.By, ScheduledAt: req.At, Params: req.Params}
	if req.RerunOf != "" {
		claimed.Trigger, claimed.RerunOf = crony.BySchedule, req.RerunOf
	}
	if !l.journal.knew(req.Run, *originOf(&claimed)) {
		if l.full() {
			l.orders = append(l.orders, msg)
			return
		}
		what := &assignment{def: def, epoch: msg.GetEpoch()}
		if err := l.runner.claim(req.Run, what, claimed); err != nil {
			l.log.Error("order not written down, and so not taken", "job", req.Job, "err", err)
			l.orders = append(l.orders, msg)
			return
		}
		l.startOrdered(&seat{run: req.Run, job: l.table.jobs[req.Job], what: what, at: req.At, params: req.Params, ordered: true})
	}
	l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Taken{Taken: &wire.Taken{Job: req.Job, Run: string(req.Run)}}})
}

// kill has a run ended that the agent answers for: before it starts, if it has not. Of other runs the server knows, or hears
// soon, that they are not the agent's or have ended.
func (l *loop) kill(msg *wire.Kill) {
	run := crony.RunID(msg.GetRun())
	l.end(run, crony.KillOrder{By: msg.GetBy(), Reason: msg.GetReason(), At: wire.Time(msg.GetAt())})
}

// answer takes in how a run ended that waits for whom it has called.
func (l *loop) answer(msg *wire.Answer) {
	run, ended := crony.RunID(msg.GetRun()), crony.EndedFact{State: crony.RunState(msg.GetState()), Reason: msg.GetReason()}
	if ended.State != crony.Succeeded && ended.State != crony.Failed {
		l.log.Error("answer is not readable", "run", run, "state", ended.State)
		return
	}
	if !l.journal.goesOn(run) {
		run = l.journal.known(run)
	}
	if !l.runner.answered(run, int(msg.GetAttempt()), ended) {
		l.log.Info("answer to what is not waited for here", "run", run, "attempt", msg.GetAttempt())
	}
}

// end has a run ended, or not begin. The servers know it by the id under which it is delivered.
func (l *loop) end(run crony.RunID, order crony.KillOrder) {
	if !l.journal.goesOn(run) {
		run = l.journal.known(run)
	}
	if !l.runner.kill(run, order) {
		l.log.Info("order to end a run that does not go on here", "run", run)
		return
	}
	if l.table.unseat(run) || l.unwait(run) || l.unlock(run) {
		l.runner.skip(run, order.WordsUnstarted())
	}
}

// unwait drops a run of an earlier life that waits to be confirmed, and says whether it did.
func (l *loop) unwait(run crony.RunID) bool {
	for job, facts := range l.waiting {
		if i := slices.IndexFunc(facts, func(f crony.Fact) bool { return f.Run == run }); i >= 0 {
			l.waiting[job] = slices.Delete(facts, i, i+1)
			return true
		}
	}
	return false
}

// resume seats a run that was claimed in an earlier life, if the job is still what it was claimed for.
func (l *loop) resume(f crony.Fact) {
	j, c := l.table.jobs[f.Claimed.Job], f.Claimed
	what := j.assignment()
	if what.def.UID != c.JobUID || what.def.Generation != c.Generation {
		l.runner.skip(f.Run, "the job was changed before the run was due")
		return
	}
	if j.leased && !c.Ordered() {
		what.asked = l.runner.askedFor(f.Run)
	}
	l.enter(&seat{run: f.Run, job: j, what: what, at: c.ScheduledAt, params: c.Params})
}
