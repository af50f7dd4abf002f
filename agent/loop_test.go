//go:build linux

package agent

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/internal/wire"
)

// loopRig is a loop in a bubble, whose server is the test. Its runner starts nothing: what would start waits in its queue.
type loopRig struct {
	*rig
	loop  *loop
	mu    sync.Mutex
	step  time.Duration // of the wall clock, away from the bubble's
	slept time.Duration // by which CLOCK_BOOTTIME is ahead of the bubble's
	halt  func()
	read  int // messages of the loop that the test has read
}

// inBubble runs a test with a loop that is connected and has no jobs.
func inBubble(t *testing.T, recovered []crony.Fact, test func(t *testing.T, l *loopRig)) {
	bootedLoop(t, boots{}, recovered, test)
}

// bootedLoop is inBubble on a host that has booted.
func bootedLoop(t *testing.T, boots boots, recovered []crony.Fact, test func(t *testing.T, l *loopRig)) {
	loopIn(t, t.TempDir(), boots, recovered, test)
}

// loopIn is bootedLoop with a directory that may have been an agent's before.
func loopIn(t *testing.T, dir string, boots boots, recovered []crony.Fact, test func(t *testing.T, l *loopRig)) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoopRig(t, dir, boots, func(*runner) []crony.Fact { return recovered })
		defer l.halt()
		l.say(newStream())
		test(t, l)
	})
}

// newLoopRig returns a loop on a directory, with what is recovered of an earlier life, which works until it is halted.
func newLoopRig(t *testing.T, dir string, boots boots, takeUp func(*runner) []crony.Fact) *loopRig {
	l := &loopRig{rig: newRig(t, dir)}
	now := func() time.Time {
		l.mu.Lock()
		defer l.mu.Unlock()
		return time.Now().Add(l.step)
	}
	l.runner.lease = newLease(func() time.Duration {
		l.mu.Lock()
		defer l.mu.Unlock()
		return time.Since(bubbleBegan()) + l.slept
	})
	l.loop = newLoop(l.desk, l.runner, l.journal, boots, now, l.journal.log)
	l.runner.now = now
	recovered := takeUp(l.runner)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { l.loop.run(ctx, recovered) })
	l.halt = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	return l
}

// bubbleBegan returns when every bubble's time begins.
func bubbleBegan() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (l *loopRig) stepBy(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step += d
}

func (l *loopRig) say(messages ...*wire.FromServer) {
	for _, msg := range messages {
		l.loop.inbox <- msg
	}
	synctest.Wait()
}

func (l *loopRig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func assigned(def crony.Definition, epoch int64, cursor time.Time, owed crony.RunID) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Assign{Assign: &wire.Assign{
		Definition: wire.Encode(def), Epoch: epoch, Cursor: cursor.UnixNano(), Owed: string(owed)}}}
}

// ordered is the order for a run of a job, which the agent need not have.
func ordered(def crony.Definition, req crony.StartRequest) *wire.FromServer {
	req.Job, req.Agent = def.Job.Name, "a1"
	return &wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{
		Request: wire.Encode(req), Definition: wire.Encode(def), Epoch: 77}}}
}

func killed(run crony.RunID, reason string) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Kill{Kill: &wire.Kill{Run: string(run), By: "eve", Reason: reason, At: midnight.UnixNano()}}}
}

func unassigned(job string) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Unassign{Unassign: &wire.Unassign{Job: job}}}
}

func newStream() *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Welcome{Welcome: &wire.Welcome{Server: "s1"}}}
}

func synced() *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Synced{Synced: &wire.Synced{}}}
}

// grantAll answers a request: granted, all of it.
func grantAll(req *wire.ClaimRequest) *wire.FromServer {
	reply := &wire.ClaimReply{Id: req.GetId()}
	for _, o := range req.GetOccurrences() {
		if o.GetPass() != nil {
			reply.Decisions = append(reply.Decisions, &wire.Decision{Granted: true})
			continue
		}
		run := crony.OccurrenceRunID("uid-"+o.GetJob(), wire.Time(o.GetAt()), "")
		reply.Decisions = append(reply.Decisions, &wire.Decision{Granted: true, Run: string(run)})
	}
	return &wire.FromServer{Kind: &wire.FromServer_Claims{Claims: reply}}
}

