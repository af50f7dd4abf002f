package agent

import (
	"math"
	"time"
)

// nanos is a time in unix nanoseconds: a third of the size of a [time.Time]. What lies before the year 1678 or after 2262
// counts as the first or the last of them.
type nanos int64

func nanosOf(t time.Time) nanos {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return nanos(t.UnixNano())
}

func (n nanos) time() time.Time { return time.Unix(0, int64(n)).UTC() }
