package schedule

import (
	"testing"
	"time"
)

// Reading a text allocates little, and looking for its next instant nothing, for the texts that look the farthest.
func TestWorkIsBounded(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"0 0 30 2 *", "0 0 31W 2,4,6,9,11 *", "*/15 2 * 3 0#2", "0 0 */30 4,6,9,11 1#5", "0 0 29 2 *", "*/30 2 */13 3 7", "0 0 0 L-30 2 ? 2099", "0 0 0 29 2 ? */3",
		"0 0 * * 1#5", "0 */2 2 8-14 3 ? 2027",
	} {
		allocs := testing.AllocsPerRun(1, func() { _, _ = Parse(text, Options{Location: zone}) })
		if allocs > 400 {
			t.Errorf("%s: reading it takes %v allocations", text, allocs)
		}
		s, err := Parse(text, Options{Location: zone})
		if err != nil {
			continue
		}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if allocs := testing.AllocsPerRun(10, func() { s.Next(at) }); allocs > 0 {
			t.Errorf("%s: Next takes %v allocations", text, allocs)
		}
	}
}

// A search ends by its own bounds, not by finding something.
func TestSearchEnds(t *testing.T) {
	for _, never := range []spec{
		{second: 1, minute: 1, hour: 1, dom: 1 << 31, month: 1 << 2, everyYear: true, anyDow: true, dow: 0x7f, zone: time.UTC}, // 31 February
		{second: 1, minute: 1, hour: 1, dom: 1 << 1, month: 1<<13 - 2, zone: time.UTC},                                         // no year
		{second: 1, minute: 1, hour: 1, month: 1<<13 - 2, everyYear: true, zone: time.UTC},                                     // no day
	} {
		for _, start := range []int64{earliest, 0, latest} {
			if w, ok := never.match(start); ok {
				t.Errorf("what never comes comes on %s", time.Unix(w, 0).UTC())
			}
		}
	}
}
