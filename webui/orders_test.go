package webui

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/webui/api"
)

// TestStartWith brings what is asked for to the store, and refuses what is wrong with it.
func TestStartWith(t *testing.T) {
	r := newRig(t)
	r.jobs.jobs["hello"] = crony.JobStatus{}
	path := apiBase + "/jobs/hello/runs"
	start := func(body string) answer {
		return r.do(t, call{method: "POST", path: path, as: "operator", body: body})
	}
	if got := start(`{"agent":"web-1","params":{"day":"monday"},"request":"r1"}`); got.StatusCode != 202 || len(decode[api.Started](t, got.body).Runs) != 1 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	want := crony.StartOptions{Agent: "web-1", Params: map[string]string{"day": "monday"}, Request: "r1"}
	if diff := cmp.Diff(want, r.jobs.started); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if got := start(""); got.StatusCode != 202 || !cmp.Equal(r.jobs.started, crony.StartOptions{}) {
		t.Errorf("without a body: %d, %+v", got.StatusCode, r.jobs.started)
	}
	for _, body := range []string{`{"params":{"1":"x"}}`, `{"agnet":"x"}`, `{"all":true,"agent":"x"}`, `[]`} {
		if got := start(body); got.StatusCode != 422 || got.problem(t).Faults == nil {
			t.Errorf("%s: %d %s", body, got.StatusCode, got.body)
		}
	}
}

// TestHandleRun brings the request to the store, and its answer back: who has done it, be it another.
func TestHandleRun(t *testing.T) {
	r := newRig(t)
	path := apiBase + "/runs/" + string(r.runs.run.ID) + "/handled"
	bob := &crony.Handled{By: "bob", At: noon, Note: "booked"}
	for _, c := range []struct {
		as, path, body string
		handled        *crony.Handled
		status         int
		asked          crony.HandleOptions
	}{
		{"operator", path, `{"note":"booked","request":"r1"}`, nil, 200, crony.HandleOptions{Note: "booked", Request: "r1"}},
		{"admin", path, "", nil, 200, crony.HandleOptions{}},
		{"viewer", path, "", nil, 403, crony.HandleOptions{}},
		{"operator", path, `{"why":"x"}`, nil, 422, crony.HandleOptions{}},
		{"operator", path, `{"request":"a b"}`, nil, 422, crony.HandleOptions{Request: "a b"}},
		{"operator", apiBase + "/runs/x/handled", "", nil, 422, crony.HandleOptions{}},
		{"operator", apiBase + "/runs/01KABCDEFGHJKMNPQRSTVWXY00/handled", "", nil, 404, crony.HandleOptions{}},
		{"operator", path, "", bob, 409, crony.HandleOptions{}},
	} {
		r.runs.handle, r.runs.run.Handled = crony.HandleOptions{}, c.handled
		got := r.do(t, call{method: "POST", path: c.path, as: c.as, body: c.body})
		if got.StatusCode != c.status || r.runs.handle != c.asked {
			t.Errorf("%+v: %d %s; asked for %+v", c, got.StatusCode, got.body, r.runs.handle)
		}
		switch got.StatusCode {
		case 200:
			if h := decode[crony.Handled](t, got.body); h.By != "the-"+c.as || !h.At.Equal(noon) || h.Note != c.asked.Note {
				t.Errorf("%+v: %s", c, got.body)
			}
		case 409:
			if text := got.problem(t).Detail; text != "the result is "+bob.Words() {
				t.Errorf("%+v: %s", c, got.body)
			}
		}
	}
	if got := r.do(t, call{method: "GET", path: apiBase + "/runs?to_handle=true&count=true", as: "viewer"}); got.StatusCode != 200 ||
		!r.runs.query.ToHandle || !r.runs.query.Count {
		t.Errorf("%d, asked for %+v", got.StatusCode, r.runs.query)
	}
}

// TestKillRun brings the order and its reason to the store, and says what it waits for.
func TestKillRun(t *testing.T) {
	r := newRig(t)
	path := apiBase + "/runs/" + string(r.runs.run.ID) + "/kill"
	r.runs.run.State = crony.Running
	for _, c := range []struct {
		as, agent, path, body string
		status                int
		waits                 bool
		kill                  crony.KillOrder
	}{
		{"operator", "agent-1", path, `{"reason":"stuck"}`, 202, false, crony.KillOrder{By: "the-operator", Reason: "stuck"}},
		{"editor", "agent-9", path, "", 202, true, crony.KillOrder{By: "the-editor"}},
		{"viewer", "agent-1", path, "", 403, false, crony.KillOrder{}},
		{"operator", "agent-1", path, `{"why":"stuck"}`, 422, false, crony.KillOrder{}},
		{"operator", "agent-1", apiBase + "/runs/x/kill", "", 422, false, crony.KillOrder{}},
		{"operator", "agent-1", apiBase + "/runs/01KABCDEFGHJKMNPQRSTVWXY00/kill", "", 404, false, crony.KillOrder{}},
	} {
		r.runs.kill, r.runs.run.Agent = crony.KillOrder{}, c.agent
		got := r.do(t, call{method: "POST", path: c.path, as: c.as, body: c.body})
		if got.StatusCode != c.status || r.runs.kill != c.kill {
			t.Errorf("%+v: %d %s; ordered %+v", c, got.StatusCode, got.body, r.runs.kill)
		}
		if got.StatusCode == 202 && (decode[api.KillAccepted](t, got.body).Waits != "") != c.waits {
			t.Errorf("%+v: %s", c, got.body)
		}
	}
}
