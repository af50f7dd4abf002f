package storetest

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// Hosts is what hosts do to the store that is tested. Each returns when the store shows it, and ends the test if it can't.
type Hosts struct {
	// Connect has an agent connect. Its id and its name are not empty, and its weight is 1 or more.
	Connect func(a crony.Agent)
	// Disconnect has a connected agent leave.
	Disconnect func(id string)
	// Answer has a connected agent tell how its host is, as soon as somebody looks.
	Answer func(id string, figures crony.HostFigures)
}

// Agents tests a [crony.Agents]. Open returns one that knows of no agent, for the time of the test that it is given.
func Agents(t *testing.T, open func(t *testing.T) (crony.Agents, Hosts)) {
	for name, test := range map[string]func(*agentsTest, context.Context){
		"unknown agent":         (*agentsTest).unknown,
		"life of an agent":      (*agentsTest).life,
		"several of one name":   (*agentsTest).several,
		"what people set wins":  (*agentsTest).overrides,
		"cordon":                (*agentsTest).cordon,
		"all or nothing":        (*agentsTest).refusals,
		"many change one agent": (*agentsTest).together,
		"figures":               (*agentsTest).figures,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			store, hosts := open(t)
			test(&agentsTest{T: t, store: store, hosts: hosts}, ctx)
		})
	}
}

// agentsTest is one test of the suite.
type agentsTest struct {
	*testing.T
	store crony.Agents
	hosts Hosts
}

func (t *agentsTest) agent(ctx context.Context, idOrName string) crony.AgentStatus {
	t.Helper()
	a, err := t.store.Agent(ctx, idOrName)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (t *agentsTest) change(ctx context.Context, idOrName string, c crony.AgentChange) crony.AgentStatus {
	t.Helper()
	a, err := t.store.ChangeAgent(ctx, idOrName, c)
	if err != nil {
		t.Fatal(err)
	}
	if now := t.agent(ctx, a.ID); !cmp.Equal(a, now) {
		t.Errorf("changed to %+v, and then it is %+v", a, now)
	}
	return a
}

func (t *agentsTest) unknown(ctx context.Context) {
	if list, err := t.store.ListAgents(ctx); err != nil || len(list) > 0 {
		t.Errorf("agents: %+v, %v", list, err)
	}
	_, err := t.store.Agent(ctx, "a1")
	_, changed := t.store.ChangeAgent(ctx, "a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true}})
	_, looked := t.store.AgentFigures(ctx, "a1")
	for _, err := range []error{err, changed, looked} {
		if crony.CodeOf(err) != crony.NotFound {
			t.Errorf("an agent that there is not: %v", err)
		}
	}
}

func (t *agentsTest) life(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a2", Name: "alpha", Hostname: "h", Version: "v", OS: "linux", Arch: "amd64", Weight: 2,
		Labels: map[string]string{"web": ""}})
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "beta", Weight: 1})
	list, err := t.store.ListAgents(ctx)
	if err != nil || len(list) != 2 || list[0].ID != "a2" || list[1].ID != "a1" {
		t.Fatalf("agents: %+v, %v", list, err)
	}
	for i := range list {
		a := &list[i]
		if !a.Up || a.Server == "" || a.Since.IsZero() || !a.SeenAt.IsZero() || a.Cordon != nil || !cmp.Equal(*a, t.agent(ctx, a.ID)) {
			t.Errorf("%+v", a)
		}
	}
	if a := list[0]; a.Weight != 2 || a.Said.Weight != 2 || a.Hostname != "h" ||
		!cmp.Equal(a.Said.Labels, map[string]string{"web": ""}) {
		t.Errorf("%+v", a)
	}
	t.hosts.Disconnect("a2")
	gone := t.agent(ctx, "alpha")
	if gone.Up || gone.SeenAt.IsZero() || gone.Server != "" || !gone.Since.IsZero() || gone.Hostname != "h" || gone.Weight != 2 {
		t.Errorf("gone: %+v", gone)
	}
	t.hosts.Connect(crony.Agent{ID: "a2", Name: "gamma", Weight: 1})
	if back := t.agent(ctx, "gamma"); back.ID != "a2" || !back.Up || !back.SeenAt.IsZero() || len(back.Labels) > 0 {
		t.Errorf("back: %+v", back)
	}
}

func (t *agentsTest) several(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a2", Name: "web", Weight: 1})
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "web", Weight: 1})
	t.hosts.Connect(crony.Agent{ID: "a3", Name: "a1", Weight: 1})
	_, err := t.store.Agent(ctx, "web")
	_, changed := t.store.ChangeAgent(ctx, "web", crony.AgentChange{})
	for _, err := range []error{err, changed} {
		if crony.CodeOf(err) != crony.Conflict || !strings.Contains(err.Error(), "a1, a2") {
			t.Errorf("a name of two: %v", err)
		}
	}
	if a := t.agent(ctx, "a1"); a.Name != "web" {
		t.Errorf("an id is taken for a name: %+v", a)
	}
}

