package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"crony/internal/schedule"

	"github.com/google/go-cmp/cmp"
)

// The property: over weeks, Next gives what is found by moving and skipping every instant one by one.
func TestSetAgainstOracle(t *testing.T) {
	rounds := 120
	if testing.Short() {
		rounds = 20
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 3))
		place := []struct{ zone, from string }{
			{"UTC", "2027-01-01T00:00:00Z"}, {"Europe/Berlin", "2026-03-10T00:00:00Z"}, {"Europe/Berlin", "2026-10-10T00:00:00Z"},
			{"Africa/Cairo", "2026-04-10T00:00:00Z"}, {"Africa/Cairo", "2026-10-15T00:00:00Z"}, {"Pacific/Apia", "2011-12-15T00:00:00Z"},
			{"America/St_Johns", "2006-10-15T00:00:00Z"}, {"America/Scoresbysund", "2024-03-20T00:00:00Z"},
		}[r.IntN(8)]
		zone := location(t, place.zone)
		other := zone
		if r.IntN(3) == 0 {
			other = location(t, "America/New_York")
		}
		setAgainstOracle(t, r, zone, other, instant(t, place.from))
		if t.Failed() {
			t.Fatalf("round %d, in %s from %s", i, place.zone, place.from)
		}
	}
}

func setAgainstOracle(t *testing.T, r *rand.Rand, zone, other *time.Location, from time.Time) {
	t.Helper()
	var entries []schedule.Entry
	for range 1 + r.IntN(3) {
		text := pick(r, "30 2 * * *", "0 0 * * *", "0 9 * * 6", "15 0,12,23 * * 0,5,6", "*/30 1 * * *", "0 */6 * * *", "@every 7h", "30 23 * * *", "0 2 * * 1", "@every 90001500ms")
		e := schedule.Entry{Schedule: parse(t, text, schedule.Options{Location: other})}
		if r.IntN(3) == 0 {
			e.StartsAt = from.Add(time.Duration(r.IntN(20*24)) * time.Hour)
			e.EndsAt = e.StartsAt.Add(time.Duration(1+r.IntN(10*24)) * time.Hour)
		}
		entries = append(entries, e)
	}
	off := map[string]map[schedule.OnDayOff]bool{} // by date, in zone
	var uses []schedule.Use
	for range 1 + r.IntN(2) {
		on := []schedule.OnDayOff{schedule.OnDayOffSkip, schedule.OnDayOffMove, schedule.OnDayOffMove}[r.IntN(3)]
		texts := randomDays(r, from, 4)
		o := schedule.CalendarOptions{Location: zone, DaysOff: days(t, texts...)}
		if r.IntN(2) == 0 {
			o.WorkingDays = workdays
		}
		extra := from.AddDate(0, 0, r.IntN(30)).Format(time.DateOnly)
		o.ExtraWorkingDays = days(t, extra)
		for d := range 120 {
			date := from.AddDate(0, 0, d-45)
			if isOff(o.WorkingDays, texts, extra, date) {
				key := date.Format(time.DateOnly)
				if off[key] == nil {
					off[key] = map[schedule.OnDayOff]bool{}
				}
				off[key][on] = true
			}
		}
		uses = append(uses, schedule.Use{Calendar: calendar(t, o), On: on})
	}
	s := newSet(t, schedule.SetOptions{Entries: entries, Calendars: uses})
	want := setOracle(entries, off, zone, from, from.AddDate(0, 0, 30))
	var got []string
	for at := from.Add(-1); ; {
		o, ok := s.Next(at)
		if !ok || !o.At.Before(from.AddDate(0, 0, 30)) {
			break
		}
		got, at = append(got, outcome(o.At, string(o.Skip), o.To, o.From)), o.At
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries %v (-want +got)\n%s", entries, diff)
		return
	}
	for range 20 {
		at := from.Add(time.Duration(r.Int64N(int64(29 * 24 * time.Hour))))
		i, _ := slices.BinarySearchFunc(want, at, func(text string, at time.Time) int {
			when, _ := time.Parse(time.RFC3339Nano, text[:len(stamp)])
			if when.After(at) {
				return 1
			}
			return -1
		})
		if o, ok := s.Next(at); i < len(want) && (!ok || outcome(o.At, string(o.Skip), o.To, o.From) != want[i]) {
			t.Errorf("after %s comes %s, want %s", at, outcome(o.At, string(o.Skip), o.To, o.From), want[i])
		}
	}
}

