package crony

import (
	"fmt"
	"strings"
	"testing"
)

func TestPlacementFaults(t *testing.T) {
	for text, want := range map[string]string{
		"{}": "",
		`{mode: one, agent: "", selector: "role=batch,zone!=z3,gpu", exclude: [db-1], strategy: weighted_round_robin, failover: true}`: "",
		"{agent: db-1, failover: false}":            "",
		"{strategy: least_jobs}":                    "",
		"{selector: role>3}":                        `placement.selector: at character 5: ">" is no comparison (labels are compared by =, !=, in and notin) (as role=batch,zone!=z3,gpu)`,
		"{exclude: [a, b, a]}":                      "placement.exclude[2]: a is excluded already (leave one of them out)",
		`{exclude: [""]}`:                           "placement.exclude[0]: must be given (the id or the name of an agent)",
		"{agent: a, selector: b}":                   "placement.selector: has no meaning: the job is pinned to an agent by `agent` (leave one of the two out)",
		"{agent: a, exclude: [b]}":                  "placement.exclude: has no meaning: the job is pinned",
		"{agent: a, strategy: least_jobs}":          "placement.strategy: has no meaning: the job is pinned",
		"{agent: a, failover: true}":                "placement.failover: has no meaning: the job is pinned",
		"{agent: " + strings.Repeat("a", 254) + "}": "placement.agent: has 254 bytes; at most 253",
		"{mode: all}":                               "placement.mode: ",
		"{exclude: [" + many(257) + "]}":            "placement.exclude: 257 agents; at most 256 (a selector on a label says it better)",
	} {
		_, err := DecodeManifest([]byte("jobs: [{name: x, shell: {command: a}, placement: " + text + "}]"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), "jobs[0]."+want)):
			t.Errorf("%.60s: %v; want %s", text, err, want)
		}
	}
	each := Job{Name: "x", Shell: &Shell{Command: "a"}, Placement: &Placement{Mode: PlaceEach, Strategy: LeastJobs, Failover: new(bool)}}
	race := Job{Name: "x", Shell: &Shell{Command: "a"}, Placement: &Placement{Mode: PlaceRace, Agent: "a"}}
	calls := Job{Name: "x", HTTP: &HTTP{URL: "u"}, Placement: &Placement{Failover: new(bool)}}
	for want, j := range map[string]Job{
		"placement.strategy: has no meaning: a job of mode each is on all agents that match (leave it out)":                                         each,
		"placement.failover: has no meaning: a job of mode each is on all agents that match (leave it out)":                                         each,
		"placement.mode: has no meaning: the job is pinned to an agent by `agent` (leave one of the two out)":                                       race,
		"placement.failover: has no meaning: what calls over http can run on any agent, and always moves (leave it out, or pin the job by `agent`)": calls,
	} {
		var c checker
		if c.placement("placement.", &j); !strings.Contains(fmt.Sprint(c.faults), want) {
			t.Errorf("%v; want %s", c.faults, want)
		}
	}
}

func many(n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprint("a", i))
	}
	return strings.Join(names, ",")
}

func TestMovable(t *testing.T) {
	yes, no := true, false
	shell, http := &Shell{Command: "a"}, &HTTP{URL: "u"}
	for name, test := range map[string]struct {
		job              Job
		byDefault, other bool // what Movable says with true, and with false
	}{
		"says nothing":       {Job{Shell: shell}, true, false},
		"says no":            {Job{Shell: shell, Placement: &Placement{Failover: &no}}, false, false},
		"says yes":           {Job{Shell: shell, Placement: &Placement{Failover: &yes}}, true, true},
		"pinned":             {Job{Shell: shell, Placement: &Placement{Agent: "a"}}, false, false},
		"pinned and http":    {Job{HTTP: http, Placement: &Placement{Agent: "a"}}, false, false},
		"http":               {Job{HTTP: http}, true, true},
		"each":               {Job{HTTP: http, Placement: &Placement{Mode: PlaceEach}}, false, false},
		"selected, and mute": {Job{Shell: shell, Placement: &Placement{Selector: "a"}}, true, false},
	} {
		if a, b := test.job.Movable(true), test.job.Movable(false); a != test.byDefault || b != test.other {
			t.Errorf("%s: %v, %v", name, a, b)
		}
	}
}

