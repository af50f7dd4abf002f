//go:build linux

package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/internal/wire"
)

func elsewhere(j *crony.Job) { j.Retry = &crony.Retry{Attempts: 5, Elsewhere: true} }

// ordersMoved has a job ordered whose next attempts are for others to make, and returns its run.
func (l *loopRig) ordersMoved() crony.RunID {
	l.runner.chance = func(below time.Duration) time.Duration { return below / 2 }
	def := definition("m", "0 0 1 1 *", elsewhere)
	l.say(assigned(def, 1, midnight, ""), synced(), ordered(def, crony.StartRequest{Run: runAt(1), At: time.Now()}))
	return runAt(1)
}

// continues tells of a run that goes on with the agent.
func continues(run crony.RunID, attempt, seq int, change ...func(*crony.Job)) *wire.FromServer {
	def := definition("m", "0 0 1 1 *", append(change, elsewhere)...)
	c := crony.Continuation{Seq: seq, Attempt: attempt, Until: time.Now().Add(4 * time.Second), Began: time.Now().Add(-time.Second),
		Claimed: crony.ClaimedFact{Job: "m", JobUID: def.UID, Generation: def.Generation, Agent: "another", Trigger: crony.BySchedule,
			ScheduledAt: time.Now().Add(-time.Second)}}
	return &wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{Definition: wire.Encode(def), Epoch: 3,
		Request: wire.Encode(crony.StartRequest{Run: run, Job: "m", Agent: "a"}), Continuation: wire.Encode(c)}}}
}

func handedOver(run crony.RunID, attempt int32, yours bool) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_HandedOver{HandedOver: &wire.HandedOver{
		Run: string(run), Attempt: attempt, Yours: yours}}}
}

// deliver has all reports acknowledged.
func (l *loopRig) deliver() {
	l.reports.mu.Lock()
	l.reports.queue = nil
	for _, o := range l.reports.owed {
		o.items = 0
	}
	l.reports.mu.Unlock()
	l.sleep(tick)
}

// posts returns the messages of a kind that the agent has posted since it was last asked.
func posts[T any](l *loopRig, of func(*wire.FromAgent) *T) (list []*T) {
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	var rest []*wire.FromAgent
	for _, msg := range l.desk.posted[l.read:] {
		if m := of(msg); m != nil {
			list = append(list, m)
			continue
		}
		rest = append(rest, msg)
	}
	l.desk.posted = append(l.desk.posted[:l.read], rest...)
	return list
}

// expectAsked wants the servers to be asked once who makes an attempt.
func (l *loopRig) expectAsked(attempt int32, seq int64) {
	l.t.Helper()
	list := posts(l, (*wire.FromAgent).GetHandOver)
	if len(list) != 1 || list[0].GetAttempt() != attempt || list[0].GetSeq() != seq || list[0].GetBegan() == 0 {
		l.t.Errorf("asked %v, want for attempt %d, with %d", list, attempt, seq)
	}
}

// TestHandsOver asks who makes the next attempt once all else is delivered, and makes it only if told to.
func TestHandsOver(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		run := l.ordersMoved()
		l.ends(1, crony.Failed)
		l.sleep(time.Minute)
		if list := posts(l, (*wire.FromAgent).GetHandOver); len(list) > 0 || len(l.starts()) > 1 {
			t.Errorf("asked %v before all is delivered; started %v", list, l.starts())
		}
		l.deliver()
		l.expectAsked(2, 5)
		l.sleep(askAgain)
		l.expectAsked(2, 5)
		l.say(newStream())
		l.expectAsked(2, 5)
		l.say(handedOver(run, 3, false), handedOver("another", 2, false))
		if r := l.folded(run); r.State != crony.Waiting || l.runner.paused() != 1 {
			t.Errorf("it heeds an answer to something else: %+v", r)
		}
		l.say(handedOver(run, 2, true))
		l.ends(2, crony.Failed)
		l.deliver()
		l.expectAsked(3, 8)
		l.say(handedOver(run, 3, false), handedOver(run, 3, true))
		l.sleep(time.Minute)
		if l.journal.knows(run) || l.runner.paused() > 0 || len(l.reports.owed) > 0 {
			t.Errorf("it has kept what is another's: %+v", l.folded(run))
		}
	})
}

// TestHandsOverNot tries again by itself while it is cut off, and what is not the servers' to give away.
func TestHandsOverNot(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.ordersMoved()
		l.say(&wire.FromServer{})
		l.ends(1, crony.Failed)
		l.say(newStream())
		l.sleep(10 * time.Second)
		l.attempt(2)
		if list := posts(l, (*wire.FromAgent).GetHandOver); len(list) > 0 {
			t.Errorf("asked %v", list)
		}
	})
	for _, c := range []crony.ClaimedFact{{Trigger: crony.ByReboot}, {Unclaimed: true}} {
		if rec := (record{facts: []crony.Fact{{Claimed: &c}}, terms: terms{Retry: &crony.Retry{Elsewhere: true}}}); rec.mayMove() {
			t.Errorf("another may go on with %+v", c)
		}
	}
}

