package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"crony"
	"crony/webui/api"

	"github.com/google/go-cmp/cmp"
)

var errInner = errors.New("raft: entry 7 of node 2")

// TestJobsLife walks a job through every operation.
func TestJobsLife(t *testing.T) {
	r := newRig(t)
	const path = "/api/v1/jobs/hello"
	if got := r.do(t, call{method: "GET", path: "/api/v1/jobs", as: "viewer"}); string(got.body) != `{"items":[]}` {
		t.Errorf("no jobs: %s", got.body)
	}

	put := r.do(t, call{method: "PUT", path: path, as: "editor", body: helloJSON})
	job := decode[crony.JobStatus](t, put.body)
	if put.StatusCode != 200 || put.Header.Get("ETag") != `"1"` || job.Job.Name != "hello" || job.UpdatedBy != "the-editor" {
		t.Errorf("put: %d, ETag %s: %s", put.StatusCode, put.Header.Get("ETag"), put.body)
	}
	if job.LastRun == nil || job.LastRun.ID != r.runs.run.ID {
		t.Errorf("put: last run %v", job.LastRun)
	}

	get := r.do(t, call{method: "GET", path: path, as: "viewer"})
	if get.Header.Get("ETag") != `"1"` || get.Header.Get("Cache-Control") != "no-store" ||
		string(get.body) != string(put.body) {
		t.Errorf("get: %v %s", get.Header, get.body)
	}
	const query = "?q=hel&group=default&agent=A1&limit=7&cursor=c"
	list := decode[crony.JobPage](t, r.do(t, call{method: "GET", path: "/api/v1/jobs" + query, as: "viewer"}).body)
	if len(list.Items) != 1 || list.Items[0].LastRun == nil {
		t.Errorf("list: %v", list)
	}
	if diff := cmp.Diff(crony.JobQuery{Search: "hel", Group: "default", Agent: "A1", Limit: 7, Cursor: "c"}, r.jobs.query); diff != "" {
		t.Error(diff)
	}

	r.do(t, call{method: "POST", path: path + "/pause", cookie: "secret-operator"})
	if !r.jobs.jobs["hello"].Job.Paused || r.jobs.actor != "the-operator" {
		t.Errorf("paused %v by %s", r.jobs.jobs["hello"].Job.Paused, r.jobs.actor)
	}
	r.do(t, call{method: "POST", path: path + "/resume", as: "operator"})
	if r.jobs.jobs["hello"].Job.Paused {
		t.Error("still paused")
	}
	start := r.do(t, call{method: "POST", path: path + "/runs", as: "operator"})
	if _, err := crony.ParseRunID(decode[api.Started](t, start.body).Id); err != nil || start.StatusCode != 202 {
		t.Errorf("start: %d %s", start.StatusCode, start.body)
	}
	if got := r.do(t, call{method: "DELETE", path: path, as: "admin"}); got.StatusCode != 204 || r.jobs.actor != "the-admin" {
		t.Errorf("delete: %d by %s", got.StatusCode, r.jobs.actor)
	}
	if got := r.do(t, call{method: "DELETE", path: path, as: "admin"}); got.StatusCode != 404 {
		t.Errorf("delete again: %d", got.StatusCode)
	}
}

func TestPutJobPreconditions(t *testing.T) {
	tests := map[string]struct {
		standing   int64 // generation; 0 no job
		name, text string
		want       int
	}{
		"as it stands":       {2, "If-Match", `"2"`, 200},
		"changed meanwhile":  {3, "If-Match", `"2"`, 412},
		"gone meanwhile":     {0, "If-Match", `"2"`, 412},
		"any that stands":    {3, "If-Match", `*`, 200},
		"none stands":        {0, "If-Match", `*`, 412},
		"new":                {0, "If-None-Match", `*`, 200},
		"not new":            {1, "If-None-Match", `*`, 412},
		"without conditions": {5, "X-Nothing", `*`, 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if test.standing > 0 {
				r.jobs.jobs["hello"] = crony.JobStatus{Definition: crony.Definition{Generation: test.standing}}
			}
			got := r.do(t, call{method: "PUT", path: "/api/v1/jobs/hello", as: "editor", body: helloJSON,
				header: http.Header{test.name: {test.text}}})
			if got.StatusCode != test.want {
				t.Fatalf("%d, want %d: %s", got.StatusCode, test.want, got.body)
			}
			if test.want == 412 {
				if p := got.problem(t); p.Code != api.Conflict || p.Title != "Precondition Failed" {
					t.Errorf("%+v", p)
				}
				if r.jobs.jobs["hello"].Generation != test.standing {
					t.Error("the job was changed all the same")
				}
				return
			}
			if want := `"` + number(test.standing+1) + `"`; got.Header.Get("ETag") != want {
				t.Errorf("ETag %s, want %s", got.Header.Get("ETag"), want)
			}
		})
	}
}

