package hub

import (
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

func isAnswer(m *wire.FromServer) bool { return m.GetAnswer() != nil }

// calls is what an agent says of a run by which it has called somebody, who has accepted.
func calls(agent string, id crony.RunID, until time.Time) []crony.Fact {
	facts := life(agent, id)[:3]
	facts[1].Started = &crony.StartedFact{Attempt: 1, Callback: "hash"}
	facts[2].Exited, facts[2].Waiting = nil, &crony.WaitingFact{Attempt: 1, Until: until, Reason: "waits for an answer"}
	return facts
}

func (s *server) answered(id crony.RunID) {
	s.t.Helper()
	if err := s.state.AnswerRun(s.t.Context(), "a1", "job", id,
		crony.Answer{Attempt: 1, State: crony.Succeeded, Reason: "done", At: time.Now().UTC()}); err != nil {
		s.t.Fatal(err)
	}
}

// TestAnswer tells an agent of an answer that another server took, again on each stream until the run has ended.
func TestAnswer(t *testing.T) {
	s := newServer(t)
	other := s.another("s2")
	id := newRun()
	facts := append(calls("a1", id, time.Now().Add(time.Hour)), crony.Fact{Run: id, Seq: 4, At: time.Now().UTC(),
		Ended: &crony.EndedFact{State: crony.Succeeded, Reason: "done"}})
	p := s.connect("a1")
	p.acked(1, facts[:2])
	other.answered(id)
	told := func() {
		t.Helper()
		a := p.until(isAnswer).GetAnswer()
		if a.GetRun() != string(id) || a.GetAttempt() != 1 || a.GetState() != "succeeded" || a.GetReason() != "done" || a.GetAt() == 0 {
			t.Errorf("told %v", a)
		}
	}
	told()
	p.acked(2, facts[2:3]) // it waits only now, and may have had no use for the answer before
	told()
	for range 2 {
		p.leave()
		p = s.connect("a1", string(id))
		told()
	}
	p.acked(3, facts[3:])
	s.eventually("nothing to be left", func() bool { return len(s.state.Procs()) == 0 })
	p.leave()
	other.answered(id) // by who had not heard of its end: it is not told any more
	p = s.connect("a1")
	s.eventually("nothing to be left", func() bool { return len(s.state.Procs()) == 0 })
	p.leave()
}

// TestSilentOfTheWaiting connects an agent that knows nothing of runs that wait: one that may still be answered goes on waiting,
// one that was answered ends so, and one that is over its time has timed out.
func TestSilentOfTheWaiting(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	waits, answered, late, lost := newRun(), newRun(), newRun(), newRun()
	p.acked(1, calls("a1", waits, time.Now().Add(time.Hour)))
	p.acked(2, calls("a1", answered, time.Now().Add(time.Hour)))
	p.acked(3, calls("a1", late, time.Now().Add(-time.Second)))
	p.acked(4, life("a1", lost)[:2])
	p.leave()
	s.answered(answered)
	p = s.connect("a1")
	for id, want := range map[crony.RunID]crony.RunState{waits: crony.Waiting, answered: crony.Succeeded, late: crony.TimedOut,
		lost: crony.Lost} {
		if got := s.stateOf(id); got != want {
			t.Errorf("a run is %s, want %s", got, want)
		}
	}
	s.answered(waits)
	if a := p.until(isAnswer).GetAnswer(); a.GetRun() != string(waits) {
		t.Errorf("told %v", a)
	}
}
