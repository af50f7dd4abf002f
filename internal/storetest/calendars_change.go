package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func (t *calendarsTest) reaches(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("a"), DaysOff("b"),
		Keeper("ja", "a"), Keeper("jb", "b"), Keeper("jab", "a", "b"), Keeper("j")},
		"calendar a created 0", "calendar b created 0",
		"job ja created 1", "job jb created 1", "job jab created 1", "job j created 1")
	before := map[string]crony.JobStatus{}
	for _, name := range []string{"j", "jb"} {
		before[name] = t.job(ctx, name)
	}
	t.defined(ctx, []any{DaysOff("a", farOff), DaysOff("b")}, "calendar a updated 0", "calendar b unchanged 0")
	for _, name := range []string{"ja", "jab"} {
		j := t.job(ctx, name)
		if j.Generation != 2 || j.NextAt.Year() != 2050 || !cmp.Equal(j.Calendars[0], DaysOff("a", farOff)) ||
			!j.PlanSince.Equal(j.UpdatedAt) {
			t.Errorf("%s is at generation %d, next at %v: %+v", name, j.Generation, j.NextAt, j.Definition)
		}
	}
	for name, was := range before {
		if diff := cmp.Diff(was.Definition, t.job(ctx, name).Definition); diff != "" {
			t.Errorf("%s, which does not keep it (-before +after):\n%s", name, diff)
		}
	}
	t.defined(ctx, []any{DaysOff("a"), Keeper("ja", "a"), Keeper("jb", "b")},
		"calendar a updated 0", "job ja updated 3", "job jb unchanged 1")
	if j := t.job(ctx, "jab"); j.Generation != 3 || len(j.Calendars[0].DaysOff) > 0 {
		t.Errorf("a job that keeps the calendar, beside the manifest: %+v", j.Definition)
	}
	t.defined(ctx, []any{DaysOff("a", farOff), Keeper("ja")}, "calendar a updated 0", "job ja updated 4")
	if j := t.job(ctx, "ja"); len(j.Calendars) > 0 {
		t.Errorf("a job that lets go of a calendar while it changes still has %v", j.Calendars)
	}
}

func (t *calendarsTest) kept(ctx context.Context) {
	things := []any{DaysOff("de")}
	want := []string{"calendar de created 0"}
	for n := range 7 {
		things = append(things, Keeper(fmt.Sprint("j", 7-n), "de"))
		want = append(want, fmt.Sprintf("job j%d created 1", 7-n))
	}
	t.defined(ctx, things, want...)
	t.refused("a kept calendar", t.store.DeleteCalendar(ctx, "de"), crony.Conflict,
		"7 jobs keep the calendar de: j1, j2, j3, j4, j5 and 2 more")
	for n := range 6 {
		if err := t.store.DeleteJob(ctx, fmt.Sprint("j", n+1)); err != nil {
			t.Fatal(err)
		}
	}
	t.refused("a kept calendar", t.store.DeleteCalendar(ctx, "de"), crony.Conflict, "1 job keeps the calendar de: j7")
	t.defined(ctx, []any{Keeper("j7")}, "job j7 updated 2")
	if err := t.store.DeleteCalendar(ctx, "de"); err != nil {
		t.Errorf("a calendar that no job keeps any more: %v", err)
	}
}

func (t *calendarsTest) refusals(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("de")}, "calendar de created 0")
	_, err := t.define(ctx, crony.ApplyOptions{}, DaysOff("de", "2027-01-01"), DaysOff("fr"),
		Keeper("a", "de"), Keeper("b", "de", "it"), Keeper("c", "es"))
	t.refused("calendars that there are not", err, crony.Invalid, `there is no calendar "it"`)
	if e, ok := errors.AsType[*crony.Error](err); ok {
		for i, want := range []string{"jobs[1].calendars[1].name", "jobs[2].calendars[0].name"} {
			if len(e.Faults) != 2 || e.Faults[i].Path != want || e.Faults[i].Hint == "" {
				t.Fatalf("faults: %+v, want one at %s", e.Faults, want)
			}
		}
	}
	_, err = t.define(ctx, crony.ApplyOptions{}, DaysOff("fr"), DaysOff("fr"))
	t.refused("a calendar given twice", err, crony.Invalid, "")
	for _, generation := range []int64{0, 1} {
		_, err = t.define(ctx, crony.ApplyOptions{IfGeneration: &generation}, DaysOff("fr"), Keeper("a", "fr"))
		t.refused("a condition for a calendar", err, crony.Invalid, "")
	}
	t.calendar(ctx, DaysOff("de"))
	if all, err := t.store.ListCalendars(ctx); err != nil || len(all) != 1 {
		t.Errorf("calendars: %+v, %v; want none of those refused", all, err)
	}
	if p, err := t.store.ListJobs(ctx, crony.JobQuery{}); err != nil || len(p.Items) > 0 {
		t.Errorf("jobs: %+v, %v; want none", p.Items, err)
	}
}

