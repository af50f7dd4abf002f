package agent

import (
	"time"

	"crony"
	"crony/internal/wire"
)

// The next attempt of a run may be for another agent to make. Whose it is, the servers decide, once all that this agent has to
// say of the run is with them. From when it is written down that they are asked, the agent makes none until they have answered,
// in whatever life: it may have been given away. It ends the run as little. So nothing is asked while the agent is cut off.
//
// The other agent writes down what it is told, as this one does a claim, and its own facts have the numbers that follow.

// asked is a run of which the servers are asked who makes its next attempt.
type asked struct {
	next  int
	until time.Time
	again nanos // when they are asked once more, on the wall
}

// mayMove says whether another agent may make the next attempt of a run. One that came with the boot of this host is of this
// host, and what was started without a claim is not the servers' to give away.
func (r *record) mayMove() bool {
	c := r.facts[0].Claimed
	return c != nil && r.terms.Retry != nil && r.terms.Retry.Elsewhere && !c.Unclaimed && c.Trigger != crony.ByReboot
}

// handOver has the servers asked who makes a run's next attempt.
func (r *runner) handOver(run crony.RunID, next int, until time.Time) {
	r.mu.Lock()
	r.asking[run] = &asked{next: next, until: until}
	r.mu.Unlock()
	r.sign()
}

// askHandOvers asks the servers who makes the next attempts of runs of which they have all else.
func (l *loop) askHandOvers(now time.Time) {
	if !l.linked {
		return
	}
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	for run, a := range l.runner.asking {
		if a.again > nanosOf(now) || !l.runner.reports.delivered(run) {
			continue
		}
		rec, known := l.journal.record(run)
		if !known {
			continue
		}
		a.again = nanosOf(now.Add(askAgain))
		l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_HandOver{HandOver: &wire.HandOver{Run: string(run), Attempt: int32(a.next),
			Seq: int64(rec.last().Seq) + 1, Until: wire.Nanos(a.until), Began: wire.Nanos(rec.begun(now))}}})
	}
}

// reask has the servers asked at once, on a new stream.
func (r *runner) reask() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asking {
		a.again = 0
	}
}

// handedOver takes in who makes a run's next attempt: this agent, or another, which has the run from then on.
func (l *loop) handedOver(msg *wire.HandedOver) {
	run := crony.RunID(msg.GetRun())
	l.runner.mu.Lock()
	a := l.runner.asking[run]
	if a == nil || a.next != int(msg.GetAttempt()) {
		l.runner.mu.Unlock()
		return
	}
	delete(l.runner.asking, run)
	l.runner.mu.Unlock()
	rec, _ := l.journal.record(run)
	switch {
	case !msg.GetYours():
		l.log.Info("run goes on with another agent", "run", run, "job", rec.jobName(), "attempt", a.next)
		l.runner.unkill(run)
		l.runner.reports.settled(run)
		l.runner.sign()
	case rec.job == "": // the journal was damaged
		l.runner.end(run, crony.Lost, lostTrack)
	default:
		l.runner.wait(run, a.next, leftOf(a.until, l.now(), rec.terms.Retry, a.next), &rec.terms)
	}
}

// leftOf returns how long a run is still to wait for an attempt that is due at a time by another clock: no longer than it may be.
func leftOf(until, now time.Time, retry *crony.Retry, next int) time.Duration {
	most := retry.Wait(next-1, func(below time.Duration) time.Duration { return below })
	return min(max(until.Sub(now), 0), most)
}

// goOn takes over a run from another agent, which the servers have chosen this one for. The same may be told again. What the
// agent has not yet forgotten of the run, as it had it before, is in the way for a moment; and so is that its lease is over, as
// that of one that had nothing to do.
func (l *loop) goOn(msg *wire.Start, req crony.StartRequest, def *crony.Definition) {
	c, err := wire.Decode[crony.Continuation](msg.GetContinuation())
	if err != nil || def.Job.Retry == nil {
		l.log.Error("how a run goes on is not readable", "run", req.Run, "err", err)
		return
	}
	if !l.journal.goesOnFrom(req.Run, c.Attempt) {
		if l.full() || l.lease.over() || l.journal.knows(req.Run) && !l.runner.asks(req.Run) {
			l.later = append(l.later, msg)
			return
		}
		if err := l.runner.takeOver(req.Run, def, &c); err != nil {
			l.log.Error("run not written down, and so not taken over", "job", req.Job, "run", req.Run, "err", err)
			l.later = append(l.later, msg)
			return
		}
		l.log.Info("run goes on here", "run", req.Run, "job", req.Job, "attempt", c.Attempt, "until", c.Until)
	}
	l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Taken{Taken: &wire.Taken{Job: req.Job, Run: string(req.Run),
		Attempt: int32(c.Attempt)}}})
}

// asks says whether the servers are asked who makes a run's next attempt.
func (r *runner) asks(run crony.RunID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asking[run] != nil
}

// takeOver writes down that a run goes on with this agent, which answers for it from then on, and waits for its next attempt.
func (r *runner) takeOver(run crony.RunID, def *crony.Definition, c *crony.Continuation) error {
	t := termsOf(&def.Job)
	moved := &crony.Fact{Run: run, Seq: c.Seq, At: r.now().UTC(), Moved: &crony.MovedFact{Agent: r.agent, Attempt: c.Attempt}}
	if _, err := r.journal.add(entry{Fact: moved, Terms: &t, Job: pack(def), From: c}); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.asking, run)
	r.mu.Unlock()
	r.wait(run, c.Attempt, leftOf(c.Until, r.now(), t.Retry, c.Attempt), &t)
	return nil
}

// goesOnFrom says whether the journal has a run as one that this agent took over for an attempt, or for a later one.
func (j *journal) goesOnFrom(run crony.RunID, attempt int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.live[run]
	return r != nil && r.from != nil && r.from.Attempt >= attempt
}

// noteMoved keeps a run that was taken over. What there was of it, as the agent had it before, is with the servers.
func (j *journal) noteMoved(e *entry, n int64) {
	f := e.Fact
	if r := j.live[f.Run]; r != nil {
		j.kept -= r.bytes
	}
	r := &record{terms: *e.Terms, job: e.Job, from: e.From, bytes: n,
		facts: []crony.Fact{{Run: f.Run, Seq: 1, At: e.From.Began, Claimed: &e.From.Claimed}, *f}}
	j.live[f.Run] = r
	j.kept += n
	j.goes(r, f.Run, true)
}

// own returns the facts that this agent has to tell of.
func (r *record) own() []crony.Fact {
	if r.from != nil {
		return r.facts[2:] // the others are on record
	}
	return r.facts
}

// delivered says whether the servers have all that there is of a run.
func (r *reporter) delivered(run crony.RunID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.owed[run]
	return o == nil || o.items == 0
}
