package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

const holidays = `calendars:
  - name: cn-holidays
    timezone: Asia/Shanghai
    working_days:
      - mon
      - fri
    days_off:
      - "2027-01-01"
      - 2027-02-05/2027-02-11
    extra_working_days:
      - "2027-02-14"
    blackouts:
      - from: "2027-03-01T11:00:00Z"
        to: "2027-03-01T13:30:00Z"
`

// withHolidays is a server on which the holidays are defined and kept by two jobs, and another calendar by none.
func withHolidays(t *testing.T) (*fake, *session) {
	t.Helper()
	f := &fake{jobs: jobs(), calendars: map[string]*crony.CalendarStatus{}}
	s := start(t, f)
	s.want("job", "apply", "-f", write(t, "holidays.yaml", holidays))
	kept := f.calendars["cn-holidays"]
	kept.Jobs, kept.UpdatedBy, kept.UpdatedAt = []string{"a", "b"}, "ada", noon.Add(-2*time.Hour)
	f.calendars["spare"] = &crony.CalendarStatus{Calendar: crony.Calendar{Name: "spare"}, UpdatedAt: noon, Jobs: []string{}}
	return f, s
}

func TestCalendarList(t *testing.T) {
	_, s := withHolidays(t)
	want := `NAME         ZONE           WORKING DAYS  JOBS  CHANGED
cn-holidays  Asia/Shanghai  mon fri       2     2h ago
spare        UTC            every day     0     now
`
	if diff := cmp.Diff(want, s.want("calendar", "list")); diff != "" {
		t.Error(diff)
	}
	var all []crony.CalendarStatus
	if err := json.Unmarshal([]byte(s.want("calendar", "list", "-o", "json")), &all); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestCalendarShow(t *testing.T) {
	f, s := withHolidays(t)
	want := `Name:          cn-holidays
Zone:          Asia/Shanghai
Working days:  mon fri
Days off:      2027-01-01
               2027-02-05/2027-02-11
But working:   2027-02-14
Blackouts:     2027-03-01T11:00:00Z to 2027-03-01T13:30:00Z
Kept by:       a, b
Changed:       2027-03-01 10:00:00 UTC (2h ago) by ada
`
	if diff := cmp.Diff(want, s.want("calendar", "show", "cn-holidays")); diff != "" {
		t.Error(diff)
	}
	var status crony.CalendarStatus
	if err := json.Unmarshal([]byte(s.want("calendar", "show", "cn-holidays", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*f.calendars["cn-holidays"], status); diff != "" {
		t.Error(diff)
	}
	if r := s.run("calendar", "show", "none"); r != (result{3, "", "crony: there is no calendar \"none\"\n"}) {
		t.Errorf("got %+v", r)
	}
}

// TestCalendarShowGivesBackTheManifest holds that `calendar show -o yaml` is what was applied, and can be applied again.
func TestCalendarShowGivesBackTheManifest(t *testing.T) {
	f, s := withHolidays(t)
	got := s.want("calendar", "show", "cn-holidays", "-o", "yaml")
	if diff := cmp.Diff(holidays, got); diff != "" {
		t.Error(diff)
	}
	before := f.calendars["cn-holidays"].Calendar
	s.want("job", "apply", "-f", write(t, "again.yaml", got))
	if diff := cmp.Diff(before, f.calendars["cn-holidays"].Calendar); diff != "" {
		t.Error(diff)
	}
}

func TestCalendarDelete(t *testing.T) {
	f, s := withHolidays(t)
	r := s.run("calendar", "delete", "cn-holidays")
	if r.code != 1 || r.stderr != "crony: 2 jobs keep the calendar \"cn-holidays\"\nhint: take it from them first\n" || len(f.calendars) != 2 {
		t.Errorf("one that is kept: %+v", r)
	}
	if got := s.want("calendar", "delete", "spare"); got != "NAME   ACTION\nspare  deleted\n" || len(f.calendars) != 1 {
		t.Errorf("got\n%s", got)
	}
	if r := s.run("calendar", "delete", "spare"); r.code != 3 {
		t.Errorf("again: %+v", r)
	}
}