func TestShortage(t *testing.T) {
	agent := func(id string, up bool, cordon bool, labels ...string) AgentStatus {
		a := AgentStatus{Agent: Agent{ID: id, Name: id + "-host", Labels: map[string]string{}}, Up: up}
		for _, l := range labels {
			k, v, _ := strings.Cut(l, "=")
			a.Labels[k] = v
		}
		if cordon {
			a.Cordon = &Cordon{}
		}
		return a
	}
	a, b := agent("a", true, false, "role=batch"), agent("b", true, false, "role=batch")
	down, cordoned, web := agent("c", false, false, "role=batch"), agent("d", true, true, "role=batch"), agent("e", true, false, "role=web")
	windows := agent("w", true, false)
	windows.OS = "windows"
	batch := Placement{Selector: "role=batch"}
	for name, test := range map[string]struct {
		placement Placement
		agents    []AgentStatus
		want      string
	}{
		"no agent":         {Placement{}, nil, "no agent is connected"},
		"all are down":     {Placement{}, []AgentStatus{down}, "no agent is connected"},
		"one takes it":     {batch, []AgentStatus{down, cordoned, web, a}, ""},
		"none is selected": {batch, []AgentStatus{web}, "no agent matches: of 1 agent, 0 match selector role=batch"},
		"as in the contract": {Placement{Selector: "role = batch", Exclude: []string{"a", "b-host", "d"}}, []AgentStatus{a, b, cordoned, web},
			"no agent matches: of 4 agents, 3 match selector role=batch, 0 of these are not excluded"},
		"each in turn": {Placement{Selector: "role=batch", Exclude: []string{"a"}}, []AgentStatus{a, down, cordoned, web},
			"no agent matches: of 4 agents, 3 match selector role=batch, 2 of these are not excluded, 1 of these are not cordoned, 0 of these are connected"},
		"pinned":          {Placement{Agent: "z"}, []AgentStatus{a, b}, "no agent matches: of 2 agents, 0 have the id or the name z"},
		"on Windows":      {Placement{Agent: "w"}, []AgentStatus{a, windows}, "no agent matches: of 2 agents, 1 have the id or the name w, 0 of these are on a platform that has the job's user and umask"},
		"not on Windows":  {Placement{}, []AgentStatus{windows, a}, ""},
		"pinned by name":  {Placement{Agent: "a-host"}, []AgentStatus{a, b}, ""},
		"pinned and down": {Placement{Agent: "c"}, []AgentStatus{a, down}, "no agent matches: of 2 agents, 1 have the id or the name c, 0 of these are connected"},
		"only cordoned":   {Placement{}, []AgentStatus{cordoned}, "no agent matches: of 1 agent, 0 are not cordoned"},
		"not readable":    {Placement{Selector: "role>3"}, []AgentStatus{a}, "no agent matches: of 1 agent, 0 match selector role>3"},
	} {
		j := Job{Placement: &test.placement, Shell: &Shell{User: "app", Umask: "027"}}
		terms := j.Terms()
		if got := terms.Shortage(test.agents); got != test.want {
			t.Errorf("%s: %s; want %s", name, got, test.want)
		}
		admitted := false
		for i := range test.agents {
			admitted = admitted || terms.Admit(&test.agents[i])
		}
		if admitted != (test.want == "") {
			t.Errorf("%s: one admits it: %v", name, admitted)
		}
	}
	mac := agent("m", true, false)
	mac.OS = "darwin"
	for _, c := range []struct {
		shell Shell
		fits  bool
	}{{Shell{User: "app"}, true}, {Shell{Rlimits: &Rlimits{NoFile: "64"}}, false}} {
		terms := (&Job{Shell: &c.shell}).Terms()
		if terms.Admit(&mac) != c.fits {
			t.Errorf("on macOS, %+v", c.shell)
		}
	}
}
