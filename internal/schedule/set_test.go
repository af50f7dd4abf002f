package schedule_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"crony/internal/schedule"

	"github.com/google/go-cmp/cmp"
)

func calendar(t testing.TB, o schedule.CalendarOptions) *schedule.Calendar {
	t.Helper()
	c, err := schedule.NewCalendar(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newSet(t testing.TB, o schedule.SetOptions) *schedule.Set {
	t.Helper()
	s, err := schedule.NewSet(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func days(t testing.TB, texts ...string) []schedule.Days {
	t.Helper()
	var list []schedule.Days
	for _, text := range texts {
		d, err := schedule.ParseDays(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

// occurrences writes the first n occurrences after an instant, by the wall time of a zone.
func occurrences(s *schedule.Set, at time.Time, n int, zone *time.Location) []string {
	var texts []string
	for range n {
		o, ok := s.Next(at)
		if !ok {
			break
		}
		text := o.At.In(zone).Format("01-02T15:04")
		if reason := o.Reason("en"); reason != "" {
			text += " " + string(o.Skip) + ": " + reason
		}
		texts, at = append(texts, text), o.At
	}
	return texts
}

var workdays = []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}

func TestSetKeepsCalendars(t *testing.T) {
	shanghai := location(t, "Asia/Shanghai")
	holidays := calendar(t, schedule.CalendarOptions{Name: "cn-holidays", Location: shanghai, WorkingDays: workdays,
		DaysOff: days(t, "2027-01-01", "2027-02-05/2027-02-11"), ExtraWorkingDays: days(t, "2027-01-31"),
		Blackouts: []schedule.Window{{From: instant(t, "2027-02-12T02:00:00+08:00"), To: instant(t, "2027-02-12T03:00:00+08:00")}}})
	daily := schedule.Entry{Schedule: parse(t, "30 2 * * *", schedule.Options{Location: shanghai})}
	for _, test := range []struct {
		name, after string
		on          schedule.OnDayOff
		want        []string
	}{
		{"a weekend is skipped, an extra working day is not", "2027-01-29T00:00:00+08:00", schedule.OnDayOffSkip, []string{
			"01-29T02:30", "01-30T02:30 day_off: a day off in calendar cn-holidays", "01-31T02:30", "02-01T02:30"}},
		{"a weekend is moved", "2027-01-22T00:00:00+08:00", schedule.OnDayOffMove, []string{
			"01-22T02:30",
			"01-23T02:30 moved: moved to 2027-01-24T18:30:00Z: a day off in calendar cn-holidays",
			"01-24T02:30 moved: moved to 2027-01-24T18:30:00Z: a day off in calendar cn-holidays",
			"01-25T02:30 : moved from 2027-01-22T18:30:00Z: a day off in calendar cn-holidays",
			"01-26T02:30"}},
		{"what is moved into a blackout is skipped", "2027-02-11T00:00:00+08:00", schedule.OnDayOffMove, []string{
			"02-11T02:30 moved: moved to 2027-02-11T18:30:00Z: a day off in calendar cn-holidays",
			"02-12T02:30 blackout: in a blackout of calendar cn-holidays"}},
	} {
		s := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{daily}, Calendars: []schedule.Use{{Calendar: holidays, On: test.on}}})
		if diff := cmp.Diff(test.want, occurrences(s, instant(t, test.after), len(test.want), shanghai)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestSetMovesWhatHasNoOccurrenceOfItsOwnThere(t *testing.T) {
	c := calendar(t, schedule.CalendarOptions{Name: "c", WorkingDays: workdays})
	s := newSet(t, schedule.SetOptions{Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}}, Entries: []schedule.Entry{
		{Schedule: parse(t, "0 9 * * 6", schedule.Options{})},
		{Schedule: parse(t, "0 8 * * 0", schedule.Options{}), EndsAt: instant(t, "2027-01-03T12:00:00Z")},
	}})
	want := []string{
		"01-02T09:00 moved: moved to 2027-01-04T09:00:00Z: a day off in calendar c",
		"01-03T08:00 moved: moved to 2027-01-04T08:00:00Z: a day off in calendar c",
		"01-04T08:00 : moved from 2027-01-03T08:00:00Z: a day off in calendar c", // its entry has ended by then
		"01-04T09:00 : moved from 2027-01-02T09:00:00Z: a day off in calendar c",
		"01-09T09:00 moved: moved to 2027-01-11T09:00:00Z: a day off in calendar c",
	}
	if diff := cmp.Diff(want, occurrences(s, instant(t, "2027-01-01T00:00:00Z"), len(want), time.UTC)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSetWithoutAWorkingDaySkips(t *testing.T) {
	c := calendar(t, schedule.CalendarOptions{Name: "never", DaysOff: days(t, "2027-01-01/2029-01-01")})
	s := newSet(t, schedule.SetOptions{Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}},
		Entries: []schedule.Entry{{Schedule: parse(t, "0 9 * * *", schedule.Options{})}}})
	o, ok := s.Next(instant(t, "2027-01-01T00:00:00Z"))
	if !ok || o.Skip != schedule.SkipDayOff || o.Runs() {
		t.Errorf("the occurrence is %+v", o)
	}
}

func TestSetBounds(t *testing.T) {
	jan, feb := instant(t, "2027-01-01T00:00:00Z"), instant(t, "2027-02-01T00:00:00Z")
	s := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: mustEvery(t, 6*time.Hour), StartsAt: jan, EndsAt: feb}}})
	first, _ := s.Next(instant(t, "2026-06-01T00:00:00Z"))
	last, _ := s.Next(feb.Add(-6*time.Hour - 1))
	if _, ok := s.Next(last.At); !first.At.Equal(jan) || !last.At.Equal(feb.Add(-6*time.Hour)) || ok {
		t.Errorf("from %s to %s, then more: %t", first.At, last.At, ok)
	}
	odd := jan.Add(17 * time.Minute)
	s = newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: mustEvery(t, 6*time.Hour), StartsAt: odd}}})
	if first, _ := s.Next(jan); !first.At.Equal(odd) {
		t.Errorf("an interval that starts at %s comes first at %s", odd, first.At)
	}
}

