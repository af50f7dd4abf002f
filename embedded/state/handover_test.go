package state

import (
	"sync"
	"testing"
	"time"

	"crony"
)

// moving is a run of a job with one place, whose first attempt, by a1, is to be followed by one that another agent makes.
func moving(t *testing.T) (r, other *rig, run *crony.Run, c crony.Continuation) {
	client := emptied(t)
	r, other = newRig(t, client), newRig(t, client)
	for _, id := range []string{"a1", "a2", "a3"} {
		r.register(crony.Agent{ID: id, Name: id})
	}
	j := job1("a", "")
	j.Overlap, j.Retry = crony.OverlapForbid, &crony.Retry{Elsewhere: true}
	j.Placement = &crony.Placement{Exclude: []string{"a3"}}
	r.define(j)
	epoch := r.give("a1", "a")
	def := r.look("a").def
	run = &crony.Run{ID: crony.OccurrenceRunID(def.UID, second(1), ""), Job: "a", JobUID: def.UID, Generation: def.Generation,
		Agent: "a1", Trigger: crony.BySchedule, ScheduledAt: second(1), Epoch: epoch, State: crony.Waiting}
	got, err := r.Claim(t.Context(), []Ask{{Job: "a", Agent: "a1", Epoch: epoch, At: second(1), Due: true}})
	if err != nil || !got[0].Granted || got[0].Run != run.ID {
		t.Fatalf("the claim: %+v, %v", got, err)
	}
	if err := other.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, other, run, crony.Continuation{Claimed: run.Claim(), Seq: 5, Attempt: 2, Until: second(30), Began: second(1)}
}

