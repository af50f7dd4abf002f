package state

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/internal/storetest"
)

func TestAgents(t *testing.T) {
	storetest.Agents(t, func(t *testing.T) (crony.Agents, storetest.Hosts) {
		r := newRig(t, emptied(t))
		here := map[string]*Presence{}
		return r.Store, storetest.Hosts{
			Connect: func(a crony.Agent) {
				a.Server, a.Since = "s1", noon
				here[a.ID] = r.register(a)
			},
			Disconnect: func(id string) { here[id].Leave(t.Context()) },
			Answer:     func(id string, figures crony.HostFigures) { go r.answer(id, figures) },
		}
	})
}

// answer tells how a host is, as soon as somebody looks.
func (r *rig) answer(agent string, figures crony.HostFigures) {
	feed := r.Changes(agent)
	defer feed.Close()
	for !r.Watched(agent) {
		if _, err := feed.Next(r.ctx()); err != nil {
			return
		}
	}
	if err := r.PublishFigures(r.ctx(), agent, figures); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) agent(id string) crony.AgentStatus {
	r.t.Helper()
	a, err := r.Agent(r.ctx(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) changeAgent(id string, c crony.AgentChange) crony.AgentStatus {
	r.t.Helper()
	a, err := r.ChangeAgent(crony.WithActor(r.ctx(), "ann"), id, c)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// settled has the mirror catch up.
func (r *rig) settled() {
	r.t.Helper()
	if err := r.sync(r.ctx()); err != nil {
		r.t.Fatal(err)
	}
}

// written returns the revision at which a key was written last, 0 if it is not there.
func (r *rig) written(key string) int64 {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return 0
	}
	return resp.Kvs[0].ModRevision
}

// TestAgentIsKnown: what an agent says is known when it is gone, to whichever server, also to one that starts then; and is
// written only when it differs.
func TestAgentIsKnown(t *testing.T) {
	client := emptied(t)
	r := newRig(t, client)
	said := crony.Agent{ID: "a1", Name: "one", Hostname: "h", Weight: 2, Labels: map[string]string{"role": "batch"}, Since: noon, Server: "s1"}
	traits := crony.AgentTraits{Labels: said.Labels, Weight: 2}
	p := r.register(said)
	if diff := cmp.Diff(crony.AgentStatus{Agent: said, Up: true, Said: traits}, r.agent("one")); diff != "" {
		t.Errorf("connected (-want +got):\n%s", diff)
	}
	first := r.written(agents + "a1")

	r.clock.forward(hour)
	p.Leave(t.Context())
	gone := said
	gone.Since, gone.Server = time.Time{}, ""
	want := crony.AgentStatus{Agent: gone, SeenAt: noon.Add(hour), Said: traits}
	late := newRig(t, client)
	for _, r := range []*rig{r, late} {
		if diff := cmp.Diff(want, r.agent("a1")); diff != "" {
			t.Errorf("gone (-want +got):\n%s", diff)
		}
		if n := r.Counts().Agents; n != 0 {
			t.Errorf("%d agents count as connected", n)
		}
	}

	said.Since, said.Server = noon.Add(2*hour), "s2"
	late.register(said)
	late.settled()
	if got := late.agent("a1"); !got.Up || !got.SeenAt.IsZero() || got.Server != "s2" || r.written(seenKey("a1")) != 0 {
		t.Errorf("back: %+v", got)
	}
	if now := r.written(agents + "a1"); now != first {
		t.Errorf("the same registration was written again, at %d after %d", now, first)
	}
	said.Version = "2"
	late.register(said)
	if now := r.written(agents + "a1"); now == first {
		t.Error("another registration was not written")
	}
	if list, err := r.ListAgents(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("agents: %+v, %v", list, err)
	}
}

// TestRegisterBehind: a server that has not seen what another wrote of an agent does not take what it knows for what is there.
func TestRegisterBehind(t *testing.T) {
	client := emptied(t)
	behind, other := newRig(t, client), newRig(t, client)
	behind.register(crony.Agent{ID: "a1", Name: "one", Version: "1"})
	other.settled()
	behind.link.hold()
	other.register(crony.Agent{ID: "a1", Name: "one", Version: "2"})
	done, asked := make(chan error, 1), behind.asked()
	go func() {
		p, err := behind.RegisterAgent(t.Context(), crony.Agent{ID: "a1", Name: "one", Version: "1"})
		if err == nil {
			p.Leave(t.Context())
		}
		done <- err
	}()
	<-asked
	behind.link.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	other.settled()
	if got := other.agent("a1"); got.Version != "1" || got.Up {
		t.Errorf("it registered last with version 1, and is known as %+v", got)
	}
}

// TestAgentOfBefore: an agent that registered before its server knew of these keys is there as long as it is connected.
func TestAgentOfBefore(t *testing.T) {
	r := newRig(t, emptied(t))
	r.put(nodes+"a1", encode(crony.Agent{ID: "a1", Name: "one", Weight: 1}))
	r.settled()
	web := ""
	if got := r.changeAgent("one", crony.AgentChange{Labels: map[string]*string{"web": &web}}); !got.Up || !cmp.Equal(got.Labels, map[string]string{"web": ""}) {
		t.Errorf("%+v", got)
	}
	if _, err := r.client.Delete(t.Context(), nodes+"a1"); err != nil {
		t.Fatal(err)
	}
	r.settled()
	if _, err := r.Agent(t.Context(), "a1"); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("of one that is gone nothing is known: %v", err)
	}
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	if got := r.agent("a1"); !cmp.Equal(got.Labels, map[string]string{"web": ""}) {
		t.Errorf("what people set is lost: %+v", got)
	}
}

func TestChangeAgent(t *testing.T) {
	r := newRig(t, emptied(t))
	own := map[string]string{"role": "batch", "zone": "north"}
	p := r.register(crony.Agent{ID: "a1", Name: "one", Weight: 2, Labels: own})
	r.register(crony.Agent{ID: "a2", Name: "two", Weight: 1})
	r.register(crony.Agent{ID: "a3", Name: "two", Weight: 1})
	feed := r.Changes("")
	defer feed.Close()
	r.next(feed)
	web, role, three, none := "", "web", 3, 0
	for _, step := range []struct {
		what   string
		change crony.AgentChange
		labels map[string]string
		weight int
		set    crony.AgentTraits
		quiet  bool
	}{
		{"nothing", crony.AgentChange{}, own, 2, crony.AgentTraits{}, true},
		{"a label", crony.AgentChange{Labels: map[string]*string{"web": &web}},
			map[string]string{"role": "batch", "zone": "north", "web": ""}, 2, crony.AgentTraits{Labels: map[string]string{"web": ""}}, false},
		{"one over its own", crony.AgentChange{Labels: map[string]*string{"role": &role}}, map[string]string{"role": "web", "zone": "north", "web": ""},
			2, crony.AgentTraits{Labels: map[string]string{"web": "", "role": "web"}}, false},
		{"the same again", crony.AgentChange{Labels: map[string]*string{"role": &role}}, map[string]string{"role": "web", "zone": "north", "web": ""},
			2, crony.AgentTraits{Labels: map[string]string{"web": "", "role": "web"}}, true},
		{"a weight", crony.AgentChange{Weight: &three, Labels: map[string]*string{"web": nil}}, map[string]string{"role": "web", "zone": "north"},
			3, crony.AgentTraits{Labels: map[string]string{"role": "web"}, Weight: 3}, false},
		{"all taken away", crony.AgentChange{Weight: &none, Labels: map[string]*string{"role": nil, "zone": nil}}, own, 2, crony.AgentTraits{}, false},
	} {
		got := r.changeAgent("one", step.change)
		want := crony.AgentStatus{Agent: crony.Agent{ID: "a1", Name: "one", Weight: step.weight, Labels: step.labels}, Up: true,
			Said: crony.AgentTraits{Labels: own, Weight: 2}, Set: step.set}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
		if !step.quiet {
			r.wantNext(feed, Changes{Agents: []string{"a1"}})
		} else if c := feed.Take(); len(c.Agents) > 0 {
			t.Errorf("%s: the feed tells of %v", step.what, c)
		}
	}
	if left := r.keys(setKey("a1")); len(left) > 0 {
		t.Errorf("nothing is set, and left is %v", left)
	}
	if !cmp.Equal(own, map[string]string{"role": "batch", "zone": "north"}) {
		t.Error("the agent's own labels were written over")
	}

	p.Leave(t.Context())
	if got := r.changeAgent("a1", crony.AgentChange{Weight: &three}); got.Up || got.Weight != 3 {
		t.Errorf("one that is gone: %+v", got)
	}
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 2})
	if got := r.agent("a1"); !got.Up || got.Weight != 3 || got.Said.Weight != 2 {
		t.Errorf("back again: %+v", got)
	}
}

