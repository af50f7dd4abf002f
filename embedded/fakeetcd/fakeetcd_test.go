package fakeetcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"crony/embedded/fakeetcd"
	"crony/embedded/member"
	"crony/internal/pki"
)

// program makes random operations.
type program struct{ rng *rand.Rand }

func (p program) key() string   { return fmt.Sprint("/k/", p.rng.IntN(12)) }
func (p program) value() string { return fmt.Sprint(p.rng.IntN(5)) }

func (p program) get() clientv3.Op {
	switch p.rng.IntN(5) {
	case 0:
		return clientv3.OpGet("/k/", clientv3.WithPrefix(), clientv3.WithLimit(int64(p.rng.IntN(4))))
	case 1:
		return clientv3.OpGet("/k/", clientv3.WithLastCreate()...)
	case 2:
		return clientv3.OpGet(p.key(), clientv3.WithRange(p.key()), clientv3.WithCountOnly())
	case 3:
		return clientv3.OpGet("", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	}
	return clientv3.OpGet(p.key())
}

func (p program) compare() clientv3.Cmp {
	result := []string{"=", "!=", "<", ">"}[p.rng.IntN(4)]
	switch p.rng.IntN(4) {
	case 0:
		return clientv3.Compare(clientv3.Version(p.key()), result, p.rng.IntN(4))
	case 1:
		return clientv3.Compare(clientv3.CreateRevision(p.key()), result, 0)
	case 2:
		return clientv3.Compare(clientv3.ModRevision(p.key()), result, 0)
	}
	return clientv3.Compare(clientv3.Value(p.key()), result, p.value())
}

func (p program) op(deep int) clientv3.Op {
	switch n := p.rng.IntN(10); {
	case n < 4:
		return clientv3.OpPut(p.key(), p.value(), clientv3.WithPrevKV())
	case n == 4:
		return clientv3.OpDelete(p.key(), clientv3.WithPrevKV())
	case n < 7 || deep == 0:
		return p.get()
	}
	return p.txn(deep - 1)
}

func (p program) txn(deep int) clientv3.Op {
	var compares []clientv3.Cmp
	var branches [2][]clientv3.Op
	for range p.rng.IntN(3) {
		compares = append(compares, p.compare())
	}
	for i := range branches {
		for range p.rng.IntN(4) {
			branches[i] = append(branches[i], p.op(deep))
		}
	}
	return clientv3.OpTxn(compares, branches[0], branches[1])
}

// TestFaithful runs random programs against a real member and against the fake: every answer, and every event of a watch, is
// the same, but for the revision at which the program began.
func TestFaithful(t *testing.T) {
	seed := rand.Uint64()
	p := program{rand.New(rand.NewPCG(seed, 1))}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	m, err := member.Open(t.Context(), member.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Create: true,
		Server: pki.Identity{Cluster: "test", Role: pki.Server, ID: "s1"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fake := fakeetcd.New().Client(ctx)
	base := revision(t, m.Client()) - revision(t, fake)
	watches := [2]clientv3.WatchChan{
		m.Client().Watch(ctx, "/k/", clientv3.WithPrefix(), clientv3.WithRev(base+2)),
		fake.Watch(ctx, "/k/", clientv3.WithPrefix(), clientv3.WithRev(2))}
	done, failed := 0, 0
	for step := range 4000 {
		op := p.op(2)
		want, errReal := m.Client().Do(ctx, op)
		got, errFake := fake.Do(ctx, op)
		if (errReal == nil) != (errFake == nil) || errReal != nil && !errors.Is(errReal, rpctypes.ErrDuplicateKey) {
			t.Fatalf("step %d: etcd says %v, the fake %v", step, errReal, errFake)
		}
		if errReal != nil {
			failed++
			continue
		}
		done++
		if a, b := text(want, base), text(got, 0); a != b {
			t.Fatalf("step %d: etcd says\n%s\nthe fake\n%s", step, a, b)
		}
	}
	if done < 1000 || failed == 0 {
		t.Errorf("%d done, %d refused: not much of a program", done, failed)
	}
	for _, c := range []*clientv3.Client{m.Client(), fake} {
		if _, err := c.Put(ctx, "/k/end", "x"); err != nil {
			t.Fatal(err)
		}
	}
	last := revision(t, fake) - 1
	var events [2][]string
	for i, watch := range watches {
		for at := int64(0); at < last; {
			resp := <-watch
			for _, e := range resp.Events {
				at = e.Kv.ModRevision - base*int64(1-i)
				events[i] = append(events[i], fmt.Sprint(at, e.Type, string(e.Kv.Key), string(e.Kv.Value), e.Kv.Version))
			}
			if resp.Err() != nil {
				t.Fatal(resp.Err())
			}
		}
	}
	if fmt.Sprint(events[0]) != fmt.Sprint(events[1]) {
		t.Error("the events differ")
	}
}

func revision(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	resp, err := c.Put(t.Context(), "revision", "x")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// text writes an answer with revisions from a base on, and without what tells one member from another.
func text(resp clientv3.OpResponse, base int64) string {
	var m proto.Message
	switch {
	case resp.Get() != nil:
		m = proto.Clone((*pbRange)(resp.Get()))
	case resp.Put() != nil:
		m = proto.Clone((*pbPut)(resp.Put()))
	case resp.Del() != nil:
		m = proto.Clone((*pbDelete)(resp.Del()))
	default:
		m = proto.Clone((*pbTxn)(resp.Txn()))
	}
	normal(m.ProtoReflect(), base)
	return prototext.Format(m)
}

// TestLease has a session die in a bubble: its key stays for its time and goes, in an instant of the test's.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fakeetcd.New()
		client := etcd.Client(t.Context())
		life, die := context.WithCancel(t.Context())
		defer die()
		session, err := concurrency.NewSession(client, concurrency.WithTTL(10), concurrency.WithContext(life))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), "/a", "1", clientv3.WithLease(session.Lease())); err != nil {
			t.Fatal(err)
		}
		watch := client.Watch(t.Context(), "/a")
		there := func(want int64) {
			t.Helper()
			if resp, err := client.Get(t.Context(), "/a"); err != nil || resp.Count != want {
				t.Errorf("%+v, %v; want %d keys", resp, err, want)
			}
		}
		time.Sleep(365 * 24 * time.Hour) // kept alive, at no cost
		there(1)
		die()
		<-session.Done()
		time.Sleep(10*time.Second - 1)
		there(1)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		there(0)
		if resp := <-watch; len(resp.Events) != 1 || resp.Events[0].Type != clientv3.EventTypeDelete {
			t.Errorf("%+v", resp)
		}
		if _, err := client.Put(t.Context(), "/a", "1", clientv3.WithLease(session.Lease())); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("%v", err)
		}
		if _, err := client.Revoke(t.Context(), session.Lease()); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("%v", err)
		}
	})
}

