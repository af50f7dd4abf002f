package placement

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/member"
	"crony/embedded/state"
	"crony/internal/pki"
)

// TestRaces has a leader place jobs on a real store while people define, change and delete them, agents come and go, are drained,
// relabelled and rebalanced, and terms end. When all is quiet every job is where its definition wants it, once.
func TestRaces(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	m, err := member.Open(t.Context(), member.Options{Dir: t.TempDir(), Create: true, Log: quiet,
		Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	stores := make([]*state.Store, 2)
	for i := range stores {
		if stores[i], err = state.Open(t.Context(), state.Options{Client: m.Client(), Log: quiet}); err != nil {
			t.Fatal(err)
		}
		defer stores[i].Close()
	}
	placer, err := New(Options{Server: "s1", Store: stores[0], Registerer: prometheus.NewRegistry(), Log: quiet,
		Grace: 20 * time.Millisecond, Unfinished: func(string) []crony.Run { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stores[0].RegisterServer(t.Context(), state.Server{ID: "s1"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var leads sync.WaitGroup
	leads.Go(func() {
		if err := stores[0].Lead(ctx, "s1", func() bool { return true }, func(ctx context.Context, term state.Term) error {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // terms are short
			defer cancel()
			return placer.Run(ctx, term)
		}); err != nil {
			t.Error(err)
		}
	})
	defer leads.Wait()
	defer stop()

	var work sync.WaitGroup
	for n := range 2 {
		work.Go(func() { change(t, stores[n], rand.New(rand.NewPCG(uint64(n), 4)), n) })
	}
	work.Go(func() { comeAndGo(t, stores[1], rand.New(rand.NewPCG(9, 4))) })
	work.Wait()
	settled(t, stores[1])
}

const racers, raced = 4, 40 // agents, jobs

// change defines, changes and deletes jobs of its own.
func change(t *testing.T, s *state.Store, random *rand.Rand, n int) {
	for range 300 {
		name := fmt.Sprintf("job-%d-%02d", n, random.IntN(raced))
		j := crony.Job{Name: name, Note: fmt.Sprint(random.Uint64()), Shell: &crony.Shell{Command: "true"}, Placement: []*crony.Placement{nil, nil,
			{Mode: crony.PlaceEach}, {Mode: crony.PlaceRace}, {Selector: "even"}, {Exclude: []string{"a1"}},
			{Strategy: crony.LeastJobs}}[random.IntN(7)]}
		var err error
		if random.IntN(6) == 0 {
			err = s.DeleteJob(t.Context(), name)
		} else {
			_, err = s.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{j}}, crony.ApplyOptions{})
		}
		if err != nil && crony.CodeOf(err) != crony.NotFound && crony.CodeOf(err) != crony.Unavailable {
			t.Error(err)
		}
	}
}

// comeAndGo has agents come and go, and people change them; in the end all are there, but the last is drained.
func comeAndGo(t *testing.T, s *state.Store, random *rand.Rand) {
	here := map[int]*state.Presence{}
	label := func(n int) map[string]*string {
		if n%2 == 0 {
			return map[string]*string{"even": new(string)}
		}
		return map[string]*string{"even": nil}
	}
	come := func(n int) {
		p, err := s.RegisterAgent(t.Context(), crony.Agent{ID: fmt.Sprint("a", n), Name: fmt.Sprint("a", n), Weight: 1 + n, Server: "s1"})
		if err != nil {
			t.Error(err)
			return
		}
		here[n] = p
	}
	set := func(n int, c crony.AgentChange) {
		if _, err := s.ChangeAgent(t.Context(), fmt.Sprint("a", n), c); err != nil {
			t.Error(err)
		}
	}
	for n := range racers {
		come(n)
		set(n, crony.AgentChange{Labels: label(n)})
	}
	for range 150 {
		n := random.IntN(racers)
		switch what := random.IntN(6); {
		case what == 0:
			on := random.IntN(2) == 0
			set(n, crony.AgentChange{Cordon: &crony.CordonChange{On: on, Drain: on}})
		case what == 1:
			set(n, crony.AgentChange{Labels: label(random.IntN(2))})
		case what == 2:
			if _, err := s.RebalanceAgents(t.Context()); err != nil {
				t.Error(err)
			}
		case here[n] == nil:
			come(n)
		default:
			here[n].Leave(t.Context())
			here[n] = nil
		}
	}
	for n := range racers {
		if here[n] == nil {
			come(n)
		}
		last := n == racers-1
		set(n, crony.AgentChange{Labels: label(n), Cordon: &crony.CordonChange{On: last, Drain: last}})
	}
}

// settled waits until every job is where it belongs.
func settled(t *testing.T, s *state.Store) {
	t.Helper()
	var wrong []string
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if wrong = misplaced(t, s); len(wrong) == 0 {
			return
		}
	}
	t.Errorf("in the end %d are misplaced:\n%v", len(wrong), wrong)
}

func misplaced(t *testing.T, s *state.Store) (wrong []string) {
	t.Helper()
	agents, err := s.ListAgents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := s.Places(state.Scope{All: true})
	for i := range p.Jobs {
		j := &p.Jobs[i]
		terms, mode := j.Definition.Job.Terms(), j.Definition.Job.Mode()
		has, takers := map[string]bool{}, 0
		stale := false
		for _, a := range j.Assignments {
			has[a.Agent] = true
			stale = stale || a.Generation != j.Definition.Generation
		}
		lacking := false
		for i := range agents {
			if terms.Admit(&agents[i]) {
				takers++
				lacking = lacking || !has[agents[i].ID]
				delete(has, agents[i].ID)
			} else if mode == crony.PlaceEach && terms.Match(&agents[i]) {
				delete(has, agents[i].ID) // what each is to run stays with one that is drained
			}
		}
		one := mode == crony.PlaceOne && (len(j.Assignments) != 1 || takers == 0)
		if stale || one || len(has) > 0 || mode != crony.PlaceOne && lacking {
			wrong = append(wrong, fmt.Sprintf("%s, %s %+v: %+v\n", j.Definition.Job.Name, mode, j.Definition.Job.Placement, j.Assignments))
		}
	}
	return append(wrong, s.Strays()...)
}