// TestKillAsItMoves is to end a run that may be another's by now: it does once it is known not to be.
func TestKillAsItMoves(t *testing.T) {
	for _, yours := range []bool{true, false} {
		inBubble(t, nil, func(t *testing.T, l *loopRig) {
			run := l.ordersMoved()
			l.ends(1, crony.Failed)
			l.say(killed(run, "enough"))
			if r := l.folded(run); r.State != crony.Waiting {
				t.Errorf("it ends what may be another's: %+v", r)
			}
			l.deliver()
			l.say(handedOver(run, 2, yours))
			if r := l.folded(run); yours && r.State != crony.Killed || !yours && l.journal.knows(run) {
				t.Errorf("yours %t: %+v", yours, r)
			}
			if _, kept := l.runner.killed(run); kept {
				t.Error("the order is kept")
			}
		})
	}
}

// TestHandsOverInLives has the agent die while the servers are asked, in doubt whether they have answered.
func TestHandsOverInLives(t *testing.T) {
	inLives(t, func(l *loopRig) crony.RunID {
		run := l.ordersMoved()
		l.ends(1, crony.Failed)
		return run
	}, func(l *loopRig, run crony.RunID) {
		l.say(newStream())
		l.sleep(time.Minute)
		l.deliver()
		l.expectAsked(2, 5)
		if len(l.starts()) > 0 || l.runner.paused() != 1 {
			l.t.Errorf("started %v", l.starts())
		}
		l.say(handedOver(run, 2, false))
		if l.journal.knows(run) {
			l.t.Error("it is kept")
		}
	})
}

// inLives has one life of the agent after the other do something, with the journal as it stands, and written anew.
func inLives(t *testing.T, first func(*loopRig) crony.RunID, then func(*loopRig, crony.RunID)) {
	for _, anew := range []bool{false, true} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			l := newLoopRig(t, dir, boots{}, func(*runner) []crony.Fact { return nil })
			l.say(newStream())
			run := first(l)
			l.halt()
			if anew {
				if err := l.journal.rewrite(); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.journal.close(); err != nil {
				t.Fatal(err)
			}
			l = newLoopRig(t, dir, boots{}, (*runner).recover)
			defer l.halt()
			then(l, run)
		})
	}
}

// expectTaken wants the servers to be told once that a run goes on here.
func (l *loopRig) expectTaken(run crony.RunID, attempt int32) {
	l.t.Helper()
	list := posts(l, (*wire.FromAgent).GetTaken)
	if len(list) != 1 || list[0].GetRun() != string(run) || list[0].GetAttempt() != attempt || list[0].GetJob() != "m" {
		l.t.Errorf("told %v", list)
	}
}

// TestTakesOver goes on with another agent's run, in the lives that come too, and has its own facts follow that one's.
func TestTakesOver(t *testing.T) {
	inLives(t, func(l *loopRig) crony.RunID {
		l.say(continues(runAt(1), 2, 5))
		l.expectTaken(runAt(1), 2)
		l.say(continues(runAt(1), 2, 5))
		l.expectTaken(runAt(1), 2)
		if l.runner.paused() != 1 {
			l.t.Errorf("%d wait", l.runner.paused())
		}
		return runAt(1)
	}, func(l *loopRig, run crony.RunID) {
		l.say(newStream(), continues(run, 2, 5))
		l.expectTaken(run, 2)
		if len(l.reports.queue) > 0 {
			l.t.Errorf("it tells of what is on record: %+v", l.reports.queue)
		}
		l.sleep(4 * time.Second)
		a := l.attempt(2)
		if a.run != run || a.job.Name != "m" || a.first.IsZero() || a.first.After(time.Now()) || a.epoch != 0 {
			l.t.Errorf("%+v", a)
		}
		l.runner.start(a)
		l.ends(2, crony.Failed)
		if rec, _ := l.journal.record(run); len(rec.own()) != 3 || rec.own()[0].Seq != 6 || rec.own()[2].Waiting == nil {
			l.t.Errorf("%+v", rec.own())
		}
		l.deliver()
		l.expectAsked(3, 9)
		l.answerPings()
		l.say(continues(run, 4, 14)) // the answer was lost, and the run is back
		l.expectTaken(run, 4)
		l.say(handedOver(run, 3, false))
		l.sleep(4 * time.Second)
		l.ends(4, crony.Succeeded)
		if rec, _ := l.journal.record(run); rec.last().Seq != 17 || rec.last().Ended == nil {
			l.t.Errorf("%+v", rec.facts)
		}
	})
}

// TestTakesOverKilled ends a run that waits for the attempt that it was taken over for.
func TestTakesOverKilled(t *testing.T) {
	inLives(t, func(l *loopRig) crony.RunID {
		l.say(continues(runAt(1), 2, 5))
		return runAt(1)
	}, func(l *loopRig, run crony.RunID) {
		l.say(newStream(), killed(run, "enough"))
		if rec, _ := l.journal.record(run); rec.last().Ended == nil || rec.last().Ended.State != crony.Killed || rec.last().Seq != 6 {
			l.t.Errorf("%+v", rec.facts)
		}
	})
}

// TestTakesOverIdle has nothing to do, and so no lease, when it is told of a run of a job that is to stop or to hold without one.
func TestTakesOverIdle(t *testing.T) {
	for _, how := range []crony.OnDisconnect{crony.DisconnectStop, crony.DisconnectHold} {
		inBubble(t, nil, func(t *testing.T, l *loopRig) {
			l.sleep(time.Hour)
			l.say(continues(runAt(1), 2, 5, func(j *crony.Job) { j.OnDisconnect = how }))
			if list := posts(l, (*wire.FromAgent).GetTaken); len(list) > 0 {
				t.Errorf("told %v", list)
			}
			for range 6 {
				l.answerPings()
				l.sleep(tick)
			}
			l.expectTaken(runAt(1), 2)
			l.attempt(2)
		})
	}
}
