package crony

import (
	"strings"
	"testing"
)

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		job   Job
		slots int
		fault string
	}{
		{Job{}, 0, ""},
		{Job{MaxParallel: 100}, 100, ""},
		{Job{Overlap: OverlapForbid}, 1, ""},
		{Job{Overlap: OverlapQueue, MaxParallel: 3}, 3, ""},
		{Job{Overlap: OverlapReplace, MaxParallel: 1}, 1, ""},
		{Job{MaxParallel: -1}, -1, "-1 is out of range"},
		{Job{Overlap: OverlapForbid, MaxParallel: 101}, 101, "101 is out of range"},
		{Job{Overlap: OverlapReplace, MaxParallel: 2}, 2, "one run at a time"},
	} {
		j := test.job
		j.Name, j.Shell = "a", &Shell{Command: "true"}
		if got := j.Slots(); got != test.slots {
			t.Errorf("%+v has %d slots, want %d", test.job, got, test.slots)
		}
		m := Manifest{Jobs: []Job{j}}
		faults := m.Faults()
		if (len(faults) > 0) != (test.fault != "") || len(faults) > 0 && !strings.Contains(faults[0].Message, test.fault) {
			t.Errorf("%+v: %+v, want %q", test.job, faults, test.fault)
		}
	}
}
