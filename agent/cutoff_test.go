//go:build linux

package agent

import (
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// sleepHost has the host suspended: all of its clocks but the monotonic one go on.
func (l *loopRig) sleepHost(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slept += d
	l.step += d
}

// answerPings has the server answer what was asked for the lease alone, until now.
func (l *loopRig) answerPings() {
	l.desk.mu.Lock()
	var replies []*wire.FromServer
	for _, msg := range l.desk.posted {
		if req := msg.GetClaims(); req != nil && len(req.GetOccurrences()) == 0 {
			replies = append(replies, &wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: req.GetId()}}})
		}
	}
	l.desk.mu.Unlock()
	l.say(replies...)
}

// mayStart says whether the one attempt that waits for a starter would start.
func (l *loopRig) mayStart() bool {
	l.t.Helper()
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	if len(l.runner.waiting) != 1 {
		l.t.Fatalf("%d attempts wait to be started, want one", len(l.runner.waiting))
	}
	return l.runner.mayStart(l.runner.waiting[0])
}

// TestHold has all that can come between the claim of an occurrence and its start. What was claimed before the agent may have
// been given up does not start.
func TestHold(t *testing.T) {
	for _, how := range []crony.OnDisconnect{crony.DisconnectHold, crony.DisconnectStop} {
		def := definition("m", "* * * * *", func(j *crony.Job) { j.OnDisconnect = how })
		run := crony.OccurrenceRunID("uid-m", at("00:01:00"), "")
		for name, c := range map[string]struct {
			happens func(l *loopRig, reply *wire.FromServer)
			starts  bool
		}{
			"nothing": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.sleep(ahead)
			}, true},
			"the host is suspended": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.sleepHost(time.Minute)
				l.sleep(ahead)
			}, false},
			"the host is suspended, and the next answer comes before the start": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.sleepHost(time.Minute)
				l.sleep(2 * leaseTick) // a claim goes first
				l.answerPings()
				if l.loop.lease.over() {
					l.t.Error("an answer has not renewed the lease")
				}
			}, false},
			"the agent alone is stopped, when the start is due": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.sleep(ahead) // it is handed to the starters
				l.sleep(time.Minute)
			}, false},
			"an answer lay in a buffer meanwhile": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.sleep(ahead)
				l.sleepHost(time.Minute)
				l.say(reply)
				l.answerPings()
			}, false},
			"the claim's answer comes within the lease": {func(l *loopRig, reply *wire.FromServer) {
				l.sleep(4 * time.Second)
				l.say(reply)
				l.sleep(ahead)
			}, true},
			"the claim's answer comes late": {func(l *loopRig, reply *wire.FromServer) {
				l.sleep(4 * time.Second)
				l.sleepHost(time.Minute)
				l.say(reply)
				l.sleep(ahead)
			}, false},
			"the claim's answer is lost, and the next stream comes soon": {func(l *loopRig, _ *wire.FromServer) {
				l.say(&wire.FromServer{})
				l.sleep(ahead)
				l.say(newStream(), assigned(def, 1, at("00:01:00"), run), synced())
			}, true},
			"the claim's answer is lost, and the next stream comes late": {func(l *loopRig, _ *wire.FromServer) {
				l.say(&wire.FromServer{})
				l.sleep(time.Minute)
				l.say(newStream(), assigned(def, 1, at("00:01:00"), run), synced())
				l.sleep(leaseTick)
				l.answerPings()
			}, false},
			"the claim's answer comes on a stream that is over": {func(l *loopRig, reply *wire.FromServer) {
				l.say(&wire.FromServer{})
				l.sleep(time.Minute)
				l.say(newStream(), reply, assigned(def, 1, at("00:01:00"), run), synced())
			}, false},
			"the clock goes forward": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.stepBy(time.Hour)
				l.sleep(ahead)
			}, true},
			"the clock goes back, and the agent is not cut off": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.stepBy(-time.Minute)
				for range 40 {
					l.sleep(leaseTick / 2)
					l.answerPings()
				}
				l.sleep(ahead)
			}, true},
			"the clock goes back, and the agent is cut off": {func(l *loopRig, reply *wire.FromServer) {
				l.say(reply)
				l.say(&wire.FromServer{})
				l.stepBy(-time.Minute)
				l.sleep(time.Minute + ahead)
			}, false},
		} {
			t.Run(string(how)+": "+name, func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, l *loopRig) {
					l.say(assigned(def, 1, midnight, ""), synced())
					l.sleep(time.Minute - ahead)
					c.happens(l, grantAll(l.ask("m", at("00:01:00"))))
					l.expectStarts("m@00:01:00")
					if got := l.mayStart(); got != c.starts {
						t.Errorf("it starts: %t, want %t", got, c.starts)
					}
				})
			})
		}
	}
}

// TestHoldAcrossLives has a claim in the journal of an agent that was killed.
func TestHoldAcrossLives(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	boottime := time.Hour
	r.runner.lease = newLease(func() time.Duration { return boottime })
	def := definition("m", "* * * * *", func(j *crony.Job) { j.OnDisconnect = crony.DisconnectHold })
	id := crony.OccurrenceRunID("uid-m", noon, "")
	what := &assignment{def: def, epoch: 1, asked: boottime - leaseTime + 1}
	if err := r.runner.claim(id, what, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: noon}); err != nil {
		t.Fatal(err)
	}
	a := newAttempt(id, what, noon)
	for name, c := range map[string]struct {
		boot   string
		starts bool
	}{"in the same boot": {r.runner.boot, true}, "in another": {"another", false}} {
		a.asked = r.journal.asked(id, c.boot)
		if got := r.runner.mayStart(a); got != c.starts {
			t.Errorf("%s it starts: %t, want %t", name, got, c.starts)
		}
	}
	a.asked = r.runner.askedFor(id)
	boottime += time.Nanosecond
	if r.runner.mayStart(a) {
		t.Error("it starts when the lease of the earlier life is over")
	}
}

// TestHeldProcess has a process not made, and one that runs killed.
func TestHeldProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	r.runner.lease.end = longAgo
	r.begin()
	hold := func(how crony.OnDisconnect, asked time.Duration, command string) crony.RunID {
		j := testJob(func(j *crony.Job) { j.OnDisconnect, j.Shell = how, &crony.Shell{Command: command} })
		j.asked = asked
		id := crony.NewRunID(time.Now())
		if err := r.runner.claim(id, j, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		r.runner.start(newAttempt(id, j, time.Now()))
		return id
	}
	held := hold(crony.DisconnectHold, longAgo, "true")
	if run := r.ended(held); run.State != crony.Skipped || !run.StartedAt.IsZero() || run.Reason != errLeaseOver.Error() {
		t.Errorf("%+v", run)
	}
	stopped, goesOn := hold(crony.DisconnectStop, boottime(), "sleep 60"), hold(crony.DisconnectHold, boottime(), "sleep 0.5")
	for r.runner.count() < 2 {
		time.Sleep(time.Millisecond)
	}
	r.runner.stopCutOff()
	if run := r.ended(stopped); run.State != crony.Killed || run.Reason != stopReason {
		t.Errorf("%+v", run)
	}
	if run := r.ended(goesOn); run.State != crony.Succeeded {
		t.Errorf("%+v", run)
	}
}
