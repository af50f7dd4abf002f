package hub

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

func isKill(m *wire.FromServer) bool { return m.GetKill() != nil }

func running(id crony.RunID, job string) *wire.FromAgent {
	return &wire.FromAgent{Kind: &wire.FromAgent_Running{Running: &wire.Running{Processes: []*wire.Process{
		{Run: string(id), Job: job, Pid: 7, StartedAt: time.Now().UnixNano()}}}}}
}

// killOrder orders an end by this server's store.
func (s *server) killOrder(id crony.RunID, reason string) {
	s.t.Helper()
	if err := s.state.OrderKill(s.t.Context(), "a1", "job", id, crony.KillOrder{By: "eve", At: time.Now().UTC(), Reason: reason}); err != nil {
		s.t.Fatal(err)
	}
}

// TestKill tells an agent of an order that another server took, again on each stream until the run has ended.
func TestKill(t *testing.T) {
	s := newServer(t)
	other := s.another("s2")
	id := newRun()
	facts := life("a1", id)
	p := s.connect("a1")
	p.acked(1, facts[:2])
	p.send(running(id, "job"))
	s.eventually("the process to be listed", func() bool { list := s.state.Procs(); return len(list) == 1 && list[0].PID == 7 })
	other.killOrder(id, "stuck")
	for range 2 {
		if k := p.until(isKill).GetKill(); k.GetRun() != string(id) || k.GetBy() != "eve" || k.GetReason() != "stuck" || k.GetAt() == 0 {
			t.Errorf("told %v", k)
		}
		p.leave()
		p = s.connect("a1", string(id))
	}
	p.until(isKill)
	s.logged("order to end a run given to its agent")
	facts[3].Ended = &crony.EndedFact{State: crony.Killed, Reason: "killed by eve: stuck"}
	p.acked(2, facts[2:])
	s.eventually("nothing to be left", func() bool { return len(s.state.Procs()) == 0 })
	p.leave()
	other.killOrder(id, "too late") // by who had not heard of its end: it is not told any more
	p = s.connect("a1")
	s.eventually("nothing to be left", func() bool { return len(s.state.Procs()) == 0 })
	p.leave()
}

// TestProcessOfOneThatWaits lists no process of a run that waits, and that of its next attempt when there is one.
func TestProcessOfOneThatWaits(t *testing.T) {
	s := newServer(t)
	id := newRun()
	facts := life("a1", id)
	p := s.connect("a1")
	p.acked(1, facts[:2])
	p.send(running(id, "job"))
	s.eventually("the process to be listed", func() bool { return len(s.state.Procs()) == 1 })
	facts[3].Ended, facts[3].Waiting = nil, &crony.WaitingFact{Attempt: 1, Until: time.Now().UTC(), Reason: "it failed"}
	p.acked(2, facts[2:4])
	s.eventually("it to be gone", func() bool { return len(s.state.Procs()) == 0 })
	p.send(running(id, "job"))
	s.eventually("the next to be listed", func() bool { return len(s.state.Procs()) == 1 })
	p.leave()
}

// TestKillBeforeItIsKnown orders the end of a run that its agent has just been given: it is told again when it has the run.
func TestKillBeforeItIsKnown(t *testing.T) {
	s := newServer(t)
	id := newRun()
	s.killOrder(id, "early")
	p := s.connect("a1")
	p.until(isKill)
	p.acked(1, life("a1", id)[:1])
	p.until(isKill)
}

// TestKillOfTheLost tells an agent that comes back with a run that was taken for lost.
func TestKillOfTheLost(t *testing.T) {
	s := newServer(t)
	kept, gone := newRun(), newRun()
	p := s.connect("a1")
	p.acked(1, append(life("a1", kept)[:2], life("a1", gone)[:2]...))
	p.leave()
	for _, id := range []crony.RunID{kept, gone} {
		verdict := crony.Fact{Run: id, Seq: crony.VerdictSeq, At: time.Now().UTC(), Ended: &crony.EndedFact{State: crony.Lost, Reason: "test"}}
		if err := s.runs.Append(t.Context(), []crony.Fact{verdict}, nil); err != nil {
			t.Fatal(err)
		}
		s.killOrder(id, "stuck")
	}
	p = s.connect("a1", string(kept))
	if k := p.until(isKill).GetKill(); k.GetRun() != string(kept) {
		t.Errorf("told %v", k)
	}
	s.eventually("the other order to be gone", func() bool { return len(s.state.Procs()) == 1 })
}

// TestProcessesGoWithTheAgent lists what an agent has as long as it is connected, and nothing that is none.
func TestProcessesGoWithTheAgent(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	p.send(running(newRun(), "job"), running(newRun(), "job"))
	s.eventually("processes to be listed", func() bool { return len(s.state.Procs()) == 2 })
	p.leave()
	s.eventually("them to be gone", func() bool { return len(s.state.Procs()) == 0 })
	for why, msg := range map[string]*wire.FromAgent{
		"is no job's name": running(newRun(), "../x"), "is not a run's id": running("x", "job"),
		"processes in a message": {Kind: &wire.FromAgent_Running{Running: &wire.Running{Processes: make([]*wire.Process, maxProcesses+1)}}},
	} {
		p := s.connect("a1")
		p.send(msg)
		p.refused(codes.InvalidArgument, why)
	}
	if list := s.state.Procs(); len(list) > 0 {
		t.Errorf("listed: %+v", list)
	}
}

// TestOrderElsewhere gives an order to an agent that has not the job, with the definition.
func TestOrderElsewhere(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", ""))
	p.assigned("m")
	q := s.connect("a2")
	ids, err := s.state.StartJob(t.Context(), "m", crony.StartOptions{Agent: "a2"})
	if err != nil {
		t.Fatal(err)
	}
	start := q.until(func(m *wire.FromServer) bool { return m.GetStart() != nil }).GetStart()
	req, err := wire.Decode[crony.StartRequest](start.GetRequest())
	def, defErr := wire.Decode[crony.Definition](start.GetDefinition())
	if err != nil || defErr != nil || req.Run != ids[0] || req.Agent != "a2" || def.Job.Name != "m" || start.GetEpoch() == 0 {
		t.Errorf("%+v, %+v, epoch %d; %v, %v", req, def, start.GetEpoch(), err, defErr)
	}
	q.leave()
	q = s.connect("a2")
	q.until(func(m *wire.FromServer) bool { return m.GetStart() != nil })
}

// TestOrderAfterItsEnd reports a run whole before the order for it is told once more: it is not, for the agent has forgotten it.
func TestOrderAfterItsEnd(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", ""))
	p.assigned("m")
	isStart := func(m *wire.FromServer) bool { return m.GetStart() != nil }
	for i := range 20 {
		ids, err := s.state.StartJob(t.Context(), "m", crony.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.until(isStart)
		p.leave() // it has the order, and nobody knows
		p = s.connect("a1", string(ids[0]))
		facts := life("a1", ids[0])
		facts[0].Claimed.Job, facts[0].Claimed.Trigger = "m", crony.ByHand
		p.acked(uint64(i+1), facts)
		after := len(p.seen)
		p.acked(uint64(i+1000), nil)
		for _, m := range p.seen[after:] {
			if isStart(m) {
				t.Fatal("an order came after its run was acknowledged")
			}
		}
		p.seen = nil
	}
}
