package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

func TestHello(t *testing.T) {
	s := newServer(t)
	t.Run("something else", func(*testing.T) {
		p := s.dial("a1")
		p.send(report(1, life("a1", newRun())))
		p.refused(codes.InvalidArgument, "the first message must be a hello")
	})
	t.Run("twice", func(*testing.T) {
		p := s.connect("a1")
		p.send(hello("{}"))
		p.refused(codes.InvalidArgument, "a message of kind *wire.FromAgent_Hello was not expected")
	})
	t.Run("empty message", func(*testing.T) {
		p := s.connect("a1")
		p.send(&wire.FromAgent{})
		p.refused(codes.InvalidArgument, "a message of kind <nil> was not expected")
	})
	t.Run("junk", func(*testing.T) {
		p := s.dial("a1")
		p.send(hello("{junk"))
		p.refused(codes.InvalidArgument, "decode crony.Agent")
	})
	t.Run("long", func(*testing.T) {
		p := s.dial("a1")
		p.send(hello(`{"name":"` + strings.Repeat("x", maxAgent) + `"}`))
		p.refused(codes.InvalidArgument, "the agent says")
	})
	t.Run("another's name", func(t *testing.T) {
		p := s.dial("a1")
		p.send(hello(`{"id":"a2","server":"s9","since":"1999-01-01T00:00:00Z","weight":-5}`))
		p.next()
		agents, err := s.state.ListAgents(t.Context())
		if err != nil || len(agents) != 1 {
			t.Fatalf("%v, %v", agents, err)
		}
		if a := agents[0]; !a.Up || a.ID != "a1" || a.Server != "s1" || a.Weight != 1 || a.Since.Year() == 1999 || a.Name != "a1" {
			t.Errorf("it is believed: %+v", a)
		}
		p.leave()
	})
	t.Run("labels that nobody could select", func(t *testing.T) {
		p := s.dial("a1")
		var many strings.Builder
		for i := range crony.MaxLabels + 1 {
			fmt.Fprintf(&many, `,"k%02d":""`, i)
		}
		p.send(hello(`{"name":"a1","weight":5000,"labels":{"a b":"c","d":"e f","good":"1"` + many.String() + `}}`))
		p.next()
		a, err := s.state.Agent(t.Context(), "a1")
		if _, good := a.Labels["good"]; err != nil || !good || len(a.Labels) != crony.MaxLabels || a.Weight != crony.MaxWeight {
			t.Errorf("%+v, %v", a, err)
		}
		s.logged(`\"a b\" can't be a label's key`)
		p.leave()
	})
	t.Run("many runs", func(*testing.T) {
		runs := make([]string, 33_000) // twice what an agent takes on
		for i := range runs {
			runs[i] = string(newRun())
		}
		s.connect("a1", runs...).leave()
	})
	agents, err := s.state.ListAgents(t.Context())
	if err != nil || len(agents) != 1 || agents[0].Up {
		t.Errorf("%+v, %v", agents, err)
	}
}

