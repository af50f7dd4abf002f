package crony

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPlanWithCalendars(t *testing.T) {
	const (
		// 2027-01-01 is a Friday.
		week = `{name: week, timezone: Europe/Berlin, working_days: [mon, tue, wed, thu, fri], days_off: ["2027-01-01", "2027-01-06/2027-01-07"],
			extra_working_days: ["2027-01-02"]}`
		freeze = `{name: freeze, blackouts: [{from: 2027-01-08T12:00:00Z, to: 2027-01-09T12:00:00Z}, {from: 2027-01-04T00:00:00Z, to: 2027-01-05T12:00:00Z}]}`
		sunday = `{name: sunday, timezone: Europe/Berlin, working_days: [sun]}`
	)
	for _, tt := range []struct{ name, schedule, uses, from, want string }{
		{"days off are skipped, by the calendar's clock", `"30 23 * * *"`, `{name: week, on: skip}`, "2026-12-30T12:00:00Z",
			// 23:30 in UTC is the next day in Berlin: 12-30 is of Thursday the 31st, 12-31 is of the day off.
			"2026-12-30T23:30:00Z 2027-01-01T23:30:00Z 2027-01-03T23:30:00Z 2027-01-04T23:30:00Z 2027-01-07T23:30:00Z 2027-01-10T23:30:00Z"},
		{"days off are moved, to one occurrence a day", `"0 9 * * *"`, `{name: week, on: next-working-day}`, "2026-12-31T12:00:00Z",
			"2027-01-02T09:00:00Z 2027-01-04T09:00:00Z 2027-01-05T09:00:00Z 2027-01-08T09:00:00Z 2027-01-11T09:00:00Z"},
		{"what is moved comes once a month", `"0 9 1 * *"`, `{name: week, on: next-working-day}`, "2026-12-15T00:00:00Z",
			"2027-01-02T09:00:00Z 2027-02-01T09:00:00Z 2027-03-01T09:00:00Z 2027-04-01T09:00:00Z"},
		{"nothing starts in a blackout", `"0 12 * * *"`, `{name: freeze, on: skip}`, "2027-01-03T00:00:00Z",
			"2027-01-03T12:00:00Z 2027-01-05T12:00:00Z 2027-01-06T12:00:00Z 2027-01-07T12:00:00Z 2027-01-09T12:00:00Z"},
		{"two calendars", `"0 12 * * *"`, `{name: week, on: skip}, {name: freeze, on: next-working-day}`, "2027-01-02T18:00:00Z",
			"2027-01-05T12:00:00Z 2027-01-11T12:00:00Z"},
		{"days off of two calendars together", `"0 12 4 1 *"`, `{name: sunday, on: next-working-day}`, "2027-01-02T18:00:00Z",
			"2027-01-10T12:00:00Z"},
		{"what is moved onto another's day off is skipped", `"0 12 4 * *"`, `{name: sunday, on: next-working-day}, {name: week, on: skip}`,
			"2027-01-02T18:00:00Z", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planOf(t, fmt.Sprintf("calendars: [%s, %s, %s]\njobs: [{name: a, shell: {command: x}, schedule: %s, calendars: [%s]}]",
				week, freeze, sunday, tt.schedule, tt.uses))
			at := instants(t, tt.from)[0]
			for _, want := range instants(t, tt.want) {
				if at = p.Next(at); !at.Equal(want) {
					t.Fatalf("%s, want %s", at, want)
				}
			}
			if next := p.Next(at); tt.want == "" && !next.IsZero() {
				t.Errorf("%s, want none", next)
			}
		})
	}
}

// A plan goes over days off and blackouts without going through them: it finds what going from one occurrence to the next
// finds. The clocks of these zones change at midnight, or by a day.
func TestPlanGoesOver(t *testing.T) {
	for _, zone := range []string{"UTC", "America/Havana", "America/St_Johns", "Pacific/Apia", "Asia/Beirut", "America/Santiago"} {
		for _, on := range []string{"skip", "next-working-day"} {
			for _, schedule := range []string{`{every: 7m}`, `{cron: "*/10 * * * *", timezone: America/Havana, jitter: 9m}`} {
				p := planOf(t, fmt.Sprintf(`
calendars: [{name: c, timezone: %s, working_days: [mon, wed, sat], days_off: ["2011-12-24"],
  blackouts: [{from: 2011-12-28T03:00:00Z, to: 2011-12-28T05:00:00Z}, {from: 2011-12-28T04:00:00.5Z, to: 2011-12-28T09:00:00Z}]}]
jobs: [{name: a, shell: {command: x}, schedules: [%s], calendars: [{name: c, on: %s}]}]`, zone, schedule, on))
				for _, span := range instants(t, "2011-03-10T00:00:00Z 2011-10-25T00:00:00Z 2011-12-22T00:00:00Z") {
					at, slow := span, span
					for at.Before(span.AddDate(0, 0, 20)) {
						at = p.Next(at)
						for o, _ := p.set.Next(slow); ; o, _ = p.set.Next(slow) {
							if slow = o.At; o.Runs() {
								break
							}
						}
						if !at.Equal(slow) {
							t.Fatalf("%s, %s, %s: %s, want %s", zone, on, schedule, at, slow)
						}
					}
				}
			}
		}
	}
}