func TestSetNamesAnInstantOnce(t *testing.T) {
	s := newSet(t, schedule.SetOptions{Job: "j", Entries: []schedule.Entry{
		{Schedule: parse(t, "*/10 * * * *", schedule.Options{}), Jitter: time.Minute},
		{Schedule: parse(t, "*/15 * * * *", schedule.Options{})},
		{Schedule: parse(t, "@reboot", schedule.Options{})},
	}})
	want := []string{"01-01T00:10", "01-01T00:15", "01-01T00:20", "01-01T00:30", "01-01T00:40", "01-01T00:45"}
	if diff := cmp.Diff(want, occurrences(s, instant(t, "2027-01-01T00:00:00Z"), 6, time.UTC)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if o, _ := s.Next(instant(t, "2027-01-01T00:29:00Z")); !o.Start.Equal(o.At) {
		t.Errorf("an instant that is also named without jitter starts at %s", o.Start)
	}
	if !s.Reboot() {
		t.Error("the set forgets @reboot")
	}
	if _, ok := newSet(t, schedule.SetOptions{}).Next(time.Time{}); ok {
		t.Error("an empty set has an occurrence")
	}
}

func TestSetJitter(t *testing.T) {
	entry := schedule.Entry{Schedule: parse(t, "*/10 * * * *", schedule.Options{}), Jitter: 5 * time.Minute}
	a, b := newSet(t, schedule.SetOptions{Job: "a", Entries: []schedule.Entry{entry}}), newSet(t, schedule.SetOptions{Job: "b", Entries: []schedule.Entry{entry}})
	at, differ, sum := instant(t, "2027-01-01T00:00:00Z"), 0, time.Duration(0)
	const n = 1000
	for range n {
		one, _ := a.Next(at)
		same, _ := a.Next(one.At.Add(-time.Second))
		other, _ := b.Next(at)
		late := one.Start.Sub(one.At)
		switch {
		case late < 0 || late >= entry.Jitter:
			t.Fatalf("%s starts %s late", one.At, late)
		case one != same:
			t.Fatalf("%+v is now %+v", one, same)
		case !one.At.Equal(other.At):
			t.Fatalf("jitter moved an occurrence from %s to %s", other.At, one.At)
		case !one.Start.Equal(other.Start):
			differ++
		}
		sum, at = sum+late, one.At
	}
	if mean := sum / n; differ < n*9/10 || mean < entry.Jitter*4/10 || mean > entry.Jitter*6/10 {
		t.Errorf("%d of %d starts differ between jobs, and the mean is %s", differ, n, mean)
	}
	const want = "2027-01-01T00:10:00Z 2m27.054s" // a promise, as TestHash's
	if o, _ := a.Next(instant(t, "2027-01-01T00:00:00Z")); fmt.Sprint(o.At.Format(time.RFC3339), " ", o.Start.Sub(o.At)) != want {
		t.Errorf("%s starts %s late", o.At, o.Start.Sub(o.At))
	}
}

func TestSetStartsKeepTheOrderOfOccurrences(t *testing.T) {
	s := newSet(t, schedule.SetOptions{Job: "a", Entries: []schedule.Entry{
		{Schedule: parse(t, "*/1 * * * *", schedule.Options{}), Jitter: time.Hour},
		{Schedule: parse(t, "17 * * * * *", schedule.Options{}), Jitter: time.Minute},
	}})
	at, last := instant(t, "2027-01-01T00:00:00Z"), time.Time{}
	for range 500 {
		o, _ := s.Next(at)
		if o.Start.Before(o.At) || !last.IsZero() && !last.Before(o.At) {
			t.Fatalf("%s starts at %s, the one before at %s", o.At, o.Start, last)
		}
		at, last = o.At, o.Start
	}
}

func TestSetStartsNothingInABlackout(t *testing.T) {
	window := schedule.Window{From: instant(t, "2027-01-01T00:12:00Z"), To: instant(t, "2027-01-01T00:20:00Z")}
	c := calendar(t, schedule.CalendarOptions{Name: "c", Blackouts: []schedule.Window{window,
		{From: window.From, To: window.From.Add(time.Second)}}})
	s := newSet(t, schedule.SetOptions{Job: "job", Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffSkip}},
		Entries: []schedule.Entry{{Schedule: parse(t, "* * * * *", schedule.Options{}), Jitter: time.Minute}}})
	at, skipped := instant(t, "2027-01-01T00:00:00Z"), 0
	for at.Before(window.To.Add(10 * time.Minute)) {
		o, _ := s.Next(at)
		inside := !o.At.Before(window.From) && o.At.Before(window.To)
		switch {
		case !o.Runs():
			skipped++
		case inside, !o.Start.Before(window.From) && o.Start.Before(window.To):
			t.Errorf("%s starts at %s", o.At, o.Start)
		}
		at = o.At
	}
	if skipped < 8 || skipped > 9 {
		t.Errorf("%d were skipped", skipped)
	}
}

