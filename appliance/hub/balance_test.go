package hub

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		held map[string]int
		want []shift
	}{
		"nobody":              {map[string]int{}, nil},
		"one server":          {map[string]int{"a": 7}, nil},
		"no agents":           {map[string]int{"a": 0, "b": 0, "c": 0}, nil},
		"even":                {map[string]int{"a": 3, "b": 3, "c": 3}, nil},
		"as even as can be":   {map[string]int{"a": 1, "b": 2, "c": 2}, nil},
		"nine on one":         {map[string]int{"a": 9, "b": 0, "c": 0}, []shift{{"a", "c", 3}, {"a", "b", 3}}},
		"five on one":         {map[string]int{"a": 5, "b": 0, "c": 0}, []shift{{"a", "c", 1}, {"a", "b", 2}}},
		"one too many":        {map[string]int{"a": 3, "b": 1, "c": 2}, []shift{{"a", "b", 1}}},
		"two give":            {map[string]int{"a": 6, "b": 6, "c": 0}, []shift{{"a", "c", 2}, {"b", "c", 2}}},
		"hardly uneven":       {map[string]int{"a": 1019, "b": 1000, "c": 981}, nil},
		"uneven":              {map[string]int{"a": 1020, "b": 1000, "c": 980}, []shift{{"a", "c", 20}}},
		"one among many lags": {map[string]int{"a": 1005, "b": 1005, "c": 1005, "d": 1005, "e": 980}, []shift{{"a", "e", 5}, {"b", "e", 5}, {"c", "e", 5}, {"d", "e", 5}}},
	} {
		if diff := cmp.Diff(c.want, plan(c.held), cmp.AllowUnexported(shift{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestPlanSettles makes plans for loads of all kinds: nobody gives what it has not, small fleets end exactly even and large
// ones within a fiftieth, and a plan that was carried out leaves nothing to plan.
func TestPlanSettles(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		servers := 1 + r.IntN(7)
		most := []int{1, 3, 10, 100, 5000}[r.IntN(5)]
		held, total := map[string]int{}, 0
		for i := range servers {
			n := r.IntN(most + 1)
			if r.IntN(4) == 0 {
				n = 0
			}
			held[fmt.Sprintf("s%d", i)] = n
			total += n
		}
		before := maps.Clone(held)
		shifts := plan(held)
		if diff := cmp.Diff(before, held); diff != "" {
			t.Fatalf("seed %d: the plan changes what it is made of: %s", seed, diff)
		}
		for _, s := range shifts {
			held[s.from] -= s.agents
			held[s.to] += s.agents
			if s.agents <= 0 || s.from == s.to {
				t.Fatalf("seed %d: %+v", seed, s)
			}
		}
		least, largest := slices.Min(slices.Collect(maps.Values(held))), slices.Max(slices.Collect(maps.Values(held)))
		if slack := max(1, 2*(total/servers/50)); least < 0 || largest-least > slack {
			t.Fatalf("seed %d: %v became %v by %v", seed, before, held, shifts)
		}
		if again := plan(held); again != nil {
			t.Fatalf("seed %d: after %v of %v it wants %v", seed, shifts, before, again)
		}
	}
}

// fleet plays servers that each have a balancer, and agents that go where they are sent.
type fleet struct {
	now       time.Time
	servers   []string
	agents    map[string]string // agent: server
	balancers map[string]*balancer
	deaf      map[string]bool // servers that agents can't get to
	moves     int
}

func newFleet(servers ...string) *fleet {
	f := &fleet{now: time.Unix(1e9, 0), servers: servers, agents: map[string]string{}, balancers: map[string]*balancer{}, deaf: map[string]bool{}}
	for _, s := range servers {
		b := newBalancer(s)
		f.balancers[s] = &b
	}
	return f
}

func (f *fleet) put(server string, n int) {
	for range n {
		f.agents[fmt.Sprintf("a%05d", len(f.agents))] = server
	}
}

// run lets time go by; each server looks every two seconds, at an instant of its own.
func (f *fleet) run(d time.Duration) {
	for end := f.now.Add(d); f.now.Before(end); f.now = f.now.Add(100 * time.Millisecond) {
		for _, s := range f.servers {
			b := f.balancers[s]
			if !b.due(f.now) {
				continue
			}
			var list []crony.Agent
			for id, server := range f.agents {
				list = append(list, crony.Agent{ID: id, Server: server})
			}
			for id, to := range b.next(f.now, f.servers, list) {
				if f.agents[id] != s {
					panic("it moves an agent of another server")
				}
				f.moves++
				if !f.deaf[to] {
					f.agents[id] = to
				}
			}
		}
	}
}

func (f *fleet) held() map[string]int {
	held := map[string]int{}
	for _, s := range f.agents {
		held[s]++
	}
	return held
}

// TestBalancer has fleets even out, once, and not before it is sure that a server that holds few is not a dead one.
func TestBalancer(t *testing.T) {
	f := newFleet("s1", "s2", "s3")
	f.put("s1", 9)
	f.run(balanceQuiet - balanceEvery)
	if f.moves != 0 {
		t.Errorf("%d moves at once", f.moves)
	}
	f.run(2 * balanceEvery)
	if diff := cmp.Diff(map[string]int{"s1": 3, "s2": 3, "s3": 3}, f.held()); diff != "" || f.moves != 6 {
		t.Errorf("%d moves: %s", f.moves, diff)
	}
	f.run(time.Hour)
	if f.moves != 6 {
		t.Errorf("%d moves in all", f.moves)
	}
	f.put("s3", 2) // somebody comes: 3, 3, 5
	f.run(balanceQuiet + 2*balanceEvery)
	if f.moves != 7 {
		t.Errorf("%d moves after two more agents: %v", f.moves, f.held())
	}

	large := newFleet("s1", "s2", "s3")
	large.put("s1", 5000)
	large.put("s2", 4000)
	large.run(balanceQuiet + time.Minute)
	if diff := cmp.Diff(map[string]int{"s1": 3000, "s2": 3000, "s3": 3000}, large.held()); diff != "" || large.moves != 3000 {
		t.Errorf("%d moves: %s", large.moves, diff)
	}
}

// TestBalancerShies has a server that agents don't get to: it gets no more than the first of them for a while.
func TestBalancerShies(t *testing.T) {
	f := newFleet("s1", "s2", "s3")
	f.put("s1", 9)
	f.put("s2", 9)
	f.deaf["s3"] = true
	f.run(balanceShy)
	if f.moves != 6 {
		t.Errorf("%d agents were sent to a server that they don't get to", f.moves)
	}
	f.run(time.Minute)
	if f.moves != 12 {
		t.Errorf("%d agents were sent in all; it must be tried again", f.moves)
	}
	f.deaf["s3"] = false
	f.run(balanceShy)
	if diff := cmp.Diff(map[string]int{"s1": 6, "s2": 6, "s3": 6}, f.held()); diff != "" {
		t.Error(diff)
	}
}

// TestBalancerWaitsAfterChange begins to wait anew when a server comes or goes.
func TestBalancerWaitsAfterChange(t *testing.T) {
	f := newFleet("s1", "s2")
	f.put("s1", 4)
	f.run(balanceQuiet - 2*balanceEvery)
	f.servers = []string{"s1", "s2", "s3"}
	b := newBalancer("s3")
	f.balancers["s3"] = &b
	f.run(balanceQuiet - 2*balanceEvery)
	if f.moves != 0 {
		t.Errorf("%d moves", f.moves)
	}
	f.run(6 * balanceEvery)
	if diff := cmp.Diff(map[string]int{"s1": 2, "s2": 1, "s3": 1}, f.held()); diff != "" {
		t.Error(diff)
	}
	if !f.balancers["s1"].settled() {
		t.Error("it is not settled")
	}
}