func TestChangeAgentRefused(t *testing.T) {
	r := newRig(t, emptied(t))
	for _, id := range []string{"a1", "a2"} {
		r.register(crony.Agent{ID: id, Name: "two", Weight: 1})
	}
	r.register(crony.Agent{ID: "a3", Name: "a1", Weight: 1})
	bad, low := "a b", -1
	for name, test := range map[string]struct {
		agent  string
		change crony.AgentChange
		code   crony.Code
		says   string
	}{
		"nobody":           {agent: "a9", code: crony.NotFound, says: "there is no agent a9"},
		"two of the name":  {agent: "two", code: crony.Conflict, says: "a1, a2"},
		"a label":          {agent: "a1", change: crony.AgentChange{Labels: map[string]*string{"x": &bad}}, code: crony.Invalid, says: "labels.x"},
		"a weight":         {agent: "a1", change: crony.AgentChange{Weight: &low}, code: crony.Invalid, says: "weight: -1 is out of range"},
		"drain, no cordon": {agent: "a1", change: crony.AgentChange{Cordon: &crony.CordonChange{Drain: true}}, code: crony.Invalid, says: "cordon.drain"},
	} {
		_, err := r.ChangeAgent(t.Context(), test.agent, test.change)
		if crony.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want %s with %q", name, err, test.code, test.says)
		}
	}
	if a := r.agent("a1"); a.Name != "two" {
		t.Errorf("an id that is another's name names %+v", a)
	}
	many := crony.AgentChange{Labels: map[string]*string{}}
	for n := range crony.MaxLabels {
		value := fmt.Sprint(n)
		many.Labels["k"+value] = &value
	}
	r.changeAgent("a1", many)
	more := ""
	if _, err := r.ChangeAgent(t.Context(), "a1", crony.AgentChange{Labels: map[string]*string{"more": &more}}); crony.CodeOf(err) != crony.Invalid {
		t.Errorf("one label too many: %v", err)
	}
}

