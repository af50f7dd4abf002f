//go:build linux

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestPack(t *testing.T) {
	def := crony.Definition{UID: "uid", Generation: 7, CreatedAt: noon, UpdatedAt: noon, UpdatedBy: "eve", PlanSince: noon,
		Calendars: []crony.Calendar{{Name: "off", DaysOff: []string{"2027-01-01"}}},
		Job: crony.Job{Name: "a", Title: "A", Group: "g", Labels: map[string]string{"k": "v"}, Owner: "eve", Note: "note",
			Schedules: []crony.ScheduleEntry{{Cron: "0 3 * * *", Timezone: "Europe/Berlin", StartsAt: noon}},
			Calendars: []crony.CalendarUse{{Name: "off", On: crony.CalendarSkip}}, Misfire: &crony.Misfire{Policy: crony.MisfireAll},
			Timeout: 90e9, Shell: &crony.Shell{Command: "echo <&>\u2028", Env: map[string]string{"A": "1"}}}}
	want := crony.Definition{UID: def.UID, Generation: def.Generation, Calendars: def.Calendars, Job: def.Job}
	want.Job.Title, want.Job.Owner, want.Job.Note = "", "", ""
	if diff := cmp.Diff(want, pack(&def).unpack()); diff != "" {
		t.Error(diff)
	}
}
