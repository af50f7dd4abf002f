package agent

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"time"

	"crony"
)

// Attempts after the first. Where one that has ended is to be made again, a fact says that the run waits, instead of one that
// says that it has ended. That fact is all that the next life of the agent needs: it waits on, or starts at once what has
// become due meanwhile. What the attempts are of is in the journal since the run was claimed.
//
// A wait is counted by the lease's clock, so that no step of the wall clock makes it longer or shorter. The loop starts what
// is due, and nothing sleeps meanwhile. An agent that stops leaves its waits to the next life.

// pause is a run that waits for its next attempt.
type pause struct {
	run        crony.RunID
	next       int   // attempt, from 2
	at         nanos // by the lease's clock
	hold, stop bool  // see [terms]
	place      int32
}

func (p *pause) when() nanos   { return p.at }
func (p *pause) where() *int32 { return &p.place }

// attempted writes down what the end of an attempt means for its run: it waits for the next attempt, or has ended. It is the
// one place where that is decided.
func (r *runner) attempted(run crony.RunID, number int, state crony.RunState, reason string) {
	rec, known := r.journal.record(run)
	retry := rec.terms.Retry
	if _, killed := r.killed(run); killed || !known || rec.job == "" || !retry.Again(number, state) {
		r.end(run, state, r.giveResult(run, number, reason))
		return
	}
	now, wait := r.now().UTC(), retry.Wait(number, r.chance)
	if whole := rec.terms.Whole.Std(); whole > 0 && now.Sub(rec.begun(now))+wait >= whole {
		reason += "; it is not tried again, as the whole run may take " + rec.terms.Whole.String()
		r.end(run, state, r.giveResult(run, number, reason))
		return
	}
	removeResult(resultPath(r.dir, run, number))
	said := fmt.Sprintf("attempt %d of %d %s: %s", number, retry.Tries(), inWords(state), reason)
	asks := rec.mayMove() && r.linked.Load()
	f := r.keep(entry{Asks: asks, Fact: &crony.Fact{Run: run, At: now,
		Waiting: &crony.WaitingFact{Attempt: number, Until: now.Add(wait), Reason: bounded(said)}}})
	r.log.Info("run is tried again", "run", run, "job", rec.jobName(), "reason", said, "until", f.Waiting.Until)
	if asks {
		r.handOver(run, number+1, f.Waiting.Until)
		return
	}
	r.wait(run, number+1, wait, &rec.terms)
}

// inWords says how an attempt ended.
func inWords(state crony.RunState) string {
	if state == crony.Lost {
		return "was lost"
	}
	return strings.ReplaceAll(string(state), "_", " ")
}

// wait has a run wait for its next attempt, unless it is to be ended.
func (r *runner) wait(run crony.RunID, next int, wait time.Duration, t *terms) {
	p := &pause{run: run, next: next, at: nanos(r.lease.now() + wait), hold: t.Hold, stop: t.Stop}
	r.mu.Lock()
	order, killed := r.kills[run]
	if !killed {
		r.pauses.add(p)
	}
	r.mu.Unlock()
	if killed {
		r.end(run, crony.Killed, order.Words())
		return
	}
	r.sign()
}

// unpause takes out the runs that wait no more. r.mu is held.
func (r *runner) unpause(which func(*pause) bool) (list []*pause) {
	for _, p := range r.pauses {
		if which(p) {
			list = append(list, p)
		}
	}
	for _, p := range list {
		r.pauses.remove(p)
	}
	return list
}

// paused returns how many runs wait for their next attempt.
func (r *runner) paused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pauses) + len(r.asking)
}

// again starts the attempts whose time has come, and returns how long no other's does, but at most so long. While the servers
// may have given the agent up, those of jobs that hold then wait on.
func (r *runner) again(most time.Duration) time.Duration {
	asked, now := r.lease.answered(), r.lease.now()
	held := r.lease.held(asked)
	var due []*pause
	r.mu.Lock()
	for len(r.pauses) > 0 && r.pauses[0].at <= nanos(now) {
		p := heap.Pop(&r.pauses).(*pause)
		if p.hold && !held {
			p.at = nanos(now + tick)
			r.pauses.add(p)
			continue
		}
		due = append(due, p)
	}
	if len(r.pauses) > 0 {
		most = min(most, time.Duration(r.pauses[0].at)-now)
	}
	r.mu.Unlock()
	for _, p := range due {
		r.retry(p, asked)
	}
	return most
}

// retry starts a run's next attempt.
func (r *runner) retry(p *pause, asked time.Duration) {
	rec, _ := r.journal.record(p.run)
	now := r.now()
	first := rec.begun(now)
	if rec.terms.Whole > 0 && now.Sub(first) >= rec.terms.Whole.Std() { // the agent was away
		r.end(p.run, crony.TimedOut, rec.terms.wholeReason())
		return
	}
	def, c := rec.job.unpack(), rec.facts[0].Claimed
	a := &attempt{run: p.run, number: p.next, first: first, job: &def.Job, due: c.ScheduledAt, epoch: c.Epoch, params: c.Params}
	if p.hold {
		a.asked = asked
	}
	r.start(a)
}

