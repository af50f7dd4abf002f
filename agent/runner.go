package agent

import (
	"errors"
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
	metrics *metrics
	ending  func(run crony.RunID, state crony.RunState, reason string) // hears of each end before it is written down
	lease   *lease

	mu      sync.Mutex
	waiting []*attempt // for a starter
	wanted  []*files   // to be made by a starter that has nothing to start
	claimed map[crony.RunID]*files
	strays  map[crony.RunID]bool // of an earlier life: it is not known whether they have started
	ordered []*seat              // of an earlier life, that have not started
	over    chan struct{}        // gives a sign when a run has ended
	idle    *sync.Cond
	running map[crony.RunID]*process
	kills   map[crony.RunID]crony.KillOrder // of runs that go on
	stopped bool                            // nothing starts any more
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
	params map[string]string // that a person gave it
	asked  time.Duration     // by the lease's clock, when it was claimed, if it starts only while the lease holds; else 0
}

func newAttempt(run crony.RunID, j *assignment, due time.Time) *attempt {
	return &attempt{run: run, number: 1, job: &j.def.Job, due: due, epoch: j.epoch, asked: j.asked}
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
		lease:   newLease(boottime),
		metrics: newMetrics(), claimed: map[crony.RunID]*files{}, running: map[crony.RunID]*process{},
		kills: map[crony.RunID]crony.KillOrder{}, over: make(chan struct{}, 1)}
	r.idle = sync.NewCond(&r.mu)
	r.ending = func(crony.RunID, crony.RunState, string) {}
	reports.starting = r.starting
	return r, nil
}

// begin lets attempts start, until drain.
func (r *runner) begin() {
	for range starters {
		r.starter.Go(r.startAll)
	}
}

// claim writes down that the run is the agent's. From then on the agent answers for it.
func (r *runner) claim(run crony.RunID, j *assignment, what crony.ClaimedFact) error {
	def := &j.def
	what.Job, what.JobUID, what.Generation, what.Group = def.Job.Name, def.UID, def.Generation, def.Job.InGroup()
	what.Labels = def.Job.Labels
	what.Agent, what.Epoch = r.agent, j.epoch
	t := termsOf(&def.Job)
	t.Prepares = j.prepares
	if j.asked != 0 {
		t.Asked, t.Boot = j.asked, r.boot
	}
	e := entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Claimed: &what}, Terms: &t}
	if what.Trigger == crony.ByHand {
		e.Job = pack(def)
	}
	written, err := r.journal.add(e)
	if err != nil {
		return err
	}
	if what.Unclaimed {
		r.reports.withhold(run)
	}
	r.reports.fact(*written.Fact)
	r.want(run, t.Limit)
	return nil
}

// want has the files made that a claimed run will write to.
func (r *runner) want(run crony.RunID, limit int64) {
	f := newFiles(r.dir, run, limit)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.reports.full.Load() {
		return
	}
	r.claimed[run] = f
	r.wanted = append(r.wanted, f)
	r.idle.Signal()
}

// dropAll removes the files of runs that had no time to start.
func (r *runner) dropAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.claimed {
		f.drop()
	}
	clear(r.claimed)
}

// filesOf takes over a claimed run's files; nil if none were wanted, as for a run of an earlier life.
func (r *runner) filesOf(run crony.RunID) *files {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.claimed[run]
	delete(r.claimed, run)
	return f
}

// skip writes down that a claimed run never started.
func (r *runner) skip(run crony.RunID, reason string) { r.endUnstarted(run, crony.Skipped, reason) }

// fail writes down that a claimed run could not be started.
func (r *runner) fail(run crony.RunID, reason string) { r.endUnstarted(run, crony.Failed, reason) }

func (r *runner) endUnstarted(run crony.RunID, state crony.RunState, reason string) {
	if f := r.filesOf(run); f != nil {
		f.drop()
	}
	r.end(run, state, reason)
}

// maxReason is how long a reason may be, in bytes. An error may hold a job's whole command.
const maxReason = 1 << 10

func (r *runner) end(run crony.RunID, state crony.RunState, reason string) {
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	r.ending(run, state, reason)
	r.keep(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(),
		Ended: &crony.EndedFact{State: state, Reason: strings.ToValidUTF8(reason, "")}}})
	select {
	case r.over <- struct{}{}:
	default:
	}
}

// keep writes down and reports what has happened. If it can't be written yet, it is reported all the same.
func (r *runner) keep(e entry) *crony.Fact {
	written, err := r.journal.keep(e)
	if err != nil {
		r.log.Error("fact not written down yet", "run", e.Fact.Run, "err", err)
	}
	switch f := written.Fact; {
	case f.Started != nil:
		r.metrics.started.Inc()
	case f.Ended != nil:
		r.metrics.ended.WithLabelValues(string(f.Ended.State)).Inc()
	}
	r.reports.fact(*written.Fact)
	if written.Fact.Ended != nil {
		r.unkill(written.Fact.Run)
	}
	return written.Fact
}

