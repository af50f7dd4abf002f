package state

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/embedded/fakeetcd"
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
	agent := crony.Agent{ID: "a1", Name: "zoe", Hostname: "h", Weight: 2, Since: noon, Server: "s1", Labels: map[string]string{"x": "y"}}
	p, other := r.register(agent), r.register(crony.Agent{ID: "a2", Name: "adam", Weight: 1})
	r.define(job1("a", "1"), job1("b", "1"))
	r.give("a1", "a")
	list, err := r.ListAgents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []crony.AgentStatus{
		{Agent: crony.Agent{ID: "a2", Name: "adam", Weight: 1}, Up: true, Said: crony.AgentTraits{Weight: 1}},
		{Agent: agent, Up: true, Said: crony.AgentTraits{Labels: agent.Labels, Weight: 2}, Jobs: 1}}
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
	if !lost(p) || lost(other) {
		t.Errorf("after Leave, lost: %v, and the other: %v", lost(p), lost(other))
	}
	if left := r.keys(nodes); len(left) != 1 || r.Counts().Agents != 1 {
		t.Errorf("left: %v", left)
	}
	other.Leave(t.Context())
	if left := r.keys(nodes); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if j, _ := r.Job(t.Context(), "b"); j.Waiting != "no agent is connected" {
		t.Errorf("without agents, a job waits because %q", j.Waiting)
	}
	if got := r.agentOf("a"); got != "a1" {
		t.Error("an agent that left has lost its job")
	}
}