// asks returns the requests for something that came since it was last called.
func (l *loopRig) asks() []*wire.ClaimRequest {
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	var list []*wire.ClaimRequest
	for ; l.read < len(l.desk.posted); l.read++ {
		if req := l.desk.posted[l.read].GetClaims(); len(req.GetOccurrences()) > 0 { // else it is for the lease
			list = append(list, req)
		}
	}
	return list
}

// ask returns the one request that came, for one occurrence.
func (l *loopRig) ask(job string, at time.Time) *wire.ClaimRequest {
	l.t.Helper()
	list := l.asks()
	if len(list) != 1 || len(list[0].GetOccurrences()) != 1 {
		l.t.Fatalf("asked %v, want one for %s", list, job)
	}
	if o := list[0].GetOccurrences()[0]; o.GetJob() != job || !wire.Time(o.GetAt()).Equal(at) {
		l.t.Fatalf("asked for %s at %s, want %s at %s", o.GetJob(), wire.Time(o.GetAt()), job, at)
	}
	return list[0]
}

// pass returns the one request that came, to pass over occurrences, and checks why.
func (l *loopRig) pass(job string, until time.Time, why string) *wire.ClaimRequest {
	l.t.Helper()
	req := l.ask(job, until)
	if got := req.GetOccurrences()[0].GetPass().GetReason(); got != why {
		l.t.Fatalf("passed over for %q, want %q", got, why)
	}
	return req
}

// starts returns what would have started by now.
func (l *loopRig) starts() []string {
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	var list []string
	for _, a := range l.runner.waiting {
		list = append(list, a.job.Name+"@"+a.due.UTC().Format(time.TimeOnly))
	}
	return list
}

func (l *loopRig) expectStarts(want ...string) {
	l.t.Helper()
	if got := l.starts(); !slices.Equal(got, want) {
		l.t.Errorf("started %v, want %v", got, want)
	}
}

// midnight is when a bubble begins.
var midnight = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func at(clock string) time.Time {
	d, err := time.Parse(time.TimeOnly, clock)
	if err != nil {
		panic(err)
	}
	return midnight.Add(d.Sub(d.Truncate(24 * time.Hour)))
}

// TestOnTime asks ahead and starts to the instant.
func TestOnTime(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *"), 1, midnight, ""), synced())
		l.sleep(time.Minute - ahead - 1)
		if got := l.asks(); len(got) > 0 {
			t.Errorf("asked too early: %v", got)
		}
		l.sleep(1)
		l.say(grantAll(l.ask("m", at("00:01:00"))))
		l.sleep(ahead - 1)
		l.expectStarts()
		l.sleep(1)
		l.expectStarts("m@00:01:00")
		l.sleep(time.Minute)
		l.say(grantAll(l.asks()[0])) // late
		l.expectStarts("m@00:01:00", "m@00:02:00")
	})
}

// TestOnTimeThroughElections has nothing answered for a second and a half, again and again, at any time of a second: a job that
// is due each second starts on time all the same.
func TestOnTimeThroughElections(t *testing.T) {
	const step, every, election = 100 * time.Millisecond, 7300 * time.Millisecond, 1500 * time.Millisecond
	inBubble(t, nil, func(_ *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * * *"), 1, midnight, ""), synced())
		var want []string
		for now := time.Duration(0); now < 3*time.Minute; now += step {
			if due := midnight.Add(now); now > 0 && now%time.Second == 0 {
				want = append(want, "m@"+due.Format(time.TimeOnly))
			}
			l.expectStarts(want...)
			if now%every >= every-election {
				l.sleep(step)
				continue
			}
			for list := l.asks(); len(list) > 0; list = l.asks() {
				for _, req := range list {
					l.say(grantAll(req))
				}
			}
			l.sleep(step)
		}
	})
}

