package agent

import (
	"time"

	"crony"
	"crony/internal/wire"
)

// What the agent does while it is cut off, and how it comes back. See [crony.OnDisconnect] for what people ask for.
//
// A job that is to run all the same is started without a claim once the lease is over. Such a run is in the journal before it
// starts, and nothing of it is delivered until the servers have decided on it: on the next stream the agent first tells what
// ran ([timetable.tell]). If the servers take it, as nobody else has decided on these occurrences, they are delivered under
// their ordinary ids. Where the job was changed, removed or moved meanwhile, the agent asks what became of them
// ([loop.askFates]): if others ran them the runs are doubles, and if nobody did they stand. Either way is written down before
// anything is delivered, so that a crash at any point leads to one of them and never to both.

// lapse says whether the lease is over, and ends what may not go on then.
func (l *loop) lapse() bool {
	over := l.lease.over()
	if over {
		l.runner.stopCutOff()
	}
	return over
}

// ping asks for nothing, if nothing else was asked for a while: the answer renews the lease. Nobody who has no job and no run
// needs one.
func (l *loop) ping() {
	idle := len(l.table.jobs)+len(l.later)+l.journal.count() == 0
	if !l.linked || idle || l.lease.now()-l.pinged < leaseTick {
		return
	}
	l.request++
	l.post(&wire.ClaimRequest{Id: l.request}, nil)
}

// alone starts what is due without a claim.
func (l *loop) alone(now time.Time, may bool) {
	if !l.table.alone {
		l.log.Warn("cut off from all servers; jobs that are to run all the same are started without a claim",
			"jobs", len(l.table.jobs))
		l.table.goAlone()
	}
	if may {
		l.table.startAlone(now, l.startAlone)
	}
}

// startAlone starts an occurrence without a claim, and says whether it did, or had before.
func (l *loop) startAlone(j *job, step crony.Step) bool {
	what := j.assignment()
	agent := ""
	if what.def.Job.Mode() == crony.PlaceEach {
		agent = l.runner.agent
	}
	run := crony.OccurrenceRunID(what.def.UID, step.At, agent)
	switch {
	case l.journal.knew(run, origin{j.name, crony.BySchedule}):
		return true
	case l.full():
		return false
	}
	err := l.runner.claim(run, what, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: step.At, CatchUp: step.CatchUp,
		Unclaimed: true})
	if err != nil {
		l.log.Error("run not written down, and so not started", "job", j.name, "run", run, "err", err)
		return false
	}
	l.table.soloOf(j.name).add(soloRun{run: run, at: step.At, epoch: j.epoch, uid: what.def.UID, generation: what.def.Generation,
		named: true})
	l.runner.start(newAttempt(run, what, step.At))
	return true
}

// remember takes up what earlier lives of the agent have started without a claim.
func (l *loop) remember() {
	for _, f := range l.journal.undecided() {
		c := f.Claimed
		l.table.soloOf(c.Job).add(soloRun{run: f.Run, at: c.ScheduledAt, epoch: c.Epoch, uid: c.JobUID, generation: c.Generation})
	}
}

// tell returns what is to be said of runs without a claim.
func (l *loop) tell(j *job, o *wire.Occurrence, until time.Time, ran bool) (ask, *wire.Occurrence) {
	o.At, o.Ran = until.UnixNano(), ran
	o.Pass = &wire.Pass{After: int64(j.cursor), Reason: "its agent was cut off, and did not start it"}
	if ran {
		o.Pass.Reason = "its agent was cut off and started it without a claim"
	}
	return ask{job: j, at: until, pass: true}, o
}

// judge has the runs of a job that are decided on delivered.
func (l *loop) judge(name string) {
	delete(l.unjudged, name)
	l.deliver(name, l.table.judge(name, l.clock()))
	for _, r := range l.table.foreign(name) {
		if l.fates != 0 && r.asked == 0 {
			l.fates = max(l.lease.now(), 1)
		}
	}
}

// deliver has runs of a job delivered that the servers have decided on: those that stand under their ids, and the others as
// doubles. It is written down first. What can't be is judged, or asked about, again.
func (l *loop) deliver(name string, v verdict) {
	if len(v.stand)+len(v.double) == 0 {
		return
	}
	if _, err := l.journal.add(entry{Decided: &decision{Stand: v.stand, Double: v.double}}); err != nil {
		l.log.Error("runs without a claim are not delivered yet", "job", name, "err", err)
		l.unjudged[name] = true
		return
	}
	if len(v.double) > 0 {
		l.log.Warn("runs without a claim were decided on elsewhere: they are doubles", "job", name, "runs", len(v.double))
	}
	for _, run := range v.stand {
		l.runner.reports.release(run, "")
	}
	for _, run := range v.double {
		l.runner.reports.release(run, l.journal.double(run))
	}
	l.table.settled(name, v)
}

const (
	fatesMost = 1024        // runs in a question
	fatesWait = time.Minute // for the servers to find out: by then, a run that they know nothing of may be another's
)

// askFates asks whose the runs without a claim are on which the agent can't decide any more, once all jobs are heard of.
func (l *loop) askFates() {
	now := l.lease.now()
	if !l.linked || l.fates == 0 || now < l.fates {
		return
	}
	l.fates = now + askAgain
	msg := &wire.Alone{}
	for name := range l.table.solo {
		for _, r := range l.table.foreign(name) {
			if len(msg.GetRuns()) == fatesMost {
				break
			}
			if r.asked == 0 {
				r.asked = max(now, 1)
			}
			msg.Runs = append(msg.Runs, &wire.AloneRun{Run: string(r.run), Job: name, Uid: r.uid, Generation: r.generation,
				At: wire.Nanos(r.at)})
		}
	}
	if len(msg.GetRuns()) > 0 {
		l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Alone{Alone: msg}})
	}
}

// fated takes in whose runs without a claim are. One that is nobody's, for all that is known after a while, goes as a double: it
// has an id of its own then, and can't be in the way of another that is reported yet.
func (l *loop) fated(msg *wire.Fates) {
	fates := map[crony.RunID]bool{} // whether it stands
	for _, run := range msg.GetStand() {
		fates[crony.RunID(run)] = true
	}
	for _, run := range msg.GetDouble() {
		fates[crony.RunID(run)] = false
	}
	open := map[crony.RunID]bool{}
	for _, run := range msg.GetOpen() {
		open[crony.RunID(run)] = true
	}
	now := l.lease.now()
	for name := range l.table.solo {
		var v verdict
		for _, r := range l.table.foreign(name) {
			stands, said := fates[r.run]
			switch {
			case said && stands:
				v.stand = append(v.stand, r.run)
			case said, open[r.run] && now-r.asked >= fatesWait:
				v.double = append(v.double, r.run)
			}
		}
		l.deliver(name, v)
	}
	if len(fates) > 0 && l.fates != 0 { // there may be more
		l.fates = max(now, 1)
	}
}
