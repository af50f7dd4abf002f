package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"crony"
	"crony/agent/callback"
)

// runner starts processes, and makes calls, holds them to their terms, and writes down what becomes of them.
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
	chance  func(below time.Duration) time.Duration // a random time

	allow    Allow
	launches bool     // this program's main calls [Launch]
	cgroups  *cgroups // nil: there are none to be had
	procs    *procTable
	children *children
	caller   *callback.Caller
	urls     func() []string // of servers, where a call may be answered

	mu      sync.Mutex
	waiting []*attempt // for a starter
	taken   time.Time  // when a starter took the last one
	wanted  []*files   // to be made by a starter that has nothing to start
	emptied []*cgroup  // to be removed by one
	claimed map[crony.RunID]*files
	strays  map[crony.RunID]bool // of an earlier life: it is not known whether they have started
	ordered []*seat              // of an earlier life, that have not started
	pauses  queue[*pause]        // runs that wait for their next attempt
	linked  atomic.Bool          // there is a stream, for all that the loop has heard
	over    chan struct{}        // gives a sign when a run has ended, or waits for its next attempt
	idle    *sync.Cond
	running map[crony.RunID]work
	awaited map[crony.RunID]*awaited
	asking  map[crony.RunID]*asked          // who makes the next attempts of runs that wait
	kills   map[crony.RunID]crony.KillOrder // of runs that go on
	stopped bool                            // nothing starts any more
	left    bool                            // what runs is left to the next life
	starter sync.WaitGroup
	runs    sync.WaitGroup
	calls   sync.WaitGroup // that are under way, up to when their end is written down
	reaping sync.WaitGroup // processes that have ended, which is being written down
}

// attempt is one try of a run, before it has started.
type attempt struct {
	run    crony.RunID
	number int       // from 1
	first  time.Time // when the run's first attempt began; zero: this one does it
	job    *crony.Job
	due    time.Time
	epoch  int64
	params map[string]string // that a person gave it
	agent  string            // its id
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
	if dir, err = filepath.Abs(dir); err != nil { // processes are told of files in it, and have a directory of their own
		return nil, fmt.Errorf("find the agent's directory: %w", err)
	}
	r := &runner{agent: agent, dir: dir, boot: boot, journal: journal, reports: reports, now: now, log: log,
		lease: newLease(boottime), procs: newProcTable(), children: newChildren(), chance: rand.N[time.Duration],
		metrics: newMetrics(), claimed: map[crony.RunID]*files{}, running: map[crony.RunID]work{},
		awaited: map[crony.RunID]*awaited{}, caller: callback.NewCaller(callback.Options{}), urls: func() []string { return nil },
		asking: map[crony.RunID]*asked{}, kills: map[crony.RunID]crony.KillOrder{}, over: make(chan struct{}, 1)}
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
	what.Labels, what.Handle = def.Job.Labels, def.Job.HandleResults && what.Trigger != crony.ByPrepare
	what.Agent, what.Epoch = r.agent, j.epoch
	t := termsOf(&def.Job)
	t.Prepares = j.prepares
	if j.asked != 0 {
		t.Asked, t.Boot = j.asked, r.boot
	}
	e := entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Claimed: &what}, Terms: &t}
	if what.Ordered() || t.Retry != nil {
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
	r.want(run, &def.Job)
	return nil
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

func bounded(reason string) string {
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	return strings.ToValidUTF8(reason, "")
}

// end writes down that the run has ended. How an attempt has ended is for [runner.attempted] to be told.
func (r *runner) end(run crony.RunID, state crony.RunState, reason string) {
	reason = bounded(reason)
	r.ending(run, state, reason)
	r.keep(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Ended: &crony.EndedFact{State: state, Reason: reason}}})
	r.sign()
}

func (r *runner) sign() {
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
	case f.Started != nil && f.Started.Attempt > 1:
		r.metrics.retried.Inc()
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

// settling is how long a process takes, at most, from when a starter takes it until its own code runs, on a host that has
// something else to do.
const settling = 50 * time.Millisecond

// starting says whether attempts wait for a starter, or have left it a moment ago.
func (r *runner) starting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.stopped && (len(r.waiting) > 0 || time.Since(r.taken) < settling)
}

