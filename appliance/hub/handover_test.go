package hub

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

// movable is a run of a1 whose next attempt another agent may make: its facts so far, and the agent that a test plays by hand.
func movable(t *testing.T) (s *server, p *byHand, facts []crony.Fact) {
	s = newServer(t)
	p = s.connect("a1")
	j := testJob("job", "@yearly")
	j.Retry = &crony.Retry{Elsewhere: true}
	s.apply(j)
	_, def := p.assigned("job")
	facts = life("a1", newRun())[:3]
	facts[0].Claimed.JobUID, facts[0].Claimed.Generation = def.UID, def.Generation
	facts = append(facts, crony.Fact{Run: facts[0].Run, Seq: 4, At: time.Now().UTC(),
		Waiting: &crony.WaitingFact{Attempt: 1, Until: time.Now().UTC(), Reason: "it failed"}})
	p.acked(1, facts)
	return s, p, facts
}

func handOver(run crony.RunID, attempt int32, seq int64) *wire.FromAgent {
	return &wire.FromAgent{Kind: &wire.FromAgent_HandOver{HandOver: &wire.HandOver{Run: string(run), Attempt: attempt, Seq: seq,
		Until: time.Now().UnixNano(), Began: time.Now().UnixNano()}}}
}

// handsOver asks for another agent, and says whether the run stays.
func (p *byHand) handsOver(run crony.RunID, attempt int32, seq int64) bool {
	p.t.Helper()
	p.send(handOver(run, attempt, seq))
	return p.until(func(m *wire.FromServer) bool { return m.GetHandedOver().GetRun() == string(run) }).GetHandedOver().GetYours()
}

// continued waits until the agent is told of a run that goes on with it.
func (p *byHand) continued(run crony.RunID, attempt int) {
	p.t.Helper()
	msg := p.until(func(m *wire.FromServer) bool { return m.GetStart() != nil }).GetStart()
	req, err := wire.Decode[crony.StartRequest](msg.GetRequest())
	if err != nil || req.Run != run || req.Agent != p.id {
		p.t.Fatalf("it is told of %+v, %v", req, err)
	}
	c, err := wire.Decode[crony.Continuation](msg.GetContinuation())
	if err != nil || c.Attempt != attempt || c.Seq != 5 || c.Claimed.Agent != "a1" || c.Claimed.Job != "job" {
		p.t.Errorf("it goes on by %+v, %v", c, err)
	}
	if def, err := wire.Decode[crony.Definition](msg.GetDefinition()); err != nil || def.Job.Retry == nil {
		p.t.Errorf("it is of %+v, %v", def, err)
	}
}

func takes(run crony.RunID, attempt int32) *wire.FromAgent {
	return &wire.FromAgent{Kind: &wire.FromAgent_Taken{Taken: &wire.Taken{Job: "job", Run: string(run), Attempt: attempt}}}
}

// goesOn are the facts of a2, which makes the second attempt.
func goesOn(run crony.RunID) []crony.Fact {
	list := life("a2", run)[1:]
	for i := range list {
		list[i].Seq = 6 + i
		if list[i].Started != nil {
			list[i].Started.Attempt = 2
		}
		if list[i].Exited != nil {
			list[i].Exited.Attempt = 2
		}
	}
	return list
}

// TestHandOver hands a run to an agent at another server, which is told until it has taken it, and lets neither of the two spoil
// what the other has to say.
func TestHandOver(t *testing.T) {
	s, a1, facts := movable(t)
	run, other := facts[0].Run, s.another("s2")
	a2 := other.connect("a2")
	if a1.handsOver(run, 2, 5) {
		t.Fatal("it stays")
	}
	a2.continued(run, 2)
	if r, err := s.runs.Log.Run(t.Context(), run); err != nil || r.Agent != "a2" || r.State != crony.Waiting {
		t.Errorf("%+v, %v", r, err)
	}
	if a1.handsOver(run, 2, 5) {
		t.Error("asked again, it stays")
	}
	a1.leave()
	a1 = other.connect("a1") // which has heard it, and does not answer for the run
	a1.acked(2, facts)       // or has not
	a1.acked(3, []crony.Fact{{Run: run, Seq: 7, At: time.Now(), Ended: &crony.EndedFact{State: crony.Failed}}})
	other.logged("report of a run's end dropped")
	a2.leave()
	a2 = s.connect("a2") // before it has written it down
	a2.continued(run, 2)
	if state := s.stateOf(run); state != crony.Waiting {
		t.Fatalf("the run is %s", state)
	}
	if err := s.state.OrderKill(t.Context(), "a1", "job", run, crony.KillOrder{By: "eve"}); err != nil {
		t.Fatal(err)
	}
	a2.until(func(m *wire.FromServer) bool { return m.GetKill().GetRun() == string(run) })
	a2.send(takes(run, 2))
	a2.until(func(m *wire.FromServer) bool { return m.GetKill().GetRun() == string(run) }) // which it could not heed before
	if h, _ := s.state.HandOverOf(run); !h.Taken {
		t.Error("it is to be told once more")
	}
	a2.acked(1, goesOn(run))
	r, err := s.runs.Log.Run(t.Context(), run)
	if err != nil || r.State != crony.Succeeded || r.Agent != "a2" || len(r.Attempts) != 2 || r.Attempts[0].Agent != "a1" ||
		r.Attempts[1].Agent != "a2" || !slices.Equal(r.Former, []string{"a1"}) {
		t.Errorf("%+v, %v", r, err)
	}
	if list := s.state.HandOvers("", ""); len(list) > 0 {
		t.Errorf("kept: %+v", list)
	}
	if a1.handsOver(run, 2, 5) {
		t.Error("asked when it has ended, it stays")
	}
}

