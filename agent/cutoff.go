package agent

import (
	"errors"
	"time"

	"crony"
)

var errLeaseOver = errors.New("its agent was cut off, or stood still, after it had claimed it: the servers may have given it up")

const stopReason = "its agent was cut off from the servers, and the job is to stop then"

// mayStart says whether an attempt of a job that holds, or stops, when its agent is cut off may start now. It is asked right
// before the process is made, and this is why an occurrence of such a job does not run twice:
//
//   - Nothing of it starts without a claim, and an occurrence is granted once: the claim's transaction compares the job's
//     cursor and the agent's assignment. Who is asked again (the answer was lost, the stream was another) gives the same run
//     to the same agent, whose journal knows it and starts it once.
//   - A claim that was granted is its agent's alone for as long as the lease holds that the agent had when it asked. Whoever
//     may want to run the occurrence elsewhere waits until that has certainly ended, and then still until the agent has said
//     that it does not run it, or a person has removed the agent.
//   - So it is enough that an agent which stood still does not start late what it was granted before. The host was suspended:
//     CLOCK_BOOTTIME has gone on. The agent alone was stopped, or had no turn: likewise, and the answers that lay in its
//     buffers meanwhile renew nothing, since a lease counts from the question. The claim's answer itself comes late: it is
//     held to when it was asked for. The clock on the wall was set: nothing here looks at it. The agent was killed, and the
//     next one finds the claim in the journal: with the time when it was asked for, which is worth nothing after a boot.
//
// Another attempt of a run that the agent has is no claim: the servers take it that the run goes on there, until they may have
// given the agent up. It starts only while the last answer says that they have not; see retry.go.
//
// What is left is the moment between this question and the process's first instruction. Should the agent be stopped right
// there and a person remove it meanwhile, the process starts all the same.
func (r *runner) mayStart(a *attempt) bool { return a.asked == 0 || r.lease.held(a.asked) }

// askedFor returns when a run of an earlier life was claimed.
func (r *runner) askedFor(run crony.RunID) time.Duration { return r.journal.asked(run, r.boot) }

// stopCutOff ends what is not to go on while the agent is cut off. A run whose answer is awaited is not here.
func (r *runner) stopCutOff() {
	r.mu.Lock()
	for _, w := range r.running {
		if w.now().terms.Stop {
			w.kill(crony.Killed, stopReason)
		}
	}
	waited := r.unpause(func(p *pause) bool { return p.stop })
	r.mu.Unlock()
	for _, p := range waited {
		r.end(p.run, crony.Killed, stopReason)
	}
}
