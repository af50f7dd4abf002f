package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"crony"
	"crony/embedded/state"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// fleet makes agents from what is special of each: "a1 w3 role=batch down cordon drain".
func fleet(texts ...string) (list []crony.AgentStatus) {
	for _, text := range texts {
		words := strings.Fields(text)
		a := crony.AgentStatus{Agent: crony.Agent{ID: words[0], Name: words[0] + "-host", Weight: 1, Server: "s1", Labels: map[string]string{}}, Up: true}
		for _, word := range words[1:] {
			key, value, label := strings.Cut(word, "=")
			switch {
			case label:
				a.Labels[key] = value
			case word == "down":
				a.Up = false
			case word == "cordon":
				a.Cordon = &crony.Cordon{At: noon}
			case word == "drain":
				a.Cordon = &crony.Cordon{At: noon, Drain: true}
			case strings.HasPrefix(word, "max"):
				fmt.Sscanf(word, "max%d", &a.MaxJobs)
			default:
				fmt.Sscanf(word, "w%d", &a.Weight)
			}
		}
		list = append(list, a)
	}
	return list
}

// at makes a job, at its first generation, that agents have; "x@2" has it at generation 2.
func at(j crony.Job, holders ...string) state.Placed {
	if j.Shell == nil && j.HTTP == nil {
		j.Shell = &crony.Shell{Command: "true"}
	}
	p := state.Placed{Definition: &crony.Definition{Job: j, UID: j.Name, Generation: 1, PlanSince: noon.Add(-time.Hour)}, ClaimRev: 5}
	for i, agent := range holders {
		a := crony.Assignment{Job: j.Name, Agent: agent, Generation: 1, Epoch: int64(10 + i), Since: noon.Add(-time.Hour), Reason: "then"}
		if id, old := strings.CutSuffix(agent, "@0"); old {
			a.Agent, a.Generation = id, 0
		}
		p.Assignments = append(p.Assignments, a)
	}
	return p
}

func job(name string, p crony.Placement) crony.Job { return crony.Job{Name: name, Placement: &p} }

// outcome says who has what in the end, and who keeps what.
func outcome(d Decision) string {
	var parts []string
	for _, m := range d.Moves {
		text := m.Job
		for _, a := range m.Drop {
			text += " -" + a.Agent
		}
		for _, a := range m.Put {
			text += " +" + a.Agent
		}
		if m.Gone != "" {
			text += " gone " + m.Gone
		}
		parts = append(parts, text)
	}
	for _, agent := range []string{"a1", "a2", "a3"} {
		if k := d.Kept[agent]; k != nil {
			parts = append(parts, fmt.Sprintf("%s keeps %v %v %v", agent, k.Stuck, k.Waiting, k.Busy))
		}
	}
	return strings.Join(parts, "; ")
}

