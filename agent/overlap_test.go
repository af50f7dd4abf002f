//go:build linux

package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/internal/wire"
)

func overlapping(o crony.Overlap) func(*crony.Job) {
	return func(j *crony.Job) { j.Overlap = o }
}

// taken answers a request: another run is in the way.
func taken(req *wire.ClaimRequest, run crony.RunID) *wire.FromServer {
	reply := &wire.ClaimReply{Id: req.GetId()}
	for range req.GetOccurrences() {
		reply.Decisions = append(reply.Decisions, &wire.Decision{Busy: string(run), Reason: crony.HolderReason(run)})
	}
	return &wire.FromServer{Kind: &wire.FromServer_Claims{Claims: reply}}
}

func places(list ...*wire.Place) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Lock{Lock: &wire.LockReply{Places: list}}}
}

func runOf(job, clock string) crony.RunID {
	return crony.OccurrenceRunID("uid-"+job, at(clock), "")
}

// locks returns the runs for which a lock was asked since it or asks was last called.
func (l *loopRig) locks() []string {
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	var list []string
	for ; l.read < len(l.desk.posted); l.read++ {
		if lock := l.desk.posted[l.read].GetLock(); lock != nil {
			list = append(list, lock.GetRun())
		}
	}
	return list
}

// untilDue says of the asks that come that a run is in the way, until one comes of which the time has come.
func (l *loopRig) untilDue(run crony.RunID) *wire.ClaimRequest {
	l.t.Helper()
	for range 1000 {
		l.sleep(time.Millisecond)
		for _, req := range l.asks() {
			if req.GetOccurrences()[0].GetDue() {
				return req
			}
			l.say(taken(req, run))
		}
	}
	l.t.Fatal("nothing was asked for when it was due")
	return nil
}

// rest lets time go by, in which nothing is to be asked.
func (l *loopRig) rest(d time.Duration) {
	l.t.Helper()
	l.sleep(d)
	if list := l.asks(); len(list) > 0 {
		l.t.Fatalf("asked %v", list)
	}
}

// TestRow has a job that is due each second behind an hour's run of its own: but for what came due while the run was young, nobody
// is asked, the servers are told of what was given up less than once a minute, and right after the run's end, and then it goes on in
// time.
func TestRow(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("s", "* * * * * *", overlapping(crony.OverlapForbid)), 1, midnight, ""), synced())
		l.say(grantAll(l.ask("s", at("00:00:01"))))
		run, after := runOf("s", "00:00:01"), at("00:00:01")
		l.sleep(time.Second)
		l.expectStarts("s@00:00:01")
		told := 0
		tell := func() {
			for _, req := range l.asks() {
				o := req.GetOccurrences()[0]
				if o.GetBehind() == string(run) && after.Before(at("00:00:04")) {
					after = wire.Time(o.GetAt())
					l.say(grantAll(req))
					continue
				}
				p := o.GetPass()
				if p == nil || !o.GetSkipped() || p.GetReason() != crony.HolderReason(run) || !wire.Time(p.GetAfter()).Equal(after) {
					t.Fatalf("asked %v", req)
				}
				after = wire.Time(o.GetAt())
				told++
				l.say(grantAll(req))
			}
		}
		for range 3600 {
			l.sleep(time.Second)
			if tell(); time.Since(after) > time.Minute {
				t.Fatalf("nothing is told since %s", after)
			}
		}
		if told < 60 || told > 75 {
			t.Errorf("told %d times in an hour", told)
		}
		l.sleep(300 * time.Millisecond)
		l.runner.end(run, crony.Succeeded, "")
		synctest.Wait()
		before := told
		if tell(); told != before+1 || !after.Equal(at("01:00:01")) {
			t.Errorf("at the end told %d times more, up to %s", told-before, after)
		}
		l.sleep(0)
		req := l.ask("s", at("01:00:02"))
		l.say(taken(req, run)) // the end is not on record yet
		l.sleep(probeSoon)
		l.say(grantAll(l.ask("s", at("01:00:02"))))
		l.sleep(time.Second)
		l.expectStarts("s@00:00:01", "s@01:00:02")
	})
}