// TestOvertaken has a granted claim whose job is another's, or another, before it is due: it is skipped, with the reason.
func TestOvertaken(t *testing.T) {
	def := definition("m", "* * * * *")
	changed, paused := def, definition("m", "* * * * *", func(j *crony.Job) { j.Paused = true })
	changed.Generation, paused.Generation = 2, 2
	for name, what := range map[string][]*wire.FromServer{
		"changed": {assigned(changed, 2, midnight, "")},
		"paused":  {assigned(paused, 2, midnight, "")},
		"removed": {unassigned("m")},
		"moved":   {newStream(), synced()},
	} {
		for _, answer := range []string{"before", "after"} {
			t.Run(name+" "+answer, func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, l *loopRig) {
					l.say(assigned(def, 1, midnight, ""), synced())
					l.sleep(59 * time.Second)
					grant := grantAll(l.ask("m", at("00:01:00")))
					if answer == "before" {
						l.say(append([]*wire.FromServer{grant}, what...)...)
					} else {
						l.say(append(what, grant)...)
					}
					l.sleep(time.Minute)
					l.expectStarts()
					records := l.journal.records()
					if name == "moved" && answer == "after" { // it came on the stream of before: nobody waits for it
						if len(records) > 0 {
							t.Errorf("%v", records)
						}
						return
					}
					if len(records) != 1 || records[0].last().Ended == nil {
						t.Fatalf("%+v", records)
					}
					if end := records[0].last().Ended; end.State != crony.Skipped || !strings.Contains(end.Reason, "before the run was due") {
						t.Errorf("%+v", end)
					}
					if first := records[0].facts[0].Claimed; first.Generation != 1 || first.Epoch != 1 {
						t.Errorf("claimed for %+v, want what it was asked for", first)
					}
				})
			})
		}
	}
}

// TestRace has an agent lose a race, and win the next: it goes on from the cursor that it is told, whoever moved it.
func TestRace(t *testing.T) {
	race := func(j *crony.Job) { j.Placement = &crony.Placement{Mode: crony.PlaceRace} }
	lose := func(req *wire.ClaimRequest, cursor time.Time) *wire.FromServer {
		return &wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: req.GetId(),
			Decisions: []*wire.Decision{{Reason: "claimed by agent a2", Cursor: cursor.UnixNano()}}}}}
	}
	inBubble(t, nil, func(_ *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *", race), 1, midnight, ""), synced())
		l.sleep(59 * time.Second)
		l.say(lose(l.ask("m", at("00:01:00")), at("00:01:00")))
		l.sleep(time.Minute)
		l.say(lose(l.ask("m", at("00:02:00")), at("00:03:00"))) // it stood still for a while, and another agent went on
		l.sleep(2 * time.Minute)
		l.say(grantAll(l.ask("m", at("00:04:00"))))
		l.sleep(time.Second)
		l.expectStarts("m@00:04:00")
	})
	inBubble(t, nil, func(t *testing.T, l *loopRig) { // all agents come back late: another has passed over, and made up for it
		def := definition("m", "* * * * *", race)
		l.sleep(10*time.Minute + 30*time.Second)
		l.say(assigned(def, 1, midnight, ""), synced())
		req := l.asks()
		if len(req) != 1 || req[0].GetOccurrences()[0].GetPass() == nil {
			t.Fatalf("asked %v, want to pass over what is too late", req)
		}
		l.say(lose(req[0], at("00:09:00")))
		l.say(lose(l.ask("m", at("00:10:00")), at("00:10:00")))
		l.expectStarts()
		l.sleep(29 * time.Second)
		l.ask("m", at("00:11:00"))
	})
}