func TestConflictWithoutPrecondition(t *testing.T) {
	r := newRig(t)
	r.jobs.err = crony.Errorf(crony.Conflict, "an earlier order is not taken yet")
	if got := r.do(t, call{method: "POST", path: "/api/v1/jobs/hello/runs", as: "operator"}); got.StatusCode != 409 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func TestApply(t *testing.T) {
	const manifest = "jobs:\n  - {name: one, shell: {command: 'true'}}\n  - {name: two, shell: {command: 'true'}}\n"
	yaml := http.Header{"Content-Type": {"application/yaml; charset=utf-8"}}
	r := newRig(t)
	want := api.ApplyResult{Calendars: []crony.Applied{}, Jobs: []crony.Applied{
		{Kind: crony.KindJob, Name: "one", Action: crony.Created, Generation: 1}, {Kind: crony.KindJob, Name: "two", Action: crony.Created, Generation: 1},
	}}
	for _, query := range []string{"?dry_run=true", ""} {
		got := r.do(t, call{method: "POST", path: "/api/v1/apply" + query, as: "editor", body: manifest, header: yaml})
		if diff := cmp.Diff(want, decode[api.ApplyResult](t, got.body)); diff != "" {
			t.Errorf("%q: %s\n%s", query, diff, got.body)
		}
		if dry := query != ""; dry != (len(r.jobs.jobs) == 0) {
			t.Errorf("%q left %d jobs", query, len(r.jobs.jobs))
		}
	}
	got := r.do(t, call{method: "POST", path: "/api/v1/apply", as: "editor", header: yaml,
		body: "jobs:\n  - name: one\n    shel: {command: 'true'}\n    timeout: soon\n"})
	p := got.problem(t)
	if p.Faults == nil || len(*p.Faults) != 2 {
		t.Fatalf("%s", got.body)
	}
	if f := (*p.Faults)[0]; f.Line != 3 || f.Path != "jobs[0].shel" || !strings.Contains(f.Hint, "shell") {
		t.Errorf("%+v", f)
	}
}

// TestLargestManifest: what is just within the limit is read.
func TestLargestManifest(t *testing.T) {
	r := newRig(t)
	body := helloJSON[:len(helloJSON)-1] + `,"note":"` + strings.Repeat("x", 4000) + `"}`
	body += strings.Repeat(" ", bodyLimit-len(body))
	if got := r.do(t, call{method: "PUT", path: "/api/v1/jobs/hello", as: "editor", body: body}); got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Agents = fakeAgents(nil) })
	if got := r.do(t, call{method: "GET", path: "/api/v1/agents", as: "viewer"}); string(got.body) != `{"items":[]}` {
		t.Errorf("agents: %s", got.body)
	}
}

func TestAgentsAndServer(t *testing.T) {
	r := newRig(t)
	agents := r.do(t, call{method: "GET", path: "/api/v1/agents", as: "viewer"})
	got := decode[api.AgentPage](t, agents.body)
	if len(got.Items) != 1 || got.Items[0].Name != "web-1" || got.Items[0].Jobs != 2 {
		t.Errorf("%s", agents.body)
	}
	server := decode[api.Server](t, r.do(t, call{method: "GET", path: "/api/v1/server", as: "viewer"}).body)
	want := api.Server{Id: "s1", Version: "v1", Cluster: "c1", Leader: "s1", StartedAt: noon, Now: noon, Jobs: 3, Agents: 1}
	if diff := cmp.Diff(want, server); diff != "" {
		t.Error(diff)
	}
	unknown := crony.Errorf(crony.Unavailable, "not known yet")
	r = newRig(t, func(o *Options) { o.Facts = func(context.Context) (Facts, error) { return Facts{}, unknown } })
	if got := r.do(t, call{method: "GET", path: "/api/v1/server", as: "viewer"}); got.StatusCode != 503 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "Jobs") {
		t.Errorf("err = %v", err)
	}
	r := newRig(t)
	opts := r.opts
	if _, err := New(opts); err == nil || !strings.Contains(fmt.Sprint(err), "register") {
		t.Errorf("registering twice: %v", err)
	}
}