// TestHandOver moves a run once, however many servers are asked at once, and although answers are lost; with its place in the lock.
func TestHandOver(t *testing.T) {
	r, other, run, c := moving(t)
	r.strike(replyLost)
	if _, err := r.HandOver(t.Context(), run, c); err == nil {
		t.Error("what has no answer is answered")
	}
	r.strike(nil)
	r.must(other.sync(t.Context()))
	first, found := other.HandOverOf(run.ID)
	if !found || first.To != "a2" || first.Taken || first.Definition == nil || first.From != "a1" {
		t.Fatalf("%+v", first)
	}
	r.clock.forward(time.Minute)
	var work sync.WaitGroup
	for n := range 10 {
		work.Go(func() {
			from := []*rig{r, other}[n%2]
			if h, err := from.HandOver(t.Context(), run, c); err != nil || h.To != "a2" || !h.Made.Equal(first.Made) {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
	work.Wait()
	if f := first.Moved(); f.Seq != 5 || f.Moved.Agent != "a2" || f.Moved.Attempt != 2 || !f.At.Equal(first.Made) {
		t.Errorf("%+v", f)
	}
	if l := r.Locks("a2"); len(l) != 1 || l[0].Run != run.ID || !l[0].Expected || len(r.Locks("a1")) != 0 {
		t.Errorf("places: %+v", r.Locks(""))
	}
	if jobs := r.OrderedOf("a2"); len(jobs) != 1 || len(r.HandOvers("a", "a2")) != 1 || len(r.HandOvers("a", "a1")) != 0 {
		t.Errorf("told of %v", jobs)
	}
	run.Agent = "a2"
	if v, due := r.Verdict(run, "gone", second(40)); due {
		t.Errorf("it is ended as it moves: %+v", v)
	}
	for _, wrong := range []struct {
		agent   string
		attempt int
	}{{"a1", 2}, {"a2", 1}} {
		if err := r.TakeHandOver(t.Context(), wrong.agent, run.ID, wrong.attempt); err != nil || len(r.HandOvers("a", "a2")) != 1 {
			t.Errorf("taken by %+v, %v", wrong, err)
		}
	}
	for range 2 {
		if err := other.TakeHandOver(t.Context(), "a2", run.ID, 2); err != nil {
			t.Error(err)
		}
	}
	r.must(other.sync(t.Context()))
	if h, _ := other.HandOverOf(run.ID); !h.Taken || h.Definition != nil || h.To != "a2" {
		t.Errorf("%+v", h)
	}
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, due := r.Verdict(run, "gone", second(40)); !due {
		t.Error("a run that has moved is spared for ever")
	}
	if err := r.EndHandOvers(t.Context(), []crony.RunID{run.ID, "another"}); err != nil || len(r.keys(handOvers)) > 0 {
		t.Errorf("%v is left, %v", r.keys(handOvers), err)
	}
}

// TestHandOverBack hands a run over for each attempt: to whom has had it least often, and what is asked late changes nothing.
func TestHandOverBack(t *testing.T) {
	r, _, run, c := moving(t)
	if h, err := r.HandOver(t.Context(), run, c); err != nil || h.To != "a2" {
		t.Fatalf("%+v, %v", h, err)
	}
	late := *run
	run.Agent, run.Former = "a2", []string{"a1"}
	next := c
	next.Attempt, next.Seq = 3, 9
	if h, err := r.HandOver(t.Context(), run, next); err != nil || h.To != "a1" || h.Attempt != 3 {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err := r.HandOver(t.Context(), &late, c); err != nil || h.To != "a1" || h.Attempt != 3 {
		t.Errorf("asked of the attempt before: %+v, %v", h, err)
	}
}

// TestHandOverStays keeps a run where it is, which is certain from then on.
func TestHandOverStays(t *testing.T) {
	kill := crony.KillOrder{By: "eve", Reason: "enough"}
	for name, change := range map[string]func(r *rig, run *crony.Run){
		"it is to be ended": func(r *rig, run *crony.Run) { r.must(r.OrderKill(r.ctx(), "a1", "a", run.ID, kill)) },
		"the other is cordoned": func(r *rig, _ *crony.Run) {
			_, err := r.ChangeAgent(r.ctx(), "a2", crony.AgentChange{Cordon: &crony.CordonChange{On: true}})
			r.must(err)
		},
		"the job is removed":    func(r *rig, _ *crony.Run) { r.must(r.DeleteJob(r.ctx(), "a")) },
		"it is lost":            func(_ *rig, run *crony.Run) { run.State = crony.Lost },
		"of another definition": func(_ *rig, run *crony.Run) { run.Generation = 77 },
	} {
		r, other, run, c := moving(t)
		change(r, run)
		for _, from := range []*rig{r, other} {
			if h, err := from.HandOver(t.Context(), run, c); err != nil || h.To != "a1" || !h.Taken {
				t.Errorf("%s: %+v, %v", name, h, err)
			}
		}
		r.register(crony.Agent{ID: "a4", Name: "a4"})
		if h, err := other.HandOver(t.Context(), run, c); err != nil || h.To != "a1" {
			t.Errorf("%s, and asked again when another has come: %+v, %v", name, h, err)
		}
	}
}

// TestKillWhileItMoves orders an end of the agent that has the run by then, whom the order names.
func TestKillWhileItMoves(t *testing.T) {
	r, other, run, c := moving(t)
	if _, err := r.HandOver(t.Context(), run, c); err != nil {
		t.Fatal(err)
	}
	if err := other.OrderKill(t.Context(), "a1", "a", run.ID, crony.KillOrder{By: "eve"}); err != nil {
		t.Fatal(err)
	}
	r.must(other.sync(t.Context()))
	_, first := other.Kill("a1", run.ID)
	if k, second := other.Kill("a2", run.ID); first || !second || k.By != "eve" {
		t.Errorf("a1 is told %v, a2 %v", first, second)
	}
	stale := *run
	if _, err := r.HandOver(t.Context(), &stale, c); err != nil {
		t.Error(err)
	}
}

// TestHandOverKeepsDefinition moves a run by the definition that it was claimed by, though the job was changed since.
func TestHandOverKeepsDefinition(t *testing.T) {
	r, _, run, c := moving(t)
	j := r.look("a").def.Job
	j.Note = "changed"
	r.define(j)
	if h, err := r.HandOver(t.Context(), run, c); err != nil || h.To != "a2" || h.Definition == nil || h.Definition.Generation != run.Generation {
		t.Errorf("%+v, %v", h, err)
	}
}
