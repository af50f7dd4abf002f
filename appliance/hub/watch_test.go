package hub

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/internal/pki"
	"crony/internal/wire"
)

// TestExpel ends the stream of an agent that is removed, at once, also if the agent reads nothing; others stay.
func TestExpel(t *testing.T) {
	s := newServer(t)
	p, deaf, other := s.connect("a1"), s.connect("a2"), s.connect("a3")
	flooded := s.of("a2")
	var flood sync.WaitGroup
	flood.Go(func() { // more than the transport takes
		msg := &wire.FromServer{Kind: &wire.FromServer_Assign{Assign: &wire.Assign{Definition: make([]byte, 100<<10)}}}
		for flooded.send(msg) == nil {
		}
	})
	s.eventually("the queue to be full", func() bool { return len(flooded.out.queue) == queued })
	s.bury(crony.JoinAgent, "a1")
	p.refused(codes.PermissionDenied, "the agent the a1 (a1) was removed from the cluster")
	s.bury(crony.JoinAgent, "a2")
	s.eventually("the other stream to end", func() bool { return s.of("a1") == nil && s.of("a2") == nil })
	deaf.refused(codes.PermissionDenied, "the agent the a2 (a2) was removed from the cluster")
	other.acked(1, life("a3", newRun()))
	flood.Wait()
	again := s.dial("a1")
	again.send(hello("{}"))
	again.refused(codes.PermissionDenied, "was removed from the cluster")
}

// TestNoQuorum sends agents away while the server reaches no quorum, but not at the first hiccup. Other servers are answered.
func TestNoQuorum(t *testing.T) {
	s := newServer(t)
	p, other := s.connect("a1"), s.connect("a2")
	s.cutOff.Store(true)
	s.beats(1)
	s.cutOff.Store(false)
	s.beats(1)

	s.cutOff.Store(true)
	began := time.Now()
	for _, agent := range []*byHand{p, other} {
		if err := agent.ended(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "this server reaches no quorum") {
			t.Errorf("ended with %v", err)
		}
	}
	if took := time.Since(began); took < quorumGrace {
		t.Errorf("ended after %s", took)
	}
	late := s.dial("a3")
	late.send(hello("{}"))
	late.refused(codes.Unavailable, "this server reaches no quorum")
	if err := s.call(source(t, s.ca, pki.Server, "s2", time.Now()), asking); err != nil {
		t.Errorf("a server is refused: %v", err)
	}
	s.cutOff.Store(false)
	s.logged("agents are welcome again")
	s.connect("a1").acked(1, life("a1", newRun()))
	if n := strings.Count(s.text.String(), "agents sent away"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// beats waits until the server has looked so many times more how it is.
func (s *server) beats(n int64) {
	s.t.Helper()
	enough := s.asked.Load() + n
	s.eventually("the next look", func() bool { return s.asked.Load() >= enough })
}

// ended waits for the end of the stream.
func (p *byHand) ended() error {
	for {
		if _, err := p.link.Recv(); err != nil {
			return err
		}
	}
}

// moved waits until the agent is asked to go, and returns where to.
func (p *byHand) moved() string {
	p.t.Helper()
	return p.until(func(m *wire.FromServer) bool { return m.GetMove() != nil }).GetMove().GetServer()
}

// TestDrain asks all agents to go when the server stops. It waits for them, but not for one that stays.
func TestDrain(t *testing.T) {
	s := newServer(t)
	var agents sync.WaitGroup
	var stubborn *byHand
	for i := range 40 {
		p := s.connect(fmt.Sprintf("a%d", i))
		if i == 0 {
			stubborn = p
			continue
		}
		agents.Go(func() {
			if to := p.moved(); to != "" {
				t.Errorf("sent to %q", to)
			}
			p.link.CloseSend()
			if err := p.ended(); err == nil || !strings.Contains(err.Error(), "EOF") {
				t.Errorf("ended with %v", err)
			}
		})
	}
	began := time.Now()
	s.stop()
	if took := time.Since(began); took < drainWait || took > 10*drainWait {
		t.Errorf("it took %s", took)
	}
	agents.Wait()
	stubborn.moved()
	if err := stubborn.ended(); status.Code(err) != codes.Unavailable {
		t.Errorf("ended with %v", err)
	}
	if n := s.connected(); n != 0 {
		t.Errorf("%v streams are left", n)
	}

	quick := s.another("s2")
	p := quick.connect("a1")
	go func() {
		p.moved()
		p.leave()
	}()
	began = time.Now()
	quick.stop()
	if took := time.Since(began); took > drainWait {
		t.Errorf("it took %s though all agents had gone", took)
	}
}

// TestMove connects nine agents to one server of three: a third goes to each. What they run goes on, and none is ever taken for gone once it
// has come to its new server.
func TestMove(t *testing.T) {
	soon := func(s *server) { s.balancer.quiet, s.balancer.every = 300*time.Millisecond, 100*time.Millisecond }
	s := newServer(t, soon)
	servers := map[string]*server{"s1": s, "s2": s.another("s2", soon), "s3": s.another("s3", soon)}
	for id, one := range servers {
		s.up(id, one.address)
	}
	const count = 9
	runs := make([]crony.RunID, count)
	var agents sync.WaitGroup
	var over atomic.Bool
	for i := range count {
		id := fmt.Sprintf("a%d", i)
		p := s.connect(id)
		runs[i] = newRun()
		p.acked(1, life(id, runs[i])[:2])
		agents.Go(func() {
			for { // until the test is over
				msg, err := p.recv()
				if err != nil {
					return
				}
				to := msg.GetMove().GetServer()
				if to == "" || over.Load() { // servers that stop send everybody away, and make the load uneven
					continue
				}
				old := p
				p = servers[to].connect(id, string(runs[i]))
				old.cancel()
			}
		})
	}
	held := func() string {
		list, err := s.state.ListAgents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, a := range list {
			if a.Up {
				n[a.Server]++
			}
		}
		return fmt.Sprint(n)
	}
	s.eventually("the agents to be spread evenly", func() bool { return held() == "map[s1:3 s2:3 s3:3]" })
	time.Sleep(time.Second) // all hubs have looked again
	if got := held(); got != "map[s1:3 s2:3 s3:3]" {
		t.Errorf("it doesn't stay so: %s", got)
	}
	for i, run := range runs {
		if got := s.stateOf(run); got != crony.Running {
			t.Errorf("the run of a%d is %s", i, got)
		}
	}
	for id, one := range servers {
		if n := one.connected(); n != 3 {
			t.Errorf("%s holds %v streams", id, n)
		}
		if text := one.text.String(); strings.Contains(text, "run lost") || strings.Contains(text, "level=WARN") {
			t.Errorf("%s says:\n%s", id, text)
		}
	}
	over.Store(true)
	for _, one := range servers {
		one.stop()
	}
	agents.Wait()
}

// TestUnrecorded has the record of an agent's connection be replaced, and removed, by a server that it has left: the stream ends, so
// that the agent connects again.
func TestUnrecorded(t *testing.T) {
	s := newServer(t)
	p, other := s.connect("a1"), s.connect("a2")
	elsewhere, err := s.state.RegisterAgent(t.Context(), crony.Agent{ID: "a1", Weight: 1, Server: "late"})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.Leave(t.Context())
	p.refused(codes.Unavailable, "not on record any more")
	other.acked(1, life("a2", newRun()))
	s.connect("a1").acked(1, life("a1", newRun()))
}
