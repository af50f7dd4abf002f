package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"crony"
	"crony/embedded/state"
)

// TestRebalance checks, for random fleets and jobs, that another rebalance finds nothing to do, and that only what may move has
// moved, and only to where it may.
func TestRebalance(t *testing.T) {
	no := false
	kinds := []crony.Placement{{}, {}, {Strategy: crony.LeastJobs}, {Selector: "r=b"}, {Failover: &no}, {Agent: "a0"}, {Mode: crony.PlaceEach}}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		var texts []string
		for n := range 2 + random.IntN(5) {
			texts = append(texts, fmt.Sprintf("a%d w%d %s", n, 1+random.IntN(4), []string{"r=b", "", "cordon", "down", "max9"}[random.IntN(5)]))
		}
		s := Situation{Places: state.Places{Agents: fleet(texts...), Load: map[string]int{}}, Failover: true,
			Busy: func(_, job string) bool { return job[len(job)-1] == '7' }}
		for n := range random.IntN(120) {
			agent := fmt.Sprint("a", random.IntN(1+random.IntN(len(texts))))
			s.Jobs = append(s.Jobs, at(job(fmt.Sprintf("job-%03d", n), kinds[random.IntN(1+random.IntN(len(kinds)))]), agent))
			s.Load[agent]++
		}
		moves, _ := Rebalance(s, noon)
		apply(t, seed, &s, moves)
		for _, m := range moves {
			if a := s.Agents[int(m.Put[0].Agent[1]-'0')]; a.MaxJobs > 0 && s.Load[a.ID] > a.MaxJobs {
				t.Errorf("seed %d: %s has %d jobs then, of %d", seed, a.ID, s.Load[a.ID], a.MaxJobs)
			}
		}
		if again, _ := Rebalance(s, noon); len(again) > 0 {
			t.Errorf("seed %d: %d moves, and then another %d", seed, len(moves), len(again))
		}
	}
}

// apply makes moves, and checks each of them.
func apply(t *testing.T, seed uint64, s *Situation, moves []state.Move) {
	t.Helper()
	if s.Busy == nil {
		s.Busy = func(string, string) bool { return false }
	}
	byName := map[string]*state.Placed{}
	for i := range s.Jobs {
		byName[s.Jobs[i].Definition.Job.Name] = &s.Jobs[i]
	}
	for _, m := range moves {
		p := byName[m.Job]
		j := &p.Definition.Job
		from, to := p.Assignments[0].Agent, m.Put[0].Agent
		terms := j.Terms()
		for i := range s.Agents {
			if a := &s.Agents[i]; (a.ID == to || a.ID == from) && !terms.Admit(a) {
				t.Errorf("seed %d: %s moves from %s to %s, and %s does not take it", seed, m.Job, from, to, a.ID)
			}
		}
		if !j.Movable(true) || s.Busy(from, m.Job) || m.Claim == 0 || m.Drop[0].Agent != from || from == to {
			t.Errorf("seed %d: %+v", seed, m)
		}
		s.Load[from]--
		s.Load[to]++
		p.Assignments = []crony.Assignment{m.Put[0]}
	}
}

// TestRebalanceOneGroup: jobs that all agents take end up in proportion, with no more moves than that takes.
func TestRebalanceOneGroup(t *testing.T) {
	for strategy, want := range map[crony.Strategy][]int{crony.WeightedRoundRobin: {10, 20, 30}, crony.LeastJobs: {20, 20, 20}} {
		s := Situation{Places: state.Places{Agents: fleet("a1", "a2 w2", "a3 w3"), Load: map[string]int{"a1": 50, "a2": 10}}}
		for n := range 60 {
			agent := "a1"
			if n >= 50 {
				agent = "a2"
			}
			j := job(fmt.Sprintf("job-%02d", n), crony.Placement{Strategy: strategy})
			j.HTTP = &crony.HTTP{URL: "http://x"}
			s.Jobs = append(s.Jobs, at(j, agent))
		}
		moves, busy := Rebalance(s, noon)
		apply(t, 0, &s, moves)
		if got := []int{s.Load["a1"], s.Load["a2"], s.Load["a3"]}; len(moves) != 50-want[0] || busy != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %d moves, %d busy, then %v", strategy, len(moves), busy, got)
		}
	}
}