// TestBusyElsewhere has another agent's run in the way: the slot is looked for until the occurrence is due, and then given up.
// What was given up goes along with the claim of the next.
func TestBusyElsewhere(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *", overlapping(crony.OverlapForbid)), 1, midnight, ""), synced())
		l.sleep(58 * time.Second)
		for range 2 { // 00:01, 00:02
			l.sleep(time.Second)
			minute := time.Now().Add(time.Second).Round(0).UTC()
			for _, wait := range []int{500, 250, 125, 125, 0} {
				req := l.ask("m", minute)
				if due := req.GetOccurrences()[0].GetDue(); due != (wait == 0) {
					t.Errorf("%s before its time, due is %v", time.Until(minute), due)
				}
				l.say(taken(req, "other"))
				if wait > 0 {
					l.sleep(time.Duration(wait) * time.Millisecond)
				}
			}
			l.rest(49 * time.Second)
			l.sleep(time.Second)
			if minute.Equal(at("00:01:00")) {
				l.say(grantAll(l.pass("m", at("00:01:00"), crony.HolderReason("other"))))
			} else {
				l.asks()
			}
			l.sleep(8 * time.Second)
		}
		l.sleep(time.Second)
		l.expectStarts()
	})
}

// TestGrantedBesides has the clock set back while an answer is on its way: it grants an occurrence that is not the one which was
// asked for since, and that one's answer says that the cursor is there already. The run is the agent's all the same, and starts.
func TestGrantedBesides(t *testing.T) {
	for name, late := range map[string]bool{"before the other answer": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(_ *testing.T, l *loopRig) {
				l.say(assigned(definition("s", "* * * * * *", overlapping(crony.OverlapForbid)), 1, midnight, ""), synced())
				l.say(taken(l.untilDue("other"), "other"))
				l.sleep(0)
				granted := &wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: l.ask("s", at("00:00:02")).GetId(),
					Decisions: []*wire.Decision{{Granted: true, Run: string(runOf("s", "00:00:02"))}}}}}
				l.stepBy(-3 * time.Second)
				l.sleep(3 * tick)
				refused := &wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: l.ask("s", at("00:00:01")).GetId(),
					Decisions: []*wire.Decision{{Reason: "decided already", Cursor: at("00:00:02").UnixNano()}}}}}
				if late {
					l.say(refused, granted)
				} else {
					l.say(granted, refused)
				}
				l.sleep(3 * time.Second)
				l.expectStarts("s@00:00:02")
			})
		})
	}
}

// TestRowGoesAlong has a claim that comes before the servers were told of what was given up.
func TestRowGoesAlong(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("s", "*/10 * * * * *", overlapping(crony.OverlapForbid)), 1, midnight, ""), synced())
		for at("00:00:10").After(time.Now()) {
			l.sleep(time.Millisecond)
			for _, req := range l.asks() {
				l.say(taken(req, "other"))
			}
		}
		l.sleep(9 * time.Second)
		req := l.ask("s", at("00:00:20"))
		o := req.GetOccurrences()[0]
		if p := o.GetPass(); !wire.Time(p.GetAfter()).Equal(midnight) || !wire.Time(p.GetUntil()).Equal(at("00:00:10")) || !o.GetSkipped() {
			t.Errorf("asked %v", req)
		}
		l.say(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: req.GetId(),
			Decisions: []*wire.Decision{{Granted: true, Run: string(runOf("s", "00:00:20"))}}}}})
		l.sleep(time.Second)
		l.expectStarts("s@00:00:20")
		l.rest(5 * time.Second)
	})
}

// TestQueued has runs that wait for their job's lock, over a new stream, and start when they have it.
func TestQueued(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		def := definition("m", "* * * * *", overlapping(crony.OverlapQueue))
		l.say(assigned(def, 1, midnight, ""), synced())
		l.sleep(59 * time.Second)
		first, second := runOf("m", "00:01:00"), runOf("m", "00:02:00")
		l.say(taken(l.ask("m", at("00:01:00")), "other"))
		req := l.untilDue("other")
		l.say(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: req.GetId(),
			Decisions: []*wire.Decision{{Granted: true, Run: string(first), Busy: "other"}}}}})
		if got := l.locks(); len(got) != 1 || got[0] != string(first) {
			t.Fatalf("locks asked for: %v", got)
		}
		l.say(places(&wire.Place{Job: "m", Run: string(first), Behind: "other"}, &wire.Place{Job: "m", Run: "of another life"}))
		l.sleep(20 * time.Second)
		if got := l.locks(); len(got) > 0 {
			t.Errorf("asked again: %v", got)
		}
		l.say(newStream(), assigned(def, 1, at("00:01:00"), ""), synced())
		if got := l.locks(); len(got) != 1 {
			t.Errorf("on a new stream locks are asked for: %v", got)
		}
		l.sleep(askAgain) // no answer
		if got := l.locks(); len(got) != 1 {
			t.Errorf("without an answer locks are asked for: %v", got)
		}
		l.say(places(&wire.Place{Job: "m", Run: string(first), Behind: "other"}))
		l.sleep(time.Until(at("00:02:00")))
		list := l.asks()
		if due := list[len(list)-1].GetOccurrences()[0].GetDue(); !due || len(list) != 1 {
			t.Fatalf("behind a run of its own: asked %v", list)
		}
		l.say(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: list[0].GetId(),
			Decisions: []*wire.Decision{{Granted: true, Run: string(second), Busy: "other"}}}}})
		l.expectStarts()
		l.say(places(&wire.Place{Job: "m", Run: string(first)}))
		l.expectStarts("m@00:01:00")
		l.say(places(&wire.Place{Job: "m", Run: string(first)})) // again
		l.say(places(&wire.Place{Job: "m", Run: string(second)}))
		l.expectStarts("m@00:01:00", "m@00:02:00")
	})
}

