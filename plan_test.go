package crony

import (
	"strings"
	"testing"
	"time"
)

func planOf(t *testing.T, manifest string) *Plan {
	t.Helper()
	m, err := DecodeManifest([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	d := Definition{Job: m.Jobs[0], Calendars: m.Calendars}
	if faults := d.Faults(); len(faults) > 0 {
		t.Fatal(faults)
	}
	return d.Plan()
}

func instants(t *testing.T, texts string) []time.Time {
	t.Helper()
	var list []time.Time
	for _, text := range strings.Fields(texts) {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, at)
	}
	return list
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct{ name, entries, from, want string }{
		{"the short form alone", `schedule: "0 12 * * *"`, "2027-01-01T00:00:00Z", "2027-01-01T12:00:00Z 2027-01-02T12:00:00Z"},
		{"an instant of two schedules is one", `schedules: [{cron: "0 12 * * *"}, {cron: "0 */6 * * *"}]`,
			"2027-01-01T07:00:00Z", "2027-01-01T12:00:00Z 2027-01-01T18:00:00Z"},
		{"a zone's clock", `schedules: [{cron: "30 2 * * *", timezone: Europe/Berlin}]`,
			"2027-03-27T12:00:00Z", "2027-03-28T01:00:00Z 2027-03-29T00:30:00Z"},
		{"bounds, and an interval from its start", `schedules: [{every: 6h, starts_at: 2027-01-01T01:00:00Z, ends_at: 2027-01-01T13:00:00Z}]`,
			"2026-01-01T00:00:00Z", "2027-01-01T01:00:00Z 2027-01-01T07:00:00Z"},
		{"times", `schedules: [{at: ["2027-12-31T23:30:00+08:00", "2026-12-31T23:30:00+08:00"]}]`,
			"2026-01-01T00:00:00Z", "2026-12-31T15:30:00Z 2027-12-31T15:30:00Z"},
		{"the year", `schedule: "0 0 12 LW * ? 2027-2030"`, "2020-01-01T00:00:00Z", "2027-01-29T12:00:00Z 2027-02-26T12:00:00Z"},
	} {
		p := planOf(t, "jobs: [{name: a, shell: {command: x}, "+tt.entries+"}]")
		at := instants(t, tt.from)[0]
		for _, want := range instants(t, tt.want) {
			if at = p.Next(at); !at.Equal(want) || !p.Start(at).Equal(want) {
				t.Errorf("%s: %s, starting %s, want %s", tt.name, at, p.Start(at), want)
			}
		}
	}
	if p := planOf(t, "jobs: [{name: a, shell: {command: x}}]"); p != nil {
		t.Errorf("a job without a schedule has a plan: next %s", p.Next(time.Now()))
	}
}

func TestPlanEnds(t *testing.T) {
	p := planOf(t, `jobs: [{name: a, shell: {command: x}, schedules: [{at: ["2026-12-31T23:30:00Z"]}]}]`)
	if at := p.Next(time.Date(2026, 12, 31, 23, 30, 0, 0, time.UTC)); !at.IsZero() {
		t.Errorf("after the last time comes %s", at)
	}
}

func TestPlanJitter(t *testing.T) {
	const manifest = `jobs: [{name: a, shell: {command: x}, schedules: [{cron: "0 * * * *", jitter: 5m}]}]`
	p, elsewhere := planOf(t, manifest), planOf(t, manifest)
	at, late := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), map[time.Duration]bool{}
	for range 100 {
		at = p.Next(at)
		d := p.Start(at).Sub(at)
		if d < 0 || d >= 5*time.Minute || p.Start(at) != elsewhere.Start(at) {
			t.Fatalf("%s starts %s later", at, d)
		}
		late[d] = true
	}
	if len(late) < 90 {
		t.Errorf("100 occurrences have only %d different starts", len(late))
	}
}

func TestPlanFaults(t *testing.T) {
	for entry, want := range map[string]string{
		`{cron: "* * * * *", timezone: Mars/Olympus}`:                                 `jobs[0].schedules[0]: time zone: "Mars/Olympus"`,
		`{cron: "CRON_TZ=UTC * * * * *", timezone: UTC}`:                              "both name one",
		`{every: 1h, starts_at: 2027-01-02T00:00:00Z, ends_at: 2027-01-01T00:00:00Z}`: "ends before it starts",
		`{every: 1ms}`:                     "jobs[0].schedules[0]: ",
		`{cron: "* * * * *", every: 1h}`:   "2 of cron, every and at are given",
		`{timezone: UTC}`:                  "0 of cron, every and at are given",
		`{cron: "* * * * *", jitter: -1s}`: "is not a duration",
	} {
		_, err := DecodeManifest([]byte("jobs: [{name: a, shell: {command: x}, schedules: [" + entry + "]}]"))
		if CodeOf(err) != Invalid || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one fault with %q", entry, err, want)
		}
	}
}
