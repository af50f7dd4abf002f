package schedule_test

import (
	"testing"
	"time"

	"crony/internal/schedule"

	"github.com/robfig/cron/v3"
)

// BenchmarkNext measures one step from an instant to the next, beside the same schedule of robfig/cron where that can read
// it. Typical ones go from occurrence to occurrence; the rarest start from one instant each time.
func BenchmarkNext(b *testing.B) {
	berlin := location(b, "Europe/Berlin")
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	for _, bench := range []struct {
		name, text string
		floor      bool // robfig/cron can read it
	}{
		{"typical/every_5_minutes", "*/5 * * * *", true},
		{"typical/every_second", "* * * * * *", true},
		{"typical/daily", "30 2 * * *", true},
		{"typical/working_hours", "*/15 9-17 * * 1-5", true},
		{"typical/first_of_month", "0 0 1 * *", true},
		{"typical/interval", "@every 90s", true},
		{"typical/last_weekday", "0 0 LW * *", false},
		{"rarest/29_february", "0 0 29 2 *", true},
		{"rarest/29_february_monday", "0 0 */28 2 1", false}, // and the 1st: robfig/cron reads another rule
		{"rarest/fifth_monday_of_february", "0 0 * 2 1#5", false},
		{"rarest/31_nearest_weekday_december", "0 0 31W 12 *", false},
		{"rarest/last_weekday_2099", "0 0 0 LW 12 ? 2099", false},
		{"rarest/always_in_a_gap", "*/15 2 * 3 0L", false},
	} {
		b.Run(bench.name+"/crony", func(b *testing.B) {
			step(b, parse(b, bench.text, schedule.Options{Location: berlin}))
		})
		if !bench.floor {
			continue
		}
		s, err := parser.Parse(bench.text)
		if err != nil {
			b.Fatal(err)
		}
		if spec, ok := s.(*cron.SpecSchedule); ok {
			spec.Location = berlin
		}
		b.Run(bench.name+"/robfig", func(b *testing.B) { step(b, s) })
	}
}

// step goes from instant to instant through some years, then starts again.
func step(b *testing.B, s cron.Schedule) {
	start := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	end := start.AddDate(8, 0, 0)
	b.ReportAllocs()
	at := start
	for b.Loop() {
		if at = s.Next(at); at.IsZero() || at.After(end) {
			at = start
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, text := range []string{"*/5 * * * *", "0 0 12 LW * ? 2027-2030"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := schedule.Parse(text, schedule.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSetNext(b *testing.B) {
	berlin := location(b, "Europe/Berlin")
	c := calendar(b, schedule.CalendarOptions{Location: berlin, WorkingDays: workdays, DaysOff: days(b, "2026-12-24/2027-01-06")})
	daily := schedule.Entry{Schedule: parse(b, "30 2 * * *", schedule.Options{Location: berlin})}
	jittered := daily
	jittered.Jitter = time.Minute
	for _, bench := range []struct {
		name string
		set  schedule.SetOptions
	}{
		{"one", schedule.SetOptions{Entries: []schedule.Entry{daily}}},
		{"jitter", schedule.SetOptions{Job: "job", Entries: []schedule.Entry{jittered}}},
		{"calendar", schedule.SetOptions{Entries: []schedule.Entry{daily}, Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := newSet(b, bench.set)
			start := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
			end := start.AddDate(8, 0, 0)
			b.ReportAllocs()
			at := start
			for b.Loop() {
				o, ok := s.Next(at)
				if at = o.At; !ok || at.After(end) {
					at = start
				}
			}
		})
	}
}
