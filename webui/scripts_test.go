package webui

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/webui/api"
)

// fakeScripts is a store of scripts in memory.
type fakeScripts map[string]crony.ScriptStatus

func (f fakeScripts) Script(_ context.Context, name string) (crony.ScriptStatus, error) {
	script, ok := f[name]
	if !ok {
		return script, crony.Errorf(crony.NotFound, "there is no script %q", name)
	}
	return script, nil
}

func (f fakeScripts) ListScripts(context.Context) ([]crony.ScriptStatus, error) {
	var all []crony.ScriptStatus
	for _, name := range slices.Sorted(maps.Keys(f)) {
		all = append(all, f[name])
	}
	return all, nil
}

func (f fakeScripts) DeleteScript(ctx context.Context, name string) error {
	script, err := f.Script(ctx, name)
	if err != nil {
		return err
	}
	if len(script.Jobs) > 0 {
		return crony.Errorf(crony.Conflict, "%d jobs name the script %q", len(script.Jobs), name)
	}
	delete(f, name)
	return nil
}

func TestScripts(t *testing.T) {
	r := newRig(t)
	const path = apiBase + "/scripts"
	if got := r.do(t, call{method: "GET", path: path, as: "viewer"}); string(got.body) != `{"items":[]}` {
		t.Errorf("no scripts: %s", got.body)
	}
	used := crony.ScriptStatus{UpdatedAt: noon, UpdatedBy: "ada", Jobs: []string{"hello"},
		Script: crony.Script{Name: "tools", Interpreter: "/bin/bash", Timeout: 120e9, Script: "apt-get install tools\n"}}
	spare := crony.ScriptStatus{UpdatedAt: noon, Script: crony.Script{Name: "spare", Script: "true"}}
	r.scripts["tools"], r.scripts["spare"] = used, spare
	spare.Jobs = []string{} // never null
	list := r.do(t, call{method: "GET", path: path, as: "viewer"})
	if diff := cmp.Diff([]crony.ScriptStatus{spare, used}, decode[api.ScriptPage](t, list.body).Items); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]crony.ScriptStatus{"tools": used, "spare": spare} {
		one := r.do(t, call{method: "GET", path: path + "/" + name, as: "viewer"})
		if diff := cmp.Diff(want, decode[crony.ScriptStatus](t, one.body)); diff != "" {
			t.Error(diff)
		}
	}
	if got := r.do(t, call{method: "DELETE", path: path + "/tools", as: "editor"}); got.StatusCode != 409 ||
		got.problem(t).Detail != `1 jobs name the script "tools"` || len(r.scripts) != 2 {
		t.Errorf("delete one that is named: %d %s", got.StatusCode, got.body)
	}
	if got := r.do(t, call{method: "DELETE", path: path + "/spare", as: "editor"}); got.StatusCode != 204 || len(r.scripts) != 1 {
		t.Errorf("delete: %d %s", got.StatusCode, got.body)
	}
}

// TestApplyScripts: scripts of a manifest reach the store, and are told beside the jobs.
func TestApplyScripts(t *testing.T) {
	r := newRig(t)
	got := r.do(t, call{method: "POST", path: apiBase + "/apply", as: "editor",
		body: `{"scripts":[{"name":"tools","timeout":"2m","script":"x"}],"jobs":[{"name":"hello","scripts":["tools"],"shell":{"command":"true"}}]}`})
	want := api.ApplyResult{
		Calendars: []crony.Applied{},
		Scripts:   []crony.Applied{{Kind: crony.KindScript, Name: "tools", Action: crony.Created}},
		Jobs:      []crony.Applied{{Kind: crony.KindJob, Name: "hello", Action: crony.Created, Generation: 1}},
	}
	if diff := cmp.Diff(want, decode[api.ApplyResult](t, got.body)); diff != "" {
		t.Errorf("%s\n%s", diff, got.body)
	}
	if diff := cmp.Diff([]crony.Script{{Name: "tools", Timeout: 120e9, Script: "x"}}, r.jobs.scripts); diff != "" {
		t.Error(diff)
	}
}
