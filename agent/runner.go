package agent

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"crony"
)

// runner starts processes, holds them to their terms, and writes down what becomes of them.
type runner struct {
	agent   string
	dir     string
	boot    string // names the host's boot
	journal *journal
	reports *reporter
	now     func() time.Time
	log     *slog.Logger

	mu      sync.Mutex
	waiting []*attempt // for a starter
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

func newAttempt(run crony.RunID, j *job, due time.Time) *attempt {
	return &attempt{run: run, number: 1, job: &j.def.Job, due: due, epoch: j.epoch}
}

// starters is how many processes are being started at once. Starting one takes the kernel most of a millisecond of work on
// one core; more at once only makes each slower.
const starters = 4

func newRunner(agent, dir string, journal *journal, reports *reporter, now func() time.Time, log *slog.Logger) (*runner, error) {
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("ask for the host's boot: %w", err)
	}
	r := &runner{agent: agent, dir: dir, boot: boot, journal: journal, reports: reports, now: now, log: log,
		running: map[crony.RunID]*process{}}
	r.idle = sync.NewCond(&r.mu)
	return r, nil
}

// begin lets attempts start, until drain.
func (r *runner) begin() {
	for range starters {
		r.starter.Go(r.startAll)
	}
}

// claim writes down that the run is the agent's. From then on the agent answers for it.
func (r *runner) claim(run crony.RunID, j *job, what crony.ClaimedFact) error {
	def := &j.def
	what.Job, what.JobUID, what.Generation, what.Group = def.Job.Name, def.UID, def.Generation, def.Job.InGroup()
	what.Agent, what.Epoch = r.agent, j.epoch
	t := termsOf(&def.Job)
	written, err := r.journal.add(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Claimed: &what}, Terms: &t})
	if err != nil {
		return err
	}
	r.reports.fact(*written.Fact)
	return nil
}

// skip writes down that a claimed run never started.
func (r *runner) skip(run crony.RunID, reason string) {
	r.end(run, crony.Skipped, reason)
}

// maxReason is how long a reason may be, in bytes. An error may hold a job's whole command.
const maxReason = 1 << 10

func (r *runner) end(run crony.RunID, state crony.RunState, reason string) {
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	r.keep(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(),
		Ended: &crony.EndedFact{State: state, Reason: strings.ToValidUTF8(reason, "")}}})
}

// keep writes down and reports what has happened. If it can't be written yet, it is reported all the same.
func (r *runner) keep(e entry) *crony.Fact {
	written, err := r.journal.keep(e)
	if err != nil {
		r.log.Error("fact not written down yet", "run", e.Fact.Run, "err", err)
	}
	r.reports.fact(*written.Fact)
	return written.Fact
}

// start hands an attempt to the starters. It does not wait.
func (r *runner) start(a *attempt) {
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

func (r *runner) startOne(a *attempt) {
	p, err := startProcess(r.dir, r.boot, a, r.now)
	if err != nil {
		r.log.Warn("run not started", "job", a.job.Name, "run", a.run, "err", err)
		r.end(a.run, crony.Failed, err.Error())
		r.runs.Done()
		return
	}
	r.keep(entry{Birth: &p.birth, Fact: &crony.Fact{Run: a.run, At: p.began,
		Started: &crony.StartedFact{Attempt: a.number, PID: p.pid}}})
	r.reports.output(p.outputs...)
	r.hold(p)
	go func() {
		defer r.runs.Done()
		r.finish(p, p.wait())
	}()
}

// hold keeps the process among the running, under its timeout.
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
	sizes := r.reports.finish(p.outputs)
	exit.Attempt, exit.StdoutBytes, exit.StderrBytes = p.attempt, sizes[0], sizes[1]
	state, reason := p.verdict(&exit)
	r.keep(entry{Fact: &crony.Fact{Run: p.run, At: r.now().UTC(), Exited: &exit}})
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
