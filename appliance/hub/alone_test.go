package hub

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

// fates asks whose the runs of some occurrences are that are long ago, and returns how many are in each list.
func (p *byHand) fates(uid string, at ...time.Time) *wire.Fates {
	p.t.Helper()
	msg := &wire.Alone{}
	for _, t := range at {
		msg.Runs = append(msg.Runs, &wire.AloneRun{Run: string(crony.OccurrenceRunID(uid, t, "")), Job: "job", Uid: uid, Generation: 1,
			At: t.UnixNano()})
	}
	p.send(&wire.FromAgent{Kind: &wire.FromAgent_Alone{Alone: msg}})
	return p.until(func(m *wire.FromServer) bool { return m.GetFates() != nil }).GetFates()
}

// TestFates has an agent ask whose runs are, of a job that was removed long ago: of what became of it, the run log knows alone.
func TestFates(t *testing.T) {
	s := newServer(t)
	began := time.Now().UTC().Truncate(time.Hour).Add(-time.Hour)
	second := func(n int) time.Time { return began.Add(time.Duration(n) * time.Second) }
	stretch := func(end crony.End, agent string, from, to int) crony.Stretch {
		return crony.Stretch{Job: "job", JobUID: "u", Generation: 1, Agent: agent, From: second(from), To: second(to),
			Count: int64(to - from + 1), End: end, Reason: "test", DecidedAt: second(to)}
	}
	other := stretch(crony.EndMissed, "", 41, 45)
	other.Of = "a1"
	foreign := stretch(crony.EndMissed, "", 51, 55)
	foreign.JobUID = "v"
	err := s.runs.AppendStretches(t.Context(), []crony.Stretch{stretch(crony.EndMissed, "", 11, 15), stretch(crony.EndSkipped, "a2", 21, 25),
		stretch(crony.EndLost, "a2", 31, 31), stretch(crony.EndLost, "a1", 32, 32), other, foreign})
	if err != nil {
		t.Fatal(err)
	}
	a2 := s.connect("a2")
	a2.acked(1, scheduled("a2", "u", second(1)))
	a1 := s.connect("a1")
	a1.acked(1, scheduled("a1", "u", second(2)))
	want := map[int]string{1: "double", 2: "stand", 3: "open", 11: "stand", 15: "stand", 16: "open", 21: "stand", 25: "stand", 31: "double",
		32: "stand", 41: "open", 51: "open"}
	for range 2 { // the answer may be lost
		for n, list := range want {
			f := a1.fates("u", second(n))
			id := string(crony.OccurrenceRunID("u", second(n), ""))
			got := map[string][]string{"stand": f.GetStand(), "double": f.GetDouble(), "open": f.GetOpen()}
			if !slices.Equal(got[list], []string{id}) || len(f.GetStand())+len(f.GetDouble())+len(f.GetOpen()) != 1 {
				t.Errorf("%d: %v, want it %s", n, f, list)
			}
		}
	}
	f := a2.fates("u", second(11), second(12), second(16))
	if len(f.GetDouble()) != 1 || len(f.GetStand()) != 1 || len(f.GetOpen()) != 1 {
		t.Errorf("of what a1 has asked for before, a2 is told %v", f)
	}
	a2.acked(2, scheduled("a2", "u", second(12)))
	if f = a1.fates("u", second(12)); len(f.GetDouble()) != 1 {
		t.Errorf("of what a2 has reported, a1 is told %v", f)
	}
}

// TestStrangeFates has an agent name what is no job. A uid becomes part of a key.
func TestStrangeFates(t *testing.T) {
	s := newServer(t)
	for _, run := range []*wire.AloneRun{{Job: "job", Uid: "../spec"}, {Job: "job"}, {Job: "a/b", Uid: "u"}} {
		p := s.connect("a1")
		p.send(&wire.FromAgent{Kind: &wire.FromAgent_Alone{Alone: &wire.Alone{Runs: []*wire.AloneRun{run}}}})
		p.refused(codes.InvalidArgument, "is no job")
	}
	p := s.connect("a1")
	p.send(&wire.FromAgent{Kind: &wire.FromAgent_Alone{Alone: &wire.Alone{Runs: make([]*wire.AloneRun, maxAlone+1)}}})
	p.refused(codes.InvalidArgument, "at most")
}