func (t *agentsTest) overrides(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "one", Weight: 2, Labels: map[string]string{"role": "batch", "zone": "north"}})
	web, empty, four, none := "web", "", 4, 0
	a := t.change(ctx, "one", crony.AgentChange{Labels: map[string]*string{"role": &web, "gpu": &empty}, Weight: &four,
		MaxJobs: &four})
	counts := map[string]string{"role": "web", "zone": "north", "gpu": ""}
	if !cmp.Equal(a.Labels, counts) || a.Weight != 4 || a.Said.Labels["role"] != "batch" || a.Said.Weight != 2 ||
		!cmp.Equal(a.Set, crony.AgentTraits{Labels: map[string]string{"role": "web", "gpu": ""}, Weight: 4, MaxJobs: 4}) ||
		a.MaxJobs != 4 || a.Said.MaxJobs != 0 {
		t.Errorf("%+v", a)
	}
	t.hosts.Disconnect("a1")
	if gone := t.agent(ctx, "a1"); !cmp.Equal(gone.Labels, counts) || gone.Weight != 4 {
		t.Errorf("gone: %+v", gone)
	}
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "one", Weight: 3, Labels: map[string]string{"role": "db", "disk": "ssd"}})
	a = t.agent(ctx, "one")
	if !cmp.Equal(a.Labels, map[string]string{"role": "web", "disk": "ssd", "gpu": ""}) || a.Weight != 4 || a.Said.Weight != 3 {
		t.Errorf("back: %+v", a)
	}
	a = t.change(ctx, "a1", crony.AgentChange{Labels: map[string]*string{"role": nil, "gpu": nil, "disk": nil}, Weight: &none,
		MaxJobs: &none})
	if !cmp.Equal(a.Labels, map[string]string{"role": "db", "disk": "ssd"}) || a.Weight != 3 ||
		!cmp.Equal(a.Set, crony.AgentTraits{}) {
		t.Errorf("taken away: %+v", a)
	}
}

func (t *agentsTest) cordon(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	c := t.change(ctx, "one", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Drain: true, Reason: "new disk"}}).Cordon
	if c == nil || c.At.IsZero() || !c.Drain || c.Reason != "new disk" {
		t.Fatalf("%+v", c)
	}
	same := t.change(ctx, "one", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Drain: true, Reason: "new disk"}}).Cordon
	if !cmp.Equal(c, same) {
		t.Errorf("the same again: %+v, before %+v", same, c)
	}
	same = t.change(ctx, "one", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Drain: true}}).Cordon
	if !cmp.Equal(c, same) {
		t.Errorf("again, without a reason: %+v, before %+v", same, c)
	}
	weight := 2
	if a := t.change(ctx, "one", crony.AgentChange{Weight: &weight}); !cmp.Equal(a.Cordon, c) {
		t.Errorf("another change: %+v", a.Cordon)
	}
	if a := t.change(ctx, "one", crony.AgentChange{Cordon: &crony.CordonChange{}}); a.Cordon != nil || a.Weight != 2 {
		t.Errorf("uncordoned: %+v", a)
	}
}

func (t *agentsTest) refusals(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	before := t.agent(ctx, "a1")
	good, bad, high, many := "x", "a b", crony.MaxWeight+1, crony.MaxMaxJobs+1
	for says, c := range map[string]crony.AgentChange{
		"labels.zone": {Labels: map[string]*string{"zone": &bad, "good": &good}, Cordon: &crony.CordonChange{On: true}},
		"labels.a b":  {Labels: map[string]*string{"a b": nil}},
		"max_jobs":    {MaxJobs: &many, Labels: map[string]*string{"good": &good}},
		"weight":      {Weight: &high, Labels: map[string]*string{"good": &good}},
		"drain":       {Cordon: &crony.CordonChange{Drain: true}, Labels: map[string]*string{"good": &good}},
		"reason":      {Cordon: &crony.CordonChange{On: true, Reason: strings.Repeat("x", 1001)}},
	} {
		if _, err := t.store.ChangeAgent(ctx, "a1", c); crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if after := t.agent(ctx, "a1"); !cmp.Equal(before, after) {
		t.Errorf("what was refused was done: %+v", after)
	}
}

// together has as many labels set at once as there are people.
func (t *agentsTest) together(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	keys := strings.Split("abcdefgh", "")
	var people sync.WaitGroup
	for _, key := range keys {
		people.Go(func() {
			if _, err := t.store.ChangeAgent(ctx, "one", crony.AgentChange{Labels: map[string]*string{key: &key}}); err != nil {
				t.Error(err)
			}
		})
	}
	people.Wait()
	a := t.agent(ctx, "one")
	for _, key := range keys {
		if a.Labels[key] != key {
			t.Errorf("the label %s is lost: %v", key, a.Labels)
		}
	}
}

func (t *agentsTest) figures(ctx context.Context) {
	t.hosts.Connect(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	t.hosts.Answer("a1", crony.HostFigures{CPUs: 4, CPU: 0.5, DiskDir: "/x"})
	f, err := t.store.AgentFigures(ctx, "one")
	if err != nil || f.CPUs != 4 || f.CPU != 0.5 || f.DiskDir != "/x" {
		t.Errorf("%+v, %v", f, err)
	}
	t.hosts.Disconnect("a1")
	if _, err := t.store.AgentFigures(ctx, "one"); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("of one that is gone: %v", err)
	}
}
