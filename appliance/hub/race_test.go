package hub

import (
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// TestOwedOfARace: an agent claims and hears nothing of it, and another moves the cursor on. When the first is back it is told
// what it owes, before where the cursor is; and no more once it has reported it.
func TestOwedOfARace(t *testing.T) {
	s := newServer(t)
	one, two := s.connect("a1"), s.connect("a2")
	job := testJob("m", "* * * * * *")
	job.Placement = &crony.Placement{Mode: crony.PlaceRace}
	s.apply(job)
	first, def := one.assigned("m")
	second, _ := two.assigned("m")
	at := time.Now().Add(time.Second).Truncate(time.Second)
	run := crony.OccurrenceRunID(def.UID, at, "")
	one.send(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: &wire.ClaimRequest{Id: 1, Occurrences: []*wire.Occurrence{claimFor(first, at)}}}})
	s.eventually("the claim", func() bool {
		job, ok := s.state.Assigned("a1", "m")
		return ok && job.Claim.Run == run
	})
	one.leave()

	if d := two.claim(1, claimFor(second, at)).GetDecisions()[0]; d.GetGranted() || !wire.Time(d.GetCursor()).Equal(at) {
		t.Errorf("the loser is told %v", d)
	}
	next := at.Add(time.Second)
	if d := two.claim(2, claimFor(second, next)).GetDecisions()[0]; !d.GetGranted() {
		t.Fatalf("%v", d)
	}
	s.eventually("the record of the claim before", func() bool { return len(s.state.Overtaken("a1", "m")) == 1 })
	one = s.connect("a1")
	if a, _ := one.assigned("m"); a.GetOwed() != string(run) || !wire.Time(a.GetCursor()).Equal(at) {
		t.Errorf("told %v, want what it owes first", a)
	}
	if a, _ := one.assigned("m"); a.GetOwed() != "" || !wire.Time(a.GetCursor()).Equal(next) {
		t.Errorf("told %v, want where the cursor is", a)
	}
	if d := one.claim(1, claimFor(first, at)).GetDecisions()[0]; !d.GetGranted() || d.GetRun() != string(run) {
		t.Errorf("asked again: %v", d)
	}
	one.acked(2, life("a1", run))
	one.leave()
	one = s.connect("a1", string(run))
	if a, _ := one.assigned("m"); a.GetOwed() != "" || !wire.Time(a.GetCursor()).Equal(next) {
		t.Errorf("told %v after it was reported", a)
	}
	one.leave()
	two.leave()
}

// TestEachOwes: of a job that each agent runs, each is told of its own cursor and its own run.
func TestEachOwes(t *testing.T) {
	s := newServer(t)
	one, two := s.connect("a1"), s.connect("a2")
	job := testJob("m", "* * * * * *")
	job.Placement = &crony.Placement{Mode: crony.PlaceEach}
	s.apply(job)
	first, def := one.assigned("m")
	second, _ := two.assigned("m")
	at := time.Now().Add(2 * time.Second).Truncate(time.Second)
	for agent, p := range map[string]*byHand{"a1": one, "a2": two} {
		a := map[string]*wire.Assign{"a1": first, "a2": second}[agent]
		if d := p.claim(1, claimFor(a, at)).GetDecisions()[0]; d.GetRun() != string(crony.OccurrenceRunID(def.UID, at, agent)) {
			t.Errorf("%s is told %v", agent, d)
		}
	}
	two.acked(2, life("a2", crony.OccurrenceRunID(def.UID, at, "a2")))
	for agent, p := range map[string]*byHand{"a1": one, "a2": two} {
		p.leave()
		p = s.connect(agent, string(crony.OccurrenceRunID(def.UID, at, "a2")))
		owed := map[string]crony.RunID{"a1": crony.OccurrenceRunID(def.UID, at, "a1"), "a2": ""}[agent]
		if a, _ := p.assigned("m"); a.GetOwed() != string(owed) || !wire.Time(a.GetCursor()).Equal(at) {
			t.Errorf("%s is told %v, want that it owes %q", agent, a, owed)
		}
		p.leave()
	}
}
