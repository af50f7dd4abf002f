package state

import (
	"fmt"
	"sync"
	"testing"

	"crony"
)

func handlingOf(run crony.RunID, by string) Handling {
	return Handling{Run: run, At: noon, HandledFact: crony.HandledFact{By: by, Request: "request-" + by}}
}

// TestDecideHandled: of many who ask, at several servers, one is decided on, and all are told which.
func TestDecideHandled(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client), newRig(t, client)}
	run := runsOf(1)[0]
	var all sync.WaitGroup
	told := make([]Handling, 30)
	for i := range told {
		all.Go(func() {
			var err error
			if told[i], err = rigs[i%len(rigs)].DecideHandled(t.Context(), handlingOf(run, fmt.Sprint("p", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range told {
		if told[i] != told[0] || told[i].Run != run {
			t.Fatalf("one is told %+v, another %+v", told[0], told[i])
		}
	}
	for _, r := range append(rigs, newRig(t, client)) {
		if err := r.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := r.Handlings(); len(list) != 1 || list[0] != told[0] {
			t.Errorf("%+v are on their way, want %+v", list, told[0])
		}
	}
	if err := rigs[0].DropHandling(t.Context(), handlingOf(run, "somebody else")); err != nil || len(rigs[0].Handlings()) != 1 {
		t.Errorf("another's was dropped: %v", err)
	}
	if err := rigs[0].DropHandling(t.Context(), told[0]); err != nil || len(rigs[0].Handlings()) != 0 {
		t.Errorf("%+v are left, %v", rigs[0].Handlings(), err)
	}
}

// TestDecideHandledReplyLost: whose answer is lost finds that it was decided as they said.
func TestDecideHandledReplyLost(t *testing.T) {
	r := newRig(t, emptied(t))
	want := handlingOf(runsOf(1)[0], "alice")
	r.strike(replyLost)
	if _, err := r.DecideHandled(t.Context(), want); crony.CodeOf(err) != crony.Unavailable {
		t.Fatalf("%v, want unavailable", err)
	}
	r.strike(nil)
	if got, err := r.DecideHandled(t.Context(), handlingOf(want.Run, "bob")); err != nil || got != want {
		t.Errorf("bob is told %+v, %v", got, err)
	}
	if got, err := r.DecideHandled(t.Context(), want); err != nil || got != want {
		t.Errorf("alice is told %+v, %v", got, err)
	}
}

// TestTooManyHandled: while the run log takes nothing, no more is decided than the store is to hold.
func TestTooManyHandled(t *testing.T) {
	r := newRig(t, emptied(t))
	runs := runsOf(maxHandlings + 1)
	for _, run := range runs[:maxHandlings] {
		if _, err := r.DecideHandled(t.Context(), handlingOf(run, "alice")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.DecideHandled(t.Context(), handlingOf(runs[maxHandlings], "alice")); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("one too many: %v", err)
	}
	if got, err := r.DecideHandled(t.Context(), handlingOf(runs[0], "bob")); err != nil || got.By != "alice" {
		t.Errorf("one that is on its way: %+v, %v", got, err)
	}
}
