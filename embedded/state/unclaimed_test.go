package state

import (
	"testing"
	"time"

	"crony"
)

// ranAlone is a run of the job's occurrence that a1 started while it was cut off.
func ranAlone(uid, agent string, n int) Unclaimed {
	return Unclaimed{Agent: agent, Run: crony.OccurrenceRunID(uid, second(n), ""), Job: "a", UID: uid, Generation: 1, At: second(n)}
}

// TestFates has an agent cut off that has claimed one second of a job, and runs the others by itself, while all that can happens
// to the job. Only what is proven to be nobody's stands.
func TestFates(t *testing.T) {
	pause := func(r *rig, paused bool) {
		r.t.Helper()
		if _, err := r.PauseJob(r.ctx(), "a", paused); err != nil {
			r.t.Fatal(err)
		}
	}
	change := func(r *rig) {
		j := job1("a", "")
		j.Schedule = "*/5 * * * * *"
		r.define(j)
	}
	for name, c := range map[string]struct {
		happens func(r *rig)
		want    map[int]Fate // by second; it is 20 by then
	}{
		"nothing": {func(*rig) {}, map[int]Fate{1: FateOwn, 2: FateOpen, 20: FateOpen}},
		"another has it": {func(r *rig) { r.give("a2", "a") },
			map[int]Fate{1: FateOwn, 2: FateOpen, 20: FateOpen}},
		"another has claimed one, and goes on": {func(r *rig) {
			epoch := r.give("a2", "a")
			r.granted(r.ask("a", "a2", epoch, 2))
			r.granted(r.ask("a", "a2", epoch, 3))
		}, map[int]Fate{2: FateOpen, 3: FateOthers, 4: FateOpen}},
		"another passes over some": {func(r *rig) {
			epoch := r.give("a2", "a")
			r.granted(r.ask("a", "a2", epoch, 2))
			r.pass("a", "a2", epoch, 2, 10)
			r.granted(r.ask("a", "a2", epoch, 11))
		}, map[int]Fate{2: FateOpen, 3: FatePassed, 10: FatePassed, 11: FateOthers, 12: FateOpen}},
		"another was cut off too, and ran some": {func(r *rig) {
			epoch := r.give("a2", "a")
			r.decide(Ask{Job: "a", Agent: "a2", Epoch: epoch, At: second(5), After: second(1), Ran: true})
		}, map[int]Fate{2: FateOthers, 5: FateOthers, 6: FateOpen}},
		"it is paused": {func(r *rig) { pause(r, true) },
			map[int]Fate{2: FatePassed, 10: FatePassed, 11: FatePassed, 20: FatePassed, 21: FateOpen}},
		"it is paused and resumed": {func(r *rig) {
			pause(r, true)
			r.clock.forward(5 * time.Second)
			pause(r, false)
			r.give("a1", "a")
		}, map[int]Fate{1: FateOwn, 2: FatePassed, 10: FatePassed, 15: FatePassed, 16: FateOpen}},
		"it is changed": {func(r *rig) {
			change(r)
			r.give("a1", "a")
		}, map[int]Fate{1: FateOwn, 2: FatePassed, 10: FatePassed, 11: FatePassed, 15: FateOpen, 16: FatePassed}},
		"it is changed, and nobody has it yet": {change, map[int]Fate{2: FatePassed, 10: FatePassed, 11: FatePassed, 15: FateOpen}},
		"it is changed, and then claimed": {func(r *rig) {
			change(r)
			epoch := r.give("a2", "a")
			r.granted(r.ask("a", "a2", epoch, 15))
		}, map[int]Fate{10: FatePassed, 11: FateOpen, 15: FateOthers, 16: FatePassed}},
		"it is removed": {func(r *rig) {
			if err := r.DeleteJob(r.ctx(), "a"); err != nil {
				r.t.Fatal(err)
			}
		}, map[int]Fate{1: FateOwn, 2: FatePassed, 10: FatePassed, 11: FateOpen}},
		"another has its name": {func(r *rig) {
			if err := r.DeleteJob(r.ctx(), "a"); err != nil {
				r.t.Fatal(err)
			}
			r.define(job1("a", ""))
			r.granted(r.ask("a", "a2", r.give("a2", "a"), 15))
		}, map[int]Fate{1: FateOwn, 2: FatePassed, 10: FatePassed, 15: FateOpen}},
		"each agent has it": {func(r *rig) {
			r.define(jobOf("a", crony.PlaceEach))
			r.give("a1", "a")
		}, map[int]Fate{1: FateOwn, 2: FatePassed, 10: FatePassed, 11: FateOpen}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, emptied(t))
			r.define(job1("a", ""))
			r.granted(r.ask("a", "a1", r.give("a1", "a"), 1))
			uid := r.look("a").def.UID
			r.clock.forward(10 * time.Second)
			c.happens(r)
			r.clock.forward(second(20).Sub(r.now()))
			for n, want := range c.want {
				fates, err := r.Fates(t.Context(), []Unclaimed{ranAlone(uid, "a1", n)})
				if err != nil || fates[0] != want {
					t.Errorf("%d: %d, %v, want %d", n, fates, err, want)
				}
			}
		})
	}
}

// TestFateOfEach: nobody else's run has the id that an agent's own occurrence has, and no other id is the occurrence's.
func TestFateOfEach(t *testing.T) {
	r := newRig(t, emptied(t))
	own, strange := ranAlone("u", "a1", 1), ranAlone("u", "a1", 1)
	own.Run, strange.Run = crony.OccurrenceRunID("u", second(1), "a1"), crony.OccurrenceRunID("u", second(1), "a2")
	fates, err := r.Fates(t.Context(), []Unclaimed{own, strange})
	if err != nil || fates[0] != FateOwn || fates[1] != FateOthers {
		t.Errorf("%v, %v", fates, err)
	}
}

// TestAdopt has two agents that were cut off ask, of two servers, for the same occurrences, which were passed over: each becomes
// one's, whoever asks again. The record is no entry of the ledger.
func TestAdopt(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client)}
	var list [2][]Unclaimed
	for n := range 150 {
		list[0], list[1] = append(list[0], ranAlone("u", "a1", n)), append(list[1], ranAlone("u", "a2", 149-n))
	}
	var answers [2][]bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		answers[1], _ = rigs[1].Adopt(t.Context(), list[1])
	}()
	answers[0], _ = rigs[0].Adopt(t.Context(), list[0])
	<-done
	if len(answers[0]) != 150 || len(answers[1]) != 150 {
		t.Fatalf("%d and %d answers", len(answers[0]), len(answers[1]))
	}
	for n := range 150 {
		if answers[0][n] == answers[1][149-n] {
			t.Errorf("%d is a1's: %t, and a2's: %t", n, answers[0][n], answers[1][149-n])
		}
	}
	again, err := rigs[1].Adopt(t.Context(), list[0])
	if err != nil {
		t.Fatal(err)
	}
	fates, err := rigs[1].Fates(t.Context(), list[0])
	if err != nil {
		t.Fatal(err)
	}
	for n, own := range again {
		if own != answers[0][n] || (fates[n] == FateOwn) != own || (fates[n] == FateOthers) == own {
			t.Errorf("asked again, %d is a1's: %t, and its fate %d", n, own, fates[n])
		}
	}
	for _, p := range rigs[1].Passes() {
		if _, is := p.Stretch(); is || !p.Adopted() {
			t.Errorf("%+v", p)
		}
	}
}
