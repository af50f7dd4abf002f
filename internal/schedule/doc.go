// Package schedule says when a job is due. [Parse] reads a schedule's text, [Schedule.Next] computes the instants that it
// names, and a [Set] joins several schedules with bounds, jitter and calendars into the occurrences of one job. All of it is
// pure: no clock, no randomness, and no zone but those that are given.
//
// # The text
//
//	minute hour day-of-month month day-of-week                5 fields, as in crontab(5)
//	second minute hour day-of-month month day-of-week         6 fields
//	second minute hour day-of-month month day-of-week year    7 fields
//
// A field is a list, by commas, of
//
//	5  5-10  *  */15  5-50/15  5/15   5/15 is 5-59/15; in the day fields ? may stand for *
//	jan-dec  sun-sat                  names; 0 and 7 are both Sunday
//	L  L-3  LW  L-3W  15W             day of month: the last, the third before it; W is the weekday (Mon-Fri) nearest to
//	                                  the day, in the same month; a month without the day has none
//	5L  fri#2                         day of week: the last Friday, the second Friday of the month
//	H  H(0-29)  H/15  H(5-50)/15      a value, or a phase, that is a hash of the job's name; in day of month 1 to 28
//
// Instead of fields: @yearly (or @annually), @monthly, @weekly, @daily (or @midnight), @hourly; "@every 90s"; "@at
// 2026-12-24T18:00, 2027-12-24T18:00:00+01:00"; @reboot. A leading "CRON_TZ=Europe/Berlin " names the zone of wall times.
//
// Days: if both day fields are restricted (neither begins with * or ?), either may match; else both must.
//
// # Summer time
//
// A schedule of fields is clock-bound when neither its minute nor its hour field begins with *. A clock-bound schedule comes
// due when the zone's clock first reaches a wall time that it names: wall times inside a gap come due together, once, at the
// gap's first existing instant, and of two equal wall times in an overlap only the first does. Any other schedule of fields
// follows elapsed time: it comes due at each instant whose wall time it names, so both times in an overlap and never in a
// gap. A wall time after @at is clock-bound. Intervals know no zone: they are the multiples of the interval since the Unix
// epoch, or since the start that is given.
//
// The one thing to know: an occurrence is its instant. Two schedules of a job, or a schedule and a calendar's move, that
// arrive at one instant are one occurrence; jitter moves when it starts and never which one it is.
//
// The package does not know what time it is, does not remember what has run, and does not decide what becomes of what was
// missed. Reading numbers, names, ranges and steps is left to the parser of github.com/robfig/cron/v3, behind a guard, since
// it panics on some input and accepts some nonsense; every kind of schedule here is a [cron.Schedule].
package schedule