// TestClaimsOfOthers has an agent ask for what is not its own.
func TestClaimsOfOthers(t *testing.T) {
	s := newServer(t)
	p1 := s.connect("a1")
	s.apply(testJob("m", "* * * * * *"))
	a, def := p1.assigned("m")
	p2 := s.connect("a2")
	at := time.Now().Add(time.Second).Truncate(time.Second)
	for i, o := range []*wire.Occurrence{
		{Job: "m", Epoch: a.GetEpoch(), At: at.UnixNano()},
		{Job: "m", Epoch: 0, At: at.UnixNano()},
		{Job: "m", Epoch: -1, At: at.UnixNano()},
		{Job: "nobody", Epoch: a.GetEpoch(), At: at.UnixNano()},
		{Job: "m/../../spec/m", Epoch: a.GetEpoch(), At: at.UnixNano()},
	} {
		if d := p2.claim(uint64(i), o).GetDecisions()[0]; d.GetGranted() || d.GetReason() == "" {
			t.Errorf("%v: %v", o, d)
		}
	}
	far := &wire.Occurrence{Job: "m", Epoch: a.GetEpoch(), At: at.AddDate(10, 0, 0).UnixNano()}
	if d := p1.claim(1, far).GetDecisions()[0]; d.GetGranted() {
		t.Error("an agent whose clock is ten years ahead ends the job for ten years")
	}
	own := &wire.Occurrence{Job: "m", Epoch: a.GetEpoch(), At: at.UnixNano()}
	for i := range 3 { // the same again has the same answer
		d := p1.claim(uint64(10+i), own, own).GetDecisions()
		if want := crony.OccurrenceRunID(def.UID, at, ""); len(d) != 2 || !d[0].GetGranted() || !d[1].GetGranted() || d[0].GetRun() != string(want) {
			t.Errorf("%v", d)
		}
	}
	p1.send(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: &wire.ClaimRequest{Occurrences: make([]*wire.Occurrence, maxClaims+1)}}})
	p1.refused(codes.InvalidArgument, fmt.Sprintf("%d occurrences in a request", maxClaims+1))
}

// TestReportsOfOthers has an agent report what is not its own, and more than it may: the stream ends, and nothing is stored.
func TestReportsOfOthers(t *testing.T) {
	s := newServer(t)
	its := newRun()
	p := s.connect("a1")
	p.acked(1, life("a1", its)[:2])
	p.leave()

	fresh := newRun()
	verdict := crony.Fact{Run: its, Seq: crony.VerdictSeq, At: time.Now(), Ended: &crony.EndedFact{State: crony.Failed}}
	beyond := verdict
	beyond.Seq++
	chunk := func(id crony.RunID) crony.Chunk {
		return crony.Chunk{Run: id, Attempt: 1, Stream: crony.Stdout, At: time.Now(), Data: []byte("forged")}
	}
	large := crony.Chunk{Run: fresh, Attempt: 1, Stream: crony.Stdout, Data: make([]byte, maxReport)}
	for name, c := range map[string]struct {
		agent string
		msg   *wire.FromAgent
		code  codes.Code
		why   string
	}{
		"another's facts":        {"a2", report(1, life("a1", its)[2:]), codes.PermissionDenied, "is another agent's"},
		"another's output":       {"a2", report(1, nil, chunk(its)), codes.PermissionDenied, "is another agent's"},
		"claimed over":           {"a2", report(1, life("a2", its)), codes.PermissionDenied, "is another agent's"},
		"own first, then theirs": {"a2", report(1, append(life("a2", fresh), life("a1", its)[2:]...)), codes.PermissionDenied, "is another agent's"},
		"in another's name":      {"a2", report(1, life("a1", fresh)), codes.PermissionDenied, "is claimed in the name of another agent"},
		"a verdict":              {"a1", report(1, []crony.Fact{verdict}), codes.PermissionDenied, "an agent gives no verdicts"},
		"beyond a verdict":       {"a1", report(1, []crony.Fact{beyond}), codes.PermissionDenied, "an agent gives no verdicts"},
		"too much":               {"a1", report(1, life("a1", fresh), large), codes.ResourceExhausted, "received message larger than max"},
		"junk": {"a1", &wire.FromAgent{Kind: &wire.FromAgent_Report{Report: &wire.Report{Facts: [][]byte{
			wire.Encode(life("a1", fresh)[0]), []byte(`{"run":7}`)}}}}, codes.InvalidArgument, "decode crony.Fact"},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.connect(c.agent, string(its))
			p.send(c.msg)
			p.refused(c.code, c.why)
			if got := s.stateOf(fresh); got != "" {
				t.Errorf("the fresh run is %s", got)
			}
			if got := s.stateOf(its); got != crony.Running {
				t.Errorf("the run is %s", got)
			}
			for range s.runs.Output(t.Context(), its, false) {
				t.Error("output was stored")
			}
			p.leave()
		})
	}
}
