package agent

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"crony"
)

// runner starts processes, holds them to their terms, and writes down what becomes of them.
type runner struct {
	agent   string
	dir     string
	journal *journal
	reports *reporter
	now     func() time.Time
	log     *slog.Logger

	mu      sync.Mutex
	waiting []attempt // for a starter
	idle    *sync.Cond
	running map[crony.RunID]*process
	stopped bool // nothing starts any more
	starter sync.WaitGroup
	runs    sync.WaitGroup
}

// attempt is one try of a run, before it has started.
type attempt struct {
	run    crony.RunID
	number int // from 1
	job    *crony.Job
	due    time.Time
	epoch  int64
}

func newAttempt(run crony.RunID, j *job, due time.Time) attempt {
	return attempt{run: run, number: 1, job: &j.def.Job, due: due, epoch: j.epoch}
}

// starters is how many processes are being started at once. Starting one takes the kernel most of a millisecond of work on
// one core; more at once only makes each slower.
const starters = 4

func newRunner(agent, dir string, journal *journal, reports *reporter, now func() time.Time, log *slog.Logger) *runner {
	r := &runner{agent: agent, dir: dir, journal: journal, reports: reports, now: now, log: log,
		running: map[crony.RunID]*process{}}
	r.idle = sync.NewCond(&r.mu)
	for range starters {
		r.starter.Go(r.startAll)
	}
	return r
}

// claim writes down that the run is the agent's. From then on the agent answers for it.
func (r *runner) claim(run crony.RunID, j *job, what crony.ClaimedFact) error {
	def := &j.def
	what.Job, what.JobUID, what.Generation, what.Group = def.Job.Name, def.UID, def.Generation, def.Job.InGroup()
	what.Agent, what.Epoch = r.agent, j.epoch
	t := &terms{Limit: def.Job.OutputLimit(), Timeout: def.Job.Timeout, Grace: crony.Duration(def.Job.Grace())}
	return r.note(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Claimed: &what}, Terms: t})
}

// skip writes down that a claimed run never started.
func (r *runner) skip(run crony.RunID, reason string) {
	r.end(run, crony.Skipped, reason)
}

func (r *runner) end(run crony.RunID, state crony.RunState, reason string) {
	r.must(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Ended: &crony.EndedFact{State: state, Reason: reason}}})
}

// note writes an entry and reports its fact.
func (r *runner) note(e entry) error {
	written, err := r.journal.add(e)
	if err != nil {
		return err
	}
	r.reports.fact(*written.Fact)
	return nil
}

// must is note for what has happened already: if it can't be written, it is reported all the same.
func (r *runner) must(e entry) {
	written, err := r.journal.add(e)
	if err != nil {
		r.log.Error("fact not written down", "run", e.Fact.Run, "err", err)
	}
	r.reports.fact(*written.Fact)
}

// start hands an attempt to the starters. It does not wait.
func (r *runner) start(a attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, a)
	r.idle.Signal()
}

// startAll is one starter's life.
func (r *runner) startAll() {
	for {
		r.mu.Lock()
		for len(r.waiting) == 0 && !r.stopped {
			r.idle.Wait()
		}
		if r.stopped { // what waits is in the journal: the next agent starts it
			r.mu.Unlock()
			return
		}
		a := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.runs.Add(1)
		r.mu.Unlock()
		r.startOne(a)
	}
}

func (r *runner) startOne(a attempt) {
	p, err := startProcess(r.dir, a, r.now)
	if err != nil {
		r.log.Warn("run not started", "job", a.job.Name, "run", a.run, "err", err)
		r.end(a.run, crony.Failed, err.Error())
		r.runs.Done()
		return
	}
	r.must(entry{Ticks: p.ticks, Fact: &crony.Fact{Run: a.run, At: p.began,
		Started: &crony.StartedFact{Attempt: a.number, PID: p.pid}}})
	r.reports.output(p.files...)
	r.hold(p)
	go func() {
		defer r.runs.Done()
		r.finish(p, p.wait())
	}()
}

// hold keeps the process among the running, under its timeout. If everything is being killed it is killed too.
func (r *runner) hold(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[p.run] = p
	if p.terms.Timeout > 0 {
		left := p.terms.Timeout.Std() - r.now().Sub(p.began)
		p.timer = time.AfterFunc(left, func() {
			p.kill(crony.TimedOut, "it ran longer than its timeout of "+p.terms.Timeout.String())
		})
	}
}

// finish writes down how the process ended, after all of its output.
func (r *runner) finish(p *process, exit crony.ExitedFact) {
	r.mu.Lock()
	delete(r.running, p.run)
	r.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	sizes := r.reports.finish(p.files)
	exit.Attempt, exit.StdoutBytes, exit.StderrBytes = p.attempt, sizes[0], sizes[1]
	state, reason := p.verdict(exit)
	r.must(entry{Fact: &crony.Fact{Run: p.run, At: r.now().UTC(), Exited: &exit}})
	r.end(p.run, state, reason)
}

// drain starts nothing more, waits for the runs as long as patience says, and kills what is left.
func (r *runner) drain(patience time.Duration) {
	r.mu.Lock()
	r.stopped = true
	r.idle.Broadcast()
	r.mu.Unlock()
	r.starter.Wait()
	done := make(chan struct{})
	go func() {
		r.runs.Wait()
		close(done)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	r.mu.Lock()
	for _, p := range r.running {
		p.kill(crony.Killed, "its agent was stopped")
	}
	r.mu.Unlock()
	<-done
}

// recover takes up the runs that an earlier life left in the journal: it reports again what was not acknowledged, waits for
// processes that are still there, and returns the claims of runs that were never started.
func (r *runner) recover() ([]crony.Fact, error) {
	var claims []crony.Fact
	var errs []error
	kept := map[crony.RunID]bool{}
	for _, rec := range r.journal.records() {
		first := rec.facts[0]
		kept[first.Run] = true
		for _, f := range rec.facts {
			r.reports.fact(f)
		}
		last := rec.facts[len(rec.facts)-1]
		switch {
		case last.Claimed != nil:
			claims = append(claims, last)
		case first.Claimed != nil:
			errs = append(errs, r.adopt(rec, last))
		}
	}
	return claims, errors.Join(append(errs, removeOutputs(r.dir, kept))...)
}

// adopt takes up a run that had started. If its process is gone, or when it goes, how it ended can't be known.
func (r *runner) adopt(rec record, last crony.Fact) error {
	started := startedOf(rec.facts)
	if started == nil {
		return nil // it ended without a process
	}
	p, err := adoptProcess(r.dir, *started, rec)
	if err != nil {
		return err
	}
	r.reports.output(p.files...)
	switch {
	case last.Ended != nil:
		r.reports.finish(p.files)
		r.reports.settled(p.run)
	case last.Exited != nil:
		r.reports.finish(p.files)
		state, reason := p.verdict(*last.Exited)
		r.end(p.run, state, reason)
	default:
		r.log.Info("run adopted", "run", p.run, "pid", p.pid)
		r.hold(p)
		r.runs.Go(func() {
			p.waitForeign()
			r.finish(p, crony.ExitedFact{})
		})
	}
	return nil
}

func startedOf(facts []crony.Fact) *crony.Fact {
	for i := len(facts) - 1; i >= 0; i-- {
		if facts[i].Started != nil {
			return &facts[i]
		}
	}
	return nil
}
