package state

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// TestRunOnAllMeans orders jobs of every mode on all. Who has one of them runs it, and so does whom its placement means and takes
// jobs, and nobody else.
func TestRunOnAllMeans(t *testing.T) {
	r := newRig(t, emptied(t))
	batch := map[string]string{"role": "batch"}
	for _, id := range []string{"has", "free", "cordoned", "barred"} {
		r.register(crony.Agent{ID: id, Name: "host-" + id, Labels: batch})
	}
	r.register(crony.Agent{ID: "web", Labels: map[string]string{"role": "web"}})
	down := r.register(crony.Agent{ID: "down", Labels: batch})
	down.Leave(t.Context())
	if _, err := r.ChangeAgent(t.Context(), "cordoned", crony.AgentChange{Cordon: &crony.CordonChange{On: true}}); err != nil {
		t.Fatal(err)
	}
	chosen := crony.Placement{Selector: "role=batch", Exclude: []string{"host-barred"}}
	for name, c := range map[string]struct {
		mode crony.PlacementMode
		pin  string
		has  []string
		want []string
	}{
		"one":        {mode: crony.PlaceOne, has: []string{"has"}, want: []string{"free", "has"}},
		"race":       {mode: crony.PlaceRace, has: []string{"has"}, want: []string{"free", "has"}},
		"each":       {mode: crony.PlaceEach, has: []string{"has"}, want: []string{"free", "has"}},
		"cordoned":   {mode: crony.PlaceOne, has: []string{"cordoned"}, want: []string{"cordoned", "free", "has"}},
		"down":       {mode: crony.PlaceEach, has: []string{"down", "free"}, want: []string{"down", "free", "has"}},
		"nowhere":    {mode: crony.PlaceOne, want: []string{"free", "has"}},
		"pinned":     {mode: crony.PlaceOne, pin: "host-free", has: []string{"free"}, want: []string{"free"}},
		"pinned-off": {mode: crony.PlaceOne, pin: "down", has: []string{"down"}, want: []string{"down"}},
	} {
		j, p := job1(name, ""), chosen
		p.Mode, p.Agent = c.mode, c.pin
		j.Placement = &p
		r.define(j)
		for _, agent := range c.has {
			r.give(agent, name)
		}
		runs := r.start(name, crony.StartOptions{All: true})
		var got []string
		for _, id := range r.agents() {
			for _, o := range r.Orders(id, name) {
				got = append(got, o.Request.Agent)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || len(runs) != len(got) {
			t.Errorf("%s: %d runs (-want +got):\n%s", name, len(runs), diff)
		}
	}
}

// TestRunOnAllRefused: what nobody can run is refused with the reason, and so is what may run only once at a time.
func TestRunOnAllRefused(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1"})
	r.register(crony.Agent{ID: "a2"})
	r.register(crony.Agent{ID: "a3"})
	nobodys, alone, two, queue := job1("nobodys", ""), job1("alone", ""), job1("two", ""), job1("queue", "")
	nobodys.Placement = &crony.Placement{Selector: "role=batch"}
	alone.Overlap, two.MaxParallel, queue.Overlap = crony.OverlapReplace, 2, crony.OverlapQueue
	r.define(nobodys, alone, two, queue)
	r.give("a1", "alone", "two", "queue")
	refused := func(job string, want crony.Code, words string) {
		t.Helper()
		_, err := r.StartJob(t.Context(), job, crony.StartOptions{All: true})
		if crony.CodeOf(err) != want || !strings.Contains(fmt.Sprint(err), words) {
			t.Errorf("%s: %v", job, err)
		}
	}
	refused("nobodys", crony.Unavailable, "no agent matches: of 3 agents, 0 match selector role=batch")
	refused("alone", crony.Conflict, "3 agents would run alone, of which at most 1 may go on at once")
	refused("two", crony.Conflict, "at most 2 may")
	if left := r.keys(starts); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if runs := r.start("queue", crony.StartOptions{All: true}); len(runs) != 3 {
		t.Errorf("those that wait for one another: %v", runs)
	}
}

// agents returns the ids of all agents that are known, sorted.
func (r *rig) agents() []string {
	r.t.Helper()
	list, err := r.ListAgents(r.ctx())
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for _, a := range list {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestRunOnAll orders a job on hundreds of agents at once, which take their runs by way of two servers. Each has a run of its own.
func TestRunOnAll(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	job := job1("a", "1")
	job.Placement = &crony.Placement{Mode: crony.PlaceEach}
	r.define(job)
	const agents = 300
	var list []crony.Assignment
	for n := range agents {
		list = append(list, crony.Assignment{Agent: fmt.Sprintf("a%03d", n), Generation: 1, Since: noon, Reason: "test"})
		r.put(assignmentKey(list[n].Agent, "a"), encode(list[n]))
	}
	r.wait("the agents to have the job", func() bool { j := r.look("a"); return len(j.agents()) == agents })
	runs := r.start("a", crony.StartOptions{All: true, Request: "r"})
	if len(runs) != agents || len(slices.Compact(slices.Sorted(slices.Values(runs)))) != agents {
		t.Fatalf("%d runs", len(runs))
	}
	var work sync.WaitGroup
	for n, run := range runs {
		from, agent := []*rig{r, other}[n%2], list[n].Agent
		work.Go(func() {
			_, mine, err := from.GiveStart(t.Context(), agent, "a", run)
			if err == nil {
				err = from.TakeStart(t.Context(), agent, "a", run)
			}
			if !mine || err != nil {
				t.Errorf("%s: %v, %v", agent, mine, err)
			}
		})
	}
	work.Wait()
	if again := other.start("a", crony.StartOptions{All: true, Request: "r"}); !slices.Equal(again, runs) {
		t.Error("the same request has other runs")
	}
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job, err := r.Job(t.Context(), "a"); err != nil || len(job.Orders) > 0 {
		t.Errorf("left are %v, %v", job.Orders, err)
	}
	one := r.start("a", crony.StartOptions{})
	if len(one) != 1 {
		t.Errorf("on one of them: %v", one)
	}
}
