package schedule_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"crony/internal/schedule"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, text string, o schedule.Options) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(text, o)
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	return s
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// following returns the first n instants after one, as wall times of a zone.
func following(s *schedule.Schedule, at time.Time, n int, zone *time.Location) []string {
	var texts []string
	for range n {
		if at = s.Next(at); at.IsZero() {
			break
		}
		texts = append(texts, at.In(zone).Format("2006-01-02T15:04:05.999"))
	}
	return texts
}

func TestNext(t *testing.T) {
	const shanghai = "Asia/Shanghai"
	for _, test := range []struct {
		text, zone, after string
		want              string // by spaces
	}{
		{"*/5 * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00 2026-01-01T00:10:00"},
		{"30 2 * * *", shanghai, "2026-01-01T00:00:00Z", "2026-01-02T02:30:00 2026-01-03T02:30:00"},
		{"CRON_TZ=Asia/Shanghai 30 2 * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T18:30:00"},
		{"TZ=Asia/Shanghai\t30 2 * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T18:30:00"},
		{"0 0 12 LW * ? 2027-2030", "UTC", "2026-01-01T00:00:00Z", "2027-01-29T12:00:00 2027-02-26T12:00:00 2027-03-31T12:00:00"},
		{"0 0 L * *", "UTC", "2028-02-01T00:00:00Z", "2028-02-29T00:00:00 2028-03-31T00:00:00"},
		{"0 0 l-1 * *", "UTC", "2028-02-01T00:00:00Z", "2028-02-28T00:00:00 2028-03-30T00:00:00"},
		{"0 0 1W * *", "UTC", "2026-07-15T00:00:00Z", "2026-08-03T00:00:00 2026-09-01T00:00:00"},    // the 1st is a Saturday
		{"0 0 31W * *", "UTC", "2026-05-02T00:00:00Z", "2026-05-29T00:00:00 2026-07-31T00:00:00"},   // a Sunday; June has none
		{"0 0 * * 5L", "UTC", "2026-01-01T00:00:00Z", "2026-01-30T00:00:00 2026-02-27T00:00:00"},    //
		{"0 0 * * mon#5", "UTC", "2026-01-01T00:00:00Z", "2026-03-30T00:00:00 2026-06-29T00:00:00"}, //
		{"0 0 * * 7", "UTC", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00 2026-01-11T00:00:00"},
		{"0 0 * * Fri-Sun", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00 2026-01-03T00:00:00 2026-01-04T00:00:00 2026-01-09T00:00:00"},
		{"0 0 * * 6-7/1", "UTC", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00 2026-01-04T00:00:00"},
		{"0 0 * * sun-sun", "UTC", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00 2026-01-11T00:00:00"},
		{"0 0 * * 0-7", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00 2026-01-03T00:00:00"},
		{"0 0 13 * 5", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00 2026-01-09T00:00:00 2026-01-13T00:00:00"}, // either
		{"0 0 */13 * 5", "UTC", "2026-01-01T00:00:00Z", "2026-02-27T00:00:00 2026-03-27T00:00:00"},                   // both
		{"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00"},                                         // 2100 is no leap year
		{"0 0 0 1 1 ? 2099", "UTC", "1970-01-01T00:00:00Z", "2099-01-01T00:00:00"},
		{"0 0 0 1 1 ? 2027/2", "UTC", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00 2029-01-01T00:00:00"},
		{"@yearly", shanghai, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00"},
		{"@monthly", "UTC", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00"},
		{"@weekly", "UTC", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00"},
		{"@daily", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00"},
		{"@hourly", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00"},
		{"@every 90s", "UTC", "2026-01-01T00:00:10Z", "2026-01-01T00:01:30 2026-01-01T00:03:00"},
		{"@every 1.5s", "UTC", "1969-12-31T23:59:58Z", "1969-12-31T23:59:58.5 1970-01-01T00:00:00 1970-01-01T00:00:01.5"},
		{"@every 7h", "UTC", "1970-01-01T00:00:00Z", "1970-01-01T07:00:00 1970-01-01T14:00:00"},
		{"@at 2027-01-02T03:04 2026-12-31T23:00:00-01:00,2027-01-01T00:00:00Z", "UTC", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00 2027-01-02T03:04:00"},
		{"@at 2026-03-29T02:30,2026-10-25T02:30:05", "Europe/Berlin", "2026-01-01T00:00:00Z", "2026-03-29T03:00:00 2026-10-25T02:30:05"},
		{"@reboot", "UTC", "2026-01-01T00:00:00Z", ""},
		// Every second Sunday of March at two is a gap from 2007 on: the search ends.
		{"*/15 2 * 3 0#2", "America/New_York", "2026-01-01T00:00:00Z", ""},
		// A fifth Sunday of March is one as well, and a 29th of February that is a Sunday comes after 28 years or, past 2100, 40.
		{"*/30 2 * 2,3 0#5", "Europe/Berlin", "2032-03-01T00:00:00Z", "2060-02-29T02:00:00 2060-02-29T02:30:00 2088-02-29T02:00:00"},
		{"*/30 2 * 2,3 0#5", "Europe/Berlin", "2088-03-01T00:00:00Z", "2128-02-29T02:00:00"},
		{"30 23 * * *", "America/St_Johns", "2026-01-01T00:00:00Z", "2025-12-31T23:30:00 2026-01-01T23:30:00"},
	} {
		zone := location(t, test.zone)
		s := parse(t, test.text, schedule.Options{Location: zone})
		want := strings.Fields(test.want)
		if diff := cmp.Diff(want, following(s, instant(t, test.after), max(len(want), 1), zone)[:], cmp.Transformer("none", none)); diff != "" {
			t.Errorf("%s in %s (-want +got)\n%s", test.text, test.zone, diff)
		}
		if s.String() != test.text {
			t.Errorf("%q says it is %q", test.text, s)
		}
	}
}

// none lets an empty list equal none.
func none(list []string) string { return strings.Join(list, " ") }

func TestNextAtTheEndsOfTime(t *testing.T) {
	for _, text := range []string{"* * * * *", "30 2 29 2 *", "@every 90s", "@at 2027-01-01T00:00", "*/15 1 * * *", "0 0 0 1 1 ? 2027"} {
		s := parse(t, text, schedule.Options{Location: location(t, "Europe/Dublin")})
		if next := s.Next(time.Time{}); next.IsZero() || next.Year() > 2027 {
			t.Errorf("%s: the first instant is %s", text, next)
		}
		for _, late := range []time.Time{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Unix(1<<62, 0), time.Date(9999, 12, 31, 23, 59, 58, 999, time.UTC)} {
			if next := s.Next(late); !next.IsZero() && next.Year() > 9999 {
				t.Errorf("%s: after %s comes %s", text, late, next)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ text, field string }{
		{"", ""}, {"   ", ""}, {"* * * *", ""}, {"* * * * * * * *", ""}, {"@", ""}, {"@dayly", ""}, {"@daily 5", ""}, {"@reboot now", ""},
		{"@every", ""}, {"@every 0s", ""}, {"@every -5s", ""}, {"@every 1ms", ""}, {"@every 1.0005s", ""}, {"@every 1d", ""}, {"@every 999999999h", ""},
		{"@at", ""}, {"@at tomorrow", ""}, {"@at 2026-02-30T00:00", ""}, {"@at 2026-01-01", ""}, {"@at 2026-01-01T00:00:00.0001Z", ""},
		{"TZ=", "time zone"}, {"CRON_TZ=", "time zone"}, {"TZ=UTC", "time zone"}, {"CRON_TZ=UTC ", "time zone"}, {"TZ= * * * * *", "time zone"},
		{"TZ=Local * * * * *", "time zone"}, {"TZ=Mars/Olympus * * * * *", "time zone"}, {"TZ=../etc/passwd * * * * *", "time zone"},
		{"TZ=UTC TZ=UTC * * *", ""}, {"TZ=UTC TZ=UTC * * * *", "minute"},
		{"61 * * * *", "minute"}, {"*/100 * * * *", "minute"}, {"*/60 * * * *", "minute"}, {"1,,2 * * * *", "minute"}, {",1 * * * *", "minute"},
		{"*-5 * * * *", "minute"}, {"-5 * * * *", "minute"}, {"+5 * * * *", "minute"}, {"5- * * * *", "minute"}, {"5-1 * * * *", "minute"}, {"1-2-3 * * * *", "minute"},
		{"*/0 * * * *", "minute"}, {"*/ * * * *", "minute"}, {"*/5/5 * * * *", "minute"}, {"5-10/20 * * * *", "minute"}, {"59/5 * * * *", "minute"},
		{"? * * * *", "minute"}, {"1,* * * * *", "minute"}, {"jan * * * *", "minute"}, {"1.5 * * * *", "minute"}, {"* 24 * * *", "hour"}, {"* */24 * * *", "hour"},
		{"60 * * * * *", "second"}, {"* * 0 * *", "day of month"}, {"* * 32 * *", "day of month"}, {"* * 32W * *", "day of month"}, {"* * 0W * *", "day of month"},
		{"* * L-31 * *", "day of month"}, {"* * L-0 * *", "day of month"}, {"* * WL * *", "day of month"}, {"* * W * *", "day of month"}, {"* * ?/2 * *", "day of month"},
		{"0 0 31 2 *", "day of month"}, {"0 0 30 2 ?", "day of month"}, {"0 0 31 4,6,9,11 *", "day of month"}, {"0 0 31W 2 *", "day of month"},
		{"0 0 31 2 1", "day of month"}, {"0 0 0 29 2 ? 2027", "day of month"}, {"0 0 L-30 2 *", "day of month"},
		{"* * * 13 *", "month"}, {"* * * 0 *", "month"}, {"* * * mon *", "month"}, {"* * * */12 *", "month"},
		{"* * * * 8", "day of week"}, {"* * * * L", "day of week"}, {"* * * * 8L", "day of week"}, {"* * * * 1#6", "day of week"}, {"* * * * 1#0", "day of week"},
		{"* * * * */7", "day of week"}, {"* * * * mon-tue/7", "day of week"}, {"* * * * foo", "day of week"}, {"* * * * 5-8", "day of week"}, {"* * * * 7-2", "day of week"},
		{"0 0 0 * 2 1#5 2026", "day of week"}, {"* * * * * * 1969", "year"}, {"* * * * * * 2100", "year"}, {"* * * * * * 2030-2027", "year"}, {"* * * * * * ?", "year"},
		{"* * * * * * 2027/0", "year"}, {"* * * * * * 2027,", "year"}, {"* * * * * * abc", "year"}, {"* * * * * * H", "year"}, {"* * * * * * */200", "year"},
		{"0 */15 2 8 3 ? 2026", "hour"}, // a gap in New York, where these are read
		{strings.Repeat("1,", 5000) + "1 * * * *", ""},
	} {
		_, err := schedule.Parse(test.text, schedule.Options{Location: location(t, "America/New_York"), Hash: "job"})
		e, ok := errors.AsType[*schedule.Error](err)
		switch {
		case !ok:
			t.Errorf("%.60q: error %v", test.text, err)
		case e.Field != test.field:
			t.Errorf("%.60q: field %q, want %q: %v", test.text, e.Field, test.field, e)
		case e.Message == "" || e.Hint == "":
			t.Errorf("%.60q: no message or no hint: %v", test.text, e)
		}
	}
}

func TestErrorIsOneLine(t *testing.T) {
	_, err := schedule.Parse("*/100 * * * *", schedule.Options{})
	const want = `minute: "*/100" steps over its whole range (it names 0 alone: write that, or a smaller step)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestHash(t *testing.T) {
	from := instant(t, "2026-01-01T00:00:00Z")
	// These are promises: a job's times must not move with a version of the program.
	for _, test := range []struct{ text, name, want string }{
		{"H H * * *", "nightly-report", "2026-01-01T23:04:00Z"},
		{"H * * * *", "rebuild-index", "2026-01-01T00:04:00Z"},
		{"H(0-9) 4 * * *", "rebuild-index", "2026-01-01T04:04:00Z"},
		{"H/20 * * * *", "rebuild-index", "2026-01-01T00:04:00Z"},
		{"0 0 H * *", "rebuild-index", "2026-01-12T00:00:00Z"},
	} {
		s := parse(t, test.text, schedule.Options{Hash: test.name})
		if got := s.Next(from).Format(time.RFC3339); got != test.want {
			t.Errorf("%s of %s: %s, want %s", test.text, test.name, got, test.want)
		}
	}
	for _, text := range []string{"H(5-3) * * * *", "H(0-60) * * * *", "H/61 * * * *", "H/0 * * * *", "H() * * * *", "H-5 * * * *", "* * H(0-5) * *"} {
		if s, err := schedule.Parse(text, schedule.Options{Hash: "a"}); err == nil {
			t.Errorf("%s is read as %s", text, s.Describe("en"))
		}
	}
	if _, err := schedule.Parse("H * * * *", schedule.Options{}); err == nil {
		t.Error("H without a name is read")
	}
}

func TestHashSpreads(t *testing.T) {
	var minutes [60]int
	const jobs = 6000
	for i := range jobs {
		s := parse(t, "H * * * *", schedule.Options{Hash: "job-" + time.Duration(i).String()})
		minutes[s.Next(time.Unix(0, 0).Add(-time.Second)).Minute()]++
	}
	for minute, n := range minutes {
		if n < jobs/60/2 || n > jobs/60*2 {
			t.Errorf("minute %d has %d jobs of %d", minute, n, jobs)
		}
	}
}

func TestEveryAndAt(t *testing.T) {
	s, err := schedule.EveryFrom(time.Hour, instant(t, "2026-01-01T00:10:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2026-01-01T00:10:00", "2026-01-01T01:10:00"}
	if diff := cmp.Diff(want, following(s, instant(t, "2026-01-01T00:00:00Z"), 2, time.UTC)); diff != "" {
		t.Errorf("every hour from ten past (-want +got)\n%s", diff)
	}
	for _, d := range []time.Duration{0, -time.Second, time.Second - 1, time.Second + 1} {
		if _, err := schedule.Every(d); err == nil {
			t.Errorf("an interval of %s is taken", d)
		}
	}
	late, early := instant(t, "2027-01-01T00:00:00Z"), instant(t, "2026-01-01T08:00:00+08:00")
	at, err := schedule.At(late, early, late)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"2026-01-01T00:00:00", "2027-01-01T00:00:00"}, following(at, time.Time{}, 3, time.UTC)); diff != "" {
		t.Errorf("a list (-want +got)\n%s", diff)
	}
	for _, same := range []*schedule.Schedule{at, mustEvery(t, 90*time.Second)} {
		again := parse(t, same.String(), schedule.Options{})
		if diff := cmp.Diff(following(same, time.Time{}, 2, time.UTC), following(again, time.Time{}, 2, time.UTC)); diff != "" {
			t.Errorf("%s read again (-want +got)\n%s", same, diff)
		}
	}
	if _, err := schedule.At(); err == nil {
		t.Error("an empty list is taken")
	}
}

func mustEvery(t testing.TB, d time.Duration) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Every(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReboot(t *testing.T) {
	if !parse(t, "@reboot", schedule.Options{}).Reboot() || parse(t, "@daily", schedule.Options{}).Reboot() {
		t.Error("Reboot is not of @reboot alone")
	}
}

func TestParseLoadsZonesThroughOptions(t *testing.T) {
	shared := location(t, "Asia/Shanghai")
	var asked []string
	load := func(name string) (*time.Location, error) {
		asked = append(asked, name)
		return shared, nil
	}
	s := parse(t, "CRON_TZ=Asia/Shanghai 30 2 * * *", schedule.Options{LoadLocation: load})
	if s.Location() != shared || len(asked) != 1 || asked[0] != "Asia/Shanghai" {
		t.Errorf("asked for %q, and the zone is %s", asked, s.Location())
	}
}
