package placement

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/embedded/member"
	"crony/embedded/state"
	"crony/internal/pki"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func placed(name string, generation int64, a *crony.Assignment) state.Placed {
	return state.Placed{Definition: &crony.Definition{Job: crony.Job{Name: name}, Generation: generation}, Assignment: a}
}

func agents(weights ...int) (list []crony.Agent) {
	for n, w := range weights {
		list = append(list, crony.Agent{ID: fmt.Sprint("a", n+1), Weight: w})
	}
	return list
}

func TestDecide(t *testing.T) {
	earlier := noon.Add(-time.Hour)
	had := &crony.Assignment{Job: "x", Agent: "a9", Generation: 1, Epoch: 7, Since: earlier, Reason: "then"}
	const only, fewest = "the only connected agent", "the fewest jobs for its weight of 2 connected agents"
	for name, test := range map[string]struct {
		in   state.Places
		want []crony.Assignment
	}{
		"nothing":                        {},
		"no agent":                       {in: state.Places{Jobs: []state.Placed{placed("x", 1, nil)}}},
		"nothing to do":                  {in: state.Places{Agents: agents(1), Load: map[string]int{"a1": 3}}},
		"placed as it is":                {in: state.Places{Jobs: []state.Placed{placed("x", 1, had)}, Agents: agents(1)}},
		"one agent":                      {in: state.Places{Jobs: []state.Placed{placed("x", 4, nil)}, Agents: agents(1)}, want: []crony.Assignment{{Job: "x", Agent: "a1", Generation: 4, Since: noon, Reason: only}}},
		"equals, by the id":              {in: state.Places{Jobs: []state.Placed{placed("x", 1, nil)}, Agents: agents(1, 1)}, want: []crony.Assignment{{Job: "x", Agent: "a1", Generation: 1, Since: noon, Reason: fewest}}},
		"the less loaded":                {in: state.Places{Jobs: []state.Placed{placed("x", 1, nil)}, Agents: agents(1, 1), Load: map[string]int{"a1": 1}}, want: []crony.Assignment{{Job: "x", Agent: "a2", Generation: 1, Since: noon, Reason: fewest}}},
		"the weightier":                  {in: state.Places{Jobs: []state.Placed{placed("x", 1, nil)}, Agents: agents(1, 3), Load: map[string]int{"a1": 1, "a2": 4}}, want: []crony.Assignment{{Job: "x", Agent: "a2", Generation: 1, Since: noon, Reason: fewest}}},
		"an agent that is gone has most": {in: state.Places{Jobs: []state.Placed{placed("x", 1, nil)}, Agents: agents(1), Load: map[string]int{"a7": 9, "a1": 100}}, want: []crony.Assignment{{Job: "x", Agent: "a1", Generation: 1, Since: noon, Reason: only}}},
		"a new generation stays where it is, though its agent is gone": {in: state.Places{Jobs: []state.Placed{placed("x", 2, had)}, Agents: agents(1)}, want: []crony.Assignment{{Job: "x", Agent: "a9", Generation: 2, Since: earlier, Reason: "then"}}},
		"without any agent as well":                                    {in: state.Places{Jobs: []state.Placed{placed("x", 2, had)}}, want: []crony.Assignment{{Job: "x", Agent: "a9", Generation: 2, Since: earlier, Reason: "then"}}},
	} {
		if diff := cmp.Diff(test.want, Decide(test.in, noon)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDecideAlways checks, for random fleets, what must hold of every decision.
func TestDecideAlways(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		p := state.Places{Load: map[string]int{}}
		for n := range random.IntN(8) {
			a := crony.Agent{ID: fmt.Sprint("a", n), Weight: random.IntN(12) - 1}
			p.Agents = append(p.Agents, a)
			if random.IntN(2) == 0 {
				p.Load[a.ID] = random.IntN(20)
			}
		}
		for n := range random.IntN(200) {
			var a *crony.Assignment
			if random.IntN(3) == 0 {
				a = &crony.Assignment{Agent: fmt.Sprint("a", random.IntN(10)), Generation: int64(1 + random.IntN(2))}
				p.Load[a.Agent]++
			}
			p.Jobs = append(p.Jobs, placed(fmt.Sprintf("job-%03d", n), 2, a))
		}
		before := fmt.Sprintf("%+v", p)
		changes := Decide(p, noon)
		if after := fmt.Sprintf("%+v", p); after != before {
			t.Fatalf("seed %d: Decide changed what it was given", seed)
		}
		check(t, seed, p, changes)

		random.Shuffle(len(p.Agents), func(i, j int) { p.Agents[i], p.Agents[j] = p.Agents[j], p.Agents[i] })
		if diff := cmp.Diff(changes, Decide(p, noon)); diff != "" {
			t.Errorf("seed %d: with the agents in another order (-before +after):\n%s", seed, diff)
		}
	}
}

func check(t *testing.T, seed uint64, p state.Places, changes []crony.Assignment) {
	t.Helper()
	by := map[string]crony.Assignment{}
	for _, c := range changes {
		if _, twice := by[c.Job]; twice {
			t.Errorf("seed %d: %s is decided twice", seed, c.Job)
		}
		by[c.Job] = c
	}
	got := map[string]int{}
	for _, j := range p.Jobs {
		c, changed := by[j.Definition.Job.Name]
		switch live := slices.ContainsFunc(p.Agents, func(a crony.Agent) bool { return a.ID == c.Agent }); {
		case j.Assignment != nil && j.Assignment.Generation == 2 && changed:
			t.Errorf("seed %d: %+v is changed to %+v without need", seed, j.Assignment, c)
		case j.Assignment != nil && j.Assignment.Generation != 2 && (!changed || c.Agent != j.Assignment.Agent):
			t.Errorf("seed %d: %+v is changed to %+v", seed, j.Assignment, c)
		case j.Assignment == nil && changed != (len(p.Agents) > 0):
			t.Errorf("seed %d: %d agents, and %s gets %+v", seed, len(p.Agents), j.Definition.Job.Name, c)
		case j.Assignment == nil && changed && !live:
			t.Errorf("seed %d: %s is given to %s, who is not there", seed, j.Definition.Job.Name, c.Agent)
		case j.Assignment == nil && changed:
			got[c.Agent]++
		}
		if changed && c.Generation != 2 {
			t.Errorf("seed %d: %+v is of another generation", seed, c)
		}
	}
	for _, a := range p.Agents { // no job would be better off with another agent, within one job
		for _, b := range p.Agents {
			has, other := p.Load[a.ID]+got[a.ID], p.Load[b.ID]+got[b.ID]
			if got[a.ID] > 0 && has*max(b.Weight, 1) > (other+1)*max(a.Weight, 1) {
				t.Errorf("seed %d: %s got %d and has %d for its weight %d, %s has %d for %d", seed, a.ID, got[a.ID], has, a.Weight,
					b.ID, other, b.Weight)
			}
		}
	}
}

// TestRun has a leader place what people define, on a real store.
func TestRun(t *testing.T) {
	m, err := member.Open(t.Context(), member.Options{Dir: t.TempDir(), Create: true, Log: slog.New(slog.DiscardHandler),
		Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	store, err := state.Open(t.Context(), state.Options{Client: m.Client(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- store.Lead(ctx, "s1", func() bool { return true }, func(ctx context.Context, term state.Term) error {
			return Run(ctx, store, term, slog.New(slog.DiscardHandler), time.Now)
		})
	}()
	define := func(names ...string) {
		t.Helper()
		var jobs []crony.Job
		for _, name := range names {
			jobs = append(jobs, crony.Job{Name: name, Shell: &crony.Shell{Command: "true"}})
		}
		if _, err := store.Define(t.Context(), crony.Manifest{Jobs: jobs}, crony.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(load map[string]int) {
		t.Helper()
		got := map[string]int{}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			clear(got)
			for agent := range load {
				got[agent] = len(store.AssignedTo(agent))
			}
			if cmp.Equal(load, got) {
				return
			}
		}
		t.Fatalf("the agents have %v, want %v", got, load)
	}

	define("a", "b", "c")
	one, err := store.RegisterAgent(t.Context(), crony.Agent{ID: "a1", Weight: 1})
	if err != nil {
		t.Fatal(err)
	}
	want(map[string]int{"a1": 3, "a2": 0})
	if _, err := store.RegisterAgent(t.Context(), crony.Agent{ID: "a2", Weight: 2}); err != nil {
		t.Fatal(err)
	}
	define("d", "e", "f")
	want(map[string]int{"a1": 3, "a2": 3})
	if err := store.DeleteJob(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	one.Leave(t.Context())
	define("g")
	want(map[string]int{"a1": 2, "a2": 4})

	// As after a removal that was cut off before any of the agent's assignments was gone.
	grave := clientv3.OpPut("/crony/tombstone/a2", `{"v":1,"body":{"id":"a2","role":"agent"}}`)
	if _, err := m.Client().Txn(t.Context()).Then(grave, clientv3.OpDelete("/crony/node/a2")).Commit(); err != nil {
		t.Fatal(err)
	}
	want(map[string]int{"a1": 2, "a2": 0})
	if _, err := store.RegisterAgent(t.Context(), crony.Agent{ID: "a3"}); err != nil {
		t.Fatal(err)
	}
	want(map[string]int{"a1": 2, "a2": 0, "a3": 4})

	orphan := "/crony/job/a2/gone"
	if _, err := m.Client().Put(t.Context(), orphan, `{"v":1,"body":{"generation":1}}`); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		resp, err := m.Client().Get(t.Context(), orphan)
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Kvs) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the assignment of a job that is gone stays")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkDecide(b *testing.B) {
	p := state.Places{Load: map[string]int{}}
	for n := range 100 {
		p.Agents = append(p.Agents, crony.Agent{ID: fmt.Sprint("a", n), Weight: 1 + n%4})
	}
	for n := range 10_000 {
		p.Jobs = append(p.Jobs, placed(fmt.Sprintf("job-%05d", n), 1, nil))
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := Decide(p, noon); len(got) != len(p.Jobs) {
			b.Fatalf("%d decided", len(got))
		}
	}
}
