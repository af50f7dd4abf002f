package schedule

import (
	"testing"
	"time"
)

// A stretch must hold the instant that it was asked for, also on the 366th day of a year, where the time package ends it
// before; else a search would never go on.
func TestStretchHoldsItsInstant(t *testing.T) {
	for _, name := range []string{"America/New_York", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Casablanca", "Asia/Shanghai", "UTC"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		from, to := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2053, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		for u := from; u < to; u += 3 * 3600 {
			s := stretchAt(zone, u)
			if u < s.start || u >= s.end {
				t.Fatalf("%s at %s: from %s to %s", name, time.Unix(u, 0).UTC(), time.Unix(s.start, 0).UTC(), time.Unix(s.end, 0).UTC())
			}
			if _, last := time.Unix(min(s.end-1, u+30*day), 0).In(zone).Zone(); int64(last) != s.offset {
				t.Fatalf("%s at %s: the offset changes before %s", name, time.Unix(u, 0).UTC(), time.Unix(s.end, 0).UTC())
			}
		}
	}
}