// TestOwedOfARace: what the agent claimed before another moved the cursor on comes first, and starts; then it goes on.
func TestOwedOfARace(t *testing.T) {
	inBubble(t, nil, func(_ *testing.T, l *loopRig) {
		def := definition("m", "* * * * *", func(j *crony.Job) { j.Placement = &crony.Placement{Mode: crony.PlaceRace} })
		l.sleep(3 * time.Minute)
		first := crony.OccurrenceRunID(def.UID, at("00:01:00"), "")
		second := crony.OccurrenceRunID(def.UID, at("00:02:00"), "")
		l.say(assigned(def, 1, at("00:01:00"), first), assigned(def, 1, at("00:02:00"), second), assigned(def, 1, at("00:03:00"), ""), synced())
		l.sleep(0)
		l.expectStarts("m@00:01:00", "m@00:02:00")
		l.asks()
		l.sleep(59 * time.Second)
		l.ask("m", at("00:04:00"))
	})
}

// TestAnswerTwice has no answer for so long that the loop asks again. Then both come, in either order, and one run starts.
func TestAnswerTwice(t *testing.T) {
	for _, order := range [][]int{{0, 1}, {1, 0}, {0}, {1}, {0, 0, 1, 1}} {
		inBubble(t, nil, func(_ *testing.T, l *loopRig) {
			l.say(assigned(definition("m", "* * * * *"), 1, midnight, ""), synced())
			l.sleep(59 * time.Second)
			requests := []*wire.ClaimRequest{l.ask("m", at("00:01:00"))}
			l.sleep(askAgain)
			requests = append(requests, l.ask("m", at("00:01:00")))
			for _, i := range order {
				l.say(grantAll(requests[i]))
			}
			l.sleep(time.Second)
			if slices.Contains(order, 1) {
				l.expectStarts("m@00:01:00")
			} else { // the first answer alone: the second request is still to be answered
				l.expectStarts()
			}
		})
	}
}

// TestOwed has the server say on a new stream that a claim was granted of which the agent never heard.
func TestOwed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		def := definition("m", "* * * * *")
		run := crony.OccurrenceRunID("uid-m", at("00:01:00"), "")
		l.say(assigned(def, 1, midnight, ""), synced())
		l.sleep(59 * time.Second)
		lost := grantAll(l.ask("m", at("00:01:00")))
		l.sleep(2 * time.Second)
		for range 3 {
			l.say(newStream(), assigned(def, 1, at("00:01:00"), run), synced(), lost)
		}
		l.expectStarts("m@00:01:00")
		mustKeep(t, l.journal, entry{Settled: run})
		l.say(newStream(), assigned(def, 1, at("00:01:00"), run), synced()) // by a server that is behind
		l.expectStarts("m@00:01:00")
		l.say(newStream(), assigned(def, 1, midnight, ""), synced()) // likewise
		l.sleep(5 * time.Second)
		if asked := l.asks(); len(asked) > 0 {
			t.Errorf("asked for what was granted: %v", asked)
		}
	})
}

// TestNewStream has an hour without a server: what was missed is passed over but for the latest.
func TestNewStream(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		def := definition("m", "* * * * *")
		def.Job.OnDisconnect = crony.DisconnectHold
		l.say(assigned(def, 1, midnight, ""), synced())
		l.sleep(59 * time.Second)
		old := grantAll(l.ask("m", at("00:01:00")))
		l.say(&wire.FromServer{})
		l.sleep(time.Hour)
		l.asks()
		l.say(newStream(), assigned(def, 1, midnight, ""), synced(), old)
		l.expectStarts()
		l.say(grantAll(l.pass("m", at("01:00:00").Add(-1), "its agent reached no server; a later one runs in its place")))
		l.say(grantAll(l.ask("m", at("01:00:00"))))
		l.expectStarts("m@01:00:00")
		if c := l.journal.records()[0].facts[0].Claimed; !c.CatchUp {
			t.Error("the run does not say that it makes up for another")
		}
	})
}