// start hands an attempt to the starters. It does not wait.
func (r *runner) start(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, a)
	r.idle.Signal()
}

// starting says whether attempts wait for a starter.
func (r *runner) starting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting) > 0 && !r.stopped
}

// startAll is one starter's life.
func (r *runner) startAll() {
	for {
		a, f, ok := r.next()
		switch {
		case !ok:
			return
		case a != nil:
			r.startOne(a)
		default:
			f.prepare()
		}
	}
}

// next waits for something to do: an attempt to start, or else files to make. It returns false when the agent stops: what
// waits then is in the journal, and the next agent starts it.
func (r *runner) next() (*attempt, *files, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting)+len(r.wanted) == 0 && !r.stopped {
		r.idle.Wait()
	}
	switch {
	case r.stopped:
		return nil, nil, false
	case len(r.waiting) > 0:
		r.runs.Add(1)
		return shift(&r.waiting), nil, true
	}
	return nil, shift(&r.wanted), true
}

func shift[T any](list *[]*T) *T {
	first := (*list)[0]
	(*list)[0] = nil
	if *list = (*list)[1:]; len(*list) == 0 {
		*list = nil
	}
	return first
}

func (r *runner) startOne(a *attempt) {
	if r.strays[a.run] {
		r.adoptBegun(a.run, &record{terms: termsOf(a.job)})
		r.runs.Done()
		return
	}
	if order, killed := r.killed(a.run); killed {
		r.skip(a.run, order.WordsUnstarted())
		r.runs.Done()
		return
	}
	p, err := r.launch(a)
	switch {
	case errors.Is(err, errLeaseOver):
		r.end(a.run, crony.Skipped, errLeaseOver.Error())
		r.runs.Done()
		return
	case err != nil:
		r.log.Warn("run not started", "job", a.job.Name, "run", a.run, "err", err)
		r.end(a.run, crony.Failed, err.Error())
		r.runs.Done()
		return
	}
	r.keep(entry{Birth: &p.birth, Fact: &crony.Fact{Run: a.run, At: p.began,
		Started: &crony.StartedFact{Attempt: a.number, PID: p.pid}}})
	r.reports.output(p.outputs...)
	r.hold(p)
	if p.terms.Stop && !r.mayStart(a) { // the lease ended while it started
		p.kill(crony.Killed, stopReason)
	}
	go func() {
		defer r.runs.Done()
		r.finish(p, p.wait())
	}()
}

// launch starts the process of an attempt. Without one, nothing is left of it. On a full disk it starts without files.
func (r *runner) launch(a *attempt) (*process, error) {
	f := r.filesOf(a.run)
	if f == nil {
		f = newFiles(r.dir, a.run, a.job.OutputLimit())
	}
	list, err := f.take(!r.reports.full.Load())
	if diskFull(err) {
		r.log.Warn("output of a run can't be kept", "job", a.job.Name, "run", a.run, "err", err)
		for _, o := range list {
			o.none = true
		}
		_, err = r.journal.add(entry{Begins: a.run})
	}
	if err != nil {
		return nil, fmt.Errorf("make the run's output files: %w", err)
	}
	p, err := startProcess(r.dir, r.boot, a, list, r.now, r.mayStart)
	if err != nil {
		removeAll(list)
	}
	return p, err
}

// hold keeps the process among the running, under its timeout.
func (r *runner) hold(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[p.run] = p
	if order, killed := r.kills[p.run]; killed {
		defer p.kill(crony.Killed, order.Words())
	}
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
	unkept := p.outputs[0].none
	sizes := r.reports.finish(p.outputs)
	exit.Attempt, exit.StdoutBytes, exit.StderrBytes = p.attempt, sizes[0], sizes[1]
	state, reason := p.verdict(&exit)
	if order, killed := r.killed(p.run); killed && state == crony.Lost { // by the life of the agent before this one
		state, reason = crony.Killed, order.Words()
	}
	if unkept {
		reason = strings.TrimPrefix(reason+"; its output was not kept: the agent's disk was full when it started", "; ")
	}
	r.keep(entry{Fact: &crony.Fact{Run: p.run, At: r.now().UTC(), Exited: &exit}})
	r.end(p.run, state, reason)
}

// count returns how many processes go on.
func (r *runner) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

// drain starts nothing more, waits for the runs as long as patience says, and kills what is left.
func (r *runner) drain(patience time.Duration) {
	r.mu.Lock()
	r.stopped = true
	r.idle.Broadcast()
	r.mu.Unlock()
	r.starter.Wait()
	r.dropAll()
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
