package state

import (
	"testing"
	"time"

	"crony"
)

// TestWaive gives up what an agent has claimed that is gone: nobody is told to start it any more, and it is lost unless it is
// reported. What was claimed on meanwhile is left alone, and a term that is over writes nothing.
func TestWaive(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(r *rig, epoch int64)
		waived    bool
	}{
		"as it was":        {func(*rig, int64) {}, true},
		"claimed on":       {func(r *rig, epoch int64) { r.granted(r.ask("a", "a1", epoch, 2)) }, false},
		"the term is over": {func(r *rig, _ int64) { r.elect() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, emptied(t))
			r.define(job1("a", "1"))
			epoch := r.give("a1", "a")
			run := r.granted(r.ask("a", "a1", epoch, 1))
			if err := r.sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			owed := r.OwedByAbsent()
			if len(owed) != 1 || owed[0].Run != run || owed[0].Agent != "a1" || r.Up("a1") {
				t.Fatalf("owed: %+v", owed)
			}
			term := r.elect()
			c.meanwhile(r, epoch)
			if err := r.Waive(t.Context(), term, owed); err != nil {
				t.Fatal(err)
			}
			if err := r.sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !c.waived {
				r.wantRecorded()
				return
			}
			r.wantRecorded("a 01-01 1 lost unless it is reported")
			if claim := r.look("a").claim; claim.Run != "" || !claim.At.Equal(second(1)) || len(r.OwedByAbsent()) > 0 {
				t.Errorf("the cursor is %+v", claim)
			}
			r.refused(r.ask("a", "a1", epoch, 1), "decided already")
			r.granted(r.ask("a", "a1", epoch, 2))
		})
	}
}

// TestRan has a cut-off agent tell what it has started: the cursor goes on if it is where the agent takes it to be, and the
// record is void if all of the runs are reported.
func TestRan(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	epoch := r.give("a1", "a")
	r.granted(r.ask("a", "a1", epoch, 1))
	r.clock.forward(10 * time.Second)
	tell := func(epoch int64, after, until int) Decision {
		t.Helper()
		d, err := r.Claim(r.ctx(), []Ask{{Job: "a", Agent: "a1", Epoch: epoch, At: second(until), After: second(after), Reason: "alone",
			Ran: true}})
		if err != nil {
			t.Fatal(err)
		}
		return d[0]
	}
	r.refused(tell(epoch, 0, 3), "decided already")
	r.refused(tell(epoch+1, 1, 3), movedMeanwhile)
	if d := tell(epoch, 1, 3); !d.Granted || d.Run != "" {
		t.Fatalf("%+v", d)
	}
	if d := tell(epoch, 1, 3); !d.Granted { // the answer was lost
		t.Errorf("told again: %+v", d)
	}
	r.wantRecorded("a 02-03 2 lost")
	p := r.Passes()[0]
	uid := r.look("a").def.UID
	runs, ok := p.Runs(2)
	if !ok || len(runs) != 2 || runs[0] != crony.OccurrenceRunID(uid, second(2), "") || runs[1] != crony.OccurrenceRunID(uid, second(3), "") {
		t.Errorf("void by %v", runs)
	}
	if _, ok := p.Runs(1); ok {
		t.Error("more runs than are looked for")
	}
	r.refused(r.ask("a", "a1", epoch, 3), "decided already")
	r.granted(r.ask("a", "a1", epoch, 4))
}