// startAll is one starter's life.
func (r *runner) startAll() {
	for {
		a, chore, ok := r.next()
		switch {
		case !ok:
			return
		case a != nil:
			r.startOne(a)
		default:
			chore()
		}
	}
}

// next waits for something to do: an attempt to start, or else a chore. It returns false when the agent stops: what
// waits then is in the journal, and the next agent starts it.
func (r *runner) next() (*attempt, func(), bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting)+len(r.wanted)+len(r.emptied) == 0 && !r.stopped {
		r.idle.Wait()
	}
	switch {
	case r.stopped:
		return nil, nil, false
	case len(r.waiting) > 0:
		r.runs.Add(1)
		r.taken = time.Now()
		return shift(&r.waiting), nil, true
	case len(r.wanted) > 0:
		return nil, shift(&r.wanted).prepare, true
	}
	c := shift(&r.emptied)
	return nil, func() { c.remove(r.log) }, true
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
		r.adoptBegun(a.run, a.number, &record{terms: termsOf(a.job)})
		r.runs.Done()
		return
	}
	if order, killed := r.killed(a.run); killed {
		r.endKilled(a, &order)
		r.runs.Done()
		return
	}
	if a.job.Shell == nil {
		c, err := r.launchCall(a)
		r.calls.Add(1)
		if !r.carryOn(a, c, err, func() { defer r.calls.Done(); r.carry(c) }) {
			r.calls.Done()
		}
		return
	}
	p, err := r.launch(a)
	if err == nil {
		r.keep(entry{Birth: &p.birth, Held: p.held(), Fact: &crony.Fact{Run: a.run, At: p.began,
			Started: &crony.StartedFact{Attempt: a.number, PID: p.pid}}})
	}
	r.carryOn(a, p, err, func() { r.reap(p) })
}

// carryOn holds an attempt that has started to its terms, and finishes it in a goroutine of its own; of one that has not it
// writes down why. It says which.
func (r *runner) carryOn(a *attempt, w work, err error, finish func()) bool {
	switch {
	case errors.Is(err, errLeaseOver):
		r.endLeaseless(a)
		r.runs.Done()
		return false
	case err != nil:
		r.log.Warn("run not started", "job", a.job.Name, "run", a.run, "err", err)
		r.attempted(a.run, a.number, crony.Failed, err.Error())
		r.runs.Done()
		return false
	}
	r.reports.output(w.now().outputs...)
	r.hold(w)
	if w.now().terms.Stop && !r.mayStart(a) { // the lease ended while it started
		w.kill(crony.Killed, stopReason)
	}
	go func() {
		defer r.runs.Done()
		finish()
	}()
	return true
}

// reap waits for a child's end, and writes down how it was. One that ends after [runner.leave] stays as it is: that it has
// ended, and how, is for the next life to see.
func (r *runner) reap(p *process) {
	p.child.waitEnd()
	r.mu.Lock()
	if r.left {
		r.mu.Unlock()
		return
	}
	r.reaping.Add(1)
	r.mu.Unlock()
	defer r.reaping.Done()
	r.finish(p, p.wait())
}

// outputsOf makes the files of an attempt. On a full disk there are none.
func (r *runner) outputsOf(a *attempt) (*files, error) {
	f := r.filesOf(a.run)
	if f == nil {
		f = newFiles(r.dir, a.run, a.number, a.job.OutputLimit())
	}
	list, err := f.take(!r.reports.full.Load())
	if diskFull(err) {
		r.log.Warn("output of a run can't be kept", "job", a.job.Name, "run", a.run, "err", err)
		for _, o := range list {
			o.none = true
		}
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("make the run's output files: %w", err)
	}
	return f, nil
}

// launch starts the process of an attempt. Without one, nothing is left of it.
func (r *runner) launch(a *attempt) (*process, error) {
	f, err := r.outputsOf(a)
	if err == nil && f.outputs[0].none {
		_, err = r.journal.add(entry{Begins: a.run})
	}
	if err != nil {
		return nil, err
	}
	in := f.cgroup
	if in == nil {
		in = r.enclose(a.run, a.number, a.job)
	}
	p, err := r.startProcess(a, f.outputs, in)
	if err != nil {
		f.remove()
		in.remove(r.log)
	}
	return p, err
}

// count returns how many processes and calls go on.
func (r *runner) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}
