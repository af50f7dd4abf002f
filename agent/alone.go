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
// their ordinary ids, and else as doubles. Either way is written down before anything is delivered, so that a crash at any
// point leads to one of them and never to both.

// lapse says whether the lease is over, and ends what may not go on then.
func (l *loop) lapse() bool {
	over := l.lease.over()
	if over {
		l.runner.stopCutOff()
	}
	return over
}

// ping asks for nothing, if nothing else was asked for a while: the answer renews the lease. Nobody who has no job needs one.
func (l *loop) ping() {
	if !l.linked || len(l.table.jobs) == 0 || l.lease.now()-l.pinged < leaseTick {
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
	l.table.soloOf(j.name).add(soloRun{run, step.At, j.epoch})
	l.runner.start(newAttempt(run, what, step.At))
	return true
}

// remember takes up what earlier lives of the agent have started without a claim.
func (l *loop) remember() {
	for _, f := range l.journal.undecided() {
		l.table.soloOf(f.Claimed.Job).add(soloRun{f.Run, f.Claimed.ScheduledAt, f.Claimed.Epoch})
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

// judge has the runs of a job that the servers have decided on delivered: those that stand under their ids, and the others as
// doubles. It is written down first. What can't be is judged again.
func (l *loop) judge(name string) {
	delete(l.unjudged, name)
	v := l.table.judge(name, l.clock())
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
