package webui

import (
	"net/http"
	"strings"
	"testing"

	"crony"
	"crony/webui/api"
)

const helloJSON = `{"name":"hello","schedule":"* * * * *","shell":{"command":"true"}}`

func TestRefusals(t *testing.T) {
	const (
		jobs    = apiBase + "/jobs"
		job     = jobs + "/hello"
		apply   = apiBase + "/apply"
		session = apiBase + "/session"
	)
	basic := http.Header{"Authorization": {"Basic YTpi"}}
	gzipped := http.Header{"Content-Encoding": {"gzip"}}
	both := http.Header{"If-Match": {`"1"`}, "If-None-Match": {"*"}}
	crossOrigin := http.Header{"Origin": {"https://evil.test"}}
	crossSite := http.Header{"Sec-Fetch-Site": {"cross-site"}}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	tests := map[string]struct {
		call   call
		status int
		code   api.ProblemCode
		says   string // in the detail, the hint or a fault
	}{
		"no caller": {
			call{method: "GET", path: jobs},
			401, api.Unauthorized, "not signed in"},
		"unknown token": {
			call{method: "GET", path: jobs, as: "nobody"},
			401, api.Unauthorized, "not known"},
		"unknown cookie": {
			call{method: "GET", path: jobs, cookie: "stale"},
			401, api.Unauthorized, "not known"},
		"basic auth": {
			call{method: "GET", path: jobs, header: basic},
			401, api.Unauthorized, "Bearer TOKEN"},
		"token beats cookie": {
			call{method: "GET", path: jobs, as: "nobody", cookie: "secret-admin"},
			401, api.Unauthorized, "not known"},
		"hidden paths": {
			call{method: "GET", path: apiBase + "/nope"},
			401, api.Unauthorized, "not signed in"},
		"the contract": {
			call{method: "GET", path: apiBase + "/openapi.yaml"},
			401, api.Unauthorized, "not signed in"},
		"the metrics": {
			call{method: "GET", path: "/metrics"},
			401, api.Unauthorized, "not signed in"},

		"viewer starts": {
			call{method: "POST", path: job + "/runs", as: "viewer"},
			403, api.Forbidden, "operator"},
		"viewer pauses": {
			call{method: "POST", path: job + "/pause", as: "viewer"},
			403, api.Forbidden, "operator"},
		"viewer resumes": {
			call{method: "POST", path: job + "/resume", as: "viewer"},
			403, api.Forbidden, "operator"},
		"viewer kills": {
			call{method: "POST", path: apiBase + "/runs/01KABCDEFGHJKMNPQRSTVWXYZ0/kill", as: "viewer"},
			403, api.Forbidden, "operator"},
		"operator defines": {
			call{method: "PUT", path: job, as: "operator", body: helloJSON},
			403, api.Forbidden, "editor"},
		"operator deletes": {
			call{method: "DELETE", path: job, as: "operator"},
			403, api.Forbidden, "editor"},
		"operator applies": {
			call{method: "POST", path: apply, as: "operator", body: "{}"},
			403, api.Forbidden, "editor"},

		"another site": {
			call{method: "POST", path: job + "/runs", cookie: "secret-admin", header: crossSite},
			403, api.Forbidden, "another site"},
		"another origin": {
			call{method: "DELETE", path: job, cookie: "secret-admin", header: crossOrigin},
			403, api.Forbidden, "another site"},
		"another site signs in": {
			call{method: "POST", path: session, body: `{"token":"admin"}`, header: crossSite},
			403, api.Forbidden, "another site"},

		"operator deletes a calendar": {
			call{method: "DELETE", path: apiBase + "/calendars/cn", as: "operator"},
			403, api.Forbidden, "editor"},

		"operator deletes a script": {
			call{method: "DELETE", path: apiBase + "/scripts/tools", as: "operator"},
			403, api.Forbidden, "editor"},

		"unknown key": {
			call{method: "PUT", path: job, as: "editor", body: `{"name":"hello","shell":{"comand":"true"}}`},
			422, api.Invalid, "shell.comand"},
		"unknown key too": {
			call{method: "POST", path: session, body: `{"tokn":"admin"}`},
			422, api.Invalid, `did you mean \"token\"?`},
		"no token": {
			call{method: "POST", path: session, body: `{}`},
			422, api.Invalid, "there is no token"},
		"unlike the path": {
			call{method: "PUT", path: apiBase + "/jobs/other", as: "editor", body: helloJSON},
			422, api.Invalid, "not the name in the path"},
		"no job": {
			call{method: "PUT", path: job, as: "editor", body: `{"name":"hello"}`},
			422, api.Invalid, "faults"},
		"bad manifest": {
			call{method: "POST", path: apply, as: "editor", body: "{\"jobs\":\n[{\"name\":\"A B\"}]}"},
			422, api.Invalid, `"line":2`},
		"a form": {
			call{method: "PUT", path: job, as: "editor", body: "name=hello", header: form},
			415, api.Invalid, "application/json"},
		"a form signs in": {
			call{method: "POST", path: session, body: "token=admin", header: form},
			415, api.Invalid, "application/json"},
		"a form applies": {
			call{method: "POST", path: apply, as: "editor", body: "jobs=", header: form},
			415, api.Invalid, "application/yaml"},
		"compressed": {
			call{method: "POST", path: apply, as: "editor", body: "x", header: gzipped},
			415, api.Invalid, "uncompressed"},

		"bad limit": {
			call{method: "GET", path: apiBase + "/jobs?limit=many", as: "viewer"},
			400, api.Invalid, `\"limit\"`},
		"limit 0": {
			call{method: "GET", path: apiBase + "/jobs?limit=0", as: "viewer"},
			422, api.Invalid, "1 to 1000"},
		"limit 9999": {
			call{method: "GET", path: apiBase + "/runs?limit=9999", as: "viewer"},
			422, api.Invalid, "1 to 1000"},
		"bad limit of a ledger": {
			call{method: "GET", path: job + "/ledger?limit=0", as: "viewer"},
			422, api.Invalid, "1 to 1000"},
		"bad from": {
			call{method: "GET", path: job + "/ledger?from=yesterday", as: "viewer"},
			400, api.Invalid, `from: \"yesterday\" is not a time","hint":"write it as 2027-01-31T18:00:00Z"`},
		"bad to": {
			call{method: "GET", path: job + "/ledger?to=2027-01-31", as: "viewer"},
			400, api.Invalid, `to: \"2027-01-31\" is not a time`},
		"bad from of a verification": {
			call{method: "GET", path: job + "/verify?from=2027-01-31T18:00Z", as: "viewer"},
			400, api.Invalid, "from: "},
		"bad to of a verification": {
			call{method: "GET", path: job + "/verify?to=", as: "viewer"},
			400, api.Invalid, "to: "},
		"no instant": {
			call{method: "GET", path: job + "/explain", as: "viewer"},
			400, api.Invalid, `the parameter \"at\" must be given`},
		"bad instant": {
			call{method: "GET", path: job + "/explain?at=18:00", as: "viewer"},
			400, api.Invalid, "at: "},
		"a plus that became a space": {
			call{method: "GET", path: job + "/explain?at=2027-01-31T18:00:00+01:00", as: "viewer"},
			400, api.Invalid, "in a URL a + is written %2B"},
		"no such calendar": {
			call{method: "GET", path: apiBase + "/calendars/nope", as: "viewer"},
			404, api.NotFound, "no calendar"},
		"no such script": {
			call{method: "GET", path: apiBase + "/scripts/nope", as: "viewer"},
			404, api.NotFound, "no script"},
		"unknown state": {
			call{method: "GET", path: apiBase + "/runs?state=broken", as: "viewer"},
			422, api.Invalid, "succeeded"},
		"unknown trigger": {
			call{method: "GET", path: apiBase + "/runs?trigger=boot", as: "viewer"},
			422, api.Invalid, `trigger: \"boot\" is not known","hint":"one of: schedule, manual, reboot, prepare"`},
		"a label without a value": {
			call{method: "GET", path: apiBase + "/runs?label=team", as: "viewer"},
			422, api.Invalid, `label: \"team\" is not`},
		"a label with two values": {
			call{method: "GET", path: apiBase + "/runs?label=team=a&label=team=b", as: "viewer"},
			422, api.Invalid, `label: no job has two values of \"team\"`},
		"runs from when": {
			call{method: "GET", path: apiBase + "/runs?from=yesterday", as: "viewer"},
			400, api.Invalid, `from: \"yesterday\" is not a time`},
		"runs to when": {
			call{method: "GET", path: apiBase + "/runs?to=2027", as: "viewer"},
			400, api.Invalid, `to: \"2027\" is not a time`},
		"runs longer than what": {
			call{method: "GET", path: apiBase + "/runs?longer=10", as: "viewer"},
			422, api.Invalid, `longer: \"10\" is not a length of time`},
		"runs shorter than nothing": {
			call{method: "GET", path: apiBase + "/runs?shorter=0s", as: "viewer"},
			422, api.Invalid, `shorter: \"0s\" is not a length of time`},
		"bad count": {
			call{method: "GET", path: apiBase + "/runs?count=all", as: "viewer"},
			400, api.Invalid, `\"count\"`},
		"a search of an unknown state": {
			call{method: "GET", path: apiBase + "/outputs/search?text=a&state=broken", as: "viewer"},
			422, api.Invalid, `state: \"broken\" is not known`},
		"a search of a bad label": {
			call{method: "GET", path: apiBase + "/outputs/search?text=a&label==b", as: "viewer"},
			422, api.Invalid, `label: `},
		"a search with bad context": {
			call{method: "GET", path: apiBase + "/outputs/search?text=a&context=some", as: "viewer"},
			400, api.Invalid, `\"context\"`},
		"a search without a limit": {
			call{method: "GET", path: apiBase + "/outputs/search?text=a&limit=0", as: "viewer"},
			422, api.Invalid, "1 to 1000"},
		"no days": {
			call{method: "GET", path: apiBase + "/history?days=0", as: "viewer"},
			422, api.Invalid, "days: 0 is out of range"},
		"too many days": {
			call{method: "GET", path: job + "/history?days=401", as: "viewer"},
			422, api.Invalid, "1 to 400"},
		"a stranger searches": {
			call{method: "GET", path: apiBase + "/outputs/search?text=a"},
			401, api.Unauthorized, "not signed in"},
		"bad run id": {
			call{method: "GET", path: apiBase + "/runs/1", as: "viewer"},
			422, api.Invalid, "not a run's id"},
		"no such run": {
			call{method: "GET", path: apiBase + "/runs/" + string(crony.NewRunID(noon)), as: "viewer"},
			404, api.NotFound, "no run"},
		"no output": {
			call{method: "GET", path: apiBase + "/runs/" + string(crony.NewRunID(noon)) + "/output", as: "viewer"},
			404, api.NotFound, "no run"},
		"no such job": {
			call{method: "GET", path: apiBase + "/jobs/nope", as: "viewer"},
			404, api.NotFound, "no job"},

		"unknown route": {
			call{method: "GET", path: apiBase + "/nope", as: "admin"},
			404, api.NotFound, "nothing at this path"},
		"unknown version": {
			call{method: "GET", path: "/api/v9/jobs"},
			404, api.NotFound, "nothing at this path"},
		"wrong method": {
			call{method: "PATCH", path: job, as: "admin"},
			405, api.Invalid, "Allow"},
		"wrong method there": {
			call{method: "POST", path: "/livez"},
			405, api.Invalid, "Allow"},
		"changing the app": {
			call{method: "POST", path: "/jobs/hello"},
			405, api.Invalid, "Allow"},
		"token signs out": {
			call{method: "DELETE", path: session, as: "viewer"},
			422, api.Invalid, "revoke"},
		"bad If-Match": {
			call{method: "PUT", path: job, as: "editor", body: helloJSON, header: http.Header{"If-Match": {"1"}}},
			422, api.Invalid, "ETag"},
		"two If-Matches": {
			call{method: "PUT", path: job, as: "editor", body: helloJSON, header: http.Header{"If-Match": {`"1", "2"`}}},
			422, api.Invalid, "ETag"},
		"both conditions": {
			call{method: "PUT", path: job, as: "editor", body: helloJSON, header: both},
			422, api.Invalid, "exclude"},
	}
	r := newRig(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := r.do(t, test.call)
			p := got.problem(t)
			if got.StatusCode != test.status || p.Status != test.status || p.Code != test.code {
				t.Errorf("status %d, code %s; want %d, %s: %s", got.StatusCode, p.Code, test.status, test.code, got.body)
			}
			if !strings.Contains(string(got.body), test.says) {
				t.Errorf("%s does not say %q", got.body, test.says)
			}
			if test.status == 401 && got.Header.Get("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
		})
	}
	if len(r.jobs.jobs) != 0 {
		t.Errorf("a refused request changed something: %v", r.jobs.jobs)
	}
}