// TestOneLease: all share a lease, which ends with the store.
func TestOneLease(t *testing.T) {
	client := emptied(t)
	r, observer := newRig(t, client), newRig(t, client)
	leases := r.leases()
	var all sync.WaitGroup
	list := make([]*Presence, 50)
	for n := range list {
		all.Go(func() {
			var err error
			if n%10 == 0 {
				list[n], err = r.RegisterServer(t.Context(), Server{ID: fmt.Sprint("s", n)})
			} else {
				list[n], err = r.RegisterAgent(t.Context(), crony.Agent{ID: fmt.Sprint("a", n)})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.leases(); n != leases+1 {
		t.Errorf("%d leases", n-leases)
	}
	list[1].Leave(t.Context())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left := append(r.keys(nodes), r.keys(ups)...); len(left) > 0 || r.leases() != leases {
		t.Errorf("left: %v, and %d leases", left, r.leases()-leases)
	}
	for n, p := range list {
		if !lost(p) {
			t.Errorf("number %d is not lost", n)
		}
	}
	observer.wait("all to go", func() bool { return observer.Counts().Agents == 0 })
	if _, err := r.RegisterAgent(t.Context(), crony.Agent{ID: "late"}); crony.CodeOf(err) != crony.Unavailable || r.leases() != leases {
		t.Errorf("with a store that is closed: %v, %d leases", err, r.leases()-leases)
	}
	list[2].Leave(t.Context())
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
	ctx, cancel := context.WithCancel(t.Context())
	p, err := r.RegisterServer(ctx, Server{ID: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-p.Lost():
		t.Error("the presence ended with the context of its beginning")
	case <-time.After(10 * time.Millisecond):
	}
	p.Leave(ctx)
	if left := r.keys(ups); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestForsaken: what was registered, or removed, without anybody having been told is not there in the end, although the lease
// goes on; and what was registered under the same name since is.
func TestForsaken(t *testing.T) {
	r := newRig(t, emptied(t))
	keeper := r.register(crony.Agent{ID: "a0"})
	agent := func(n int) crony.Agent { return crony.Agent{ID: fmt.Sprint("a", n)} }
	stay := r.register(agent(4))

	r.strike(replyLost)
	for n := 1; n <= 3; n++ {
		if _, err := r.RegisterAgent(t.Context(), agent(n)); crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("a registration whose answer is lost: %v", err)
		}
	}
	r.strike(requestLost)
	tried := r.asked()
	stay.Leave(t.Context())
	<-tried
	r.strike(nil)
	again := r.register(agent(2)) // the same values as before
	r.wait("what is forsaken to go", func() bool { return len(r.keys(nodes)) == 2 })
	<-r.mirror.at(r.put("barrier", ""))
	if diff := cmp.Diff([]string{nodes + "a0", nodes + "a2"}, r.keys(nodes)); diff != "" || lost(keeper) || lost(again) {
		t.Errorf("there (-want +got):\n%s\nlost: %v, %v", diff, lost(keeper), lost(again))
	}
}

// TestRegisteredLate: a registration that its server gave up comes to pass after that by another server, or after the agent has
// left. It is as if it had not.
func TestRegisteredLate(t *testing.T) {
	for _, then := range []string{"moved", "left", "asked again"} {
		t.Run(then, func(t *testing.T) {
			client := emptied(t)
			r, other := newRig(t, client), newRig(t, client)
			keeper := r.register(crony.Agent{ID: "a0"})
			agent := crony.Agent{ID: "a1", Server: "s1"}
			late := r.strikeLate()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if then == "asked again" { // by the store itself, which waits no longer
				ctx, cancel = context.WithCancel(t.Context())
			}
			defer cancel()
			if _, err := r.RegisterAgent(ctx, agent); (err == nil) != (then == "asked again") {
				t.Fatal(err)
			}
			var held *Presence
			want := []string{nodes + "a0", nodes + "a1"}
			if then != "asked again" {
				agent.Server = "s2"
				held = other.register(agent)
			}
			if then == "left" {
				held.Leave(t.Context())
				want = want[:1]
			}
			if _, err := (<-late)(); err != nil {
				t.Fatal(err)
			}
			<-r.mirror.at(r.put("barrier", ""))
			r.wait("what nobody holds to go", func() bool { return len(r.keys(nodes)) == len(want) })
			if diff := cmp.Diff(want, r.keys(nodes)); diff != "" || lost(keeper) {
				t.Errorf("there (-want +got):\n%s", diff)
			}
			if a, err := r.Agent(t.Context(), "a1"); then != "left" && (err != nil || a.Server != agent.Server) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// TestRegisterInVain: a registration that is made and not seen in time is taken back.
func TestRegisterInVain(t *testing.T) {
	r := newRig(t, emptied(t))
	r.link.hold()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.RegisterAgent(ctx, crony.Agent{ID: "a1"}); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("a registration that is not seen in time: %v", err)
	}
	r.link.release()
	r.wait("it to go", func() bool { return len(r.keys(nodes)) == 0 })
}

// revokeLease ends the lease that holds a key.
func (r *rig) revokeLease(key string) {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), key)
	if err != nil || len(resp.Kvs) != 1 {
		r.t.Fatalf("%s: %v, %v", key, resp, err)
	}
	if _, err := r.client.Revoke(r.ctx(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		r.t.Fatal(err)
	}
}

// TestLeaseIsLost: all who share the lease are told, and the next to register has a new one, at once.
func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, ownClient(t))
	told, server := r.register(crony.Agent{ID: "a1"}), r.registerServer(Server{ID: "s1"})
	r.revokeLease(nodes + "a1")
	for _, p := range []*Presence{told, server} {
		select {
		case <-p.Lost():
		case <-time.After(patience):
			t.Fatal("nobody says that the lease is gone")
		}
	}
	r.wait("the records to go", func() bool { return r.Counts().Agents == 0 && !r.Servers()[0].Up })

	before := r.register(crony.Agent{ID: "a2"})
	r.revokeLease(nodes + "a2")
	after := r.register(crony.Agent{ID: "a3"}) // long before the next beat
	if !lost(before) || lost(after) || r.leases() != 1 {
		t.Errorf("lost: %v and %v; %d leases", lost(before), lost(after), r.leases())
	}
	before.Leave(t.Context())
	told.Leave(t.Context())
	if left := r.keys(nodes); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestLeaseIsKept: records stay for longer than their lease would last by itself, also when who came first has left.
func TestLeaseIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, ownClient(t))
	ctx, cancel := context.WithCancel(t.Context())
	first, err := r.RegisterAgent(ctx, crony.Agent{ID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	p := r.register(crony.Agent{ID: "a2"})
	first.Leave(ctx)
	cancel()
	grant := func() int64 {
		resp, err := r.client.TimeToLive(t.Context(), p.lease)
		if err != nil {
			t.Fatal(err)
		}
		return resp.TTL
	}
	low, renewals := int64(leaseTTL), 0
	r.wait("the lease to be renewed twice", func() bool {
		now := grant()
		if now > low {
			renewals, low = renewals+1, leaseTTL
		}
		low = min(low, now)
		return renewals == 2
	})
	if resp, err := r.client.TimeToLive(t.Context(), p.lease, clientv3.WithAttachedKeys()); err != nil || len(resp.Keys) != 1 || lost(p) {
		t.Errorf("the lease holds %v, %v", resp, err)
	}
}

func (r *rig) registerServer(server Server) *Presence {
	r.t.Helper()
	p, err := r.RegisterServer(r.ctx(), server)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// TestServers: a server's record is what it said last, and stays when it is down.
func TestServers(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	if list := r.Servers(); list == nil || len(list) != 0 {
		t.Errorf("servers: %#v", list)
	}
	feed := other.Changes("")
	defer feed.Close()
	other.next(feed)
	one := Server{ID: "s1", Name: "zoe", Version: "1", Peer: "p:1", Agents: "a:1", People: "https://x", StartedAt: noon,
		Authority: "f1", CertificateEnd: noon.Add(hour), Trusts: []string{"f1"}}
	before := r.registerServer(one)
	two := Server{ID: "s2", Name: "adam"}
	p := r.registerServer(two)
	one.Trusts = []string{"f2", "f1"}
	after := r.registerServer(one)
	before.Leave(t.Context()) // of no effect: it has registered again
	p.Leave(t.Context())
	one.Up = true
	want := []Server{two, one}
	for _, r := range []*rig{r, other} {
		if err := r.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, r.Servers()); diff != "" {
			t.Errorf("servers (-want +got):\n%s", diff)
		}
	}
	if lost(after) {
		t.Error("the presence ended with the one before")
	}
	other.wantNext(feed, Changes{Cluster: true})
	after.Leave(t.Context())
	other.wantNext(feed, Changes{Cluster: true})
}

// lateLeases is a store's leases of which the first that is asked for is not granted: the question is lost. So are signs of it.
type lateLeases struct {
	clientv3.Lease

	asked atomic.Int32
	signs atomic.Int32
	lose  func(sign int32) bool
}

func (l *lateLeases) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	if l.lose(l.signs.Add(1)) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Lease.KeepAliveOnce(ctx, id)
}

func (l *lateLeases) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if l.asked.Add(1) == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Lease.Grant(ctx, ttl)
}

// TestGrantLost has the first to register ask for a lease when the leader dies: it is asked for again, long before etcd would say
// that there is no answer.
func TestGrantLost(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := &lateLeases{Lease: r.Store.client.Lease, lose: func(int32) bool { return false }}
	r.Store.client.Lease = leases
	ctx, cancel := context.WithTimeout(r.ctx(), 5*time.Second)
	defer cancel()
	if _, err := r.RegisterAgent(ctx, crony.Agent{ID: "a1", Weight: 1}); err != nil || leases.asked.Load() != 2 {
		t.Errorf("asked %d times: %v", leases.asked.Load(), err)
	}
}

// TestSignLost has every sign but each third be lost: the lease goes on. With all of them lost it is over for this server no later
// than for the store.
func TestSignLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client := fakeetcd.New().Client(ctx)
		all := atomic.Bool{}
		leases := &lateLeases{Lease: client.Lease, lose: func(sign int32) bool { return sign%3 != 0 || all.Load() }}
		leases.asked.Store(1)
		client.Lease = leases
		s, err := Open(ctx, Options{Client: client, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p, err := s.RegisterAgent(ctx, crony.Agent{ID: "a1", Weight: 1})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * leaseTTL * time.Second)
		if lost(p) || leases.signs.Load() < 3*15 {
			t.Fatalf("lost: %v, after %d signs", lost(p), leases.signs.Load())
		}
		all.Store(true)
		began := time.Now()
		<-p.Lost()
		if took := time.Since(began); took > leaseTTL*time.Second || took < leaseTTL*time.Second/2 {
			t.Errorf("it was known after %s", took)
		}
		time.Sleep(leaseTTL * time.Second)
		if a, err := s.Agent(ctx, "a1"); err != nil || a.Up {
			t.Errorf("%+v, %v", a, err)
		}
	})
}