func TestCordon(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	r.register(crony.Agent{ID: "a2", Name: "two", Weight: 1})
	first := r.changeAgent("a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Reason: "new disk"}}).Cordon
	if diff := cmp.Diff(&crony.Cordon{By: "ann", At: noon, Reason: "new disk"}, first); diff != "" {
		t.Errorf("cordon (-want +got):\n%s", diff)
	}
	later := r.clock.forward(hour)
	again, err := r.ChangeAgent(crony.WithActor(r.ctx(), "bob"), "a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Reason: "new disk"}})
	if err != nil || !cmp.Equal(first, again.Cordon) {
		t.Errorf("who says the same again: %+v, %v", again.Cordon, err)
	}
	drained := r.changeAgent("a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true, Drain: true}}).Cordon
	if diff := cmp.Diff(&crony.Cordon{By: "ann", At: later, Drain: true}, drained); diff != "" {
		t.Errorf("drained (-want +got):\n%s", diff)
	}
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	if !cmp.Equal(drained, r.agent("a1").Cordon) {
		t.Error("the cordon ended when the agent connected again")
	}
	if p := r.Places(); len(p.Agents) != 1 || p.Agents[0].ID != "a2" {
		t.Errorf("jobs are placed on %+v", p.Agents)
	}
	if got := r.changeAgent("a1", crony.AgentChange{Cordon: &crony.CordonChange{}}); got.Cordon != nil {
		t.Errorf("uncordoned: %+v", got)
	}
}

// TestCordonTwice: of two people who cordon an agent at two servers at once, both see one cordon, and what a third changes at
// the same time is not lost.
func TestCordonTwice(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client), newRig(t, client)}
	rigs[0].register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	for _, r := range rigs {
		r.settled()
	}
	zone := "north"
	changes := []crony.AgentChange{{Cordon: &crony.CordonChange{On: true, Reason: "x"}}, {Cordon: &crony.CordonChange{On: true, Reason: "y"}},
		{Labels: map[string]*string{"zone": &zone}}}
	var all sync.WaitGroup
	for n, r := range rigs {
		all.Go(func() {
			if _, err := r.ChangeAgent(crony.WithActor(t.Context(), fmt.Sprint("p", n)), "one", changes[n]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var seen []crony.AgentStatus
	for _, r := range rigs {
		r.settled()
		seen = append(seen, r.agent("a1"))
	}
	if c := seen[0].Cordon; c == nil || !(c.By == "p0" && c.Reason == "x" || c.By == "p1" && c.Reason == "y") || seen[0].Labels["zone"] != "north" {
		t.Errorf("%+v, cordon %+v", seen[0], c)
	}
	if !cmp.Equal(seen[0], seen[1]) || !cmp.Equal(seen[0], seen[2]) {
		t.Errorf("servers see different things: %+v", seen)
	}
}

// TestRemovedIsUnknown: nothing of an agent that was removed is left, and nobody brings it back: neither who registers, leaves
// or changes it at that moment, nor a leader that finds it missing.
func TestRemovedIsUnknown(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	for round := range 20 {
		id := fmt.Sprint("a", round)
		p := other.register(crony.Agent{ID: id, Name: "one", Weight: 1})
		r.changeAgent(id, crony.AgentChange{Cordon: &crony.CordonChange{On: true}})
		var all sync.WaitGroup
		all.Go(func() { r.bury(stoneOf(id)) })
		all.Go(func() { p.Leave(t.Context()) })
		all.Go(func() {
			if p, err := r.RegisterAgent(t.Context(), crony.Agent{ID: id, Name: "again", Weight: 1}); err == nil {
				p.Leave(t.Context())
			} else if crony.CodeOf(err) != crony.Forbidden {
				t.Error(err)
			}
		})
		all.Go(func() {
			_, err := other.ChangeAgent(t.Context(), id, crony.AgentChange{Cordon: &crony.CordonChange{}})
			if err != nil && crony.CodeOf(err) != crony.NotFound {
				t.Error(err)
			}
		})
		all.Wait()
		if _, err := client.Txn(t.Context()).Then(seenOff([]lapse{{id, noon}})...).Commit(); err != nil {
			t.Fatal(err)
		}
		if left := append(r.keys(agents), r.keys(nodes)...); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
		if list, _ := r.ListAgents(t.Context()); len(list) > 0 {
			t.Fatalf("known: %+v", list)
		}
	}
}

// TestLapse: since when an agent is gone is known also when its presence ended with its lease: to each server that saw it, and,
// once the leader has written it, to every other.
func TestLapse(t *testing.T) {
	t.Parallel()
	client := ownClient(t)
	r := newRig(t, client)
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	back := r.register(crony.Agent{ID: "a2", Name: "two", Weight: 1})
	back.Leave(t.Context())
	r.register(crony.Agent{ID: "a2", Name: "two", Weight: 1})
	gone := r.clock.forward(hour)
	r.revokeLease(nodes + "a1")
	r.wait("both to go", func() bool { return r.Counts().Agents == 0 })
	r.clock.forward(hour)
	for _, id := range []string{"a1", "a2"} {
		if got := r.agent(id); got.Up || !got.SeenAt.Equal(gone) {
			t.Errorf("%s: %+v; gone at %v", id, got, gone)
		}
	}
	late := newRig(t, client)
	if got := late.agent("a1"); got.Up || !got.SeenAt.IsZero() {
		t.Errorf("to who has not seen it go: %+v", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	term := r.elect()
	go func() { kept <- r.KeepSeen(ctx, term) }()
	late.wait("it to be written", func() bool { return late.agent("a1").SeenAt.Equal(gone) && late.agent("a2").SeenAt.Equal(gone) })
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	r.settled()
	if rev := r.written(seenKey("a1")); rev != 0 || !r.agent("a1").Up {
		t.Errorf("it is back, and since when it is gone is still written, at %d", rev)
	}
	cancel()
	if err := <-kept; err != nil {
		t.Error(err)
	}
}

// TestLapseUnwatched: what went while a server did not see the keyspace change went when it looked again.
func TestLapseUnwatched(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	other.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	r.settled()
	r.link.hold()
	r.link.cut()
	if _, err := client.Delete(t.Context(), nodes+"a1"); err != nil {
		t.Fatal(err)
	}
	looked := r.clock.forward(hour)
	resp, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	r.link.release()
	r.wait("it to be known", func() bool { return r.agent("a1").SeenAt.Equal(looked) })
}

// TestLapseBehind: a leader that takes an agent for gone does not say so of one that is back, or was seen off by another.
func TestLapseBehind(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	r.register(crony.Agent{ID: "a2", Name: "two", Weight: 1}).Leave(t.Context())
	before := r.written(seenKey("a2"))
	if _, err := r.client.Txn(t.Context()).Then(seenOff([]lapse{{"a1", noon}, {"a2", noon}, {"a3", noon}})...).Commit(); err != nil {
		t.Fatal(err)
	}
	if got := []int64{r.written(seenKey("a1")), r.written(seenKey("a2")), r.written(seenKey("a3"))}; !cmp.Equal(got, []int64{0, before, 0}) {
		t.Errorf("written at %v; before at %d", got, before)
	}
}

// TestUnreadableAgent: what a newer crony has set is not written over by who can't read it.
func TestUnreadableAgent(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	rev := r.put(setKey("a1"), `{"v":7}`)
	r.settled()
	if _, err := r.ChangeAgent(t.Context(), "a1", crony.AgentChange{Cordon: &crony.CordonChange{On: true}}); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("changed: %v", err)
	}
	if now := r.written(setKey("a1")); now != rev {
		t.Error("it was written over")
	}
	r.put(agents+"a1", `{"v":7}`)
	r.put(agents+"a2", `{"v":7}`)
	r.put(seenKey("a3"), `"x"`)
	r.settled()
	if list, err := r.ListAgents(t.Context()); err != nil || len(list) != 1 || list[0].Name != "one" {
		t.Errorf("%+v, %v", list, err)
	}
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	if resp, err := r.client.Get(t.Context(), agents+"a1", clientv3.WithCountOnly()); err != nil || resp.Count != 1 {
		t.Errorf("%v, %v", resp, err)
	}
}

// TestJobsOfAgent: jobs can be listed by the agent that has them.
func TestJobsOfAgent(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	r.define(job1("a", "1"), job1("b", "1"), job1("c", "1"))
	r.give("a1", "a", "c")
	page, err := r.ListJobs(t.Context(), crony.JobQuery{Agent: "a1", Limit: 1})
	if err != nil || len(page.Items) != 1 || page.Items[0].Job.Name != "a" || page.Next == "" {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = r.ListJobs(t.Context(), crony.JobQuery{Agent: "a1", Cursor: page.Next})
	if err != nil || len(page.Items) != 1 || page.Items[0].Job.Name != "c" || page.Next != "" {
		t.Errorf("%+v, %v", page, err)
	}
}
