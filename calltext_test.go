package crony

import (
	"strings"
	"testing"
	"testing/quick"
)

func facts() *CallFacts {
	return &CallFacts{RunID: "01R", Job: "j", ScheduledAt: "2027-01-01T00:00:00Z", Attempt: 2, Epoch: 7, Params: map[string]string{"day": `mon "1"`}}
}

func TestCallText(t *testing.T) {
	for text, want := range map[string]string{
		"":           "",
		"plain {} }": "plain {} }",
		"{{.RunID}} {{.Job}} {{.ScheduledAt}} {{.Attempt}} {{.Epoch}}":                          "01R j 2027-01-01T00:00:00Z 2 7",
		`{"day": {{json .Params.day}}}`:                                                         `{"day": "mon \"1\""}`,
		`?day={{.Params.day | urlquery}}`:                                                       "?day=mon+%221%22",
		`{{if eq .Attempt 1}}first{{else if ne .Job "j"}}x{{else}}again{{end}}`:                 "again",
		`{{if and .Params.day (not (or false false))}}yes{{end}}{{/* said to nobody */ -}}   .`: "yes.",
	} {
		c, err := parseCallText(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := c.with(facts()); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestCallTextRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{{":                                    "line 1: unclosed action",
		"a\n{{.RunID":                           "line 2: unclosed action",
		"a\nb\n{{.Run}}":                        "line 3: there is no {{.Run}}",
		"{{.RunID.X}}":                          "there is no {{.RunID.X}}",
		"{{.}}":                                 `"." can't be used here`,
		"{{.Params}}":                           "a parameter is named as {{.Params.day}}",
		"{{.Params.a.b}}":                       "a parameter is named as",
		"{{range 1000000000000}}{{end}}":        "can't be used here",
		"{{with .RunID}}{{.}}{{end}}":           "can't be used here",
		`{{define "a"}}{{template "a"}}{{end}}`: "defines templates",
		`{{block "a" .}}{{end}}`:                "can't be used here",
		`x{{template "a"}}`:                     "can't be used here",
		`{{$x := "a"}}{{$x}}`:                   "variables can't be used here",
		`{{printf "%999999d" 1}}`:               `"printf" can't be called here`,
		`{{if true}}{{else}}{{call .X}}{{end}}`: `"call" can't be called here`,
		`{{json .Attempt}}`:                     "wrong type for value",
		`{{eq .Attempt "x"}}`:                   "incompatible types",
		`{{nosuch .RunID}}`:                     `function "nosuch" not defined`,
		`{{json .RunID .Job}}`:                  "wrong number of args",
		strings.Repeat("{{.Job}}", 1001):        "more than 1000 parts",
		`{{"` + strings.Repeat("x", 70_000) + `" | json}}`: "json is given 70000 bytes",
	} {
		if _, err := parseCallText(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	c, err := parseCallText("a\n{{.Params.nite}}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.with(facts()); err == nil || got != "" || !strings.Contains(err.Error(), `no entry for key "nite"`) {
		t.Errorf("a parameter that was not given: %q, %v", got, err)
	}
}

func TestFill(t *testing.T) {
	h := &HTTP{URL: "https://h/{{.Params.day | urlquery}}", Headers: map[string]string{"X-Run": "{{.RunID}}"}, Body: "{{.Job}}", Method: "PUT"}
	got, err := h.Fill(facts())
	if err != nil || got.URL != "https://h/mon+%221%22" || got.Headers["X-Run"] != "01R" || got.Body != "j" || got.Method != "PUT" {
		t.Errorf("%+v, %v", got, err)
	}
	if h.Headers["X-Run"] != "{{.RunID}}" {
		t.Error("the job itself has changed")
	}
	h.Headers["X-Bad"] = "{{.Params.none}}"
	if _, err := h.Fill(facts()); err == nil || !strings.Contains(err.Error(), "the template of its header X-Bad: line 1: ") {
		t.Errorf("%v", err)
	}
}

func FuzzCallText(f *testing.F) {
	for _, text := range []string{"{{.RunID}}", "{{if eq .Attempt 1}}{{.Params.day | json | urlquery}}{{end}}", "{{range 9}}{{end}}", "{{define `a`}}", "{{/* */}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCallText(text)
		if err != nil {
			return
		}
		if _, err := c.with(c.sample()); err != nil {
			t.Errorf("%q is taken, and can't be applied: %v", text, err)
		}
	})
}

func FuzzStatus(f *testing.F) {
	for _, text := range []string{"204", "200-299", "299-200", "-", "200-", "+204", "２００"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseStatus(text)
		if err != nil {
			return
		}
		if r.from < 200 || r.to > 599 || r.from > r.to {
			t.Errorf("%q is %+v", text, r)
		}
		if e := (&HTTPExpect{Status: []string{text}}); !e.Takes(r.from) || !e.Takes(r.to) || e.Takes(r.from-1) || e.Takes(r.to+1) {
			t.Errorf("%q does not take what it says", text)
		}
	})
}

func TestTakes(t *testing.T) {
	var none *HTTPExpect
	def := func(status uint16) bool { return none.Takes(int(status)) == (status/100 == 2) }
	if err := quick.Check(def, nil); err != nil || !none.Takes(200) || !none.Takes(299) {
		t.Error(err)
	}
	e := &HTTPExpect{Status: []string{"204", "300-302"}}
	for status, want := range map[int]bool{200: false, 204: true, 300: true, 302: true, 303: false} {
		if e.Takes(status) != want {
			t.Errorf("%d: %t", status, !want)
		}
	}
	for text, want := range map[string]string{"": "is no status", "20": "is no status", "199": "is no status", "600": "is no status",
		"200-99": "is no status", "300-200": "ends before it begins", "2xx": "is no status", "200-300-400": "is no status", "+20": "is no status"} {
		if _, err := parseStatus(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
