package webui

import (
	"net/http"
	"strings"
	"testing"

	"crony"
)

func fleetOfThree() fakeAgents {
	return fakeAgents{
		{Agent: crony.Agent{ID: "A1", Name: "web-1", Weight: 1, Since: noon, Server: "s1"}, Up: true},
		{Agent: crony.Agent{ID: "A2", Name: "db", Weight: 1}, SeenAt: noon,
			Cordon: &crony.Cordon{By: "ann", At: noon, Reason: "new disk", Drain: true}},
		{Agent: crony.Agent{ID: "A3", Name: "db", Weight: 1}},
	}
}

// TestAgents: each role may do what it may, and everybody else is told why not.
func TestAgents(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Agents = fleetOfThree() })
	for name, test := range map[string]struct {
		call   call
		status int
		says   string
	}{
		"list":             {call{method: "GET", path: "/agents", as: "viewer"}, 200, `"seen_at":"`},
		"one, by its id":   {call{method: "GET", path: "/agents/A2", as: "viewer"}, 200, `"reason":"new disk","drain":true`},
		"one, by its name": {call{method: "GET", path: "/agents/web-1", as: "viewer"}, 200, `"up":true`},
		"nobody":           {call{method: "GET", path: "/agents/x", as: "viewer"}, 404, "there is no agent x"},
		"two of the name":  {call{method: "GET", path: "/agents/db", as: "viewer"}, 409, "A2, A3"},
		"figures":          {call{method: "GET", path: "/agents/A1/figures", as: "viewer"}, 200, `"cpus":4`},
		"figures of one that is gone": {call{method: "GET", path: "/agents/A2/figures", as: "viewer"}, 503,
			"is not connected"},
		"a stranger": {call{method: "GET", path: "/agents/A1/figures"}, 401, "not signed in"},

		"a viewer cordons": {call{method: "PATCH", path: "/agents/A1", as: "viewer", body: `{"cordon":{"on":true}}`}, 403, "operator"},
		"an operator cordons": {call{method: "PATCH", path: "/agents/A1", as: "operator", body: `{"cordon":{"on":true,"reason":"x"}}`},
			200, `"by":"the-operator"`},
		"an operator uncordons": {call{method: "PATCH", path: "/agents/A1", as: "operator", body: `{"cordon":{"on":false}}`}, 200, `"A1"`},
		"an operator labels":    {call{method: "PATCH", path: "/agents/A1", as: "operator", body: `{"labels":{"a":"b"}}`}, 403, "editor"},
		"an operator unlabels":  {call{method: "PATCH", path: "/agents/A1", as: "operator", body: `{"labels":{"a":null}}`}, 403, "editor"},
		"an operator weighs": {call{method: "PATCH", path: "/agents/A1", as: "operator", body: `{"weight":0,"cordon":{"on":true}}`},
			403, "editor"},
		"an editor labels":    {call{method: "PATCH", path: "/agents/A1", as: "editor", body: `{"labels":{"a":"b","c":null},"weight":3}`}, 200, `"A1"`},
		"an editor removes":   {call{method: "DELETE", path: "/agents/A1", as: "editor"}, 403, "admin"},
		"a label":             {call{method: "PATCH", path: "/agents/A1", as: "editor", body: `{"labels":{"a b":"c"}}`}, 422, "can't be a label's key"},
		"a weight":            {call{method: "PATCH", path: "/agents/A1", as: "editor", body: `{"weight":1001}`}, 422, "out of range"},
		"a drain, no cordon":  {call{method: "PATCH", path: "/agents/A1", as: "editor", body: `{"cordon":{"on":false,"drain":true}}`}, 422, "cordon.drain"},
		"an unknown key":      {call{method: "PATCH", path: "/agents/A1", as: "editor", body: `{"cordned":{}}`}, 422, "cordned"},
		"no JSON":             {call{method: "PATCH", path: "/agents/A1", as: "editor", body: `{`}, 422, "line"},
		"a change of nobody":  {call{method: "PATCH", path: "/agents/x", as: "editor", body: `{}`}, 404, "there is no agent"},
		"a change of several": {call{method: "PATCH", path: "/agents/db", as: "editor", body: `{}`}, 409, "A2, A3"},
		"a form": {call{method: "PATCH", path: "/agents/A1", as: "editor", body: "a=b",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}, 415, "application/json"},
	} {
		test.call.path = apiBase + test.call.path
		if got := r.do(t, test.call); got.StatusCode != test.status || !strings.Contains(string(got.body), test.says) {
			t.Errorf("%s: %d %s; want %d with %q", name, got.StatusCode, got.body, test.status, test.says)
		}
	}
}
