package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"crony"
)

// TestFiguresFollowFromTheJobs applies random events, in any order and with repetitions, and counts anew after each.
func TestFiguresFollowFromTheJobs(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	m := newMirror(time.Now)
	for rev := int64(1); rev < 3000; rev++ {
		name, agent := fmt.Sprint("job-", random.IntN(6)), fmt.Sprint("a", random.IntN(3))
		key := []string{specs + name, assignmentKey(agent, name), claimKey(name, ""), claimKey(name, agent)}[random.IntN(4)]
		e := change{kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}, deleted: random.IntN(3) == 0}
		switch kind, _ := split(key); kind {
		case specs:
			job := job1(name, "")
			job.Paused = random.IntN(2) == 0
			job.Placement = &crony.Placement{Mode: []crony.PlacementMode{"", crony.PlaceEach, crony.PlaceRace}[random.IntN(3)]}
			e.kv.Value = []byte(encode(crony.Definition{Job: job, Generation: int64(1 + random.IntN(2))}))
		case jobs:
			e.kv.Value = []byte(encode(crony.Assignment{Job: "wrong", Agent: "wrong", Generation: int64(1 + random.IntN(2))}))
		case claims:
			e.kv.Value = []byte(claimValue(crony.Claim{At: noon}, time.Time{}))
		}
		if errs := m.update([]change{e}, rev); len(errs) > 0 {
			t.Fatal(errs)
		}
		if diff := cmp.Diff(counted(m), figures(m)); diff != "" {
			t.Fatalf("after %s (deleted %v) (-counted +kept):\n%s", key, e.deleted, diff)
		}
	}
	if len(m.jobs.byName) == 0 {
		t.Error("no job was left to count")
	}
}

type sums struct {
	Names, Open, Orphans, Wide []string
	ByAgent                    map[string][]string
	Paused, Homeless           int
}

func figures(m *mirror) sums {
	s := sums{Paused: m.jobs.paused, Homeless: m.jobs.homeless, ByAgent: map[string][]string{}}
	for _, j := range m.jobs.list {
		s.Names = append(s.Names, j.name)
	}
	sorted := func(set map[string]bool) (list []string) {
		for name := range set {
			list = append(list, name)
		}
		slices.Sort(list)
		return list
	}
	s.Open, s.Orphans, s.Wide = sorted(m.jobs.open), sorted(m.jobs.orphans), sorted(m.jobs.wide)
	for agent, names := range m.jobs.byAgent {
		s.ByAgent[agent] = sorted(names)
	}
	return s
}

func counted(m *mirror) sums {
	s := sums{ByAgent: map[string][]string{}}
	for n := range 10 {
		j := m.look(fmt.Sprint("job-", n))
		switch {
		case j.def == nil && len(j.assignments) > 0:
			s.Orphans = append(s.Orphans, j.name)
		case j.def == nil:
		default:
			s.Names = append(s.Names, j.name)
			if j.def.Job.Paused {
				s.Paused++
			}
			one := j.def.Job.Placement.Mode == ""
			if !one {
				s.Wide = append(s.Wide, j.name)
			}
			if len(j.assignments) == 0 {
				s.Homeless++
			}
			open := len(j.assignments) == 0 || one && len(j.assignments) > 1
			for _, a := range j.assignments {
				s.ByAgent[a.Agent] = append(s.ByAgent[a.Agent], j.name)
				open = open || a.Generation != j.def.Generation
			}
			if open {
				s.Open = append(s.Open, j.name)
			}
		}
	}
	return s
}

func TestSplit(t *testing.T) {
	for key, want := range map[string][2]string{
		"/crony/spec/a": {specs, "a"}, "/crony/job/a1/b": {jobs, "a1/b"}, "/crony/spec-history/a/1": {history, "a/1"},
		"/crony/leader": {leader, ""}, "/crony/": {"/crony/", ""}, "/crony": {"", "/crony"}, "": {"", ""},
		"/other/spec/a": {"", "/other/spec/a"}, "/cronyx/spec/a": {"", "/cronyx/spec/a"}, "/crony/spec/": {specs, ""},
	} {
		if kind, rest := split(key); kind != want[0] || rest != want[1] {
			t.Errorf("%q is %q and %q, want %q", key, kind, rest, want)
		}
	}
}
