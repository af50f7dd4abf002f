package hub

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// TestTwoStreams has an agent connect again while its old stream is there: the old one ends first.
func TestTwoStreams(t *testing.T) {
	s := newServer(t)
	first := s.connect("a1")
	second := s.connect("a1")
	first.refused(codes.Aborted, "the agent connected again")
	id := newRun()
	second.acked(1, life("a1", id))
	other := s.connect("a2") // another agent's is left alone
	second.acked(2, life("a1", id))
	if n := s.connected(); n != 2 {
		t.Errorf("%v streams", n)
	}
	other.leave()
	second.leave()
	if n := s.connected(); n != 0 {
		t.Errorf("%v streams", n)
	}
	s.logged("agent left")
}

// TestVerdicts ends the runs that an agent no longer knows; what it says of them later counts for more.
func TestVerdicts(t *testing.T) {
	s := newServer(t)
	kept, gone, done := newRun(), newRun(), newRun()
	p := s.connect("a1")
	p.acked(1, slices.Concat(life("a1", kept)[:2], life("a1", gone)[:2], life("a1", done)))
	p.leave()
	p = s.connect("a1", string(kept))
	if a, b, c := s.stateOf(kept), s.stateOf(gone), s.stateOf(done); a != crony.Running || b != crony.Lost || c != crony.Succeeded {
		t.Errorf("kept is %s, gone %s, done %s", a, b, c)
	}
	p.leave()
	s.connect("a1", string(kept), string(gone)).acked(1, life("a1", gone))
	if run, err := s.runs.Log.Run(t.Context(), gone); err != nil || run.State != crony.Succeeded || run.Reason != "" {
		t.Errorf("%+v, %v", run, err)
	}
}

// TestOwed claims, and says nothing of it on the next streams: the server tells what is owed, until the agent has reported it,
// and not while it can't know.
func TestOwed(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", "* * * * * *"))
	a, def := p.assigned("m")
	if a.GetOwed() != "" || a.GetCursor() == 0 {
		t.Errorf("%v", a)
	}
	at := time.Now().Add(time.Second).Truncate(time.Second)
	run := crony.OccurrenceRunID(def.UID, at, "")
	p.send(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: &wire.ClaimRequest{Id: 1,
		Occurrences: []*wire.Occurrence{{Job: "m", Epoch: a.GetEpoch(), At: at.UnixNano()}}}}})
	s.eventually("the claim", func() bool {
		job, ok := s.state.Assigned("a1", "m")
		return ok && job.Claim.Run == run
	})
	p.leave()

	s.runs.fail(nil, errors.New("input/output error"))
	p = s.dial("a1")
	p.send(hello("{}"))
	p.refused(codes.Unknown, "look up the run")
	s.runs.fail(nil, nil)
	for range 2 {
		p = s.connect("a1")
		if again, _ := p.assigned("m"); again.GetOwed() != string(run) || !wire.Time(again.GetCursor()).Equal(at) || again.GetEpoch() != a.GetEpoch() {
			t.Errorf("%v", again)
		}
		p.leave()
	}
	other := s.connect("a2") // owed to a1 alone
	p = s.connect("a1")
	p.assigned("m")
	p.acked(1, life("a1", run))
	p.leave()
	p = s.connect("a1", string(run))
	if again, _ := p.assigned("m"); again.GetOwed() != "" {
		t.Errorf("owed again after it was reported: %v", again)
	}
	other.leave()
}

func claimFor(a *wire.Assign, at time.Time) *wire.Occurrence {
	return &wire.Occurrence{Job: "m", Epoch: a.GetEpoch(), At: at.UnixNano()}
}

// TestClaimsOnDyingStreams breaks the stream right after each claim. On the next one the run is owed, or the same claim is
// granted again: it is never refused to the agent that may have it, and never another run.
func TestClaimsOnDyingStreams(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", "* * * * * *"))
	a, def := p.assigned("m")
	owed, again := 0, 0
	for i := range 30 {
		at := time.Now().Add(time.Duration(1+i) * time.Second).Truncate(time.Second)
		run := crony.OccurrenceRunID(def.UID, at, "")
		p.send(&wire.FromAgent{Kind: &wire.FromAgent_Claims{Claims: &wire.ClaimRequest{Id: 1, Occurrences: []*wire.Occurrence{claimFor(a, at)}}}})
		if i%2 == 0 { // else the next stream comes while the old one is there
			time.Sleep(time.Duration(i) * 100 * time.Microsecond) // before, while and after it is decided
			p.cancel()
		}
		p = s.connect("a1")
		a, _ = p.assigned("m")
		if a.GetOwed() == string(run) {
			owed++
			continue
		}
		again++
		if d := p.claim(1, claimFor(a, at)).GetDecisions()[0]; !d.GetGranted() || d.GetRun() != string(run) {
			t.Fatalf("claim %d: %v", i, d)
		}
	}
	t.Logf("%d were owed, %d asked for again", owed, again)
}