// TestHandOverInPieces has servers die between the steps: what is not done yet is done by whoever is asked next, and told next.
func TestHandOverInPieces(t *testing.T) {
	s, a1, facts := movable(t)
	run := facts[0].Run
	a2 := s.connect("a2")
	s.runs.fail(crony.Errorf(crony.Unavailable, "too few servers answer"), nil)
	a1.send(handOver(run, 2, 5))
	s.logged("is not decided yet")
	if h, is := s.state.HandOverOf(run); !is || h.To != "a2" {
		t.Fatalf("%+v", h)
	}
	a2.refused(codes.Unavailable, "put on record that a run moves")
	s.runs.fail(nil, nil)
	a1.leave() // and is not heard of again
	a2 = s.connect("a2")
	a2.continued(run, 2)
	if r, err := s.runs.Log.Run(t.Context(), run); err != nil || r.Agent != "a2" {
		t.Errorf("%+v, %v", r, err)
	}
	a2.acked(1, goesOn(run)) // that it has taken it was lost
	a2.leave()
	a2 = s.connect("a2")
	a2.acked(1, goesOn(run))
	if slices.ContainsFunc(a2.seen, func(m *wire.FromServer) bool { return m.GetStart() != nil }) {
		t.Error("it is told of a run that has ended")
	}
}

// TestHandOverLost gives a run up that nobody has taken: who comes back late is not told of it.
func TestHandOverLost(t *testing.T) {
	s, a1, facts := movable(t)
	run := facts[0].Run
	a2 := s.connect("a2")
	if a1.handsOver(run, 2, 5) {
		t.Fatal("it stays")
	}
	a2.continued(run, 2)
	a2.leave()
	r, _ := s.runs.Log.Run(t.Context(), run)
	verdict, due := s.state.Verdict(&r, "its agent is gone", time.Now().Add(time.Minute))
	if !due {
		t.Fatal("nobody ends it")
	}
	if err := s.runs.Append(t.Context(), []crony.Fact{verdict}, nil); err != nil {
		t.Fatal(err)
	}
	a2 = s.connect("a2")
	a2.until(func(m *wire.FromServer) bool { return m.GetSynced() != nil })
	if slices.ContainsFunc(a2.seen, func(m *wire.FromServer) bool { return m.GetStart() != nil }) || len(s.state.HandOvers("", "")) > 0 {
		t.Errorf("it is told of a run that is lost, or may be: %+v", s.state.HandOvers("", ""))
	}
}

// TestHandOverNobody lets the agent try again by itself where no other takes the run, and refuses what can't be.
func TestHandOverNobody(t *testing.T) {
	s, a1, facts := movable(t)
	run := facts[0].Run
	for range 2 {
		if !a1.handsOver(run, 2, 5) {
			t.Error("it is gone")
		}
	}
	a1.acked(2, []crony.Fact{{Run: run, Seq: 5, At: time.Now(), Started: &crony.StartedFact{Attempt: 2}}})
	if a1.handsOver(run, 2, 5) {
		t.Error("an attempt that has begun is to be made")
	}
	a1.send(report(3, []crony.Fact{{Run: run, Seq: 6, At: time.Now(), Moved: &crony.MovedFact{Agent: "a2", Attempt: 3}}}))
	a1.refused(codes.PermissionDenied, "an agent gives no verdicts")
	a1 = s.connect("a1", string(run))
	a1.send(handOver(run, 1, 5))
	a1.refused(codes.InvalidArgument, "is none to hand over")
	a3 := s.connect("a3")
	if a3.handsOver(run, 3, 7) {
		t.Error("another's run is its own")
	}
	a3.send(report(1, goesOn(run)))
	a3.refused(codes.PermissionDenied, "is another agent's")
}
