package hub

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

// others has the other servers of the log answer, and returns how often they were asked.
func (s *server) others(answer func() error) (asked func() int) {
	s.runs.mu.Lock()
	defer s.runs.mu.Unlock()
	s.runs.refresh, s.runs.refreshed = answer, 0
	return func() int {
		s.runs.mu.Lock()
		defer s.runs.mu.Unlock()
		return s.runs.refreshed
	}
}

// tell has the other servers know facts that this one does not.
func (s *server) tell(facts []crony.Fact) func() error {
	return func() error { return s.runs.Log.Append(s.t.Context(), facts, nil) }
}

func tooFew() error {
	return crony.Errorf(crony.Unavailable, "1 of 3 servers say what they know of a run")
}

// TestLostOnlyIfNobodyKnows has an agent come back that is silent of a run. Before it is lost, the other servers are asked.
func TestLostOnlyIfNobodyKnows(t *testing.T) {
	s := newServer(t)
	ended, gone := life("a1", newRun()), life("a1", newRun())
	for _, facts := range [][]crony.Fact{ended, gone} {
		if err := s.runs.Log.Append(t.Context(), facts[:2], nil); err != nil {
			t.Fatal(err)
		}
	}
	s.others(tooFew)
	s.connect("a1").leave()
	s.logged("are not lost yet")
	for _, facts := range [][]crony.Fact{ended, gone} {
		if got := s.stateOf(facts[0].Run); got != crony.Running {
			t.Errorf("judged without a majority: %s", got)
		}
	}
	asked := s.others(s.tell(ended))
	s.connect("a1").leave()
	if a, b := s.stateOf(ended[0].Run), s.stateOf(gone[0].Run); a != crony.Succeeded || b != crony.Lost || asked() != 1 {
		t.Errorf("the one that had ended elsewhere is %s, the other %s, after %d questions", a, b, asked())
	}
	if s.connect("a1").leave(); asked() != 1 {
		t.Error("asked of runs that have ended")
	}
}

// TestReportOfRunsKnownElsewhere reports the rest of runs of which another server has the first facts.
func TestReportOfRunsKnownElsewhere(t *testing.T) {
	s := newServer(t)
	facts := life("a1", newRun())
	id := facts[0].Run
	s.others(tooFew)
	p := s.connect("a1")
	p.send(report(1, facts[2:], chunkOf(id, 0, "text")))
	p.refused(codes.Unavailable, "1 of 3 servers")
	if s.stateOf(id) != "" {
		t.Error("stored")
	}

	asked := s.others(s.tell(facts[:2]))
	p = s.connect("a1")
	p.acked(1, facts[2:], chunkOf(id, 0, "text"))
	if got := s.stateOf(id); got != crony.Succeeded || s.output(id) != "text" {
		t.Errorf("%s, %q", got, s.output(id))
	}
	p.acked(2, life("a1", newRun()), chunkOf(id, 4, "!"))
	if asked() != 1 {
		t.Errorf("%d questions about one run", asked())
	}
	another := life("a2", newRun())
	s.others(s.tell(another[:2]))
	p.send(report(3, another[2:]))
	p.refused(codes.PermissionDenied, "is another agent's")
}

// TestOwesNothingThatIsKnownElsewhere tells an agent of its last claim only if no server has heard of the run: it would start
// again.
func TestOwesNothingThatIsKnownElsewhere(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", "* * * * * *"))
	a, _ := p.assigned("m")
	d := p.claim(1, &wire.Occurrence{Job: "m", Epoch: a.GetEpoch(),
		At: time.Now().Add(time.Second).Truncate(time.Second).UnixNano()}).GetDecisions()[0]
	if !d.GetGranted() {
		t.Fatal(d.GetReason())
	}
	p.leave()

	s.others(tooFew)
	p = s.dial("a1") // the end of the stream may be quicker than its welcome
	p.send(hello("{}"))
	p.refused(codes.Unavailable, "1 of 3 servers")

	s.others(nil)
	p = s.connect("a1")
	if again, _ := p.assigned("m"); again.GetOwed() != d.GetRun() {
		t.Errorf("owed %q, want %q", again.GetOwed(), d.GetRun())
	}
	p.leave()

	s.others(s.tell(life("a1", crony.RunID(d.GetRun()))))
	p = s.connect("a1")
	if again, _ := p.assigned("m"); again.GetOwed() != "" {
		t.Errorf("owed %q, which another server knows", again.GetOwed())
	}
}
