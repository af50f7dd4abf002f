package agent

import (
	"time"

	"crony"
)

// awaited is a run whose call was accepted, or may have been: how it ends is told later, to any server. Until then it is an
// entry with a timer, here and in the journal, and nothing else. It ends by its answer, by its deadline, or by a person. It
// outlives the agent's process.
type awaited struct {
	run     crony.RunID
	attempt int
	until   time.Time
	exit    crony.ExitedFact // with the sizes of its outputs
	exited  bool             // that was written down, and not how the run ended
	timer   *time.Timer
}

const unanswered = "it was not answered in its time"

// await has the run of a call that was accepted, or may have been, wait for its answer, unless it was ended meanwhile. It says
// whether it waits.
func (r *runner) await(c *call, why string) bool {
	sizes := r.reports.finish(c.outputs)
	until := c.began.Add(c.terms.Timeout.Std())
	a := &awaited{run: c.run, attempt: c.attempt, until: until, exit: crony.ExitedFact{Attempt: c.attempt,
		StdoutBytes: sizes[0], StderrBytes: sizes[1]}}
	r.keep(entry{Fact: &crony.Fact{Run: c.run, At: r.now().UTC(), Waiting: &crony.WaitingFact{Attempt: c.attempt, Until: until,
		Reason: why}}})
	r.mu.Lock()
	if !c.leave() {
		r.mu.Unlock()
		return false
	}
	delete(r.running, c.run)
	r.enlist(a)
	order, killed := r.kills[c.run]
	r.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	if killed {
		r.giveUp(c.run, crony.Killed, order.Words())
	}
	return true
}

// enlist keeps a run among the awaited, up to its deadline. r.mu is held.
func (r *runner) enlist(a *awaited) {
	r.awaited[a.run] = a
	a.timer = time.AfterFunc(a.until.Sub(r.now()), func() { r.giveUp(a.run, crony.TimedOut, unanswered) })
}

// giveUp ends a run that waits for its answer, if it does. When the agent is stopping it waits on, for the next one.
func (r *runner) giveUp(run crony.RunID, state crony.RunState, reason string) {
	r.answer(run, crony.EndedFact{State: state, Reason: reason}, "", whichever)
}

// answered takes in how a run ended that was called for, and says whether it had any effect. An answer to another attempt than
// the one that goes on, or waits, has none. It may come before the callee has said that it accepts the call.
func (r *runner) answered(run crony.RunID, attempt int, ended crony.EndedFact) bool {
	return attempt != whichever && r.answer(run, ended, "answered", attempt)
}

const whichever = 0 // attempt is the last

func (r *runner) answer(run crony.RunID, ended crony.EndedFact, status string, attempt int) bool {
	r.mu.Lock()
	if c, calls := r.running[run].(*call); calls && attempt == c.attempt && c.async {
		defer r.mu.Unlock()
		return c.end(ended.State, ended.Reason, status)
	}
	a := r.awaited[run]
	if a == nil || r.stopped || attempt != whichever && attempt != a.attempt {
		r.mu.Unlock()
		return false
	}
	delete(r.awaited, run)
	a.timer.Stop()
	r.runs.Add(1)
	r.mu.Unlock()
	defer r.runs.Done()
	a.exit.Status = status
	if a.exited {
		r.attempted(run, a.attempt, ended.State, ended.Reason)
	} else {
		r.conclude(run, &a.exit, ended.State, ended.Reason)
	}
	return true
}

// unawait stops the timers of what waits on, for the next life of the agent.
func (r *runner) unawait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.awaited {
		a.timer.Stop()
	}
}

// Why runs are lost whose agent ended during a call.
const (
	lostCall   = "its agent was restarted during the call: whether that was carried out, and how it ended, can't be known"
	lostAnswer = "its agent was restarted when the call was answered, before it had judged the answer"
	maybeTaken = "its agent was restarted during the call: should it have been accepted, its answer is awaited"
)

// adoptCall takes up a run that the earlier life has made a call for, or was about to. The call is not made again. Should the
// callee be one that answers later it may have accepted it, and its answer is awaited.
func (r *runner) adoptCall(started *crony.Fact, rec *record) {
	run, attempt, last := started.Run, started.Started.Attempt, rec.last()
	list := outputs(r.dir, run, attempt, rec.terms.Limit)
	r.resume(list...)
	sizes := r.reports.finish(list)
	if last.Ended != nil {
		r.reports.settled(run)
		return
	}
	a := &awaited{run: run, attempt: attempt, exited: last.Exited != nil,
		exit: crony.ExitedFact{Attempt: attempt, StdoutBytes: sizes[0], StderrBytes: sizes[1]}}
	waiting := acceptedOf(rec.facts)
	switch order, killed := r.killed(run); {
	case waiting != nil:
		a.until = waiting.Until
	case last.Started != nil && last.Started.Callback != "":
		a.until = started.At.Add(rec.terms.answerTime())
		r.keep(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Waiting: &crony.WaitingFact{Attempt: attempt, Until: a.until,
			Reason: maybeTaken}}})
	case killed && a.exited:
		r.attempted(run, attempt, crony.Killed, order.Words())
		return
	case killed:
		r.conclude(run, &a.exit, crony.Killed, order.Words())
		return
	case a.exited:
		r.attempted(run, attempt, crony.Lost, lostAnswer)
		return
	default:
		r.conclude(run, &a.exit, crony.Lost, lostCall)
		return
	}
	r.log.Info("run awaits its answer again", "run", run, "until", a.until)
	r.mu.Lock()
	r.enlist(a)
	order, killed := r.kills[run]
	r.mu.Unlock()
	if killed {
		r.giveUp(run, crony.Killed, order.Words())
	}
}

// acceptedOf returns the fact that the last attempt's call was accepted: the one right after its start.
func acceptedOf(facts []crony.Fact) *crony.WaitingFact {
	for i := len(facts) - 2; i >= 0; i-- {
		if facts[i].Started != nil {
			return facts[i+1].Waiting
		}
	}
	return nil
}

// answerTime is [crony.Job.AnswerTime] of terms.
func (t *terms) answerTime() time.Duration { return (&crony.Job{Timeout: t.Timeout}).AnswerTime() }