const stamp = "2006-01-02T15:04:05.000Z"

func outcome(at time.Time, skip string, to, from time.Time) string {
	return fmt.Sprintf("%s %s to %s from %s", at.Format(stamp), skip, to.Format(stamp), from.Format(stamp))
}

func randomDays(r *rand.Rand, from time.Time, n int) []string {
	var list []string
	for range n {
		first := from.AddDate(0, 0, r.IntN(40)-5)
		list = append(list, first.Format(time.DateOnly)+"/"+first.AddDate(0, 0, r.IntN(6)).Format(time.DateOnly))
	}
	return list
}

// isOff asks a calendar of this one day, by the words of its options.
func isOff(working []time.Weekday, off []string, extra string, date time.Time) bool {
	key := date.Format(time.DateOnly)
	if key == extra {
		return false
	}
	if len(working) > 0 && !slices.Contains(working, date.Weekday()) {
		return true
	}
	return slices.ContainsFunc(off, func(span string) bool { return key >= span[:len(key)] && key <= span[len(key)+1:] })
}

// setOracle moves and skips every instant of some weeks before, too, by wall times and trial.
func setOracle(entries []schedule.Entry, off map[string]map[schedule.OnDayOff]bool, zone *time.Location, from, to time.Time) []string {
	type end struct {
		skip     string
		to, from time.Time
		arrived  bool
	}
	ends := map[time.Time]end{}
	var instants []time.Time
	for _, e := range entries {
		named := e.Schedule
		if d, ok := strings.CutPrefix(named.String(), "@every "); ok && !e.StartsAt.IsZero() {
			step, _ := time.ParseDuration(d)
			named, _ = schedule.EveryFrom(step, e.StartsAt)
		}
		for at := from.AddDate(0, 0, -40); ; {
			if at = named.Next(at); at.IsZero() || !at.Before(to) {
				break
			}
			if (e.StartsAt.IsZero() || !at.Before(e.StartsAt)) && (e.EndsAt.IsZero() || at.Before(e.EndsAt)) {
				instants = append(instants, at)
			}
		}
	}
	slices.SortFunc(instants, time.Time.Compare)
	instants = slices.CompactFunc(instants, time.Time.Equal)
	for _, at := range instants {
		if !off[at.In(zone).Format(time.DateOnly)][schedule.OnDayOffMove] {
			arrived := ends[at]
			ends[at] = arrived
			continue
		}
		target := trial(zone, at, off)
		if e := ends[at]; !e.arrived {
			ends[at] = end{skip: "moved", to: target}
		}
		e := ends[target]
		if e.from.IsZero() {
			e.from = at
		}
		e.skip, e.to, e.arrived = "", time.Time{}, true
		ends[target] = e
	}
	var texts []string
	for at, e := range ends {
		if at.Before(from) || !at.Before(to) {
			continue
		}
		if e.skip == "" && off[at.In(zone).Format(time.DateOnly)][schedule.OnDayOffSkip] {
			e.skip = "day_off"
		}
		texts = append(texts, outcome(at, e.skip, e.to, e.from))
	}
	slices.Sort(texts)
	return texts
}

// trial looks for the first instant at which the clock shows the same time of day, or a later one, on the next working day.
func trial(zone *time.Location, at time.Time, off map[string]map[schedule.OnDayOff]bool) time.Time {
	local := at.In(zone)
	date := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	for off[date.Format(time.DateOnly)][schedule.OnDayOffMove] {
		date = date.AddDate(0, 0, 1)
	}
	want := date.Format(time.DateOnly) + local.Format(" 15:04:05.000")
	for try := date.Add(-26 * time.Hour); ; try = try.Add(stride) {
		if shown := try.In(zone).Format("2006-01-02 15:04:05.000"); shown >= want {
			return firstShown(zone, try, want)
		}
	}
}

// stride is shorter than any shift; the half seconds of an interval are looked for within it.
const stride = 5 * time.Minute

// firstShown goes back to the first instant of a stride at which the clock shows the text or a later one.
func firstShown(zone *time.Location, at time.Time, want string) time.Time {
	first := at
	for back := at.Add(-stride); back.Before(at); back = back.Add(500 * time.Millisecond) {
		if back.In(zone).Format("2006-01-02 15:04:05.000") >= want {
			return back.UTC()
		}
	}
	return first.UTC()
}