func TestOrders(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		order := func(job string, run crony.RunID) *wire.FromServer {
			return ordered(definition(job, ""), crony.StartRequest{Run: run, By: "eve", At: time.Now(), Params: map[string]string{"day": "monday"}})
		}
		l.say(assigned(definition("m", ""), 1, midnight, ""), synced())
		l.say(order("m", runAt(1)), order("m", runAt(1)), order("another's", runAt(2)), order("m", runAt(3)))
		l.say(&wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{
			Request: wire.Encode(crony.StartRequest{Run: runAt(4), Job: "m"}), Definition: wire.Encode(definition("n", ""))}}})
		l.say(&wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{Request: []byte("junk")}}})
		l.expectStarts("m@00:00:00", "another's@00:00:00", "m@00:00:00")
		taken := map[string]int{}
		for _, msg := range l.desk.posted {
			taken[msg.GetTaken().GetRun()]++
		}
		if taken[string(runAt(1))] != 2 || taken[string(runAt(2))] != 1 || taken[string(runAt(4))] != 0 || taken[string(runAt(3))] != 1 {
			t.Errorf("taken: %v", taken)
		}
		if f := l.journal.records()[0].facts[0].Claimed; f.Trigger != crony.ByHand || f.By != "eve" || f.Params["day"] != "monday" || f.Epoch != 77 {
			t.Errorf("%+v", f)
		}
	})
}

// TestOrderedAgain starts a run in the place of one that was lost, once, as a run of the occurrence; beside the one that is due now.
func TestOrderedAgain(t *testing.T) {
	def := definition("m", "* * * * *")
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(def, 1, midnight, ""), synced())
		l.sleep(59 * time.Second)
		l.say(grantAll(l.ask("m", at("00:01:00"))))
		id := crony.RerunID(def.UID, midnight, "")
		again := ordered(def, crony.StartRequest{Run: id, At: midnight, RerunOf: runOf("m", "00:00:00")})
		l.say(again, again)
		l.sleep(time.Second)
		l.expectStarts("m@00:00:00", "m@00:01:00")
		c := l.journal.records()[0].facts[0].Claimed
		if c.Trigger != crony.BySchedule || c.RerunOf != runOf("m", "00:00:00") || !c.ScheduledAt.Equal(midnight) || !c.Names(id) {
			t.Errorf("%+v", c)
		}
		for _, run := range []crony.RunID{id, runOf("m", "00:01:00")} {
			mustAdd(t, l.journal, entry{Settled: run})
		}
		l.say(again, newStream(), assigned(def, 1, midnight, runOf("m", "00:01:00")), synced())
		l.expectStarts("m@00:00:00", "m@00:01:00") // and no more
	})
}

// TestResume starts what an earlier life had claimed, when its job is still the same, and skips the rest.
func TestResume(t *testing.T) {
	def := definition("m", "* * * * *")
	fact := func(n int, job string, change func(*crony.ClaimedFact)) crony.Fact {
		c := crony.ClaimedFact{Job: job, JobUID: "uid-" + job, Generation: 1, Agent: "a1", ScheduledAt: at("00:01:00")}
		if change != nil {
			change(&c)
		}
		return crony.Fact{Run: runAt(n), Seq: 1, Claimed: &c}
	}
	recovered := []crony.Fact{
		fact(1, "m", nil),
		fact(2, "m", func(c *crony.ClaimedFact) { c.Generation = 9 }),
		fact(3, "m", func(c *crony.ClaimedFact) { c.JobUID = "another" }),
		fact(4, "gone", nil),
	}
	inBubble(t, recovered, func(t *testing.T, l *loopRig) {
		for i := range recovered {
			mustAdd(t, l.journal, entry{Fact: &recovered[i]})
		}
		l.sleep(30 * time.Second)
		l.say(assigned(def, 1, at("00:01:00"), runAt(1)), synced())
		l.sleep(29 * time.Second)
		l.expectStarts()
		l.sleep(time.Second)
		l.expectStarts("m@00:01:00")
		for i, r := range l.journal.records() {
			if skipped := r.last().Ended != nil && r.last().Ended.State == crony.Skipped; skipped != (i > 0) {
				t.Errorf("run %d: %+v", i+1, r.last())
			}
		}
	})
}