func TestDecide(t *testing.T) {
	no := false
	plain := crony.Job{Name: "x"}
	staying := job("x", crony.Placement{Failover: &no})
	batch := job("x", crony.Placement{Selector: "role=batch"})
	pinned := job("x", crony.Placement{Agent: "a1-host"})
	each, race := job("x", crony.Placement{Mode: crony.PlaceEach}), job("x", crony.Placement{Mode: crony.PlaceRace})
	claimed := at(plain, "a1")
	claimed.Definition.Job.Schedule = "0 * * * *"
	claimed.Claim = crony.Claim{At: noon, Run: "R", Agent: "a1"}
	often := at(plain, "a1")
	often.Definition.Job.Schedule = "* * * * * *"
	often.Claim = crony.Claim{At: noon, Run: "R", Agent: "a1"}
	returning := at(plain)
	returning.Claim.Agent = "a2"
	down := map[string]time.Time{"a1": noon.Add(-time.Minute)}
	busy := func(agent, job string) bool { return agent == "a1" && job == "x" }
	for name, test := range map[string]struct {
		jobs   []state.Placed
		agents []crony.AgentStatus
		down   map[string]time.Time
		busy   func(string, string) bool
		load   map[string]int
		want   string
	}{
		"nothing":                         {},
		"no agent":                        {jobs: []state.Placed{at(plain)}},
		"nobody is connected":             {jobs: []state.Placed{at(plain)}, agents: fleet("a1 down")},
		"one agent":                       {jobs: []state.Placed{at(plain)}, agents: fleet("a1"), want: "x +a1"},
		"cordoned":                        {jobs: []state.Placed{at(plain)}, agents: fleet("a1 cordon", "a2"), want: "x +a2"},
		"only cordoned":                   {jobs: []state.Placed{at(plain)}, agents: fleet("a1 cordon")},
		"selected":                        {jobs: []state.Placed{at(batch)}, agents: fleet("a1", "a2 role=batch"), want: "x +a2"},
		"excluded by its name":            {jobs: []state.Placed{at(job("x", crony.Placement{Exclude: []string{"a1-host"}}))}, agents: fleet("a1", "a2"), want: "x +a2"},
		"excluded by its id":              {jobs: []state.Placed{at(job("x", crony.Placement{Exclude: []string{"a1"}}))}, agents: fleet("a1", "a2"), want: "x +a2"},
		"pinned":                          {jobs: []state.Placed{at(pinned)}, agents: fleet("a1", "a2"), want: "x +a1"},
		"pinned, and it is gone":          {jobs: []state.Placed{at(pinned)}, agents: fleet("a1 down", "a2")},
		"it had it last":                  {jobs: []state.Placed{returning}, agents: fleet("a1 w9", "a2"), want: "x +a2"},
		"it had it last, and is cordoned": {jobs: []state.Placed{returning}, agents: fleet("a1 w9", "a2 cordon"), want: "x +a1"},
		"it stays":                        {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1", "a2 w9"), load: map[string]int{"a1": 50}},
		"it stays where it is cordoned":   {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 cordon", "a2")},
		"it stays in the grace":           {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 down", "a2")},
		"a new generation stays":          {jobs: []state.Placed{at(plain, "a1@0")}, agents: fleet("a1 down", "a2"), want: "x +a1"},
		"of two only the newer has it":    {jobs: []state.Placed{at(plain, "a1", "a2")}, agents: fleet("a1", "a2"), want: "x -a1"},
		"down":                            {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 down", "a2"), down: down, want: "x -a1 +a2 gone a1"},
		"down, and runs there":            {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 down", "a2"), down: down, busy: busy, want: "x -a1 +a2 gone a1"},
		"down, and unknown":               {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a2"), down: down, want: "x -a1 +a2 gone a1"},
		"down, and does not move":         {jobs: []state.Placed{at(staying, "a1")}, agents: fleet("a1 down", "a2"), down: down, want: "a1 keeps [x] [] []"},
		"down, and pinned":                {jobs: []state.Placed{at(pinned, "a1")}, agents: fleet("a1 down", "a2"), down: down, want: "a1 keeps [x] [] []"},
		"down, and nobody else":           {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 down", "a2 cordon"), down: down, want: "a1 keeps [] [x] []"},
		"down with a new generation":      {jobs: []state.Placed{at(staying, "a1@0")}, agents: fleet("a1 down", "a2"), down: down, want: "x +a1; a1 keeps [x] [] []"},
		"drained":                         {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 drain", "a2"), want: "x -a1 +a2"},
		"drained, and runs there":         {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 drain", "a2"), busy: busy, want: "a1 keeps [] [] [x]"},
		"drained, and about to run":       {jobs: []state.Placed{claimed}, agents: fleet("a1 drain", "a2"), want: "a1 keeps [] [] [x]"},
		"drained, and always about to":    {jobs: []state.Placed{often}, agents: fleet("a1 drain", "a2"), want: "x -a1 +a2"},
		"drained, and pinned":             {jobs: []state.Placed{at(pinned, "a1")}, agents: fleet("a1 drain", "a2"), want: "a1 keeps [x] [] []"},
		"drained, and nobody else":        {jobs: []state.Placed{at(plain, "a1")}, agents: fleet("a1 drain"), want: "a1 keeps [] [x] []"},
		"labelled anew":                   {jobs: []state.Placed{at(batch, "a1")}, agents: fleet("a1", "a2 role=batch"), want: "x -a1 +a2"},
		"labelled anew, and nobody else":  {jobs: []state.Placed{at(batch, "a1")}, agents: fleet("a1"), want: "x -a1"},
		"labelled anew, and runs there":   {jobs: []state.Placed{at(batch, "a1")}, agents: fleet("a1", "a2 role=batch"), busy: busy, want: "a1 keeps [] [] [x]"},
		"each":                            {jobs: []state.Placed{at(each)}, agents: fleet("a1", "a2 cordon", "a3"), want: "x +a1 +a3"},
		"each, and one came":              {jobs: []state.Placed{at(each, "a1")}, agents: fleet("a1", "a2"), want: "x +a2"},
		"each, and one is down":           {jobs: []state.Placed{at(each, "a1", "a2")}, agents: fleet("a1 down", "a2"), down: down},
		"each, and one is cordoned":       {jobs: []state.Placed{at(each, "a1", "a2")}, agents: fleet("a1 cordon", "a2")},
		"each, and one is drained":        {jobs: []state.Placed{at(each, "a1", "a2")}, agents: fleet("a1 drain", "a2"), want: "a1 keeps [x] [] []"},
		"race, and one is drained":        {jobs: []state.Placed{at(race, "a1", "a2")}, agents: fleet("a1 drain", "a2"), want: "x -a1"},
		"race, and one is drained, alone": {jobs: []state.Placed{at(race, "a1")}, agents: fleet("a1 drain"), want: "a1 keeps [] [x] []"},
		"race, in a new generation":       {jobs: []state.Placed{at(race, "a1@0", "a2")}, agents: fleet("a1", "a2", "a3"), want: "x +a1 +a3"},
		"each, and one is not meant now": {jobs: []state.Placed{at(job("x", crony.Placement{Mode: crony.PlaceEach, Selector: "gpu"}), "a1", "a2")},
			agents: fleet("a1", "a2 gpu=", "a3 gpu="), want: "x -a1 +a3"},
	} {
		s := Situation{Places: state.Places{Jobs: test.jobs, Agents: test.agents, Load: test.load}, Down: test.down, Busy: test.busy,
			Failover: true}
		d := Decide(s, Turns{}, noon)
		if got := outcome(d); got != test.want {
			t.Errorf("%s: %s; want %s", name, got, test.want)
		}
	}
}

// TestFailoverDefault: shell jobs that say nothing do what the servers say; those that say something don't ask.
func TestFailoverDefault(t *testing.T) {
	yes, no := true, false
	says, denies := job("says", crony.Placement{Failover: &yes}), job("denies", crony.Placement{Failover: &no})
	calls := crony.Job{Name: "calls", HTTP: &crony.HTTP{URL: "http://x"}}
	jobs := []state.Placed{at(calls, "a1"), at(denies, "a1"), at(crony.Job{Name: "plain"}, "a1"), at(says, "a1")}
	for failover, want := range map[bool]string{true: "[denies]", false: "[denies plain]"} {
		d := Decide(Situation{Places: state.Places{Jobs: jobs, Agents: fleet("a1 down", "a2")}, Down: map[string]time.Time{"a1": noon},
			Failover: failover}, Turns{}, noon)
		if got := fmt.Sprint(d.Kept["a1"].Stuck); got != want || len(d.Moves) != 4-len(d.Kept["a1"].Stuck) {
			t.Errorf("failover %v: %s are stuck, want %s; %s", failover, got, want, outcome(d))
		}
	}
}

func TestReasons(t *testing.T) {
	for name, test := range map[string]struct {
		job    state.Placed
		agents []crony.AgentStatus
		want   string
	}{
		"one":    {at(crony.Job{Name: "x"}), fleet("a1"), "the only connected agent"},
		"turns":  {at(crony.Job{Name: "x"}), fleet("a1", "a2"), "its turn by weight among 2 connected agents"},
		"pinned": {at(job("x", crony.Placement{Agent: "a1"})), fleet("a1", "a2"), "the job is pinned to it"},
		"selected": {at(job("x", crony.Placement{Selector: "role = batch", Exclude: []string{"a9"}})), fleet("a1 role=batch", "a2 role=batch"),
			"its turn by weight among 2 connected agents that match role=batch other than a9"},
		"least": {at(job("x", crony.Placement{Strategy: crony.LeastJobs})), fleet("a1", "a2"), "the fewest jobs of 2 connected agents"},
		"each":  {at(job("x", crony.Placement{Mode: crony.PlaceEach, Selector: "r=b"})), fleet("a1 r=b"), "all agents that match r=b run it"},
		"race":  {at(job("x", crony.Placement{Mode: crony.PlaceRace})), fleet("a1"), "all agents race for it"},
		"moved": {at(crony.Job{Name: "x"}, "a1"), fleet("a1 down", "a2"), "moved from a1-host, which is down since 2026-11-21T12:00:00Z: the only connected agent"},
		"drain": {at(crony.Job{Name: "x"}, "a1"), fleet("a1 drain", "a2"), "moved from a1-host, which is drained: the only connected agent"},
		"label": {at(job("x", crony.Placement{Selector: "r=b"}), "a1"), fleet("a1", "a2 r=b"),
			"moved from a1-host, which is not one any more that the job means: the only connected agent of those that match r=b"},
	} {
		down := map[string]time.Time{}
		if !test.agents[0].Up {
			down["a1"] = noon
		}
		d := Decide(Situation{Places: state.Places{Jobs: []state.Placed{test.job}, Agents: test.agents}, Down: down, Failover: true}, Turns{}, noon)
		if len(d.Moves) != 1 || len(d.Moves[0].Put) != 1 || d.Moves[0].Put[0].Reason != test.want {
			t.Errorf("%s: %+v; want %q", name, d.Moves, test.want)
		}
	}
}

// TestDecideAlways checks, for random fleets, what must hold of every decision.
func TestDecideAlways(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := randomSituation(random)
		before := fmt.Sprintf("%+v", s.Places)
		d := Decide(s, Turns{}, noon)
		if after := fmt.Sprintf("%+v", s.Places); after != before {
			t.Fatalf("seed %d: Decide changed what it was given", seed)
		}
		check(t, seed, &s, &d)
		random.Shuffle(len(s.Agents), func(i, j int) { s.Agents[i], s.Agents[j] = s.Agents[j], s.Agents[i] })
		if diff := cmp.Diff(d, Decide(s, Turns{}, noon), cmpopts.IgnoreUnexported(state.Move{})); diff != "" {
			t.Errorf("seed %d: with the agents in another order (-before +after):\n%s", seed, diff)
		}
	}
}

func randomSituation(random *rand.Rand) Situation {
	s := Situation{Places: state.Places{Load: map[string]int{}}, Down: map[string]time.Time{}, Failover: random.IntN(2) == 0}
	for n := range random.IntN(8) {
		text := fmt.Sprintf("a%d w%d", n, random.IntN(5))
		for _, word := range []string{"r=b", "gpu=", "down", "cordon", "drain"} {
			if random.IntN(4) == 0 {
				text += " " + word
			}
		}
		if random.IntN(3) == 0 {
			text += fmt.Sprint(" max", 1+random.IntN(12))
		}
		s.Agents = append(s.Agents, fleet(text)...)
		if a := s.Agents[n]; !a.Up && random.IntN(2) == 0 {
			s.Down[a.ID] = noon
		}
	}
	for n := range random.IntN(80) {
		p := crony.Placement{Mode: []crony.PlacementMode{"", crony.PlaceOne, crony.PlaceEach, crony.PlaceRace}[random.IntN(4)],
			Selector: []string{"", "", "r=b", "!gpu"}[random.IntN(4)], Strategy: []crony.Strategy{"", crony.LeastJobs}[random.IntN(2)]}
		if random.IntN(5) == 0 {
			p = crony.Placement{Agent: fmt.Sprint("a", random.IntN(8))}
		}
		var holders []string
		for h := range random.IntN(3) {
			holders = append(holders, fmt.Sprint("a", h*3+random.IntN(3)))
			s.Load[holders[h]]++
		}
		s.Jobs = append(s.Jobs, at(job(fmt.Sprintf("job-%03d", n), p), holders...))
	}
	s.Busy = func(agent, job string) bool { return (agent + job)[len(agent+job)-1]%3 == 0 }
	return s
}

// check holds a decision against the rules, in words of its own.
func check(t *testing.T, seed uint64, s *Situation, d *Decision) {
	t.Helper()
	moves, agents := map[string]state.Move{}, map[string]*crony.AgentStatus{}
	for i := range s.Agents {
		agents[s.Agents[i].ID] = &s.Agents[i]
	}
	var waiting []string
	bounded, given := map[string][]*crony.AgentStatus{}, map[string]int{}
	chosen, full := map[string]int{}, false // how many jobs, that could be another's as well, each agent is given
	for _, m := range d.Moves {
		if _, twice := moves[m.Job]; twice {
			t.Errorf("seed %d: %s is decided twice", seed, m.Job)
		}
		moves[m.Job] = m
	}
	for i := range s.Jobs {
		p := &s.Jobs[i]
		j := &p.Definition.Job
		m, terms := moves[j.Name], j.Terms()
		has := map[string]bool{}
		for _, a := range p.Assignments {
			has[a.Agent] = true
		}
		for _, a := range m.Drop {
			agent := agents[a.Agent]
			_, down := s.Down[a.Agent]
			strange := agent != nil && !terms.Match(agent)
			drained := agent != nil && agent.Cordon != nil && agent.Cordon.Drain
			second := j.Mode() == crony.PlaceOne && len(p.Assignments) > 1
			if !second && !strange && !drained && !down || j.Mode() == crony.PlaceEach && !strange {
				t.Errorf("seed %d: %s is taken from %s without a reason", seed, j.Name, a.Agent)
			}
			if !second && !down && s.Busy(a.Agent, j.Name) {
				t.Errorf("seed %d: %s is taken from %s, where it runs", seed, j.Name, a.Agent)
			}
			delete(has, a.Agent)
		}
		for _, a := range m.Put {
			if agent := agents[a.Agent]; !has[a.Agent] && (agent == nil || !terms.Admit(agent)) {
				t.Errorf("seed %d: %s is given to %s, who does not take it", seed, j.Name, a.Agent)
			}
			if j.Mode() == crony.PlaceOne && !has[a.Agent] {
				given[a.Agent]++
				if terms.Agent() == "" {
					chosen[a.Agent]++
				}
			}
			if a.Reason == "" || a.Generation != 1 {
				t.Errorf("seed %d: %+v", seed, a)
			}
			has[a.Agent] = true
		}
		takers := 0
		for _, a := range agents {
			if terms.Admit(a) {
				if a.MaxJobs == 0 || terms.Agent() != "" {
					takers++
				} else {
					bounded[j.Name] = append(bounded[j.Name], a)
				}
				if j.Mode() != crony.PlaceOne && !has[a.ID] {
					t.Errorf("seed %d: %s takes %s and has it not", seed, a.ID, j.Name)
				}
			}
		}
		if j.Mode() == crony.PlaceOne && (len(has) > 1 || len(has) == 0 && takers > 0) {
			t.Errorf("seed %d: %v have %s, of %d who take it", seed, has, j.Name, takers)
		}
		if j.Mode() == crony.PlaceOne && len(has) == 0 && len(bounded[j.Name]) > 0 {
			full = true
			waiting = append(waiting, j.Name)
		}
	}
	for _, a := range agents {
		if a.MaxJobs > 0 && chosen[a.ID] > 0 && s.Load[a.ID]+chosen[a.ID] > a.MaxJobs {
			t.Errorf("seed %d: %s has %d jobs, and is given %d more, of %d", seed, a.ID, s.Load[a.ID], chosen[a.ID], a.MaxJobs)
		}
	}
	for _, job := range waiting {
		for _, a := range bounded[job] {
			if s.Load[a.ID]+given[a.ID] < a.MaxJobs {
				t.Errorf("seed %d: nobody has %s, and %s has room for it", seed, job, a.ID)
			}
		}
	}
	if full && !d.Full {
		t.Errorf("seed %d: it is not said that all are full", seed)
	}
}

// TestSpread: jobs that are placed at once, and one after the other, are spread in proportion to the weights, within one job.
func TestSpread(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		var texts []string
		total := 0
		for n := range 1 + random.IntN(12) {
			w := 1 + random.IntN(9)
			total += w
			texts = append(texts, fmt.Sprintf("a%02d w%d", n, w))
		}
		agents, turns, got, placed := fleet(texts...), Turns{}, map[string]int{}, 0
		for range 1 + random.IntN(20) {
			var jobs []state.Placed
			for n := range []int{1, 1, 7, 200}[random.IntN(4)] {
				jobs = append(jobs, at(crony.Job{Name: fmt.Sprintf("job-%04d", n)}))
			}
			placed += len(jobs)
			for _, m := range Decide(Situation{Places: state.Places{Jobs: jobs, Agents: agents, Load: got}}, turns, noon).Moves {
				got[m.Put[0].Agent]++
			}
			for _, a := range agents {
				share := float64(placed*a.Weight) / float64(total)
				if off := float64(got[a.ID]) - share; off > 1.5 || off < -1.5 {
					t.Fatalf("seed %d: %s of weight %d has %d of %d jobs, its share is %.2f", seed, a.ID, a.Weight, got[a.ID], placed, share)
				}
			}
		}
	}
	agents := fleet("a1 w5", "a2 w3", "a3 w1")
	for n := range 1000 { // at once, without a past
		got := [3]int{}
		for _, pick := range (Turns{}).deal(n, []*crony.AgentStatus{&agents[0], &agents[1], &agents[2]}) {
			got[pick]++
		}
		for i, w := range []int{5, 3, 1} {
			if off := float64(got[i]) - float64(n*w)/9; off >= 1 || off <= -1 {
				t.Fatalf("%d jobs: %v", n, got)
			}
		}
	}
}

// TestTurns: single jobs come in the order of nginx's smooth weighted round-robin, and a batch is as smooth.
func TestTurns(t *testing.T) {
	agents := fleet("a w5", "b", "c")
	list := []*crony.AgentStatus{&agents[0], &agents[1], &agents[2]}
	turns, order := Turns{}, ""
	for range 14 {
		order += agents[turns.deal(1, list)[0]].ID
	}
	if order != "aabacaaaabacaa" {
		t.Errorf("one by one: %s", order)
	}
	order = ""
	for _, pick := range (Turns{}).deal(14, list) {
		order += agents[pick].ID
	}
	if order != "aaabcaaaaabcaa" {
		t.Errorf("at once: %s", order)
	}
	if got := startTurns(fleet("a w5", "b", "c"), map[string]int{"a": 10, "b": 2, "c": 2}); !cmp.Equal(got, Turns{"a": 0, "b": 0, "c": 0}) {
		t.Errorf("a fleet in balance starts at %v", got)
	}
	if got := startTurns(fleet("a", "b"), map[string]int{"a": 90}); !cmp.Equal(got, Turns{"a": -1, "b": 1}) {
		t.Errorf("a new agent starts at %v", got)
	}
	turns = Turns{"a": 1, "gone": 1}
	if turns.keep(agents); !cmp.Equal(turns, Turns{"a": 1}) {
		t.Errorf("kept %v", turns)
	}
}

// TestMaxJobs gives agents as many jobs as they may have, those of others then to the others, by their weights, and no more; what
// an agent has it keeps, and what is pinned to it always comes.
func TestMaxJobs(t *testing.T) {
	for _, strategy := range []crony.Strategy{crony.WeightedRoundRobin, crony.LeastJobs} {
		agents := fleet("a max3", "b max5", "c")
		s := Situation{Places: state.Places{Agents: agents, Load: map[string]int{"a": 1, "b": 7}}}
		for n := range 30 {
			s.Jobs = append(s.Jobs, at(job(fmt.Sprintf("job-%02d", n), crony.Placement{Strategy: strategy})))
		}
		for n := range 4 {
			s.Jobs = append(s.Jobs, at(job(fmt.Sprintf("pin-%02d", n), crony.Placement{Agent: "b"})))
		}
		s.Jobs = append(s.Jobs, at(job("kept", crony.Placement{Strategy: strategy}), "b"))
		got := map[string]int{}
		d := Decide(s, Turns{}, noon)
		for _, m := range d.Moves {
			got[m.Put[0].Agent]++
		}
		if diff := cmp.Diff(map[string]int{"a": 2, "b": 4, "c": 28}, got); diff != "" || d.Full {
			t.Errorf("%s: full %v (-want +got)\n%s", strategy, d.Full, diff)
		}
		agents[2].MaxJobs = 5
		d = Decide(s, Turns{}, noon)
		if len(d.Moves) != 2+4+5 || !d.Full {
			t.Errorf("%s: %d moves, full %v", strategy, len(d.Moves), d.Full)
		}
	}
	terms := (&crony.Job{Placement: &crony.Placement{Selector: "r=b"}}).Terms()
	agents := fleet("a r=b max1", "b")
	agents[0].Jobs = 1
	want := "no agent matches: of 2 agents, 1 match selector r=b, 0 of these have fewer jobs than they may have"
	if got := terms.Shortage(agents); got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestLeastJobs(t *testing.T) {
	agents := fleet("a", "b w2", "c")
	loads := map[string]int{"a": 3, "b": 1, "c": 1}
	var got []string
	for _, pick := range least(6, []*crony.AgentStatus{&agents[0], &agents[1], &agents[2]}, func(id string) int { return loads[id] }) {
		got = append(got, agents[pick].ID)
	}
	if want := []string{"b", "c", "b", "c", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
