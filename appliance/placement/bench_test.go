package placement

import (
	"fmt"
	"testing"
	"time"

	"crony"
	"crony/embedded/state"
)

// BenchmarkAgentChange is what deciding costs when one of ten thousand agents, with ten of a hundred thousand jobs, goes down. Its
// floor, measured in the same run, is one pass over the jobs that looks at nothing but who has them.
func BenchmarkAgentChange(b *testing.B) {
	const agents, jobs = 10_000, 100_000
	s := Situation{Places: state.Places{Load: map[string]int{}}, Down: map[string]time.Time{"a00000": noon}, Failover: true}
	for n := range agents {
		text := fmt.Sprintf("a%05d w%d", n, 1+n%4)
		if n == 0 {
			text += " down"
		}
		s.Agents = append(s.Agents, fleet(text)...)
	}
	all := make([]state.Placed, jobs)
	for n := range all {
		all[n] = at(crony.Job{Name: fmt.Sprintf("job-%06d", n)}, fmt.Sprintf("a%05d", n%agents))
		if n%agents == 0 {
			s.Jobs = append(s.Jobs, all[n])
		}
	}
	began := time.Now()
	const passes = 20
	found := 0
	for range passes {
		for i := range all {
			if all[i].Assignments[0].Agent == "a00000" {
				found++
			}
		}
	}
	floor := time.Since(began) / passes
	if found != passes*len(s.Jobs) {
		b.Fatalf("%d found", found)
	}
	turns := startTurns(s.Agents, s.Load)
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(s, turns, noon); len(d.Moves) != len(s.Jobs) {
			b.Fatalf("%d moves", len(d.Moves))
		}
	}
	b.ReportMetric(float64(b.Elapsed()/time.Duration(b.N))/float64(floor), "ratio/pass")
}

// BenchmarkDecide places ten thousand jobs that nobody has among a hundred agents.
func BenchmarkDecide(b *testing.B) {
	var s Situation
	for n := range 100 {
		s.Agents = append(s.Agents, fleet(fmt.Sprintf("a%d w%d", n, 1+n%4))...)
	}
	for n := range 10_000 {
		s.Jobs = append(s.Jobs, at(crony.Job{Name: fmt.Sprintf("job-%05d", n)}))
	}
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(s, Turns{}, noon); len(d.Moves) != len(s.Jobs) {
			b.Fatalf("%d decided", len(d.Moves))
		}
	}
}