// TestReplaced ends runs in favour of others, wherever they are: those that have not begun are skipped.
func TestReplaced(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *", overlapping(crony.OverlapReplace)), 1, midnight, ""), synced())
		l.sleep(59 * time.Second)
		l.say(grantAll(l.ask("m", at("00:01:00")))) // waits for its time
		l.say(places(&wire.Place{Run: string(runOf("m", "00:01:00")), ReplacedBy: "next"}))
		l.sleep(time.Minute)
		list := l.asks()
		l.say(grantAll(list[len(list)-1]))
		l.sleep(time.Second)
		l.expectStarts("m@00:02:00") // waits for a starter
		l.say(places(&wire.Place{Run: string(runOf("m", "00:02:00")), ReplacedBy: "next"}))
		l.runner.runs.Add(1)
		l.runner.startOne(shift(&l.runner.waiting))
		synctest.Wait()
		l.sleep(time.Minute - time.Second)
		list = l.asks()
		third := runOf("m", "00:03:00")
		l.say(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: list[len(list)-1].GetId(),
			Decisions: []*wire.Decision{{Granted: true, Run: string(third), Busy: "other"}}}}})
		l.say(places(&wire.Place{Run: string(third), ReplacedBy: "next"})) // waits for its lock
		l.sleep(time.Second)
		l.expectStarts()
		for _, rec := range l.journal.records() {
			if end := rec.last().Ended; end == nil || end.State != crony.Skipped || end.Reason != "replaced by run next" {
				t.Errorf("%+v", rec.last())
			}
		}
	})
}

// TestReplacedRunning ends a process in favour of another run.
func TestReplacedRunning(t *testing.T) {
	r := newRig(t, t.TempDir()).begin()
	run := r.start(sh("exec sleep 600"))
	eventually(t, "the run's start", func() bool { return r.runner.count() == 1 })
	r.runner.kill(run, crony.KillOrder{ReplacedBy: "next"})
	if end := r.ended(run); end.State != crony.Killed || end.Reason != "replaced by run next" {
		t.Errorf("%s, %s", end.State, end.Reason)
	}
}

// TestWaitingRecovered has an agent that died while runs of it waited: they wait on, in their order, until the servers say how
// they stand with their lock.
func TestWaitingRecovered(t *testing.T) {
	def := definition("m", "* * * * *", overlapping(crony.OverlapQueue))
	var recovered []crony.Fact
	for _, clock := range []string{"00:00:01", "00:00:02", "00:00:03"} {
		recovered = append(recovered, crony.Fact{Run: runOf("m", clock), Seq: 1, Claimed: &crony.ClaimedFact{Job: "m", JobUID: def.UID,
			Generation: 1, Agent: "a1", Trigger: crony.BySchedule, ScheduledAt: at(clock), Epoch: 1}})
	}
	inBubble(t, recovered, func(t *testing.T, l *loopRig) {
		l.sleep(10 * time.Second)
		l.say(assigned(def, 1, at("00:00:03"), ""), synced())
		l.expectStarts()
		if got := l.locks(); len(got) != 3 {
			t.Fatalf("locks asked for: %v", got)
		}
		l.say(places(&wire.Place{Run: string(runOf("m", "00:00:02")), Behind: string(runOf("m", "00:00:01"))},
			&wire.Place{Run: string(runOf("m", "00:00:01"))}, &wire.Place{Run: string(runOf("m", "00:00:03")), Refused: "no room"}))
		l.expectStarts("m@00:00:01")
		l.say(places(&wire.Place{Run: string(runOf("m", "00:00:02"))}))
		l.expectStarts("m@00:00:01", "m@00:00:02")
	})
}