// TestFaithfulLeases goes through what can become of keys on leases, with a real member and with the fake: what each step
// answers, and what each leaves, is the same.
func TestFaithfulLeases(t *testing.T) {
	m, err := member.Open(t.Context(), member.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Create: true,
		Server: pki.Identity{Cluster: "test", Role: pki.Server, ID: "s1"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want, got := leaseStory(t, m.Client()), leaseStory(t, fakeetcd.New().Client(t.Context()))
	for i := range want {
		if want[i] != got[i] {
			t.Errorf("etcd: %s\nfake: %s", want[i], got[i])
		}
	}
}

// leaseStory tells what becomes of keys on three leases.
func leaseStory(t *testing.T, client *clientv3.Client) (told []string) {
	t.Helper()
	base := revision(t, client)
	names := map[int64]string{0: "none"}
	var ids []clientv3.LeaseID
	for _, name := range []string{"A", "B", "C"} {
		grant, err := client.Grant(t.Context(), 600)
		if err != nil {
			t.Fatal(err)
		}
		names[int64(grant.ID)] = name
		ids = append(ids, grant.ID)
	}
	tell := func(what string, err error) {
		t.Helper()
		resp, failed := client.Get(t.Context(), "/l/", clientv3.WithPrefix())
		if failed != nil {
			t.Fatal(failed)
		}
		line := fmt.Sprintf("%s: %v, at %d:", what, err, resp.Header.Revision-base)
		for _, kv := range resp.Kvs {
			line += fmt.Sprintf(" %s=%s (%d to %d, on %s)", kv.Key, kv.Value, kv.CreateRevision-base, kv.ModRevision-base, names[kv.Lease])
		}
		told = append(told, line)
	}
	txn := func(what string, conditions []clientv3.Cmp, ops ...clientv3.Op) {
		t.Helper()
		resp, err := client.Txn(t.Context()).If(conditions...).Then(ops...).Commit()
		if err == nil {
			what = fmt.Sprint(what, " ", resp.Succeeded, " ", resp.Header.Revision-base)
		}
		tell(what, err)
	}
	put := func(key, value string, opts ...clientv3.OpOption) clientv3.Op {
		return clientv3.OpPut("/l/"+key, value, opts...)
	}
	on := func(n int) clientv3.OpOption { return clientv3.WithLease(ids[n]) }
	revoke := func(n int) {
		t.Helper()
		_, err := client.Revoke(t.Context(), ids[n])
		tell("revoke", err)
	}
	never := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("/l/x"), ">", 0)}

	txn("several on one", nil, put("a", "1", on(0)), put("b", "1", on(0)), put("c", "1", on(0)))
	txn("one taken over by another lease", nil, put("a", "2", on(1)))
	txn("one by none", nil, put("b", "2"))
	txn("one that keeps its lease", nil, put("c", "2", clientv3.WithIgnoreLease()))
	txn("one that keeps its value, and not its lease", nil, put("c", "", clientv3.WithIgnoreValue()))
	txn("and is on one again", nil, put("c", "", clientv3.WithIgnoreValue(), on(0)))
	txn("is it on a lease", []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue("/l/c"), "=", ids[0])}, clientv3.OpGet("/l/c"))
	revoke(0)
	txn("on a lease that is gone", nil, put("d", "1"), put("e", "1", on(0)))
	txn("unless it need not be", never, put("e", "1", on(0)))
	txn("several on one", nil, put("f", "1", on(2)), put("g", "1", on(2)), clientv3.OpDelete("/l/b"))
	txn("deleted by hand", nil, clientv3.OpDelete("/l/f"))
	revoke(2)
	revoke(2)
	revoke(1)
	left, err := client.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append(told, fmt.Sprint(len(left.Leases), " leases are left"))
}

// TestCompacted begins watches further back than is remembered.
func TestCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fakeetcd.New().Client(t.Context())
		for n := range 5 {
			if _, err := client.Put(t.Context(), "/a", fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := client.Compact(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		if resp := <-client.Watch(t.Context(), "/a", clientv3.WithRev(3)); resp.CompactRevision == 0 {
			t.Errorf("%+v", resp)
		}
		if resp := <-client.Watch(t.Context(), "/a", clientv3.WithRev(5)); len(resp.Events) != 1 || string(resp.Events[0].Kv.Value) != "3" {
			t.Errorf("%+v", resp)
		}
		if _, err := client.Get(t.Context(), "/a", clientv3.WithRev(3)); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("%v", err)
		}
		if _, err := client.Get(t.Context(), "/a", clientv3.WithRev(30)); !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Errorf("%v", err)
		}
	})
}
