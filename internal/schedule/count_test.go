package schedule_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"crony/internal/schedule"
)

// The property: Count gives what going from one occurrence to the next gives, for schedules of every kind, in zones whose
// clocks jump, with bounds, jitter and calendars.
func TestCountAgainstNext(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 600
	}
	places := []struct{ zone, from string }{
		{"UTC", "2027-01-01T00:00:00Z"}, {"Europe/Berlin", "2026-03-20T00:00:00Z"}, {"Europe/Berlin", "2026-10-18T00:00:00Z"},
		{"Africa/Cairo", "2026-04-17T00:00:00Z"}, {"Africa/Cairo", "2026-10-23T00:00:00Z"}, {"Pacific/Apia", "2011-12-22T00:00:00Z"},
		{"America/St_Johns", "2006-10-22T00:00:00Z"}, {"Australia/Lord_Howe", "2026-04-01T00:00:00Z"}, {"America/New_York", "2100-03-10T00:00:00Z"},
		{"America/Scoresbysund", "2024-03-25T00:00:00Z"}, {"Africa/Casablanca", "2026-02-10T00:00:00Z"},
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 11))
		place := places[r.IntN(len(places))]
		zone, from := location(t, place.zone), instant(t, place.from)
		s := randomSet(t, r, zone, from)
		after := from.Add(time.Duration(r.Int64N(int64(14 * 24 * time.Hour))))
		if r.IntN(2) == 0 {
			after = after.Truncate(15 * time.Minute)
		}
		until := after.Add(time.Duration(r.Int64N(int64(time.Hour) << r.IntN(9))))
		if r.IntN(2) == 0 {
			until = until.Truncate(15 * time.Minute)
		}
		checkCount(t, s, after, until)
		if t.Failed() {
			t.Fatalf("round %d, in %s from %s", i, place.zone, place.from)
		}
	}
}

func randomSet(t *testing.T, r *rand.Rand, zone *time.Location, from time.Time) *schedule.Set {
	t.Helper()
	texts := []string{
		"30 2 * * *", "*/15 * * * *", "0,30 0-3 * * *", "*/10 2 * * *", "0 */2 * * *", "0 0 * * *", "15 23,0,1 * * 0,5,6", "*/20 10 */5 * * *", "0 12 L * *",
		"0 1 1W * ?", "10-20/5 0-4 */2 * *", "59 59 23 * * *", "0 30 1 * 3,4,10 0", "@every 90s", "@every 7h", "@every 3600500ms", "0 3 29 2 *", "0 0 1 * * ? 2026",
		"@at 2026-03-29T02:30, 2026-10-25T02:30, 2011-12-30T12:00, 2027-01-03T00:00:00Z, 2006-10-29T00:01",
	}
	entries := make([]schedule.Entry, 1+r.IntN(5)/4)
	for i := range entries {
		e := schedule.Entry{Schedule: parse(t, pick(r, texts...), schedule.Options{Location: zone})}
		if r.IntN(4) == 0 {
			e.StartsAt = from.Add(time.Duration(r.Int64N(int64(10 * 24 * time.Hour)))).Truncate(time.Microsecond << r.IntN(30))
			e.EndsAt = e.StartsAt.Add(time.Duration(1+r.IntN(10*24)) * time.Hour)
		}
		if r.IntN(4) == 0 {
			e.Jitter = time.Duration(r.IntN(3600)) * time.Second
		}
		entries[i] = e
	}
	return newSet(t, schedule.SetOptions{Job: "backup", Entries: entries, Calendars: randomUses(t, r, zone, from)})
}

func randomUses(t *testing.T, r *rand.Rand, zone *time.Location, from time.Time) []schedule.Use {
	t.Helper()
	var uses []schedule.Use
	for range []int{0, 0, 1, 2}[r.IntN(4)] {
		o := schedule.CalendarOptions{Name: "holidays", Location: zone, DaysOff: days(t, randomDays(r, from, 2)...)}
		on := schedule.OnDayOffSkip
		if r.IntN(4) == 0 {
			on = schedule.OnDayOffMove
		} else if r.IntN(2) == 0 {
			o.Location = location(t, "Asia/Tokyo")
		}
		if r.IntN(3) == 0 {
			o.WorkingDays = workdays
		}
		if r.IntN(3) == 0 {
			begin := from.Add(time.Duration(r.Int64N(int64(14 * 24 * time.Hour))))
			o.Blackouts = []schedule.Window{{From: begin, To: begin.Add(time.Duration(1 + r.Int64N(int64(36*time.Hour))))}}
		}
		uses = append(uses, schedule.Use{Calendar: calendar(t, o), On: on})
	}
	return uses
}

