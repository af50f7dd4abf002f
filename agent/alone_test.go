//go:build linux

package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/wire"
)

// deliverable returns the runs of which facts would be sent now, under the ids that they go by.
func (l *loopRig) deliverable() []crony.RunID {
	l.reports.mu.Lock()
	defer l.reports.mu.Unlock()
	var ids []crony.RunID
	for i := range l.reports.queue {
		it := l.reports.queue[i]
		if it.as = l.reports.names[it.run()]; it.as == "" {
			it.as = it.run()
		}
		if f := it.renamed(); f.Claimed != nil {
			ids = append(ids, f.Run)
		}
	}
	return ids
}

func (l *loopRig) expectDeliverable(want ...crony.RunID) {
	l.t.Helper()
	if got := l.deliverable(); !slices.Equal(got, want) {
		l.t.Errorf("to be delivered are %v, want %v", got, want)
	}
}

// cutOff has a job's agent lose all servers, and be alone for a while.
func (l *loopRig) cutOff(def crony.Definition, alone time.Duration) {
	l.say(assigned(def, 1, midnight, ""), synced())
	l.sleep(30 * time.Second)
	l.say(&wire.FromServer{})
	l.sleep(alone)
}

func ordinary(clock string) crony.RunID { return crony.OccurrenceRunID("uid-m", at(clock), "") }

func double(clock string) crony.RunID { return crony.DoubleRunID("uid-m", at(clock), "a1") }

// TestAlone has an agent that is cut off start what may start without a claim, when it is due, and nothing else.
func TestAlone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*crony.Job)
		starts []string
	}{
		"run":      {func(*crony.Job) {}, []string{"m@00:01:00", "m@00:02:00"}},
		"run, too": {func(j *crony.Job) { j.OnDisconnect = crony.DisconnectRun }, []string{"m@00:01:00", "m@00:02:00"}},
		"hold":     {func(j *crony.Job) { j.OnDisconnect = crony.DisconnectHold }, nil},
		"stop":     {func(j *crony.Job) { j.OnDisconnect = crony.DisconnectStop }, nil},
		"race":     {func(j *crony.Job) { j.Placement = &crony.Placement{Mode: crony.PlaceRace} }, nil},
		"paused":   {func(j *crony.Job) { j.Paused = true }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, l *loopRig) {
				l.cutOff(definition("m", "* * * * *", c.change), 2*time.Minute)
				l.expectStarts(c.starts...)
				l.expectDeliverable()
				for _, f := range l.journal.undecided() {
					if !f.Claimed.Unclaimed || f.Claimed.Epoch != 1 {
						t.Errorf("%+v", f.Claimed)
					}
				}
			})
		})
	}
}

// TestAloneEach gives a run of a job that every agent runs the id that it has on this one.
func TestAloneEach(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.cutOff(definition("m", "* * * * *", func(j *crony.Job) { j.Placement = &crony.Placement{Mode: crony.PlaceEach} }), time.Minute)
		if want := crony.OccurrenceRunID("uid-m", at("00:01:00"), "a1"); !l.journal.knows(want) {
			t.Errorf("the journal has %v, want %s", l.journal.runs(), want)
		}
	})
}

// TestAloneWaits has an agent not start what a server may be about to grant: not before the lease is over, and never while a
// server is there. What was due meanwhile starts then, as it is no later than servers take to fail over.
func TestAloneWaits(t *testing.T) {
	inBubble(t, nil, func(_ *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *", func(j *crony.Job) {
			j.Misfire = &crony.Misfire{Policy: crony.MisfireSkip}
		}), 1, midnight, ""), synced())
		for range 58 {
			l.sleep(time.Second)
			l.answerPings()
		}
		l.say(&wire.FromServer{})
		l.sleep(7 * time.Second)
		l.expectStarts()
		l.sleep(3 * time.Second)
		l.expectStarts("m@00:01:00")
	})
	inBubble(t, nil, func(_ *testing.T, l *loopRig) {
		l.say(assigned(definition("m", "* * * * *"), 1, midnight, ""), synced())
		l.sleep(time.Hour) // in which the server says nothing; the link would have ended the stream
		l.expectStarts()
	})
}

// TestTellsFirst has the agent tell what ran before anything of that is delivered, the gaps between apart, and one part after
// the other.
func TestTellsFirst(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		def := definition("m", "* * * * *", func(j *crony.Job) { j.Misfire = &crony.Misfire{Policy: crony.MisfireSkip} })
		l.cutOff(def, 2*time.Minute)
		l.sleepHost(5 * time.Minute)
		l.sleep(time.Minute)
		l.expectStarts("m@00:01:00", "m@00:02:00", "m@00:08:00")
		l.asks()
		l.say(newStream(), assigned(def, 1, midnight, ""), synced())
		for _, part := range []struct {
			until string
			less  time.Duration
			ran   bool
			then  []crony.RunID
		}{
			{"00:02:00", 0, true, []crony.RunID{ordinary("00:01:00"), ordinary("00:02:00")}},
			{"00:08:00", 1, false, []crony.RunID{ordinary("00:01:00"), ordinary("00:02:00")}},
			{"00:08:00", 0, true, []crony.RunID{ordinary("00:01:00"), ordinary("00:02:00"), ordinary("00:08:00")}},
		} {
			req := l.ask("m", at(part.until).Add(-part.less))
			if o := req.GetOccurrences()[0]; o.GetRan() != part.ran || o.GetPass() == nil {
				t.Errorf("asked %v, want ran to be %t", o, part.ran)
			}
			l.say(grantAll(req))
			l.expectDeliverable(part.then...)
		}
		if len(l.loop.table.solo) > 0 {
			t.Error("there is still something to tell")
		}
	})
}

