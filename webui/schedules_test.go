package webui

import (
	"strings"
	"testing"

	"crony"
)

func TestExplainSchedule(t *testing.T) {
	r := newRig(t)
	ask := func(body string) answer {
		return r.do(t, call{method: "POST", path: "/api/v1/schedules/explain", as: "viewer", body: body})
	}
	got := ask(`{"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "from": "2027-03-27T12:00:00Z", "count": 2}`)
	explained := decode[crony.ScheduleAnswer](t, got.body)
	if got.StatusCode != 200 || len(explained.Next) != 2 || explained.Next[0].Wall != "2027-03-28T03:00:00+02:00" ||
		!strings.Contains(explained.Next[0].Note, "02:30") || explained.Next[1].Note != "" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	for body, want := range map[string]string{
		`{"schedule": "61 * * * *"}`:                            `"path":"schedule"`,
		`{"schedule": "* * * * *", "timezone": "Mars/Olympus"}`: `"path":"timezone"`,
		`{"schedule": "* * * * *", "count": 100000}`:            `"path":"count"`,
		`{"schedul": "* * * * *"}`:                              `did you mean`,
	} {
		if got := ask(body); got.StatusCode != 422 || !strings.Contains(string(got.body), want) {
			t.Errorf("%s: %d %s, want 422 with %s", body, got.StatusCode, got.body, want)
		}
	}
}
