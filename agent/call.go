package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"crony"
	"crony/agent/callback"
)

// call is an attempt under way that calls a service, and runs nothing here. Its Started fact is in the journal before the call
// is made: after a crash of the agent it is not made again, as nobody knows how far it came.
type call struct {
	ongoing

	what  *callback.Call
	async bool
	hash  string // of its token; "" if it is not async

	mu      sync.Mutex
	cancel  context.CancelCauseFunc
	gone    bool            // it has ended, or its answer is awaited
	left    bool            // its agent was stopped: should the callee have accepted it, the next life hears of it
	ending  crony.EndedFact // how it was ended, if it was
	told    string          // status: what it was ended by
	outcome callback.Outcome
}

var errEnded = errors.New("the call was ended")

// launchCall writes down that a call is about to be made. Without that it is not made, and nothing is left of it.
func (r *runner) launchCall(a *attempt) (*call, error) {
	now := r.now().UTC()
	c := &call{ongoing: ongoing{run: a.run, job: a.job.Name, attempt: a.number, began: now, first: cmp.Or(a.first, now),
		terms: termsOf(a.job)}, async: a.job.Async()}
	f, err := r.outputsOf(a)
	if err != nil {
		return nil, err
	}
	c.outputs = f.outputs
	removeResult(f.result) // what is called has no file to write to
	if err = c.prepare(a, r.urls()); err == nil && !r.mayStart(a) {
		err = errLeaseOver
	}
	if err == nil {
		err = r.begins(c)
	}
	if err != nil {
		removeAll(c.outputs)
		return nil, err
	}
	return c, nil
}

// prepare makes what is to be called.
func (c *call) prepare(a *attempt, servers []string) (err error) {
	var async *callback.Async
	if c.async {
		if len(servers) == 0 {
			return errors.New("make the call: no server has told its agent where it can be answered")
		}
		patience := a.job.AnswerTime()
		if whole := c.terms.Whole.Std(); whole > 0 {
			patience = max(min(patience, whole-c.began.Sub(c.first)), time.Second)
		}
		async = &callback.Async{Servers: servers, Deadline: c.began.Add(patience), Timeout: patience}
		async.Token, c.hash = callback.NewToken()
		c.terms.Timeout = crony.Duration(patience)
	}
	c.what, err = callback.New(a.job, a.facts(), async)
	return err
}

// facts are what templates may name.
func (a *attempt) facts() *crony.CallFacts {
	return &crony.CallFacts{RunID: a.run, Job: a.job.Name, ScheduledAt: a.due.UTC().Format(time.RFC3339Nano), Attempt: a.number,
		Epoch: a.epoch, Params: a.params}
}

func (r *runner) begins(c *call) error {
	written, err := r.journal.add(entry{Fact: &crony.Fact{Run: c.run, At: c.began,
		Started: &crony.StartedFact{Attempt: c.attempt, Callback: c.hash}}})
	if err != nil {
		return err
	}
	r.metrics.started.Inc()
	r.reports.fact(*written.Fact)
	return nil
}

// make makes the call, and returns when it is over or was ended.
func (c *call) make(caller *callback.Caller) crony.ExitedFact {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if c.terms.Timeout > 0 { // so that a callee by gRPC knows it; what ends it is the runner's timer
		timed, stop := context.WithDeadline(ctx, c.began.Add(c.terms.Timeout.Std()))
		defer stop()
		ctx = timed
	}
	c.mu.Lock()
	ended := c.ending.State != "" || c.left
	c.cancel = cancel
	c.mu.Unlock()
	if ended {
		return crony.ExitedFact{}
	}
	files, err := c.open()
	if err != nil {
		c.outcome = callback.Outcome{Failure: "open the run's output files: " + err.Error()}
		return crony.ExitedFact{}
	}
	c.outcome = caller.Do(ctx, c.what, patient{files[0]}, patient{files[1]})
	for _, f := range files {
		f.Close() //nolint:errcheck // what could not be written was not either before
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !c.outcome.Accepted && c.outcome.Failure != "" {
		c.kill(crony.TimedOut, timeoutReason(c.terms))
	}
	return crony.ExitedFact{Status: c.outcome.Status}
}

// open opens the files that the answer goes to.
func (c *call) open() ([]*os.File, error) {
	var files []*os.File
	for i, o := range c.outputs {
		fd, err := o.open()
		if err == nil && i == 0 {
			err = o.markBegun(fd)
		}
		if fd >= 0 {
			files = append(files, os.NewFile(uintptr(fd), o.path))
		}
		if err != nil {
			for _, f := range files {
				f.Close() //nolint:errcheck // nothing was written through it
			}
			return nil, err
		}
	}
	return files, nil
}

// patient is a writer that takes what a full disk does not: no call fails since there is no room for its answer.
type patient struct{ to io.Writer }

// Write implements [io.Writer].
func (p patient) Write(data []byte) (int, error) {
	p.to.Write(data) //nolint:errcheck // see there
	return len(data), nil
}

// kill implements [work]: the call is given up. What the callee does is its own affair. That the agent stops ends no call that
// may have been accepted, and is answered later; one that is not answered later is lost.
func (c *call) kill(state crony.RunState, reason string) {
	switch {
	case reason != stoppedReason:
		c.end(state, reason, "")
		return
	case !c.async:
		c.end(crony.Lost, stoppedCall, "")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left = true; c.cancel != nil {
		c.cancel(errEnded)
	}
}

// end ends a call that is under way, and says whether it did. The first reason counts.
func (c *call) end(state crony.RunState, reason, status string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.ending.State != "" {
		return false
	}
	c.ending, c.told = crony.EndedFact{State: state, Reason: reason}, status
	if c.cancel != nil {
		c.cancel(errEnded)
	}
	return true
}

// leave notes that the call is over, and returns whether its answer is still to come.
func (c *call) leave() (awaited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	return (c.outcome.Accepted || c.left) && c.ending.State == ""
}

// waits returns for what the call's run is to wait, if it has not ended; "" if it is not to.
func (c *call) waits() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.outcome.Accepted:
		return "accepted by " + c.what.Host() + "; its answer is awaited"
	case c.left:
		return maybeTaken
	}
	return ""
}

// verdict implements [work].
func (c *call) verdict(exit *crony.ExitedFact) (crony.RunState, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ending.State != "":
		if c.told != "" {
			exit.Status = c.told
		}
		return c.ending.State, c.ending.Reason
	case c.outcome.Failure != "":
		return crony.Failed, c.outcome.Failure
	}
	return crony.Succeeded, ""
}

// carry makes a call, and sees to what comes of it.
func (r *runner) carry(c *call) {
	exit := c.make(r.caller)
	if why := c.waits(); why != "" && r.await(c, why) {
		return
	}
	c.leave()
	r.finish(c, exit)
}