// TestComesBack has the agent killed, or not, at each step of the way from a start without a claim to its delivery, and then
// finds the servers in each state that they can be in by then. The run is delivered once: under its id or as a double.
func TestComesBack(t *testing.T) {
	def := definition("m", "* * * * *")
	newer := def
	newer.Generation = 2
	paused := newer
	paused.Job.Paused = true
	own, others := &wire.Fates{Stand: []string{string(ordinary("00:01:00"))}}, &wire.Fates{Double: []string{string(ordinary("00:01:00"))}}
	stands, doubles := []crony.RunID{ordinary("00:01:00")}, []crony.RunID{double("00:01:00")}
	for _, crash := range []bool{false, true} {
		for name, c := range map[string]struct {
			before func(l *loopRig)   // the crash, or the loss of the stream
			list   []*wire.FromServer // what the next stream begins with
			told   bool               // the agent tells what ran first
			asked  *wire.Fates        // the agent asks whose the run is, and this is the answer
			want   []crony.RunID
		}{
			"started, and nothing has changed": {nil, []*wire.FromServer{assigned(def, 1, midnight, "")}, true, nil, stands},
			"started, and its claim was granted after all": {nil, []*wire.FromServer{
				assigned(def, 1, at("00:01:00"), ordinary("00:01:00"))}, false, nil, stands},
			"started, and the job was changed, which the run's occurrence outlived": {nil, []*wire.FromServer{
				assigned(newer, 2, midnight, "")}, true, own, stands},
			"started, and the job was changed, after others had run it": {nil, []*wire.FromServer{
				assigned(newer, 2, at("00:01:00"), "")}, false, others, doubles},
			"started, and the job was changed, and nobody ran it": {nil, []*wire.FromServer{
				assigned(newer, 2, at("00:01:00"), "")}, false, own, stands},
			"started, and the job is paused":                        {nil, []*wire.FromServer{assigned(paused, 2, midnight, "")}, false, own, stands},
			"started, and the job is another agent's, which ran it": {nil, nil, false, others, doubles},
			"started, and the job is no more, and nobody ran it":    {nil, nil, false, own, stands},
			"told, and granted":                                     {(*loopRig).tellLost, []*wire.FromServer{assigned(def, 1, at("00:01:00"), "")}, false, nil, stands},
			"told, and not granted":                                 {(*loopRig).tellLost, []*wire.FromServer{assigned(def, 1, midnight, "")}, true, nil, stands},
			"told, and the job was changed": {(*loopRig).tellLost, []*wire.FromServer{
				assigned(newer, 2, at("00:01:00"), "")}, false, own, stands},
			"granted, and then the job was changed": {(*loopRig).tellGranted, []*wire.FromServer{
				assigned(newer, 2, at("00:01:00"), "")}, false, nil, stands},
			"refused, and then nothing is known": {(*loopRig).tellRefused, nil, false, nil, doubles},
		} {
			t.Run(fmt.Sprintf("%s, crash %t", name, crash), func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, l *loopRig) {
					l.cutOff(def, time.Minute)
					l.process("00:01:00")
					if c.before != nil {
						c.before(l)
						l.say(&wire.FromServer{})
					}
					if crash {
						l = l.crash(t)
						defer l.halt()
					}
					l.asks()
					l.say(append(append([]*wire.FromServer{newStream()}, c.list...), synced())...)
					if c.told {
						l.expectDeliverable()
						l.say(grantAll(l.ask("m", at("00:01:00"))))
					}
					if c.asked != nil {
						l.expectDeliverable()
						l.sleep(askAgain)
						l.askFate("00:01:00")
						l.say(fated(c.asked))
					}
					l.expectDeliverable(c.want...)
					var ids []crony.RunID
					for _, id := range l.journal.runs() {
						ids = append(ids, crony.RunID(id))
					}
					if diff := cmp.Diff(c.want, ids); diff != "" {
						t.Errorf("the agent answers for (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// TestDoubleByName has the servers speak of a run that goes on as a double: of its process they hear when it is decided, and under the
// id that they know it by; and by that they end it.
func TestDoubleByName(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		l.cutOff(definition("m", "* * * * *"), time.Minute)
		p := &process{ongoing: ongoing{run: ordinary("00:01:00"), job: "m", began: time.Now()}, gone: true}
		l.runner.running[p.run] = p
		l.say(newStream(), synced())
		l.sleep(2 * lasting)
		if told := l.toldRunning(); len(told) > 0 {
			t.Errorf("while it is not decided what the run is, the servers are told of %v", told)
		}
		l.say(fated(&wire.Fates{Double: []string{string(p.run)}}))
		l.sleep(2 * lasting)
		if told := l.toldRunning(); !slices.Equal(told, []crony.RunID{double("00:01:00")}) {
			t.Errorf("the servers are told of %v", told)
		}
		l.say(killed(double("00:01:00"), "stuck"))
		if order, is := l.runner.killed(p.run); !is || order.Reason != "stuck" {
			t.Errorf("it is not ended: %+v", order)
		}
	})
}

// toldRunning returns the runs of which the servers were told that their processes last.
func (l *loopRig) toldRunning() []crony.RunID {
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	var list []crony.RunID
	for _, msg := range l.desk.posted {
		for _, p := range msg.GetRunning().GetProcesses() {
			list = append(list, crony.RunID(p.GetRun()))
		}
	}
	return list
}

// TestNobodyKnows has servers that don't find out whose a run is: it is withheld, and asked about, for a while, and then goes under
// an id that nobody else has. What its job's servers know meanwhile holds.
func TestNobodyKnows(t *testing.T) {
	for name, then := range map[string]struct {
		at   time.Duration
		fate *wire.Fates
		want crony.RunID
	}{
		"ever":    {fatesWait, nil, double("00:01:00")},
		"at once": {fatesWait - 2*askAgain, &wire.Fates{Stand: []string{string(ordinary("00:01:00"))}}, ordinary("00:01:00")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(_ *testing.T, l *loopRig) {
				l.cutOff(definition("m", "* * * * *"), time.Minute)
				l.say(newStream(), synced())
				began := time.Now()
				for time.Since(began) < then.at {
					l.askFate("00:01:00")
					l.expectDeliverable()
					l.say(fated(&wire.Fates{Open: []string{string(ordinary("00:01:00"))}}))
					l.sleep(askAgain)
				}
				l.expectDeliverable()
				if then.fate == nil {
					then.fate = &wire.Fates{Open: []string{string(ordinary("00:01:00"))}}
				}
				l.say(fated(then.fate))
				l.expectDeliverable(then.want)
			})
		})
	}
}

// process has the run of an instant start and end, as a starter would.
func (l *loopRig) process(clock string) {
	id, code := ordinary(clock), 0
	l.runner.keep(entry{Birth: &birth{Boot: "another", Ticks: 1}, Fact: &crony.Fact{Run: id, At: at(clock),
		Started: &crony.StartedFact{Attempt: 1, PID: 1 << 22}}})
	l.runner.keep(entry{Fact: &crony.Fact{Run: id, At: at(clock), Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &code}}})
	l.runner.end(id, crony.Succeeded, "")
}

// tellLost has the agent tell what ran, and hear nothing.
func (l *loopRig) tellLost() { l.tells(1, nil) }

func (l *loopRig) tellGranted() { l.tells(1, grantAll) }

// tellRefused has the job be another agent's, which has run it.
func (l *loopRig) tellRefused() {
	l.say(newStream(), synced(), fated(&wire.Fates{Double: []string{string(ordinary("00:01:00"))}}))
}

func fated(f *wire.Fates) *wire.FromServer {
	return &wire.FromServer{Kind: &wire.FromServer_Fates{Fates: f}}
}

// askFate expects the agent to have asked, last of all, whose the run of an instant is.
func (l *loopRig) askFate(clock string) {
	l.t.Helper()
	l.desk.mu.Lock()
	defer l.desk.mu.Unlock()
	var asked []*wire.AloneRun
	for _, msg := range l.desk.posted {
		if alone := msg.GetAlone(); alone != nil {
			asked = alone.GetRuns()
		}
	}
	if len(asked) != 1 || asked[0].GetRun() != string(ordinary(clock)) || asked[0].GetUid() != "uid-m" || asked[0].GetJob() != "m" ||
		!wire.Time(asked[0].GetAt()).Equal(at(clock)) {
		l.t.Errorf("asked whose %v are", asked)
	}
}

func (l *loopRig) tells(epoch int64, answer func(*wire.ClaimRequest) *wire.FromServer) {
	l.t.Helper()
	l.asks()
	l.say(newStream(), assigned(definition("m", "* * * * *"), epoch, midnight, ""), synced())
	req := l.ask("m", at("00:01:00"))
	if answer != nil {
		l.say(answer(req))
	}
}

// crash ends the agent without a word and begins another on its directory.
func (l *loopRig) crash(t *testing.T) *loopRig {
	l.halt()
	if err := l.journal.file.Close(); err != nil {
		t.Fatal(err)
	}
	return newLoopRig(t, l.dir, boots{}, (*runner).recover)
}
