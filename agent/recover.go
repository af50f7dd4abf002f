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
		for _, f := range rec.facts {
			r.reports.fact(f)
		}
		if rec.kill != nil && last.Ended == nil {
			r.kills[last.Run] = *rec.kill
		}
		switch {
		case last.Claimed == nil:
			r.adopt(&rec)
		case rec.begins, begun(outputPath(r.dir, last.Run, 1, string(crony.Stdout))):
			r.adoptBegun(last.Run, &rec)
		case rec.kill != nil:
			removeAll(outputs(r.dir, last.Run, 1, 0))
			r.skip(last.Run, rec.kill.WordsUnstarted())
		case rec.job != "" && len(rec.job.unpack().Job.Scripts) == 0: // else it waits for its job, for which the host is to be prepared
			removeAll(outputs(r.dir, last.Run, 1, 0))
			r.ordered = append(r.ordered, orderedSeat(last, rec.job))
		default:
			removeAll(outputs(r.dir, last.Run, 1, 0)) // made ahead of the start, or in part
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

// adopt takes up a run that had started. If its process is gone, or when it goes, how it ended can't be known.
func (r *runner) adopt(rec *record) {
	last, started := rec.last(), startedOf(rec.facts)
	if started == nil {
		r.endedEarly(last.Run, rec)
		return
	}
	p := adoptProcess(r.dir, r.boot, started, rec)
	switch {
	case last.Ended != nil:
		r.resume(p.outputs...)
		r.reports.finish(p.outputs)
		r.reports.settled(p.run)
	case last.Exited != nil:
		r.resume(p.outputs...)
		r.reports.finish(p.outputs)
		state, reason := p.verdict(last.Exited)
		if rec.kill != nil {
			state, reason = crony.Killed, rec.kill.Words()
		}
		r.end(p.run, state, reason)
	default:
		r.follow(p)
	}
}

// endedEarly takes up a run that has ended and of which no process is known. If there may have been one, it has left output.
func (r *runner) endedEarly(run crony.RunID, rec *record) {
	left := outputs(r.dir, run, 1, rec.terms.Limit)
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
	r.resume(p.outputs...)
	r.hold(p)
	r.runs.Go(func() {
		p.waitForeign()
		r.finish(p, crony.ExitedFact{})
	})
}

// adoptBegun takes up a run that the earlier life was starting when it ended. It is not started again: nothing may start
// twice. Its process, if there is one, is known by its environment.
func (r *runner) adoptBegun(run crony.RunID, rec *record) {
	pid := findLeader(run, 1)
	for range 2 { // a process that is just taking up another program shows no environment
		if pid != 0 {
			break
		}
		time.Sleep(foreignPoll)
		pid = findLeader(run, 1)
	}
	ticks, err := startTicks(pid)
	if pid == 0 || err != nil {
		left := outputs(r.dir, run, 1, rec.terms.Limit)
		r.resume(left...)
		r.reports.finish(left)
		r.end(run, crony.Lost, "its agent stopped while it started the run: what became of it can't be known")
		return
	}
	rec.birth = birth{Boot: r.boot, Ticks: ticks}
	started := r.keep(entry{Birth: &rec.birth, Fact: &crony.Fact{Run: run, At: r.now().UTC(),
		Started: &crony.StartedFact{Attempt: 1, PID: pid}}})
	r.follow(adoptProcess(r.dir, r.boot, started, rec))
}

func startedOf(facts []crony.Fact) *crony.Fact {
	for i := len(facts) - 1; i >= 0; i-- {
		if facts[i].Started != nil {
			return &facts[i]
		}
	}
	return nil
}
