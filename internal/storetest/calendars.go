package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
)

// CalendarStore is where calendars are defined, with the jobs that keep them, and looked up.
type CalendarStore interface {
	crony.Jobs
	crony.Calendars
}

// Calendars tests a [crony.Calendars] together with the [crony.Jobs] that defines what is in it. Open returns an empty one,
// for the time of the test that it is given.
func Calendars(t *testing.T, open func(t *testing.T) CalendarStore) {
	for name, test := range map[string]func(*calendarsTest, context.Context){
		"unknown calendar":             (*calendarsTest).unknown,
		"life of a calendar":           (*calendarsTest).life,
		"calendars as written":         (*calendarsTest).asWritten,
		"calendars in order":           (*calendarsTest).inOrder,
		"a job with its calendar":      (*calendarsTest).withJob,
		"a job and a known calendar":   (*calendarsTest).known,
		"a change reaches the keepers": (*calendarsTest).reaches,
		"kept until let go":            (*calendarsTest).kept,
		"refused calendars":            (*calendarsTest).refusals,
		"zones that do not agree":      (*calendarsTest).zones,
		"dry run of a calendar":        (*calendarsTest).dryRun,
		"pause with a calendar":        (*calendarsTest).pause,
		"many keep and many change":    (*calendarsTest).many,
		"keep or delete":               (*calendarsTest).keepOrDelete,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			test(&calendarsTest{T: t, store: open(t)}, ctx)
		})
	}
}

// Keeper returns a job that is due every day at noon, but for the days off of the calendars.
func Keeper(name string, calendars ...string) crony.Job {
	j := Job(name, "")
	j.Schedule = "0 12 * * *"
	for _, c := range calendars {
		j.Calendars = append(j.Calendars, crony.CalendarUse{Name: c, On: crony.CalendarSkip})
	}
	return j
}

// DaysOff returns a calendar.
func DaysOff(name string, days ...string) crony.Calendar {
	return crony.Calendar{Name: name, DaysOff: days}
}

// farOff are days off that leave a job nothing to do until the year 2050.
const farOff = "2000-01-01/2049-12-31"

// calendarsTest is one test of the suite.
type calendarsTest struct {
	*testing.T
	store CalendarStore
}

// define defines things, calendars, scripts and jobs, and returns what was done, as "kind name action generation".
func (t *calendarsTest) define(ctx context.Context, opts crony.ApplyOptions, things ...any) ([]string, error) {
	t.Helper()
	var m crony.Manifest
	for _, thing := range things {
		switch thing := thing.(type) {
		case crony.Job:
			m.Jobs = append(m.Jobs, thing)
		case crony.Calendar:
			m.Calendars = append(m.Calendars, thing)
		case crony.Script:
			m.Scripts = append(m.Scripts, thing)
		}
	}
	applied, err := t.store.Define(ctx, m, opts)
	var lines []string
	for _, a := range applied {
		lines = append(lines, fmt.Sprintf("%s %s %s %d", a.Kind, a.Name, a.Action, a.Generation))
	}
	return lines, err
}

func (t *calendarsTest) defined(ctx context.Context, things []any, want ...string) {
	t.Helper()
	got, err := t.define(ctx, crony.ApplyOptions{}, things...)
	if err != nil {
		t.Fatalf("define: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

// refused checks that an error has a code, and a text in it or its faults.
func (t *calendarsTest) refused(what string, err error, code crony.Code, text string) {
	t.Helper()
	if crony.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %s with %q", what, err, code, text)
	}
}

func (t *calendarsTest) job(ctx context.Context, name string) crony.JobStatus {
	t.Helper()
	j, err := t.store.Job(ctx, name)
	if err != nil {
		t.Fatalf("job %s: %v", name, err)
	}
	return j
}

// calendar checks what a calendar holds, and who keeps it.
func (t *calendarsTest) calendar(ctx context.Context, want crony.Calendar, jobs ...string) crony.CalendarStatus {
	t.Helper()
	got, err := t.store.Calendar(ctx, want.Name)
	if err != nil {
		t.Fatalf("calendar %s: %v", want.Name, err)
	}
	if diff := cmp.Diff(crony.CalendarStatus{Calendar: want, Jobs: jobs}, got, cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(crony.CalendarStatus{}, "UpdatedAt", "UpdatedBy")); diff != "" {
		t.Errorf("calendar (-want +got):\n%s", diff)
	}
	if got.UpdatedAt.IsZero() || got.Jobs == nil {
		t.Errorf("calendar %s was changed at %v, and is kept by %#v", want.Name, got.UpdatedAt, got.Jobs)
	}
	return got
}

func (t *calendarsTest) unknown(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("de")}, "calendar de created 0")
	for _, name := range []string{"d", "dex", "DE", "other"} {
		_, err := t.store.Calendar(ctx, name)
		t.refused("look "+name+" up", err, crony.NotFound, name)
		t.refused("delete "+name, t.store.DeleteCalendar(ctx, name), crony.NotFound, name)
	}
}

