package agent

import (
	"time"

	"crony"
)

// work is an attempt that goes on: a process, or a call. Its methods are safe for concurrent use.
type work interface {
	// now returns what the runner knows of it.
	now() *ongoing
	// kill has it end, in a state and with a reason. The first that are given count, and none do once it has ended by itself.
	kill(state crony.RunState, reason string)
	// verdict says how the run ended, once the attempt has.
	verdict(exit *crony.ExitedFact) (crony.RunState, string)
	// remarks are what is to be said beside that.
	remarks() []string
}

// ongoing is what the runner knows of an attempt that goes on.
type ongoing struct {
	run     crony.RunID
	job     string // its name
	attempt int
	pid     int // 0: it is a call
	began   time.Time
	first   time.Time // when the run's first attempt began
	terms   terms
	outputs []*output
	timer   *time.Timer
	told    bool // the servers were told of it, on this stream; guarded by the runner
}

func (o *ongoing) now() *ongoing { return o }

// remarks implements [work].
func (o *ongoing) remarks() []string {
	if o.outputs[0].none {
		return []string{"its output was not kept: the agent's disk was full when it started"}
	}
	return nil
}

// hold keeps an attempt among the running, under its timeouts.
func (r *runner) hold(w work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := w.now()
	r.running[o.run] = w
	if order, killed := r.kills[o.run]; killed {
		defer w.kill(crony.Killed, order.Words())
	}
	if left, why := o.left(r.now()); why != "" {
		o.timer = time.AfterFunc(left, func() { w.kill(crony.TimedOut, why) })
	}
}

func timeoutReason(t terms) string { return "it ran longer than its timeout of " + t.Timeout.String() }

// finish writes down how an attempt ended, after all of its output.
func (r *runner) finish(w work, exit crony.ExitedFact) {
	o := w.now()
	r.mu.Lock()
	delete(r.running, o.run)
	r.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	if p, is := w.(*process); is {
		r.empty(p.cgroup)
	}
	remarks := w.remarks() // once all is reported, there is no output any more
	sizes := r.reports.finish(o.outputs)
	exit.Attempt, exit.StdoutBytes, exit.StderrBytes = o.attempt, sizes[0], sizes[1]
	state, reason := w.verdict(&exit)
	if order, killed := r.killed(o.run); killed && state == crony.Lost { // by the life of the agent before this one
		state, reason = crony.Killed, order.Words()
	}
	for _, remark := range remarks {
		reason = also(reason, remark)
	}
	r.conclude(o.run, &exit, state, reason)
}

// conclude writes down how an attempt ended, and what that means for its run. Each attempt that was begun ends here.
func (r *runner) conclude(run crony.RunID, exit *crony.ExitedFact, state crony.RunState, reason string) {
	r.keep(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Exited: exit}})
	r.attempted(run, exit.Attempt, state, reason)
}