// checkCount counts one by one, and compares.
func checkCount(t *testing.T, s *schedule.Set, after, until time.Time) {
	t.Helper()
	var want int64
	var first, last time.Time
	for o, ok := s.Next(after); ok && !o.At.After(until); o, ok = s.Next(o.At) {
		if !o.Runs() {
			continue
		}
		if want++; want == 1 {
			first = o.At
		}
		last = o.At
	}
	n, gotFirst, gotLast := s.Count(after, until)
	if n != want || !gotFirst.Equal(first) || !gotLast.Equal(last) {
		t.Errorf("after %s up to %s: %d from %s to %s, want %d from %s to %s", after, until, n, gotFirst, gotLast, want, first, last)
	}
}

func TestCountAtItsEnds(t *testing.T) {
	second := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: parse(t, "* * * * * *", schedule.Options{})}}})
	at := instant(t, "2026-11-21T00:00:00Z")
	for _, test := range []struct {
		name         string
		after, until time.Time
		want         int64
	}{
		{"nothing lies between an instant and itself", at, at, 0},
		{"nothing lies between an instant and one before it", at, at.Add(-time.Hour), 0},
		{"the first bound is not counted, the second is", at.Add(-time.Second), at, 1},
		{"an instant is after what comes before it by the least", at.Add(-1), at, 1},
		{"a part of a second holds no second", at, at.Add(time.Second - 1), 0},
		{"the last second of time is the last", instant(t, "9999-12-31T23:59:58Z"), instant(t, "9999-12-31T23:59:59Z").Add(time.Hour), 1},
	} {
		if n, _, _ := second.Count(test.after, test.until); n != test.want {
			t.Errorf("%s: %d, want %d", test.name, n, test.want)
		}
	}
	reboot := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: parse(t, "@reboot", schedule.Options{})}}})
	if n, _, _ := reboot.Count(at, at.AddDate(1, 0, 0)); n != 0 {
		t.Errorf("@reboot comes due %d times", n)
	}
}

func TestCountOfAYearOfSeconds(t *testing.T) {
	for _, text := range []string{"* * * * * *", "@every 1s"} {
		for _, zone := range []string{"UTC", "Europe/Berlin"} {
			s := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: parse(t, text, schedule.Options{Location: location(t, zone)})}}})
			after := instant(t, "2026-01-01T00:00:00Z")
			n, first, last := s.Count(after, after.AddDate(1, 0, 0))
			if n != 365*24*3600 || !first.Equal(after.Add(time.Second)) || !last.Equal(after.AddDate(1, 0, 0)) {
				t.Errorf("%s in %s: %d from %s to %s", text, zone, n, first, last)
			}
		}
	}
}

// BenchmarkCount measures counting a year.
func BenchmarkCount(b *testing.B) {
	for _, bench := range []struct{ name, text, calendar string }{
		{"every_second", "* * * * * *", ""}, {"interval", "@every 1s", ""}, {"clock_bound", "0 0-59 0-23 * * *", ""}, {"daily", "30 2 * * *", ""},
		{"with_calendar", "* * * * * *", "holidays"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			berlin := location(b, "Europe/Berlin")
			o := schedule.SetOptions{Entries: []schedule.Entry{{Schedule: parse(b, bench.text, schedule.Options{Location: berlin})}}}
			if bench.calendar != "" {
				c := calendar(b, schedule.CalendarOptions{Name: bench.calendar, Location: berlin, WorkingDays: workdays})
				o.Calendars = []schedule.Use{{Calendar: c, On: schedule.OnDayOffSkip}}
			}
			s := newSet(b, o)
			after := instant(b, "2026-01-01T00:00:00Z")
			for b.Loop() {
				s.Count(after, after.AddDate(1, 0, 0))
			}
		})
	}
}