// TestBehind has a job of which one run may go on at once: the next ones are claimed ahead, each behind the one before, and start
// without anybody being asked when that has ended. One that finds it going on is given up.
func TestBehind(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("s", "* * * * * *", overlapping(crony.OverlapForbid)), 1, midnight, ""), synced())
		claim := func(clock, behind string) {
			t.Helper()
			req := l.ask("s", at(clock))
			if o := req.GetOccurrences()[0]; o.GetDue() || o.GetBehind() != behind {
				t.Fatalf("asked %v, want it behind %q", o, behind)
			}
			reply := grantAll(req)
			reply.GetClaims().GetDecisions()[0].Busy = behind
			l.say(reply)
		}
		end := func(clock string) { l.runner.end(runOf("s", clock), crony.Succeeded, "") }
		claim("00:00:01", "")
		claim("00:00:02", string(runOf("s", "00:00:01")))
		l.sleep(3*time.Second - ahead)
		claim("00:00:03", string(runOf("s", "00:00:02")))
		l.sleep(ahead - 2*time.Second)
		l.expectStarts("s@00:00:01")
		end("00:00:01")
		l.sleep(3*time.Second - ahead)
		claim("00:00:04", string(runOf("s", "00:00:03")))
		l.sleep(ahead - 2*time.Second)
		l.expectStarts("s@00:00:01", "s@00:00:02")
		l.sleep(3*time.Second - ahead)
		claim("00:00:05", string(runOf("s", "00:00:04")))
		l.sleep(ahead - 2*time.Second)
		l.expectStarts("s@00:00:01", "s@00:00:02")
		if run := l.endOf(runOf("s", "00:00:03")); run.State != crony.Skipped || run.Reason != crony.HolderReason(runOf("s", "00:00:02")) {
			t.Errorf("what found another going on: %+v", run)
		}
		end("00:00:02")
		l.rest(time.Second) // for a while nothing more is claimed behind a run
		l.expectStarts("s@00:00:01", "s@00:00:02", "s@00:00:04")
		if locks := l.locks(); len(locks) > 0 {
			t.Errorf("the servers are asked for the lock of %v", locks)
		}
	})
}

// TestBesideAlone has the servers owe a run to an agent that was cut off before it heard of it, and has started the next one
// without a claim, which goes on: then they do not go on at once.
func TestBesideAlone(t *testing.T) {
	for overlap, waits := range map[crony.Overlap]bool{crony.OverlapQueue: true, crony.OverlapReplace: true, crony.OverlapForbid: false} {
		t.Run(string(overlap), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *loopRig) {
				def := definition("m", "* * * * *", overlapping(overlap), func(j *crony.Job) {
					j.Misfire = &crony.Misfire{Policy: crony.MisfireSkip}
				})
				l.cutOff(def, 0)
				l.sleepHost(time.Minute)
				l.sleep(time.Minute)
				alone, owed := runOf("m", "00:02:00"), runOf("m", "00:01:00")
				l.expectStarts("m@00:02:00")
				l.say(newStream(), assigned(def, 1, at("00:01:00"), owed), synced(), places(&wire.Place{Job: "m", Run: string(owed)}))
				l.expectStarts("m@00:02:00")
				if !waits {
					if end := l.endOf(owed); end.State != crony.Skipped || end.Reason != crony.HolderReason(alone) {
						t.Errorf("what was owed: %+v", end)
					}
					return
				}
				l.locks()
				l.sleep(askAgain)
				if got := l.locks(); len(got) != 1 {
					t.Errorf("while it goes on locks are asked for: %v", got)
				}
				l.say(places(&wire.Place{Job: "m", Run: string(owed)}))
				l.expectStarts("m@00:02:00")
				l.runner.end(alone, crony.Succeeded, "")
				synctest.Wait()
				if got := l.locks(); len(got) != 1 {
					t.Errorf("when it has ended locks are asked for: %v", got)
				}
				l.say(places(&wire.Place{Job: "m", Run: string(owed)}))
				l.expectStarts("m@00:02:00", "m@00:01:00")
			})
		})
	}
}