func TestSetStartsNothingLateInABlackout(t *testing.T) {
	c := calendar(t, schedule.CalendarOptions{Name: "c", Blackouts: []schedule.Window{
		{From: instant(t, "2027-01-01T00:00:00.001Z"), To: instant(t, "2027-01-01T00:40:00Z")}}})
	s := newSet(t, schedule.SetOptions{Job: "job", Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffSkip}},
		Entries: []schedule.Entry{{Schedule: parse(t, "@hourly", schedule.Options{}), Jitter: 40 * time.Minute}}})
	o, _ := s.Next(instant(t, "2026-12-31T23:30:00Z"))
	if o.Skip != schedule.SkipBlackout || !o.Start.Equal(o.At) {
		t.Errorf("the occurrence is %+v", o)
	}
}

func TestSetMovesPartsOfSeconds(t *testing.T) {
	c := calendar(t, schedule.CalendarOptions{WorkingDays: workdays})
	at, err := schedule.At(instant(t, "2027-01-02T09:00:00.5Z"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: at}}, Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}}})
	want := instant(t, "2027-01-04T09:00:00.5Z")
	for _, after := range []string{"2027-01-03T00:00:00Z", "2027-01-04T09:00:00Z", "2027-01-04T09:00:00.499Z"} {
		if o, ok := s.Next(instant(t, after)); !ok || !o.At.Equal(want) || !o.Runs() {
			t.Errorf("after %s comes %+v", after, o)
		}
	}
	if o, ok := s.Next(want); ok {
		t.Errorf("then comes %+v", o)
	}
}

