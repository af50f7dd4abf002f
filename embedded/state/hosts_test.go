package state

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// revision returns the store's, which only grows when something is written.
func (r *rig) storeRevision() int64 {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), "x")
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.Header.Revision
}

// leaseOf returns the lease of a key, 0 if it is not there.
func (r *rig) leaseOf(key string) clientv3.LeaseID {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return 0
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease)
}

// TestFigures: who looks through one server has the agent at another look, and sees what it tells; when the last look is long
// enough ago, all is gone, and nothing is written any more.
func TestFigures(t *testing.T) {
	client := emptied(t)
	viewer, holder := newRig(t, client), newRig(t, client)
	holder.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	viewer.settled()
	feed := holder.Changes("a1")
	defer feed.Close()
	holder.next(feed)
	everything := viewer.Changes("")
	defer everything.Close()
	viewer.next(everything)
	if err := holder.PublishFigures(t.Context(), "a1", crony.HostFigures{CPUs: 1}); err != nil || len(holder.keys(systems)) > 0 {
		t.Errorf("while nobody looks: %v, %v", err, holder.keys(systems))
	}

	told := make(chan crony.HostFigures)
	go func() {
		defer close(told)
		figures, err := viewer.AgentFigures(t.Context(), "one")
		if err != nil {
			t.Error(err)
		}
		told <- figures
	}()
	holder.wantNext(feed, Changes{Host: true})
	if !holder.Watched("a1") {
		t.Fatal("nobody looks")
	}
	want := crony.HostFigures{At: noon, CPUs: 4, CPU: 0.5, DiskDir: "/var/lib/x"}
	if err := holder.PublishFigures(t.Context(), "a1", want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, <-told); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	first := viewer.leaseOf(switchKey("a1"))
	if again, err := viewer.AgentFigures(t.Context(), "a1"); err != nil || again.CPUs != 4 || viewer.leaseOf(switchKey("a1")) != first {
		t.Errorf("at once again: %+v, %v", again, err)
	}

	viewer.clock.forward(watchAgain)
	if _, err := viewer.AgentFigures(t.Context(), "a1"); err != nil {
		t.Error(err)
	}
	second := viewer.leaseOf(switchKey("a1"))
	if second == first {
		t.Error("who goes on looking puts no switch again")
	}
	holder.settled()
	if err := holder.PublishFigures(t.Context(), "a1", want); err != nil || holder.leaseOf(figuresKey("a1")) != second {
		t.Errorf("figures are not on the switch's lease: %v", err)
	}

	if _, err := client.Revoke(t.Context(), second); err != nil { // as if the time were over
		t.Fatal(err)
	}
	holder.wait("the last look to be over", func() bool { return !holder.Watched("a1") })
	before := holder.storeRevision()
	if err := holder.PublishFigures(t.Context(), "a1", want); err != nil || len(holder.keys(systems)) > 0 || holder.storeRevision() != before {
		t.Errorf("nobody looks, and there is %v; %v", holder.keys(systems), err)
	}
	if c := everything.Take(); len(c.Agents)+len(c.Jobs) > 0 || c.Cluster {
		t.Errorf("everybody is told of a host: %+v", c)
	}
}

// TestFiguresBehind: a server that has not heard that the last look is over writes nothing, and nothing fails.
func TestFiguresBehind(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	if err := r.lookAt(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	r.link.hold()
	if _, err := r.client.Revoke(t.Context(), r.leaseOf(switchKey("a1"))); err != nil {
		t.Fatal(err)
	}
	if err := r.PublishFigures(t.Context(), "a1", crony.HostFigures{CPUs: 1}); err != nil || len(r.keys(systems)) > 0 {
		t.Errorf("%v, %v", r.keys(systems), err)
	}
	r.link.release()
}

func TestFiguresRefused(t *testing.T) {
	r := newRig(t, emptied(t))
	p := r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	leases := r.leases()
	if _, err := r.AgentFigures(t.Context(), "a9"); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("of nobody: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := r.AgentFigures(ctx, "a1"); err == nil {
		t.Error("figures of an agent that says nothing")
	}
	p.Leave(t.Context())
	if _, err := r.AgentFigures(t.Context(), "a1"); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("of one that is not connected: %v", err)
	}
	now := r.leases()
	r.clock.forward(hour)
	if err := r.lookAt(t.Context(), "a1"); crony.CodeOf(err) != crony.Unavailable || r.leases() != now {
		t.Errorf("a look at one that has just gone: %v; %d leases, before %d and %d", err, r.leases(), now, leases)
	}
	r.strike(requestLost)
	if err := r.lookAt(t.Context(), "a1"); crony.CodeOf(err) != crony.Unavailable || r.leases() != now {
		t.Errorf("a look that fails: %v; %d leases, before %d", err, r.leases(), now)
	}
	r.strike(nil)
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	if err := r.lookAt(t.Context(), "a1"); err != nil || r.leaseOf(switchKey("a1")) == 0 {
		t.Errorf("the look after one that failed: %v", err)
	}
}

// TestStaleFigures: what an agent told when somebody looked before is not taken for how its host is now.
func TestStaleFigures(t *testing.T) {
	r := newRig(t, emptied(t))
	r.register(crony.Agent{ID: "a1", Name: "one", Weight: 1})
	if err := r.lookAt(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	if err := r.PublishFigures(t.Context(), "a1", crony.HostFigures{CPUs: 1}); err != nil {
		t.Fatal(err)
	}
	r.wait("the figures", func() bool { return !r.mirror.host("a1").at.IsZero() })
	r.clock.forward(figuresAge)
	got := make(chan crony.HostFigures)
	go func() {
		figures, err := r.AgentFigures(t.Context(), "a1")
		if err != nil {
			t.Error(err)
		}
		got <- figures
	}()
	r.wait("another look", func() bool { return r.mirror.host("a1").lease != 0 })
	if err := r.PublishFigures(t.Context(), "a1", crony.HostFigures{CPUs: 2}); err != nil {
		t.Fatal(err)
	}
	if f := <-got; f.CPUs != 2 {
		t.Errorf("figures of before: %+v", f)
	}
}
