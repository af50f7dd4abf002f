//go:build linux

package agent

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"crony"
)

// TestLeaveCalls has an agent stop during calls. One that is answered in its time ends as answered; of one that is not, nobody
// knows how it ended: it is lost, and made again by the next life where its job has lost attempts made again.
func TestLeaveCalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	answer, over := make(chan struct{}), make(chan struct{})
	c := newCallee(t, func(w http.ResponseWriter, req *http.Request) {
		wait := over
		if req.URL.Path == "/soon" {
			wait = answer
		}
		if req.Header.Get("Crony-Attempt") == "2" {
			return
		}
		select {
		case <-wait:
			fmt.Fprint(w, "answer")
		case <-req.Context().Done():
		}
	})
	defer close(over)
	r := newCallRig(t, dir).beginToLeave()
	soon := r.start(c.http(func(j *crony.Job) { j.HTTP.URL += "/soon" }))
	late := r.start(c.http())
	again := r.start(c.http(func(j *crony.Job) {
		j.Retry = &crony.Retry{Attempts: 2, Interval: crony.Duration(10 * time.Millisecond), On: []crony.RetryOn{crony.RetryLost}}
	}))
	timely := r.start(c.http(func(j *crony.Job) { j.Timeout = crony.Duration(time.Second) }))
	process := r.start(sh("sleep 60"))
	r.begun(process)
	eventually(t, "the calls", func() bool { return len(c.told()) == 4 })
	left := make(chan struct{})
	go func() {
		defer close(left)
		r.runner.leave(2 * time.Second)
	}()
	eventually(t, "the agent to start nothing more", func() bool { r.runner.mu.Lock(); defer r.runner.mu.Unlock(); return r.runner.stopped })
	close(answer)
	if got := r.ended(soon); got.State != crony.Succeeded || r.desk.text(t, soon, crony.Stdout) != "answer" {
		t.Errorf("answered in time: %s, %s", got.State, got.Reason)
	}
	<-left
	if got := r.ended(timely); got.State != crony.TimedOut {
		t.Errorf("within its own timeout: %s, %s", got.State, got.Reason)
	}
	if got := r.ended(late); got.State != crony.Lost || got.Reason != stoppedCall {
		t.Errorf("not answered: %s, %s", got.State, got.Reason)
	}
	if got := r.inState(again, crony.Waiting); got.Reason != "attempt 1 of 2 was lost: "+stoppedCall {
		t.Errorf("to be made again: %s", got.Reason)
	}
	r.stop()

	next := newCallRig(t, dir)
	next.runner.recover()
	next.begin()
	loop := time.NewTicker(5 * time.Millisecond)
	defer loop.Stop()
	eventually(t, "the next attempt", func() bool {
		<-loop.C
		next.runner.again(time.Second)
		return !next.desk.run(again).EndedAt.IsZero()
	})
	if got := next.ended(again); got.State != crony.Succeeded || len(got.Attempts) != 2 {
		t.Errorf("made again: %s, %s, %+v", got.State, got.Reason, got.Attempts)
	}
	next.runner.kill(process, crony.KillOrder{By: "eve"})
	if got := next.ended(process); got.State != crony.Killed {
		t.Errorf("a process: %s, %s", got.State, got.Reason)
	}
	if n := len(c.told()); n != 5 {
		t.Errorf("%d calls", n)
	}
}