func TestAllowListsTheMethods(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]string{
		"/api/v1/jobs/hello": "GET, HEAD, PUT, DELETE",
		"/livez":             "GET, HEAD",
		"/anything":          "GET, HEAD",
	} {
		got := r.do(t, call{method: "PATCH", path: path, as: "admin"}).Header.Get("Allow")
		if got != want {
			t.Errorf("%s: Allow %q, want %q", path, got, want)
		}
	}
}

// TestOursIsNotToldToStrangers: what a store did not say for people is in the log alone, and there once.
func TestOursIsNotToldToStrangers(t *testing.T) {
	r := newRig(t)
	r.jobs.err = errInner
	got := r.do(t, call{method: "GET", path: "/api/v1/jobs", as: "viewer"})
	told := strings.Contains(string(got.body), errInner.Error())
	if p := got.problem(t); p.Code != api.Internal || got.StatusCode != 500 || told {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if n := strings.Count(r.log.String(), errInner.Error()); n != 1 {
		t.Errorf("logged %d times:\n%s", n, r.log)
	}
	r.jobs.err = &crony.Error{Code: crony.Unavailable, Message: "not now", Err: errInner}
	got = r.do(t, call{method: "GET", path: "/api/v1/jobs", as: "viewer"})
	told = strings.Contains(string(got.body), errInner.Error())
	if p := got.problem(t); got.StatusCode != 503 || p.Detail != "not now" || told {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	r := newRig(t, func(o *Options) { o.LastRun = func(string) (crony.Run, bool) { panic("broken") } })
	r.jobs.jobs["hello"] = crony.JobStatus{}
	if got := r.do(t, call{method: "GET", path: "/api/v1/jobs", as: "viewer"}); got.StatusCode != 500 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if !strings.Contains(r.log.String(), "panic: broken") {
		t.Errorf("the log does not tell:\n%s", r.log)
	}
}

// TestEveryChangeTakesARole: a route that nobody gave a role is for admins alone.
func TestEveryChangeTakesARole(t *testing.T) {
	if got := roleFor("POST", apiBase+"/new"); got != crony.Admin {
		t.Errorf("a new route takes %s", got)
	}
	if got := roleFor("DELETE", apiBase+"/session"); got != crony.Viewer {
		t.Errorf("signing out takes %s", got)
	}
}