// zones has a job move its occurrences by two calendars, which must share a zone: where the job is defined, and where one of
// them changes.
func (t *calendarsTest) zones(ctx context.Context) {
	berlin := crony.Calendar{Name: "de", Timezone: "Europe/Berlin"}
	shanghai := crony.Calendar{Name: "cn", Timezone: "Asia/Shanghai"}
	both := Keeper("both", "de", "cn")
	for i := range both.Calendars {
		both.Calendars[i].On = crony.CalendarNext
	}
	t.defined(ctx, []any{berlin, shanghai}, "calendar de created 0", "calendar cn created 0")
	_, err := t.define(ctx, crony.ApplyOptions{}, Keeper("a"), both)
	t.refused("a job between zones", err, crony.Invalid,
		"jobs[1].calendars[1]: time zone: calendar cn is in Asia/Shanghai, another in Europe/Berlin")
	shanghai.Timezone = "Europe/Berlin"
	t.defined(ctx, []any{shanghai, both}, "calendar cn updated 0", "job both created 1")
	shanghai.Timezone = "Asia/Shanghai"
	_, err = t.define(ctx, crony.ApplyOptions{}, DaysOff("a"), shanghai)
	t.refused("a calendar of another zone", err, crony.Invalid,
		"calendars[1]: the job both keeps it: time zone: calendar cn is in Asia/Shanghai")
	if j := t.job(ctx, "both"); j.Generation != 1 {
		t.Errorf("the job is at generation %d after what was refused", j.Generation)
	}
	berlin.Timezone = "Asia/Shanghai"
	t.defined(ctx, []any{shanghai, berlin}, "calendar cn updated 0", "calendar de updated 0")
	if j := t.job(ctx, "both"); j.Generation != 2 || !cmp.Equal(j.Calendars, []crony.Calendar{berlin, shanghai}) {
		t.Errorf("with both calendars moved at once, the job is %+v", j.Definition)
	}
}

func (t *calendarsTest) dryRun(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("de"), Keeper("j", "de")}, "calendar de created 0", "job j created 1")
	got, err := t.define(ctx, crony.ApplyOptions{DryRun: true}, DaysOff("de", farOff), DaysOff("fr"),
		Keeper("j", "fr"), Keeper("k", "de"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"calendar de updated 0", "calendar fr created 0", "job j updated 2", "job k created 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what would be done (-want +got):\n%s", diff)
	}
	_, err = t.define(ctx, crony.ApplyOptions{DryRun: true}, Keeper("j", "fr"))
	t.refused("a dry run that can't be", err, crony.Invalid, `there is no calendar "fr"`)
	t.calendar(ctx, DaysOff("de"), "j")
	if j := t.job(ctx, "j"); j.Generation != 1 {
		t.Errorf("a dry run made generation %d", j.Generation)
	}
}

func (t *calendarsTest) pause(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("off", farOff), Keeper("j", "off")}, "calendar off created 0", "job j created 1")
	for _, paused := range []bool{true, false} {
		if _, err := t.store.PauseJob(ctx, "j", paused); err != nil {
			t.Fatal(err)
		}
	}
	want := []crony.Calendar{DaysOff("off", farOff)}
	if j := t.job(ctx, "j"); j.Generation != 3 || j.NextAt.Year() != 2050 || !cmp.Equal(j.Calendars, want) {
		t.Errorf("paused and resumed: %+v, next at %v", j.Definition, j.NextAt)
	}
	t.calendar(ctx, DaysOff("off", farOff), "j")
}

// many has jobs begin and cease to keep a calendar while it changes. In the end whoever keeps it has it as it is.
func (t *calendarsTest) many(ctx context.Context) {
	t.defined(ctx, []any{DaysOff("c", "2027-01-01")}, "calendar c created 0")
	const writers, rounds = 4, 8
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range rounds {
				stays, goes := Keeper(fmt.Sprintf("j%d-%d", w, n), "c"), Keeper(fmt.Sprint("k", w), []string{"c"}[n%2:]...)
				if _, err := t.define(ctx, crony.ApplyOptions{}, stays, goes); err != nil {
					t.Errorf("keep: %v", err)
				}
			}
		})
		all.Go(func() {
			for n := range rounds {
				if _, err := t.define(ctx, crony.ApplyOptions{}, DaysOff("c", fmt.Sprintf("20%d%d-01-01", w+1, n))); err != nil {
					t.Errorf("change: %v", err)
				}
			}
		})
	}
	all.Wait()
	c, err := t.store.Calendar(ctx, "c")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Jobs) != writers*rounds {
		t.Errorf("%d jobs keep it, want %d", len(c.Jobs), writers*rounds)
	}
	for _, name := range c.Jobs {
		if diff := cmp.Diff([]crony.Calendar{c.Calendar}, t.job(ctx, name).Calendars); diff != "" {
			t.Errorf("%s (-the calendar +the job's):\n%s", name, diff)
		}
	}
}

// keepOrDelete has a job begin to keep a calendar while it is deleted: one of the two must fail.
func (t *calendarsTest) keepOrDelete(ctx context.Context) {
	for n := range 10 {
		name := fmt.Sprint("c", n)
		t.defined(ctx, []any{DaysOff(name)}, "calendar "+name+" created 0")
		var kept, deleted error
		var both sync.WaitGroup
		both.Go(func() { _, kept = t.define(ctx, crony.ApplyOptions{}, Keeper("j", name)) })
		both.Go(func() { deleted = t.store.DeleteCalendar(ctx, name) })
		both.Wait()
		_, err := t.store.Calendar(ctx, name)
		switch {
		case kept == nil && err == nil:
			t.refused("delete a kept calendar", deleted, crony.Conflict, "1 job keeps")
		case deleted == nil && crony.CodeOf(err) == crony.NotFound:
			t.refused("keep a deleted calendar", kept, crony.Invalid, "there is no calendar")
		default:
			t.Errorf("keep: %v; delete: %v; then: %v", kept, deleted, err)
		}
	}
}