// TestToldOnceMore has servers that have not heard yet of runs which are over: by the report that another server took, or that
// overtook the message. Such a run was claimed by this life, or by an earlier one, or ordered.
func TestToldOnceMore(t *testing.T) {
	def := definition("m", "* * * * *")
	run, byHand := crony.OccurrenceRunID("uid-m", at("00:01:00"), ""), runAt(1)
	claim := crony.Fact{Run: run, Seq: 1, Claimed: &crony.ClaimedFact{Job: "m", JobUID: "uid-m", Generation: 1, Agent: "a1",
		Trigger: crony.BySchedule, ScheduledAt: at("00:01:00")}}
	inBubble(t, []crony.Fact{claim}, func(t *testing.T, l *loopRig) {
		mustAdd(t, l.journal, entry{Fact: &claim})
		order := ordered(def, crony.StartRequest{Run: byHand, By: "eve", At: midnight})
		l.say(assigned(def, 1, at("00:01:00"), run), synced(), order)
		l.sleep(time.Minute)
		l.expectStarts("m@00:00:00", "m@00:01:00")
		mustKeep(t, l.journal, entry{Settled: run}, entry{Settled: byHand})
		for range 2 {
			l.say(newStream(), assigned(def, 1, at("00:01:00"), run), synced(), order)
			l.expectStarts("m@00:00:00", "m@00:01:00")
		}
		var taken int
		for _, msg := range l.desk.posted {
			if msg.GetTaken().GetRun() == string(byHand) {
				taken++
			}
		}
		if taken != 3 {
			t.Errorf("the order was answered %d times, so that it stays", taken)
		}
	})
}

// TestJournalRefuses has a full disk: what was granted starts when it can be written down, and nothing more is asked for
// until then.
func TestJournalRefuses(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("a", "* * * * *"), 1, midnight, ""), assigned(definition("b", "*/2 * * * *"), 2, midnight, ""), synced())
		l.sleep(59 * time.Second)
		disk := &smallDisk{File: l.journal.file.(*os.File)}
		l.journal.mu.Lock()
		l.journal.file = disk
		l.journal.mu.Unlock()
		l.say(grantAll(l.ask("a", at("00:01:00"))))
		l.sleep(10 * time.Minute)
		if asked := l.asks(); len(asked) > 0 || len(l.starts()) > 0 {
			t.Errorf("asked %v, started %v", asked, l.starts())
		}
		l.journal.mu.Lock()
		disk.room = 1 << 20
		l.journal.mu.Unlock()
		l.sleep(tick)
		l.expectStarts("a@00:01:00")
		if asked := l.asks(); len(asked) != 1 || len(asked[0].GetOccurrences()) != 2 {
			t.Errorf("asked %v, want what both jobs have missed", asked)
		}
	})
}

// TestFull has an agent with as many runs as it may have, all of which wait for an answer: it takes no more.
func TestFull(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		for n := range maxRuns {
			mustAdd(t, l.journal, claimed(runAt(n)))
			mustAdd(t, l.journal, entry{Fact: &crony.Fact{Run: runAt(n), Waiting: &crony.WaitingFact{Attempt: 1, Until: midnight.Add(24 * time.Hour)}}})
		}
		l.say(assigned(definition("m", "* * * * *"), 1, midnight, ""), synced())
		l.sleep(10 * time.Minute)
		if asked := l.asks(); len(asked) > 0 {
			t.Errorf("asked %v", asked)
		}
		mustKeep(t, l.journal, entry{Settled: runAt(0)})
		l.sleep(tick)
		l.pass("m", at("00:10:00").Add(-1), "its agent took on nothing more: "+
			"16384 of its runs go on, wait, or are not delivered, and it has no more at once; a later one runs in its place")
	})
}

// TestJunk has a server that talks nonsense.
func TestJunk(t *testing.T) {
	inBubble(t, nil, func(_ *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *"), 1, midnight, ""), synced(),
			&wire.FromServer{Kind: &wire.FromServer_Assign{Assign: &wire.Assign{Definition: []byte("{")}}},
			&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: 77}}})
		l.sleep(59 * time.Second)
		req := l.ask("m", at("00:01:00"))
		l.say(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: &wire.ClaimReply{Id: req.GetId()}}}) // too short
		l.sleep(askAgain)
		l.say(grantAll(l.ask("m", at("00:01:00"))))
		l.expectStarts("m@00:01:00")
	})
}
