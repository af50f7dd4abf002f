package main

import (
	"net/http"
	"strings"
	"testing"

	"crony"
)

// TestNamesAreCompleted: where a name is to be written, the shell is offered those that there are.
func TestNamesAreCompleted(t *testing.T) {
	s := start(t, &fake{jobs: jobs(job("hello"), job("help"), job("other")), calendars: map[string]*crony.CalendarStatus{
		"cn": {Calendar: crony.Calendar{Name: "cn"}}, "de": {Calendar: crony.Calendar{Name: "de"}}},
		scripts: map[string]*crony.ScriptStatus{"tools": {Script: crony.Script{Name: "tools"}}},
		agents:  []crony.AgentStatus{{Agent: crony.Agent{Name: "web-1"}}, {Agent: crony.Agent{Name: "db"}}},
		cluster: cluster{status: three(), tokens: []crony.JoinToken{{ID: "t1"}, {ID: "t2"}}}})
	for line, want := range map[string]string{
		"explain he":          "hello help",
		"verify o":            "other",
		"verify ello":         "",
		"job ledger hello ":   "",
		"job show hel":        "hello help",
		"job delete hello he": "help",
		"job pause x":         "",
		"run start ot":        "other",
		"calendar show ":      "cn de",
		"explain help --at ":  "",
		"verify --tz ":        "",
		"calendar delete d":   "de",
		"script show ":        "tools",
		"script delete t":     "tools",
		"agent remove w":      "web-1",
		"cluster remove ":     "alpha beta gamma",
		"cluster promote g":   "gamma",
		"cluster transfer b":  "beta",
		"token delete t1 ":    "t2",
		"token create --for ": "server agent",
	} {
		offered, rest, found := strings.Cut(s.want(append([]string{"__complete"}, strings.Split(line, " ")...)...), ":4\n")
		if got := strings.Join(strings.Fields(offered), " "); got != want || !found {
			t.Errorf("%q: got %q and %q, want %q", line, got, rest, want)
		}
	}
	s = serveHandler(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, crony.Errorf(crony.Unavailable, "not now")) })
	if got := s.want("__complete", "verify", ""); !strings.HasPrefix(got, ":4\n") {
		t.Errorf("without a server: %q", got)
	}
}
