package hub

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

func (s *server) output(id crony.RunID) string {
	s.t.Helper()
	var b bytes.Buffer
	for c, err := range s.runs.Output(s.t.Context(), id, false) {
		if err != nil {
			s.t.Fatal(err)
		}
		b.Write(c.Data)
	}
	return b.String()
}

func chunkOf(id crony.RunID, off int64, text string) crony.Chunk {
	return crony.Chunk{Run: id, Attempt: 1, Stream: crony.Stdout, Offset: off, At: time.Now(), Data: []byte(text)}
}

// TestReplay repeats reports, whole and in other cuts: nothing changes.
func TestReplay(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	id := newRun()
	facts := life("a1", id)
	for n := range uint64(3) {
		p.acked(3*n+1, facts[:2], chunkOf(id, 0, "some "))
		p.acked(3*n+2, facts[2:], chunkOf(id, 5, "text"))
		p.acked(3*n+3, facts, chunkOf(id, 0, "some text"))
	}
	run, err := s.runs.Log.Run(t.Context(), id)
	if err != nil || run.State != crony.Succeeded || len(run.Attempts) != 1 || s.output(id) != "some text" {
		t.Errorf("%+v, %v, %q", run, err, s.output(id))
	}
}

// TestWhatCantBeStored has single records in a report that can't be right, or are of runs that nobody knows: they are dropped,
// and logged, and the agent gets on with the rest.
func TestWhatCantBeStored(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	good, bad := newRun(), newRun()
	facts := life("a1", good)
	wrong := life("a1", bad)
	wrong[0].Claimed.Job = strings.Repeat("x", 1000) // so that the rest is of a run that is not known
	empty := chunkOf(good, 9, "")
	p.acked(1, append(append([]crony.Fact{facts[0], wrong[0]}, facts[1], crony.Fact{Run: good, Seq: 77}), facts[2:]...),
		chunkOf(good, 0, "kept"), empty, chunkOf(good, 4, "!"))
	p.acked(2, wrong[1:], chunkOf(bad, 0, "x"))
	p.acked(3, []crony.Fact{{Run: "no id", Seq: 2, Ended: &crony.EndedFact{State: crony.Failed}}})
	if got := s.stateOf(good); got != crony.Succeeded || s.output(good) != "kept!" {
		t.Errorf("%s, %q", got, s.output(good))
	}
	if got := s.stateOf(bad); got != "" {
		t.Errorf("the bad run is %s", got)
	}
	text := s.text.String()
	if n := strings.Count(text, "reported record dropped"); n != 3 {
		t.Errorf("%d records dropped, want 3:\n%s", n, text)
	}
	if n := strings.Count(text, "report of an unknown run dropped"); n != 2 {
		t.Errorf("%d unknown runs, want 2:\n%s", n, text)
	}
}

// TestConflict reports another fact under a number that is taken: what is stored stands, the rest is stored, and the agent is
// not held up.
func TestConflict(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	id := newRun()
	facts := life("a1", id)
	p.acked(1, facts[:2])
	other := facts[1]
	other.Started = &crony.StartedFact{Attempt: 2}
	p.acked(2, []crony.Fact{other, facts[2], facts[3]})
	s.logged("another is stored under its number")
	if run, err := s.runs.Log.Run(t.Context(), id); err != nil || run.State != crony.Succeeded || run.Attempts[0].Number != 1 {
		t.Errorf("%+v, %v", run, err)
	}
}

// TestLogFails has a run log that can't write, or read: nothing is acknowledged, and the agent comes again.
func TestLogFails(t *testing.T) {
	s := newServer(t)
	id := newRun()
	s.runs.fail(errors.New("no space left"), nil)
	p := s.connect("a1")
	p.send(report(1, life("a1", id)))
	p.refused(codes.Unknown, "store a report: no space left")

	s.runs.fail(nil, errors.New("input/output error"))
	p = s.connect("a1")
	p.send(report(1, life("a1", id)))
	p.refused(codes.Unknown, "input/output error")
	if got := s.stateOf(id); got != "" {
		t.Errorf("the run is %s", got)
	}
	s.runs.fail(nil, nil)
	s.connect("a1").acked(1, life("a1", id))
	if got := s.stateOf(id); got != crony.Succeeded {
		t.Errorf("the run is %s", got)
	}
}

// TestFullLog has a run log that has no room for a while. Reports wait, and nothing but them: claims are answered, and agents
// are welcomed, also such as have lost runs.
func TestFullLog(t *testing.T) {
	s := newServer(t)
	s.apply(testJob("minutely", "* * * * *"))
	p := s.connect("a1")
	job, _ := p.assigned("minutely")
	lost, id := newRun(), newRun()
	p.acked(1, life("a1", lost)[:2])
	s.runs.fail(crony.Errorf(crony.Unavailable, "the disk of the run log is full"), nil)
	p.send(report(2, life("a1", id)))
	s.logged("reports have to wait")
	for n := range 3 {
		at := time.Now().UTC().Truncate(time.Minute).Add(time.Duration(n) * time.Minute)
		if got := p.claim(uint64(n+1), claimFor(job, at)); len(got.GetDecisions()) != 1 {
			t.Errorf("claim %d: %v", n, got)
		}
	}
	p.leave()
	p = s.connect("a1")
	s.logged("can't be declared lost yet")
	p.send(report(3, life("a1", id)))
	s.runs.fail(nil, nil)
	p.until(func(m *wire.FromServer) bool { return m.GetAck().GetId() == 3 })
	if got := s.stateOf(id); got != crony.Succeeded {
		t.Errorf("the run is %s", got)
	}
	p.leave()
	s.connect("a1")
	if got := s.stateOf(lost); got != crony.Lost {
		t.Errorf("the lost run is %s", got)
	}
}
