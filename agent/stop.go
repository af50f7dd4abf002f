package agent

import (
	"time"

	"crony"
)

const stoppedReason = "its agent was stopped"

// stoppedCall is why a call is lost that was under way: it can't go on, and nobody knows how far it came.
const stoppedCall = "its agent was stopped during the call: whether that was carried out, and how it ended, can't be known"

// Calls under way can't be left to the next life. So long they may take to end by themselves, within their own timeouts: when the
// agent stops, and when it begins anew, as what comes due meanwhile waits.
const (
	callPatience  = 10 * time.Second
	renewPatience = 2 * time.Second
)

// halt starts nothing more.
func (r *runner) halt() {
	r.mu.Lock()
	r.stopped = true
	r.idle.Broadcast()
	r.mu.Unlock()
	r.starter.Wait()
	r.dropAll()
}

// leave starts nothing more, and leaves what runs to the next life of the agent; a call can't be left, but for its answer, and
// has as long to end as patience says. When it returns, what has ended before is written down, and nothing else will be.
func (r *runner) leave(patience time.Duration) {
	r.halt()
	defer r.caller.Close()
	defer r.unawait()
	within(patience, r.calls.Wait)
	r.mu.Lock()
	r.left = true
	for _, w := range r.running {
		if c, calls := w.(*call); calls {
			c.kill(crony.Killed, stoppedReason)
		}
	}
	r.mu.Unlock()
	r.calls.Wait()
	r.reaping.Wait()
}

// drain starts nothing more, waits for the runs as long as patience says, and kills what is left.
func (r *runner) drain(patience time.Duration) {
	r.halt()
	defer r.caller.Close()
	defer r.unawait()
	if within(patience, r.runs.Wait) {
		r.removeEmptied()
		return
	}
	r.mu.Lock()
	for _, w := range r.running {
		w.kill(crony.Killed, stoppedReason)
	}
	r.mu.Unlock()
	r.runs.Wait()
	r.removeEmptied()
}

// within says whether a wait is over before patience is.
func within(patience time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
