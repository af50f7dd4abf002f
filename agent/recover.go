package agent

import (
	"maps"
	"path/filepath"
	"strings"
	"time"

	"crony"
)

// recover takes up the runs that an earlier life left in the journal: it reports again what was not acknowledged, waits for
// processes that are still there, has runs started that were ordered, and returns the claims of other runs that were never
// started.
func (r *runner) recover() []crony.Fact {
	r.cgroups.sweep(r.journal.goesOn)
	var claims []crony.Fact
	kept := map[crony.RunID]bool{}
	for _, rec := range r.journal.records() {
		last := rec.last()
		kept[last.Run] = true
		switch {
		case rec.open():
			r.reports.withhold(last.Run)
		case rec.double != "":
			r.reports.release(last.Run, rec.double)
		}
		for _, f := range rec.own() {
			r.reports.fact(f)
		}
		if rec.kill != nil && last.Ended == nil {
			r.kills[last.Run] = *rec.kill
		}
		r.resumeEarlier(&rec)
		switch {
		case rec.waits():
			r.adoptWaiting(&rec)
		case last.Claimed == nil:
			r.adopt(&rec)
		case rec.begins, begun(outputPath(r.dir, last.Run, 1, string(crony.Stdout))):
			r.adoptBegun(last.Run, 1, &rec)
		case rec.kill != nil:
			newFiles(r.dir, last.Run, 1, 0).remove()
			r.skip(last.Run, rec.kill.WordsUnstarted())
		case last.Claimed.Ordered() && len(rec.job.unpack().Job.Scripts) == 0: // else it waits for its job, and that for its host
			newFiles(r.dir, last.Run, 1, 0).remove()
			r.ordered = append(r.ordered, orderedSeat(last, rec.job))
		default:
			newFiles(r.dir, last.Run, 1, 0).remove() // made ahead of the start, or in part
			if last.Claimed.Unclaimed {
				r.end(last.Run, crony.Skipped, "its agent was cut off, and stopped before it had started it")
				continue
			}
			claims = append(claims, *last)
		}
	}
	if r.journal.damaged {
		r.strays = strays(r.dir, kept)
		maps.Copy(kept, r.strays)
	}
	if err := removeOutputs(r.dir, kept); err != nil {
		r.log.Warn("old files stay", "err", err)
	}
	return claims
}

// orderedSeat returns the place of a run that was ordered in an earlier life.
func orderedSeat(f *crony.Fact, job packed) *seat {
	what := &assignment{def: job.unpack(), epoch: f.Claimed.Epoch}
	return &seat{run: f.Run, what: what, at: f.Claimed.ScheduledAt, params: f.Claimed.Params, ordered: true}
}

// strays returns the runs that have output and are not known. Where a journal has lost entries, they may have started: they are
// not to start again, should a server still think that they are to.
func strays(dir string, known map[crony.RunID]bool) map[crony.RunID]bool {
	files, _ := filepath.Glob(filepath.Join(dir, outputDir, "*.1."+string(crony.Stdout))) // its only error is for a bad pattern
	found := map[crony.RunID]bool{}
	for _, file := range files {
		run, _, _ := strings.Cut(filepath.Base(file), ".")
		if !known[crony.RunID(run)] && begun(file) {
			found[crony.RunID(run)] = true
		}
	}
	return found
}

// resume follows outputs of an earlier life.
func (r *runner) resume(list ...*output) {
	for _, o := range list {
		o.resume()
	}
	r.reports.output(list...)
}

// adopt takes up a run that had started. If its process is gone, or when it goes, how it ended can't be known; unless it is a
// child of this process, which has become its own next life.
func (r *runner) adopt(rec *record) {
	last, started := rec.last(), startedOf(rec.facts)
	if started == nil {
		r.endedEarly(last.Run, rec)
		return
	}
	if started.Started.PID == 0 {
		r.adoptCall(started, rec)
		return
	}
	p := r.adoptProcess(started, rec)
	switch {
	case last.Ended != nil:
		r.resume(p.outputs...)
		r.reports.finish(p.outputs)
		r.reports.settled(p.run)
		removeResult(resultPath(r.dir, p.run, p.attempt))
	case last.Exited != nil, last.Result != nil:
		r.resume(p.outputs...)
		r.reports.finish(p.outputs)
		state, reason := p.verdict(exitOf(rec.facts))
		if rec.kill != nil {
			state, reason = crony.Killed, rec.kill.Words()
		}
		if last.Result != nil {
			removeResult(resultPath(r.dir, p.run, p.attempt))
		}
		r.attempted(p.run, p.attempt, state, reason)
	default:
		r.follow(p)
	}
}

// endedEarly takes up a run that has ended and of which no process is known. If there may have been one, it has left output.
func (r *runner) endedEarly(run crony.RunID, rec *record) {
	left := outputs(r.dir, run, 1, rec.terms.Limit)
	removeResult(resultPath(r.dir, run, 1))
	if !begun(left[0].path) {
		removeAll(left)
		return
	}
	r.resume(left...)
	r.reports.finish(left)
	r.reports.settled(run)
}

func (r *runner) follow(p *process) {
	r.log.Info("run adopted", "run", p.run, "pid", p.pid, "alive", p.alive())
	p.child = r.children.take(p.pid, p.birth.Ticks)
	r.resume(p.outputs...)
	r.hold(p)
	r.runs.Go(func() {
		if p.child != nil { // this process was the earlier life, too
			r.reap(p)
			return
		}
		r.finish(p, p.waitForeign())
	})
}

// adoptBegun takes up an attempt that the earlier life was starting when it ended. It is not started again: nothing may start
// twice. Its process, if there is one, is known by its environment.
func (r *runner) adoptBegun(run crony.RunID, number int, rec *record) {
	pid := r.findLeader(run, number)
	for range 2 { // a process that is just taking up another program shows no environment
		if pid != 0 {
			break
		}
		time.Sleep(foreignPoll)
		pid = r.findLeader(run, number)
	}
	ticks, err := startTicks(pid)
	if pid == 0 || err != nil {
		left := outputs(r.dir, run, number, rec.terms.Limit)
		r.resume(left...)
		r.reports.finish(left)
		r.attempted(run, number, crony.Lost, "its agent stopped while it started the run: what became of it can't be known")
		return
	}
	rec.birth, rec.held = birth{Boot: r.boot, Ticks: ticks}, r.heldOf(run, number)
	started := r.keep(entry{Birth: &rec.birth, Held: &rec.held, Fact: &crony.Fact{Run: run, At: r.now().UTC(),
		Started: &crony.StartedFact{Attempt: number, PID: pid}}})
	r.follow(r.adoptProcess(started, rec))
}

// exitOf returns how the last process ended that is known to have.
func exitOf(facts []crony.Fact) *crony.ExitedFact {
	for i := len(facts) - 1; i >= 0; i-- {
		if facts[i].Exited != nil {
			return facts[i].Exited
		}
	}
	return &crony.ExitedFact{}
}

func startedOf(facts []crony.Fact) *crony.Fact {
	for i := len(facts) - 1; i >= 0; i-- {
		if facts[i].Started != nil {
			return &facts[i]
		}
	}
	return nil
}
