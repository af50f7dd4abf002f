package state

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

func (r *rig) register(a crony.Agent) *Presence {
	r.t.Helper()
	p, err := r.RegisterAgent(r.ctx(), a)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func lost(p *Presence) bool {
	select {
	case <-p.Lost():
		return true
	default:
		return false
	}
}

func TestPresence(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	agent := crony.Agent{ID: "a1", Name: "zoe", Hostname: "h", Weight: 2, Since: noon, Server: "s1", Labels: map[string]string{"x": "y"}}
	p, other := r.register(agent), r.register(crony.Agent{ID: "a2", Name: "adam", Weight: 1})
	r.define(job1("a", "1"), job1("b", "1"))
	r.give("a1", "a")
	list, err := r.ListAgents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []crony.AgentStatus{{Agent: crony.Agent{ID: "a2", Name: "adam", Weight: 1}}, {Agent: agent, Jobs: 1}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("agents (-want +got):\n%s", diff)
	}
	if j, _ := r.Job(t.Context(), "b"); j.Waiting != "not placed yet" {
		t.Errorf("with agents, a job waits because it is %q", j.Waiting)
	}
	if lost(p) {
		t.Error("it is lost from the start")
	}

	p.Leave(t.Context())
	p.Leave(t.Context())
	other.Leave(t.Context())
	if !lost(p) {
		t.Error("after Leave, Lost is not closed")
	}
	r.wait("both to go", func() bool { return r.Counts().Agents == 0 })
	if left := r.keys(nodes); len(left) > 0 || r.leases() != leases {
		t.Errorf("left: %v, %d leases, %d before", left, r.leases(), leases)
	}
	if j, _ := r.Job(t.Context(), "b"); j.Waiting != "no agent is connected" {
		t.Errorf("without agents, a job waits because %q", j.Waiting)
	}
	if j := r.look("a"); j.agent() != "a1" {
		t.Error("an agent that left has lost its job")
	}
}

// TestTakeover: an agent comes back by another server before the first has noticed that it is gone.
func TestTakeover(t *testing.T) {
	r := newRig(t, emptied(t))
	before := r.register(crony.Agent{ID: "a1", Name: "one", Server: "s1"})
	after := r.register(crony.Agent{ID: "a1", Name: "one", Server: "s2"})
	before.Leave(t.Context())
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, _ := r.ListAgents(t.Context()); len(list) != 1 || list[0].Server != "s2" || lost(after) {
		t.Errorf("after the first has left: %+v, lost %v", list, lost(after))
	}
	after.Leave(t.Context())
	r.wait("it to go", func() bool { return r.Counts().Agents == 0 })
}

// TestLeaveInAHurry: a server that stops has a context that is done.
func TestLeaveInAHurry(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := r.RegisterServer(ctx, Server{ID: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	if keys := r.keys(servers); len(keys) != 1 || keys[0] != servers+"s1" {
		t.Errorf("keys: %v", keys)
	}
	cancel()
	select {
	case <-p.Lost():
		t.Error("the presence ended with the context of its beginning")
	case <-time.After(10 * time.Millisecond):
	}
	p.Leave(ctx)
	if left := r.keys(servers); len(left) > 0 || r.leases() != leases {
		t.Errorf("left: %v, %d leases, %d before", left, r.leases(), leases)
	}
}

func TestRegisterInVain(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	r.link.hold()
	defer r.link.release()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.RegisterAgent(ctx, crony.Agent{ID: "a1"}); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("a registration that is not seen in time: %v", err)
	}
	if left := r.keys(nodes); len(left) > 0 || r.leases() != leases {
		t.Errorf("left: %v, %d leases, %d before", left, r.leases(), leases)
	}
}

func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, ownClient(t))
	p := r.register(crony.Agent{ID: "a1"})
	r.revokeLease(nodes + "a1")
	select {
	case <-p.Lost():
	case <-time.After(patience):
		t.Fatal("nobody says that the lease is gone")
	}
	r.wait("the record to go", func() bool { return r.Counts().Agents == 0 })
	p.Leave(t.Context())
}

// TestLeaseIsKept: a record stays for longer than its lease would last by itself.
func TestLeaseIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, ownClient(t))
	p := r.register(crony.Agent{ID: "a1"})
	defer p.Leave(t.Context())
	grant := func() int64 {
		resp, err := r.client.TimeToLive(t.Context(), p.session.Lease())
		if err != nil {
			t.Fatal(err)
		}
		return resp.TTL
	}
	low := int64(leaseTTL)
	r.wait("the lease to be renewed", func() bool {
		now := grant()
		renewed := now > low
		low = min(low, now)
		return renewed
	})
	if resp, err := r.client.TimeToLive(t.Context(), p.session.Lease(), clientv3.WithAttachedKeys()); err != nil || len(resp.Keys) != 1 {
		t.Errorf("the lease holds %v, %v", resp, err)
	}
}