// Jobs whose calendars let them do nothing for decades, or ever, are told at once.
func TestPlanOfManyDaysOff(t *testing.T) {
	const head = `jobs: [{name: a, shell: {command: x}, schedule: "* * * * * *", calendars: [{name: c, "on": %s}, {name: d, "on": skip}]}]
calendars: [{name: d}, {name: c, `
	for _, tt := range []struct{ on, calendar, want string }{
		{"skip", `days_off: [2000-01-01/2049-12-31]`, "2050-01-01T00:00:00Z"},
		{"next-working-day", `days_off: [2027-01-01/2027-12-30]`, "2027-12-31T00:00:00Z"},
		{"skip", `blackouts: [{from: 2000-01-01T00:00:00Z, to: 2090-01-01T00:00:00Z}]`, "2090-01-01T00:00:00Z"},
		{"skip", `days_off: [2000-01-01/9999-12-31]`, ""},
		{"next-working-day", `days_off: [2000-01-01/9999-12-31]`, ""},
	} {
		p := planOf(t, fmt.Sprintf(head, tt.on)+tt.calendar+"}]")
		start := time.Now()
		next := p.Next(instants(t, "2027-01-01T00:00:00Z")[0])
		if want := instants(t, tt.want); len(want) == 0 && !next.IsZero() || len(want) > 0 && !next.Equal(want[0]) {
			t.Errorf("%s %s: %s, want %s", tt.on, tt.calendar, next, tt.want)
		}
		t.Logf("%s %s: %s", tt.on, tt.calendar, time.Since(start))
	}
}

// A definition that lacks a calendar says so, and is never due on a day that may be off.
func TestPlanWithoutItsCalendar(t *testing.T) {
	d := Definition{Job: Job{Name: "a", Schedule: "* * * * *", Calendars: []CalendarUse{{"x", CalendarSkip}, {"y", CalendarNext}}},
		Calendars: []Calendar{{Name: "y"}}}
	faults := d.Faults()
	if len(faults) != 1 || faults[0].Path != "calendars[0].name" || faults[0].Hint == "" || faults[0].Message != `there is no calendar "x"` {
		t.Errorf("faults: %v", faults)
	}
	if p := d.Plan(); p != nil {
		t.Errorf("it has a plan: next %s", p.Next(time.Now()))
	}
	d.Calendars = append(d.Calendars, Calendar{Name: "x"})
	if faults := d.Faults(); len(faults) > 0 || d.Plan() == nil {
		t.Errorf("with its calendars: %v, plan %v", faults, d.Plan())
	}
}

func TestCalendarFaults(t *testing.T) {
	days := func(n int, text string) string { return "[" + strings.Repeat(text+", ", n-1) + text + "]" }
	for calendar, want := range map[string]string{
		`{timezone: UTC}`:                                                                     "calendars[0].name: must be given",
		`{name: A}`:                                                                           `calendars[0].name: "A" cannot be a name`,
		`{name: a, timezone: Mars/Olympus}`:                                                   `calendars[0].timezone: "Mars/Olympus" is no time zone that is known here (as Europe/Berlin)`,
		`{name: a, timezone: Local}`:                                                          `calendars[0].timezone: "Local" is no time zone`,
		`{name: a, working_days: [mon, monday]}`:                                              `calendars[0].working_days[1]: "monday" is not known here (one of: mon, `,
		`{name: a, working_days: [mon, tue, mon]}`:                                            "calendars[0].working_days[2]: mon stands twice",
		`{name: a, working_days: ` + days(8, "mon") + `}`:                                     "calendars[0].working_days: 8 days; a week has 7",
		`{name: a, days_off: [2027-02-29]}`:                                                   `calendars[0].days_off[0]: "2027-02-29" is not a day (write 2027-01-01, or 2027-02-05/2027-02-11)`,
		`{name: a, extra_working_days: ["1 May"]}`:                                            `calendars[0].extra_working_days[0]: "1 May" is not a day`,
		`{name: a, days_off: [2027-02-02/2027-02-01]}`:                                        "ends before it begins",
		`{name: a, days_off: ` + days(1001, "x") + `}`:                                        "calendars[0].days_off: 1001 entries; at most 1000",
		`{name: a, blackouts: ` + days(1001, "{}") + `}`:                                      "calendars[0].blackouts: 1001 entries; at most 1000",
		`{name: a, blackouts: [{}]}`:                                                          "calendars[0].blackouts[0].from: must be given",
		`{name: a, blackouts: [{from: 2027-01-01T00:00:00Z}]}`:                                "calendars[0].blackouts[0].to: must be given",
		`{name: a, blackouts: [{from: 2027-01-01T01:00:00+01:00, to: 2027-01-01T00:00:00Z}]}`: "calendars[0].blackouts[0]: ends at 2027-01-01T00:00:00Z, and does not begin before",
		`{name: a, blackouts: [{from: tomorrow, to: 2027-01-01T00:00:00Z}]}`:                  `calendars[0].blackouts[0].from: "tomorrow" is not a time`,
		`{name: a}, {name: b}, {name: a}`:                                                     `calendars[2].name: calendars[0] has the name "a" too`,
		`{name: a, days_off: ` + days(1000, "2027-02-05/2027-02-11") + `, extra_working_days: ` + days(1000, "2027-02-05/2027-02-11") + `,
			blackouts: ` + days(300, "{from: 2027-01-01T00:00:00Z, to: 2027-01-02T00:00:00Z}") + `}`: "bytes as JSON; at most 65536",
	} {
		_, err := DecodeManifest([]byte("calendars: [" + calendar + "]"))
		if CodeOf(err) != Invalid || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %.300v, want one fault with %q", calendar, err, want)
		}
	}
	full := `{name: a, days_off: ` + days(1000, "2027-01-01") + `, blackouts: ` + days(700, "{from: 2027-01-01T00:00:00Z, to: 2027-01-02T00:00:00Z}") + `}`
	if _, err := DecodeManifest([]byte("calendars: [" + full + "]")); err != nil {
		t.Errorf("a calendar within the bounds: %v", err)
	}
}

