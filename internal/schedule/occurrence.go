package schedule

import (
	"fmt"
	"time"
)

// Skip says why an occurrence does not run.
type Skip string

// The reasons.
const (
	SkipDayOff   Skip = "day_off"  // its day is off
	SkipMoved    Skip = "moved"    // its day is off, and the occurrence at To stands for it
	SkipBlackout Skip = "blackout" // it would start in a blackout
)

// Occurrence is one instant at which a job is due, whether it then runs or not.
type Occurrence struct {
	At       time.Time // which occurrence it is; UTC
	Start    time.Time // when it starts: At and its jitter; At itself if it does not run
	Skip     Skip      // why it does not run; "" if it does
	To       time.Time // with SkipMoved: where to
	From     time.Time // the earliest instant that was moved here; zero if none was
	Calendar string    // the name of the calendar that decided Skip or From
}

// Runs reports whether the occurrence is to run.
func (o Occurrence) Runs() bool { return o.Skip == "" }

// Reason says why the occurrence does not run, or why it is where it is, in a language of [Schedule.Describe]; "" if there
// is nothing to say.
func (o Occurrence) Reason(lang string) string {
	to, from := o.To.Format(time.RFC3339), o.From.Format(time.RFC3339)
	zh := isChinese(lang)
	switch {
	case o.Skip == SkipMoved && zh:
		return fmt.Sprintf("日历 %s 的休息日，改到 %s", o.Calendar, to)
	case o.Skip == SkipMoved:
		return fmt.Sprintf("moved to %s: a day off in calendar %s", to, o.Calendar)
	case o.Skip == SkipDayOff && zh:
		return fmt.Sprintf("日历 %s 的休息日", o.Calendar)
	case o.Skip == SkipDayOff:
		return fmt.Sprintf("a day off in calendar %s", o.Calendar)
	case o.Skip == SkipBlackout && zh:
		return fmt.Sprintf("处于日历 %s 的禁止时段", o.Calendar)
	case o.Skip == SkipBlackout:
		return fmt.Sprintf("in a blackout of calendar %s", o.Calendar)
	case o.From.IsZero():
		return ""
	case zh:
		return fmt.Sprintf("由 %s 改来：日历 %s 的休息日", from, o.Calendar)
	}
	return fmt.Sprintf("moved from %s: a day off in calendar %s", from, o.Calendar)
}