// TestLateClaim has a server that stood still grant a claim of a stream that is no more, when the agent has gone on to
// another and wants to pass over the occurrence: it is told that the run is its own.
func TestLateClaim(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", "* * * * * *"))
	a, def := p.assigned("m")
	cursor := wire.Time(a.GetCursor())
	at := cursor.Add(time.Millisecond)
	decisions, err := s.state.Claim(t.Context(), []state.Ask{{Job: "m", Agent: "a1", Epoch: a.GetEpoch(), At: at}})
	if err != nil || !decisions[0].Granted {
		t.Fatalf("%v, %v", decisions, err)
	}
	s.eventually("the claim", func() bool {
		job, ok := s.state.Assigned("a1", "m")
		return ok && job.Claim.At.Equal(at) && time.Now().After(at.Add(time.Millisecond))
	})
	pass := claimFor(a, at.Add(time.Millisecond))
	pass.Pass = &wire.Pass{After: a.GetCursor(), Reason: "late"}
	if d := p.claim(1, pass).GetDecisions()[0]; d.GetGranted() || !wire.Time(d.GetCursor()).Equal(at) {
		t.Errorf("%v", d)
	}
	run := crony.OccurrenceRunID(def.UID, at, "")
	if again, _ := p.assigned("m"); again.GetOwed() != string(run) || !wire.Time(again.GetCursor()).Equal(at) {
		t.Errorf("%v", again)
	}
	p.acked(1, life("a1", run))
	p.claim(2, pass)
	p.acked(2, nil)
	for _, m := range p.seen {
		if m.GetAssign() != nil {
			t.Errorf("told again after it was reported: %v", m)
		}
	}
}

// TestChanges tells an agent of every change to its jobs, once.
func TestChanges(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	p.until(func(m *wire.FromServer) bool { return m.GetSynced() != nil })
	s.apply(testJob("m", "* * * * *"), testJob("n", "* * * * *"))
	first, _ := p.assigned("m")
	p.assigned("n")
	s.apply(testJob("m", "0 * * * *"))
	second, def := p.assigned("m")
	if second.GetEpoch() <= first.GetEpoch() || def.Generation != 2 {
		t.Errorf("%v after %v", second, first)
	}
	if err := s.state.DeleteJob(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	p.until(func(m *wire.FromServer) bool { return m.GetUnassign().GetJob() == "m" })
	p.leave()
	p = s.connect("a1")
	p.until(func(m *wire.FromServer) bool { return m.GetSynced() != nil })
	p.seen = slices.DeleteFunc(p.seen, func(m *wire.FromServer) bool { return m.GetTrust() != nil })
	if len(p.seen) != 1 || p.seen[0].GetAssign() == nil {
		t.Errorf("before synced: %v", p.seen)
	}
}

// TestOrders tells of an order until it is taken; the agent's first word of the run is as good as its taking. Others can't
// take it.
func TestOrders(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	s.apply(testJob("m", ""))
	p.assigned("m")
	order := func(p *byHand) crony.StartRequest {
		t.Helper()
		req, err := wire.Decode[crony.StartRequest](p.until(func(m *wire.FromServer) bool { return m.GetStart() != nil }).GetStart().GetRequest())
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	taken := func(run crony.RunID) *wire.FromAgent {
		return &wire.FromAgent{Kind: &wire.FromAgent_Taken{Taken: &wire.Taken{Job: "m", Run: string(run)}}}
	}
	pending := func() bool {
		job, err := s.state.Job(t.Context(), "m")
		return err == nil && len(job.Orders) > 0
	}
	start := func(ctx context.Context, opts crony.StartOptions) crony.RunID {
		t.Helper()
		ids, err := s.state.StartJob(ctx, "m", opts)
		if err != nil || len(ids) != 1 {
			t.Fatal(ids, err)
		}
		return ids[0]
	}
	id := start(crony.WithActor(t.Context(), "eve"), crony.StartOptions{Params: map[string]string{"day": "monday"}})
	if got := order(p); got.Run != id || got.By != "eve" || got.Params["day"] != "monday" {
		t.Errorf("%+v", got)
	}
	thief := s.connect("a2")
	thief.send(taken(id))
	thief.refused(codes.PermissionDenied, "the order to start m is another agent's")
	p.leave()
	p = s.connect("a1")
	if got := order(p); got.Run != id || !pending() {
		t.Errorf("%+v", got)
	}
	p.send(taken(newRun()), taken(id), taken(id))
	s.eventually("the order to be taken", func() bool { return !pending() })

	id = start(t.Context(), crony.StartOptions{})
	order(p)
	facts := life("a1", id)
	facts[0].Claimed.Job, facts[0].Claimed.Trigger = "m", crony.ByHand
	p.acked(1, facts)
	s.eventually("the order to be taken", func() bool { return !pending() })
}