// endKilled ends the run of an attempt that was to be ended before it started.
func (r *runner) endKilled(a *attempt, order *crony.KillOrder) {
	if a.number == 1 {
		r.skip(a.run, order.WordsUnstarted())
		return
	}
	r.end(a.run, crony.Killed, order.Words())
}

// endLeaseless skips the run of an attempt that may not start, as the servers may have given the agent up. One that has started
// before waits on.
func (r *runner) endLeaseless(a *attempt) {
	if a.number == 1 {
		r.end(a.run, crony.Skipped, errLeaseOver.Error())
		return
	}
	t := termsOf(a.job)
	r.wait(a.run, a.number, 0, &t)
}

func (t *terms) wholeReason() string {
	return "the whole run took longer than its run_timeout of " + t.Whole.String()
}

// left returns how long the process may go on, and what to say when that is over; nothing if it may go on for ever.
func (o *ongoing) left(now time.Time) (left time.Duration, why string) {
	if o.terms.Timeout > 0 {
		left, why = o.terms.Timeout.Std()-now.Sub(o.began), timeoutReason(o.terms)
	}
	if whole := o.terms.Whole.Std() - now.Sub(o.first); o.terms.Whole > 0 && (why == "" || whole < left) {
		left, why = whole, o.terms.wholeReason()
	}
	return left, why
}

// record returns what there is of a run, and whether there is anything.
func (j *journal) record(id crony.RunID) (record, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.live[id]
	if r == nil {
		return record{}, false
	}
	rec := *r
	rec.facts = slices.Clone(r.facts)
	return rec, true
}

// begun returns when the first attempt began, or was to; def if there was none.
func (r *record) begun(def time.Time) time.Time {
	if r.from != nil {
		return r.from.Began
	}
	for i := range r.facts {
		if f := &r.facts[i]; f.Started != nil || f.Waiting != nil {
			return f.At
		}
	}
	return def
}

// waits says whether the run waits for its next attempt. A run may also wait for whom its last attempt has called.
func (r *record) waits() bool {
	n := len(r.facts)
	if r.last().Moved != nil {
		return true
	}
	return r.last().Waiting != nil && (n == 1 || r.facts[n-2].Started == nil)
}

// attempts returns how many attempts the run has had.
func (r *record) attempts() (n int) {
	for i := range r.facts {
		switch f := &r.facts[i]; {
		case f.Started != nil:
			n = max(n, f.Started.Attempt)
		case f.Waiting != nil:
			n = max(n, f.Waiting.Attempt)
		}
	}
	return n
}

// resumeEarlier follows the outputs of attempts that are over, but for the newest that has started, if that is for others to
// take up.
func (r *runner) resumeEarlier(rec *record) {
	own := 1
	if started := startedOf(rec.facts); started != nil {
		own = started.Started.Attempt
	}
	for n := 1; n <= rec.attempts(); n++ {
		if n == own && !rec.waits() {
			continue
		}
		list := outputs(r.dir, rec.last().Run, n, rec.terms.Limit)
		r.resume(list...)
		r.reports.finish(list)
	}
}

const lostTrack = "its agent has lost what the run is of, and can't try it again"

// adoptWaiting takes up a run that waited for its next attempt. How long it waited already is not known if the clock was set
// meanwhile; it waits no longer than it was to.
func (r *runner) adoptWaiting(rec *record) {
	f := rec.last()
	run, w := f.Run, f.Waiting
	if f.Moved != nil {
		w = &crony.WaitingFact{Attempt: rec.from.Attempt - 1, Until: rec.from.Until, Reason: "another agent has made those before"}
	}
	next, until := w.Attempt+1, w.Until
	if rec.begins || begun(outputPath(r.dir, run, next, string(crony.Stdout))) {
		r.adoptBegun(run, next, rec)
		return
	}
	removeAll(outputs(r.dir, run, next, 0))
	switch {
	case rec.asks: // it may be another agent's by now
		r.handOver(run, next, until)
	case rec.job == "": // the journal was damaged
		r.end(run, crony.Lost, lostTrack)
	case rec.kill != nil:
		r.end(run, crony.Killed, rec.kill.Words())
	case rec.terms.Stop:
		r.end(run, crony.Killed, "its agent was restarted, and may have been cut off from the servers: the job is to stop then")
	default:
		left := min(max(until.Sub(r.now()), 0), until.Sub(f.At))
		r.log.Info("run is tried again", "run", run, "job", rec.jobName(), "reason", w.Reason, "until", until)
		r.wait(run, next, left, &rec.terms)
	}
}
