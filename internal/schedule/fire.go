package schedule

import (
	"fmt"
	"time"
)

// Shift says what a change of the zone's clock does to a schedule at an instant.
type Shift string

// The shifts. An ordinary instant has none.
const (
	ShiftMoved   Shift = "moved"    // Wall does not exist on that day: due at the gap's end instead
	ShiftOnce    Shift = "once"     // Wall comes twice: the second one is left out
	ShiftAgain   Shift = "again"    // Wall came a second time, and is due each time
	ShiftLeftOut Shift = "left_out" // Wall, before this instant and after the one before it, did not exist and was left out
)

// Fire is an instant that a schedule names, as a preview shows it.
type Fire struct {
	At    time.Time // UTC
	Shift Shift
	Wall  string // the wall time that Shift speaks of, 02:30 or 02:30:15; "" without a Shift
}

// Upcoming returns the first n instants after t, or as many as there are, and says what each shift of the zone's clock does
// to them. A schedule that is due in every hour just follows elapsed time: nothing is said of its shifts.
func (s *Schedule) Upcoming(t time.Time, n int) []Fire {
	var fires []Fire
	for range n {
		next := s.Next(t)
		if next.IsZero() {
			break
		}
		fire := Fire{At: next}
		if spec, ok := s.when.(*spec); ok {
			fire.Shift, fire.Wall = spec.shift(t.Unix(), next.Unix())
		}
		fires, t = append(fires, fire), next
	}
	return fires
}

// Note says the fire's shift in a language of [Schedule.Describe]; "" if there is none.
func (f Fire) Note(lang string) string {
	notes := map[Shift]string{
		ShiftMoved:   "moved from %s, which does not exist that day",
		ShiftOnce:    "the second %s is left out",
		ShiftAgain:   "%s comes a second time, and is due each time",
		ShiftLeftOut: "before it, %s did not exist and was left out",
	}
	if isChinese(lang) {
		notes = map[Shift]string{
			ShiftMoved:   "由 %s 推迟而来：当天没有这一时刻",
			ShiftOnce:    "当天 %s 出现两次，第二次不执行",
			ShiftAgain:   "%s 第二次出现，两次都执行",
			ShiftLeftOut: "此前的 %s 当天不存在，未执行",
		}
	}
	if f.Shift == "" {
		return ""
	}
	return fmt.Sprintf(notes[f.Shift], f.Wall)
}

// shift finds what the zone's clock did to the instant u, which comes next after last.
func (s *spec) shift(last, u int64) (Shift, string) {
	now := stretchAt(s.zone, u)
	wall := u + now.offset
	switch {
	case s.clockBound:
		before := reached(s.zone, u-1, stretchAt(s.zone, u-1))
		if w, ok := s.match(before + 1); ok && w < wall {
			return ShiftMoved, clockText(w)
		}
		if s.comesAgain(now, wall) {
			return ShiftOnce, clockText(wall)
		}
	case s.hour == 1<<24-1:
	case reached(s.zone, u-1, stretchAt(s.zone, u-1)) >= wall:
		return ShiftAgain, clockText(wall)
	default:
		if w, ok := s.leftOut(last, u); ok {
			return ShiftLeftOut, clockText(w)
		}
	}
	return "", ""
}

// comesAgain reports whether the clock, which shows the wall time in a stretch, shows it in a later one too.
func (s *spec) comesAgain(now stretch, wall int64) bool {
	for end := now.end; end < wall-now.offset+2*farthest; end = now.end {
		now = stretchAt(s.zone, end)
		if u := wall - now.offset; u >= now.start && u < now.end {
			return true
		}
	}
	return false
}

// leftOut returns the first wall time that is named in the latest such gap after one instant and up to another.
func (s *spec) leftOut(last, u int64) (int64, bool) {
	for now := stretchAt(s.zone, u); now.start > last; {
		before := stretchAt(s.zone, now.start-1)
		if w, ok := s.match(now.start + before.offset); ok && w < now.start+now.offset {
			return w, true
		}
		now = before
	}
	return 0, false
}

// clockText writes a wall time's time of day.
func clockText(w int64) string {
	if w%60 == 0 {
		return time.Unix(w, 0).UTC().Format("15:04")
	}
	return time.Unix(w, 0).UTC().Format(time.TimeOnly)
}