func (t *calendarsTest) life(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("de", "2027-01-01")}, "calendar de created 0")
	first := t.calendar(ctx, DaysOff("de", "2027-01-01"))
	t.defined(ctx, []any{DaysOff("de", "2027-01-01")}, "calendar de unchanged 0")
	if again := t.calendar(ctx, DaysOff("de", "2027-01-01")); !again.UpdatedAt.Equal(first.UpdatedAt) {
		t.Errorf("defining what stands changed it: %v, then %v", first.UpdatedAt, again.UpdatedAt)
	}
	t.defined(ctx, []any{DaysOff("de", "2027-01-02")}, "calendar de updated 0")
	if second := t.calendar(ctx, DaysOff("de", "2027-01-02")); second.UpdatedAt.Before(first.UpdatedAt) {
		t.Errorf("changed at %v, then at %v", first.UpdatedAt, second.UpdatedAt)
	}
	if err := t.store.DeleteCalendar(ctx, "de"); err != nil {
		t.Fatal(err)
	}
	_, err := t.store.Calendar(ctx, "de")
	t.refused("a deleted calendar", err, crony.NotFound, "de")
	t.defined(ctx, []any{DaysOff("de")}, "calendar de created 0")
	t.calendar(ctx, DaysOff("de"))
}

func (t *calendarsTest) asWritten(ctx context.Context) {
	want := crony.Calendar{Name: "a.b_c-9", Timezone: "Asia/Shanghai", WorkingDays: []crony.Weekday{"fri", "mon"},
		DaysOff: []string{"2027-02-05/2027-02-11", "2027-01-01"}, ExtraWorkingDays: []string{"2027-01-31"},
		Blackouts: []crony.Blackout{{From: time.Date(2027, 1, 1, 0, 0, 0, 500, time.FixedZone("", 3600)),
			To: time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)}}}
	t.defined(ctx, []any{want}, "calendar a.b_c-9 created 0")
	t.calendar(ctx, want)
	t.defined(ctx, []any{want, Keeper("j", want.Name)}, "calendar a.b_c-9 unchanged 0", "job j created 1")
	if diff := cmp.Diff([]crony.Calendar{want}, t.job(ctx, "j").Calendars); diff != "" {
		t.Errorf("in a job's definition (-want +got):\n%s", diff)
	}
}

func (t *calendarsTest) inOrder(ctx context.Context) {
	list := func() (lines []string) {
		all, err := t.store.ListCalendars(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			lines = append(lines, fmt.Sprintf("%s%v%v", c.Calendar.Name, c.Calendar.DaysOff, c.Jobs))
		}
		return lines
	}
	if none := list(); len(none) > 0 {
		t.Errorf("an empty store has the calendars %v", none)
	}
	t.defined(ctx, []any{DaysOff("b", "2027-01-01"), DaysOff("a.x"), DaysOff("a"),
		Keeper("z", "b", "a"), Keeper("y", "b"), Keeper("x")},
		"calendar b created 0", "calendar a.x created 0", "calendar a created 0",
		"job z created 1", "job y created 1", "job x created 1")
	if diff := cmp.Diff([]string{"a[][z]", "a.x[][]", "b[2027-01-01][y z]"}, list()); diff != "" {
		t.Errorf("calendars (-want +got):\n%s", diff)
	}
	t.defined(ctx, []any{Keeper("z", "a.x", "a")}, "job z updated 2")
	if err := t.store.DeleteJob(ctx, "y"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a[][z]", "a.x[][z]", "b[2027-01-01][]"}, list()); diff != "" {
		t.Errorf("when jobs have let go (-want +got):\n%s", diff)
	}
}

func (t *calendarsTest) withJob(ctx context.Context) {
	t.defined(ctx, []any{Keeper("j", "off", "de"), DaysOff("de"), DaysOff("off", farOff)},
		"calendar de created 0", "calendar off created 0", "job j created 1")
	j := t.job(ctx, "j")
	if diff := cmp.Diff([]crony.Calendar{DaysOff("off", farOff), DaysOff("de")}, j.Calendars); diff != "" {
		t.Errorf("calendars (-want +got):\n%s", diff)
	}
	if want := time.Date(2050, 1, 1, 12, 0, 0, 0, time.UTC); !j.NextAt.Equal(want) {
		t.Errorf("next at %v, want %v", j.NextAt, want)
	}
}

func (t *calendarsTest) known(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("off", farOff)}, "calendar off created 0")
	t.defined(ctx, []any{Keeper("j")}, "job j created 1")
	before := t.job(ctx, "j")
	t.defined(ctx, []any{Keeper("j", "off")}, "job j updated 2")
	after := t.job(ctx, "j")
	if before.NextAt.Year() >= 2050 || after.NextAt.Year() != 2050 || after.PlanSince.Before(before.PlanSince) {
		t.Errorf("next at %v, then %v; in force since %v, then %v", before.NextAt, after.NextAt, before.PlanSince, after.PlanSince)
	}
	t.defined(ctx, []any{Keeper("j", "off")}, "job j unchanged 2")
	moved := Keeper("j", "off")
	moved.Calendars[0].On = crony.CalendarNext
	t.defined(ctx, []any{moved}, "job j updated 3")
	t.defined(ctx, []any{Keeper("j")}, "job j updated 4")
	if j := t.job(ctx, "j"); len(j.Calendars) > 0 || j.NextAt.Year() >= 2050 {
		t.Errorf("a job that has let go of its calendar still has %v, next at %v", j.Calendars, j.NextAt)
	}
}