func TestSetMovesPartsOfSecondsIntoAGap(t *testing.T) {
	berlin := location(t, "Europe/Berlin")
	c := calendar(t, schedule.CalendarOptions{Location: berlin, DaysOff: days(t, "2026-03-28")})
	at, err := schedule.At(instant(t, "2026-03-28T02:30:00.5+01:00"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: at}}, Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}}})
	if o, _ := s.Next(instant(t, "2026-03-29T00:00:00Z")); !o.At.Equal(instant(t, "2026-03-29T01:00:00Z")) {
		t.Errorf("it arrives at %s", o.At)
	}
}

func TestSetArrivalHasTheLeastJitter(t *testing.T) {
	c := calendar(t, schedule.CalendarOptions{WorkingDays: workdays})
	for exact := range 3 {
		entries := []schedule.Entry{
			{Schedule: parse(t, "0 9 * * 1", schedule.Options{}), Jitter: time.Hour},
			{Schedule: parse(t, "0 9 * * 6", schedule.Options{}), Jitter: time.Hour},
			{Schedule: parse(t, "0 9 * * 0", schedule.Options{}), Jitter: time.Hour},
		}
		entries[exact].Jitter = 0
		s := newSet(t, schedule.SetOptions{Job: "a", Entries: entries, Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}}})
		o, _ := s.Next(instant(t, "2027-01-04T00:00:00Z"))
		if !o.At.Equal(instant(t, "2027-01-04T09:00:00Z")) || o.From.IsZero() || !o.Start.Equal(o.At) {
			t.Errorf("without jitter in entry %d: %+v", exact, o)
		}
	}
}

// Midnight comes again a minute after it in Newfoundland of 2006, so the last hour of a day off does too.
func TestSetMovesFromAnHourThatComesAgain(t *testing.T) {
	zone := location(t, "America/St_Johns")
	c := calendar(t, schedule.CalendarOptions{Location: zone, DaysOff: days(t, "2006-10-28")})
	at, err := schedule.At(instant(t, "2006-10-29T02:45:00Z")) // 23:15 on the 28th, for the second time
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t, schedule.SetOptions{Entries: []schedule.Entry{{Schedule: at}}, Calendars: []schedule.Use{{Calendar: c, On: schedule.OnDayOffMove}}})
	want := instant(t, "2006-10-30T02:45:00Z")
	left, _ := s.Next(instant(t, "2006-10-29T00:00:00Z"))
	if arrived, ok := s.Next(left.At); !left.To.Equal(want) || !ok || !arrived.At.Equal(want) {
		t.Errorf("%+v, then %+v", left, arrived)
	}
}

func TestNewSetRefuses(t *testing.T) {
	daily := parse(t, "@daily", schedule.Options{})
	utc, berlin := calendar(t, schedule.CalendarOptions{}), calendar(t, schedule.CalendarOptions{Location: location(t, "Europe/Berlin")})
	for name, o := range map[string]schedule.SetOptions{
		"no schedule":           {Entries: []schedule.Entry{{}}},
		"negative jitter":       {Job: "a", Entries: []schedule.Entry{{Schedule: daily, Jitter: -1}}},
		"jitter without a name": {Entries: []schedule.Entry{{Schedule: daily, Jitter: 1}}},
		"ends before it starts": {Entries: []schedule.Entry{{Schedule: daily, StartsAt: time.Unix(9, 0), EndsAt: time.Unix(9, 0)}}},
		"no calendar":           {Calendars: []schedule.Use{{On: schedule.OnDayOffSkip}}},
		"no word":               {Calendars: []schedule.Use{{Calendar: utc}}},
		"two zones":             {Calendars: []schedule.Use{{Calendar: utc, On: schedule.OnDayOffMove}, {Calendar: berlin, On: schedule.OnDayOffMove}}},
	} {
		_, err := schedule.NewSet(o)
		if _, ok := errors.AsType[*schedule.Error](err); !ok {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for _, text := range []string{"", "2027-02-30", "2027-01-01/", "2027-01-02/2027-01-01", "2027-01-01/2027-01-02/2027-01-03"} {
		if _, err := schedule.ParseDays(text); err == nil {
			t.Errorf("%q is read as days", text)
		}
	}
	for name, o := range map[string]schedule.CalendarOptions{
		"a weekday": {WorkingDays: []time.Weekday{7}},
		"a window":  {Blackouts: []schedule.Window{{From: time.Unix(9, 0), To: time.Unix(9, 0)}}},
	} {
		if _, err := schedule.NewCalendar(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
