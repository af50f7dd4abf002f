package state

import (
	"testing"

	"crony"
)

// TestOccupy has runs that were started without a claim take their places, also over the bound: nothing is granted until fewer
// hold the lock than may.
func TestOccupy(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(alone("a", crony.OverlapForbid, 0), job1("free", ""))
	epoch, uid := r.give("a1", "a"), r.look("a").def.UID
	claimed := r.granted(r.ask("a", "a1", epoch, 1))
	occupy := func(job, uid string, n int) {
		t.Helper()
		run := crony.OccurrenceRunID(uid, second(n), "")
		if err := r.Occupy(t.Context(), job, uid, crony.Lock{Run: run, Agent: "a2"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		occupy("a", uid, 2)
		occupy("a", uid, 3)
	}
	occupy("a", "another", 4)
	occupy("free", r.look("free").def.UID, 4)
	occupy("none", "another", 4)
	r.expectLock("a", "1: 2: 3:")
	r.expectLock("free", "")
	for n, run := range []crony.RunID{claimed, crony.OccurrenceRunID(uid, second(2), ""), crony.OccurrenceRunID(uid, second(3), "")} {
		if d := r.ask("a", "a1", epoch, 5); d.Granted {
			t.Errorf("granted after the end of %d", n)
		}
		r.end("a", "a2", run)
	}
	r.granted(r.ask("a", "a1", epoch, 5))

	queued := alone("q", crony.OverlapQueue, 0)
	r.define(queued)
	epoch, uid = r.give("a1", "q"), r.look("q").def.UID
	r.decide(Ask{Job: "q", Agent: "a1", Epoch: epoch, At: second(1), Due: true})
	r.decide(Ask{Job: "q", Agent: "a1", Epoch: epoch, At: second(2), Due: true})
	r.expectLock("q", "1: 2:waits")
	occupy("q", uid, 2) // it did not wait
	r.expectLock("q", "1: 2:")
}