// What the decoder refuses in a document may come from code that uses the types.
func TestFaultsOfCalendarsInCode(t *testing.T) {
	m := Manifest{
		Calendars: []Calendar{{Name: "a", WorkingDays: []Weekday{"someday"}}, {Name: "b", Blackouts: []Blackout{
			{From: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}}}},
		Jobs: []Job{{Name: "j", Shell: &Shell{Command: "x"}, Calendars: []CalendarUse{{"a", "run"}}}},
	}
	var got []string
	for _, f := range m.Faults() {
		got = append(got, f.String())
	}
	want := []string{`jobs[0].calendars[0].on: "run" is not what becomes of a day off`, `calendars[0].working_days[0]: "someday" is not a weekday`,
		"calendars[1].blackouts: a time can't be written"}
	for i := range max(len(want), len(got)) {
		if len(got) != len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("got %q\nwant %q", got, want)
		}
	}
}

func TestCalendarUseFaults(t *testing.T) {
	const calendars = "calendars: [{name: cn, timezone: Asia/Shanghai}, {name: de, timezone: Europe/Berlin}, {name: berlin, timezone: Europe/Berlin}]\n"
	uses := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("{name: c%d, on: skip}", i))
		}
		return strings.Join(list, ", ")
	}
	for list, want := range map[string]string{
		`{on: skip}`:          "jobs[0].calendars[0].name: must be given",
		`{name: de}`:          "jobs[0].calendars[0].on: must be given (skip or next-working-day)",
		`{name: de, on: run}`: `jobs[0].calendars[0].on: "run" is not known here (one of: skip, next-working-day)`,
		`{name: C, on: skip}`: `jobs[0].calendars[0].name: "C" cannot be a name`,
		`{name: de, on: skip}, {name: de, on: skip}`: "jobs[0].calendars[1].name: the calendar de is named twice (leave one out)",
		uses(17): "jobs[0].calendars: 17 calendars; at most 16",
		`{name: cn, on: next-working-day}, {name: x, on: skip}, {name: de, on: next-working-day}`: "jobs[0].calendars[2]: time zone: " +
			"calendar de is in Europe/Berlin, another in Asia/Shanghai (calendars with next-working-day must share a zone",
		`{name: cn, on: skip}, {name: de, on: next-working-day}`:                 "",
		`{name: berlin, on: next-working-day}, {name: de, on: next-working-day}`: "",
		`{name: elsewhere, on: next-working-day}`:                                "",
		uses(16): "",
	} {
		_, err := DecodeManifest([]byte(calendars + "jobs: [{name: a, shell: {command: x}, calendars: [" + list + "]}]"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", list, err)
		case want == "":
		case CodeOf(err) != Invalid || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want one fault with %q", list, err, want)
		}
	}
	_, err := DecodeJob([]byte(`{"name": "a", "shell": {"command": "x"}, "calendars": [{"name": "a"}]}`))
	if e, ok := errors.AsType[*Error](err); !ok || len(e.Faults) != 1 || e.Faults[0].Path != "calendars[0].on" {
		t.Errorf("a job alone: %v", err)
	}
	if _, err := DecodeJob([]byte(`{"name": "a", "shell": {"command": "x"}, "calendars": [{"name": "a", "on": "skip"}]}`)); err != nil {
		t.Errorf("a job whose calendar is not known: %v", err)
	}
}
