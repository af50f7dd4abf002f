package sdk

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/strict"
)

func TestApplySendsTheBytesAsTheyAre(t *testing.T) {
	const manifest = "# mine\njobs:\n  - {name: hello, shell: {command: \"true\"}}\n"
	var got, query, kind string
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/apply": func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, query, kind = string(body), r.URL.RawQuery, r.Header.Get("Content-Type")
		answer(200, "application/json", `{"jobs":[{"name":"hello","action":"created","generation":1}]}`)(w, r)
	}})
	applied, err := c.Apply(t.Context(), []byte(manifest), true)
	if err != nil {
		t.Fatal(err)
	}
	if got != manifest || query != "dry_run=true" || kind != "application/yaml" {
		t.Errorf("sent %q, query %q, type %q", got, query, kind)
	}
	want := []crony.Applied{{Name: "hello", Action: crony.Created, Generation: 1}}
	if diff := cmp.Diff(want, applied); diff != "" {
		t.Error(diff)
	}
}

func TestDefineOnCondition(t *testing.T) {
	// The server has job "a" at generation 3.
	put := func(w http.ResponseWriter, r *http.Request) {
		generation := 4
		switch {
		case r.Header.Get("If-Match") == `"3"`:
		case r.Header.Get("If-None-Match") == "*" && r.PathValue("name") == "new":
			generation = 1
		default:
			answer(412, "application/problem+json", `{"code":"conflict","detail":"it has changed"}`)(w, r)
			return
		}
		answer(200, "application/json", fmt.Sprintf(`{"generation":%d}`, generation))(w, r)
	}
	get := func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != "a" {
			answer(404, "application/problem+json", `{"code":"not_found","detail":"none"}`)(w, r)
			return
		}
		answer(200, "application/json", `{"generation":3}`)(w, r)
	}
	c := serve(t, map[string]http.HandlerFunc{
		"PUT /api/v1/jobs/{name}": put,
		"GET /api/v1/jobs/{name}": get,
		"POST /api/v1/apply": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("dry_run") != "true" {
				t.Errorf("applied without the condition")
			}
			answer(200, "application/json", `{"jobs":[{"name":"dry"}]}`)(w, r)
		},
	})
	generation := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		name string
		job  string
		opts crony.ApplyOptions
		want string
	}{
		{"as expected", "a", crony.ApplyOptions{IfGeneration: generation(3)}, "updated a 4"},
		{"changed meanwhile", "a", crony.ApplyOptions{IfGeneration: generation(2)}, "conflict"},
		{"new", "new", crony.ApplyOptions{IfGeneration: generation(0)}, "created new 1"},
		{"not new", "a", crony.ApplyOptions{IfGeneration: generation(0)}, "conflict"},
		{"dry, as expected", "a", crony.ApplyOptions{IfGeneration: generation(3), DryRun: true}, " dry 0"},
		{"dry, changed meanwhile", "a", crony.ApplyOptions{IfGeneration: generation(2), DryRun: true}, "conflict"},
		{"dry, new", "new", crony.ApplyOptions{IfGeneration: generation(0), DryRun: true}, " dry 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			applied, err := c.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{{Name: tt.job}}}, tt.opts)
			got := string(crony.CodeOf(err))
			if err == nil {
				got = fmt.Sprintf("%s %s %d", applied[0].Action, applied[0].Name, applied[0].Generation)
			}
			if got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
	for name, m := range map[string]crony.Manifest{
		"two jobs":             {Jobs: make([]crony.Job, 2)},
		"a calendar":           {Calendars: make([]crony.Calendar, 1)},
		"a job and a script":   {Jobs: make([]crony.Job, 1), Scripts: make([]crony.Script, 1)},
		"a job and a calendar": {Jobs: make([]crony.Job, 1), Calendars: make([]crony.Calendar, 1)},
	} {
		if _, err := c.Define(t.Context(), m, crony.ApplyOptions{IfGeneration: generation(1)}); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("one condition of %s: got %v", name, err)
		}
	}
}

// TestDefineSendsPresets holds that what was defined arrives whole, and comes back calendars first, then scripts.
func TestDefineSendsPresets(t *testing.T) {
	var got crony.Manifest
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/apply": func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, faults := strict.Decode(body, &got); len(faults) > 0 {
			t.Errorf("%s\n%v", body, faults)
		}
		answer(200, "application/json", `{"jobs":[{"kind":"job","name":"a","action":"created","generation":1}],
			"scripts":[{"kind":"script","name":"s","action":"unchanged","generation":0}],
			"calendars":[{"kind":"calendar","name":"cn","action":"updated","generation":2}]}`)(w, r)
	}})
	noon := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	cn := crony.Calendar{Name: "cn", Timezone: "Asia/Shanghai", DaysOff: []string{"2027-01-01"},
		Blackouts: []crony.Blackout{{From: noon, To: noon.Add(time.Hour)}}}
	whole := crony.Manifest{Calendars: []crony.Calendar{cn}, Jobs: []crony.Job{{Name: "a"}},
		Scripts: []crony.Script{{Name: "s", Timeout: crony.Duration(time.Minute), Script: "a\nb\n"}}}
	for _, want := range []crony.Manifest{whole, {Calendars: whole.Calendars}, {Scripts: whole.Scripts}} {
		got = crony.Manifest{}
		applied, err := c.Define(t.Context(), want, crony.ApplyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]crony.Applied{
			{Kind: crony.KindCalendar, Name: "cn", Action: crony.Updated, Generation: 2},
			{Kind: crony.KindScript, Name: "s", Action: crony.Unchanged},
			{Kind: crony.KindJob, Name: "a", Action: crony.Created, Generation: 1},
		}, applied); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzEncode holds that a definition sent as JSON is read as the same by the server, which reads YAML.
func FuzzEncode(f *testing.F) {
	for _, text := range []string{"", "echo hello\n", "\t\x00\x1b[0m\x7f", "a\u0085b\u009f", "\u2028\u2029\ufeff", "😀 每日报表", "- a: [b]\r\n", "\"'\\"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = string([]rune(text)) // JSON has no other text than Unicode's
		want := crony.Manifest{Jobs: []crony.Job{{Name: "a", Title: text, Shell: &crony.Shell{
			Script: text, Argv: []string{text}, Env: map[string]string{"A": text}}}}}
		if text == "" {
			want.Jobs[0].Shell.Argv = nil
		}
		data, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		var got crony.Manifest
		if _, faults := strict.Decode(data, &got); len(faults) > 0 {
			t.Fatalf("%s\n%v", data, faults)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
