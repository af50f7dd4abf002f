package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRan(t *testing.T) {
	h := well()
	if found := Ran(&h.History); len(found) > 0 {
		t.Error(found)
	}
	h.forget("race", 4)
	h.ran("one", "b", "again", 1, at(4), at(4), 0)
	h.forget("each", 9)
	h.ran("each", "b", "b", 1, at(9), at(9), 0)
	var got []string
	for _, v := range Ran(&h.History) {
		got = append(got, v.String())
	}
	want := []string{"exactly: one at 12:00:04: it ran 2 times", "exactly: race at 12:00:04: it ran 0 times",
		"exactly: each at 12:00:09: it ran 0 times on a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// An occurrence that a run was in the way of is not to run; one is whose time came when nothing went on.
func TestRanOneAtATime(t *testing.T) {
	for _, tt := range []struct {
		overlap string
		lasts   float64 // of the run of second 4, in seconds
		trouble float64 // of servers, for a second from this one on; 0: none
		want    int
	}{{"forbid", 2.5, 0, 0}, {"forbid", 1.9, 0, 0}, {"forbid", 1.5, 0, 1}, {"forbid", 1.5, 5.2, 0}, {"forbid", 1.5, -6, 1}, {"forbid", 1.5, 6.1, 1},
		{"replace", 2.5, 0, 0}, {"replace", 1.5, 0, 1}, {"queue", 2.5, 0, 1}} {
		h := well()
		if tt.trouble != 0 {
			h.Troubles = append(h.Troubles, Trouble{From: at(tt.trouble), To: at(tt.trouble + 1)})
		}
		h.Jobs[1].Overlap = tt.overlap
		h.forget("slow", 4)
		h.ran("slow", "a", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4), time.Duration(tt.lasts*float64(time.Second)))
		h.forget("slow", 6)
		if found := Ran(&h.History); len(found) != tt.want {
			t.Errorf("%+v: %v", tt, found)
		}
		h.ran("slow", "a", id("slow", "a", at(6)), h.epoch("slow"), at(6), at(6), time.Millisecond)
		h.ran("slow", "a", id("slow", "a", at(6)), h.epoch("slow"), at(6), at(6), time.Millisecond)
		if found := Ran(&h.History); len(found) != 1 || found[0].Text != "it ran 2 times" {
			t.Errorf("%+v, twice: %v", tt, found)
		}
	}
}

// A run that was due before the time that is judged may be in the way at its beginning.
func TestRanBeside(t *testing.T) {
	h := well()
	h.Jobs[1].Overlap = "forbid"
	h.forget("slow", 2)
	if found := Ran(&h.History); len(found) != 1 {
		t.Errorf("with nothing in the way: %v", found)
	}
	h.ran("slow", "a", "before", h.epoch("slow"), at(0), at(0), 2500*time.Millisecond)
	if found := Ran(&h.History); len(found) != 0 {
		t.Errorf("%v", found)
	}
}

func TestLate(t *testing.T) {
	h := &tale{History: History{From: at(0), To: at(300), Jobs: []Job{{Name: "one", Overlap: "allow"}, {Name: "waits", Overlap: "queue"}}}}
	for s := 1; s <= 200; s++ {
		h.ran("one", "a", "", 0, at(float64(s)), at(float64(s)+float64(s)/1000), 0)
	}
	h.ran("one", "a", "", 0, at(250), at(255), 0)
	h.ran("waits", "a", "", 0, at(100), at(190), 0)
	got := Late(&h.History, []Stall{{at(251), at(252)}, {at(9), at(9.5)}, {at(20.1), at(20.2)}})
	want := Lateness{Starts: 199, LeftOut: 2, P50: 101 * time.Millisecond, P99: 199 * time.Millisecond, Most: 200 * time.Millisecond}
	if len(got.Worst) != 10 || got.Worst[9].String() != "one at 12:03:20.000 on a: 200ms" {
		t.Errorf("the latest: %v", got.Worst)
	}
	got.Worst = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
