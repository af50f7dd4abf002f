package crony

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	now := time.Date(2027, 10, 30, 12, 0, 0, 0, time.UTC)
	got, err := ScheduleQuestion{Schedule: "30 2 * * *", Timezone: "Europe/Berlin", Count: 2}.Explain(now)
	if err != nil {
		t.Fatal(err)
	}
	want := ScheduleAnswer{Schedule: "30 2 * * *", Timezone: "Europe/Berlin", Words: "at 02:30 every day", Next: []ScheduleFire{
		{At: time.Date(2027, 10, 31, 0, 30, 0, 0, time.UTC), Wall: "2027-10-31T02:30:00+02:00",
			Note: got.Next[0].Note}, // the words are the schedule package's, and tested there
		{At: time.Date(2027, 11, 1, 1, 30, 0, 0, time.UTC), Wall: "2027-11-01T02:30:00+01:00"},
	}}
	if got.Next[0].Note == "" {
		t.Error("nothing is said of the hour that comes twice")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		question ScheduleQuestion
		path     string
	}{
		{ScheduleQuestion{Schedule: "0 0 31 2 *"}, "schedule"},
		{ScheduleQuestion{Schedule: "* * * * *", Timezone: "Local"}, "timezone"},
		{ScheduleQuestion{Schedule: "* * * * *", Count: MaxFires + 1}, "count"},
		{ScheduleQuestion{Schedule: "CRON_TZ=UTC * * * * *", Timezone: "UTC"}, "timezone"},
		{ScheduleQuestion{Schedule: "CRON_TZ=Mars/Olympus * * * * *"}, "schedule"},
	} {
		_, err := tt.question.Explain(now)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != Invalid || len(e.Faults) != 1 || e.Faults[0].Path != tt.path {
			t.Errorf("%+v: %v, want a fault at %s", tt.question, err, tt.path)
		}
	}
}
