package webui

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/google/go-cmp/cmp"
)

// fakeCalendars is a store of calendars in memory.
type fakeCalendars map[string]crony.CalendarStatus

func (f fakeCalendars) Calendar(_ context.Context, name string) (crony.CalendarStatus, error) {
	calendar, ok := f[name]
	if !ok {
		return calendar, crony.Errorf(crony.NotFound, "there is no calendar %q", name)
	}
	return calendar, nil
}

func (f fakeCalendars) ListCalendars(context.Context) ([]crony.CalendarStatus, error) {
	var all []crony.CalendarStatus
	for _, name := range slices.Sorted(maps.Keys(f)) {
		all = append(all, f[name])
	}
	return all, nil
}

func (f fakeCalendars) DeleteCalendar(ctx context.Context, name string) error {
	calendar, err := f.Calendar(ctx, name)
	if err != nil {
		return err
	}
	if len(calendar.Jobs) > 0 {
		return crony.Errorf(crony.Conflict, "%d jobs keep the calendar %q", len(calendar.Jobs), name)
	}
	delete(f, name)
	return nil
}

func TestCalendars(t *testing.T) {
	r := newRig(t)
	const path = apiBase + "/calendars"
	if got := r.do(t, call{method: "GET", path: path, as: "viewer"}); string(got.body) != `{"items":[]}` {
		t.Errorf("no calendars: %s", got.body)
	}

	kept := crony.CalendarStatus{UpdatedAt: noon, UpdatedBy: "ada", Jobs: []string{"hello"}, Calendar: crony.Calendar{
		Name: "cn-holidays", Timezone: "Asia/Shanghai", WorkingDays: []crony.Weekday{"mon", "fri"},
		DaysOff: []string{"2027-02-05/2027-02-11"}, ExtraWorkingDays: []string{"2027-02-14"},
		Blackouts: []crony.Blackout{{From: noon, To: noon.Add(time.Hour)}},
	}}
	r.calendars["cn-holidays"] = kept
	r.calendars["spare"] = crony.CalendarStatus{UpdatedAt: noon, Calendar: crony.Calendar{Name: "spare"}}
	spare := r.calendars["spare"]
	spare.Jobs = []string{} // never null
	list := r.do(t, call{method: "GET", path: path, as: "viewer"})
	if diff := cmp.Diff([]crony.CalendarStatus{kept, spare}, decode[api.CalendarPage](t, list.body).Items); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]crony.CalendarStatus{"cn-holidays": kept, "spare": spare} {
		one := r.do(t, call{method: "GET", path: path + "/" + name, as: "viewer"})
		if diff := cmp.Diff(want, decode[crony.CalendarStatus](t, one.body)); diff != "" {
			t.Error(diff)
		}
	}

	if got := r.do(t, call{method: "DELETE", path: path + "/cn-holidays", as: "editor"}); got.StatusCode != 409 ||
		got.problem(t).Detail != `1 jobs keep the calendar "cn-holidays"` || len(r.calendars) != 2 {
		t.Errorf("delete one that is kept: %d %s", got.StatusCode, got.body)
	}
	if got := r.do(t, call{method: "DELETE", path: path + "/spare", as: "editor"}); got.StatusCode != 204 || len(r.calendars) != 1 {
		t.Errorf("delete: %d %s", got.StatusCode, got.body)
	}
	if got := r.do(t, call{method: "DELETE", path: path + "/spare", as: "editor"}); got.StatusCode != 404 {
		t.Errorf("delete again: %d", got.StatusCode)
	}
}

// TestApplyCalendars: a manifest reaches the store whole.
func TestApplyCalendars(t *testing.T) {
	r := newRig(t)
	got := r.do(t, call{method: "POST", path: apiBase + "/apply", as: "editor",
		body: `{"calendars":[{"name":"cn","days_off":["2027-01-01"],"blackouts":[{"from":"2027-01-31T12:00:00Z","to":"2027-01-31T13:00:00Z"}]}],
			"jobs":[{"name":"hello","calendars":[{"name":"cn","on":"skip"}],"schedule":"@hourly","shell":{"command":"true"}}]}`})
	want := api.ApplyResult{
		Calendars: []crony.Applied{{Kind: crony.KindCalendar, Name: "cn", Action: crony.Created, Generation: 1}},
		Scripts:   []crony.Applied{},
		Jobs:      []crony.Applied{{Kind: crony.KindJob, Name: "hello", Action: crony.Created, Generation: 1}},
	}
	if diff := cmp.Diff(want, decode[api.ApplyResult](t, got.body)); diff != "" {
		t.Errorf("%s\n%s", diff, got.body)
	}
	if got := r.jobs.calendars; len(got) != 1 || len(got[0].Blackouts) != 1 || !got[0].Blackouts[0].From.Equal(noon) {
		t.Errorf("the store got %+v", got)
	}
}

// TestAppliedByKind: the answer keeps calendars and jobs apart, whatever order the store tells them in.
func TestAppliedByKind(t *testing.T) {
	calendar := crony.Applied{Kind: crony.KindCalendar, Name: "a", Action: crony.Created}
	job := crony.Applied{Kind: crony.KindJob, Name: "a", Action: crony.Updated, Generation: 2}
	other := crony.Applied{Kind: crony.KindJob, Name: "b", Action: crony.Unchanged, Generation: 9}
	applied := []crony.Applied{job, calendar, other}
	if diff := cmp.Diff([]crony.Applied{job, other}, ofKind(applied, crony.KindJob)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]crony.Applied{calendar}, ofKind(applied, crony.KindCalendar)); diff != "" {
		t.Error(diff)
	}
	if got := ofKind(nil, crony.KindJob); got == nil || len(got) != 0 {
		t.Errorf("of nothing: %#v", got)
	}
}
