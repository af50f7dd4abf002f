package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// syncBuffer is a log that a test can read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestKeysOfOthers: the store's revision grows with keys that are not crony's as well. Whoever waits for a transaction that
// changed nothing, and so has the revision of such a key, must not wait in vain.
func TestKeysOfOthers(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, key := range []string{"other", "/crony", "/crony0", "/cron/spec/a", "\x00", "zz"} {
		rev := r.put(key, "x")
		never := clientv3.Compare(clientv3.Version("nothing"), ">", 0)
		if ok, err := r.commit(ctx, []clientv3.Cmp{never}, []clientv3.Op{clientv3.OpPut("nothing", "")}); ok || err != nil {
			t.Errorf("after a put of %q, a transaction that fails: %v, %v", key, ok, err)
		}
		if ok, err := r.commit(ctx, nil, []clientv3.Op{clientv3.OpDelete("nothing")}); !ok || err != nil {
			t.Errorf("after a put of %q, a transaction that changes nothing: %v, %v", key, ok, err)
		}
		if got := r.Revision(); got != rev {
			t.Errorf("after a put of %q the mirror is at %d, want %d", key, got, rev)
		}
	}
	if got := r.Counts(); got != (Counts{Jobs: 1, Unplaced: 1}) {
		t.Errorf("others' keys count: %+v", got)
	}
}

// TestCatchingUp has a server miss more revisions than are sent in one go. As soon as it says that it is at a revision, it
// must show what was written there.
func TestCatchingUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, ownClient(t))
	r.define(job1("a", "1"))
	r.link.hold()
	r.link.cut()
	const n = 1300
	revs := make([]int64, n)
	for i := range n {
		revs[i] = r.put(claims+"a", claimValue(crony.Claim{At: noon.Add(time.Duration(i+1) * time.Second)}, time.Time{}))
	}
	var all sync.WaitGroup
	for _, i := range []int{n / 4, n / 2, n - 1} {
		all.Go(func() {
			if err := r.mirror.wait(t.Context(), revs[i]); err != nil {
				t.Error(err)
			}
			if at := r.look("a").claim.At; at.Before(noon.Add(time.Duration(i+1) * time.Second)) {
				t.Errorf("the mirror says that it is at revision %d, and shows %v", revs[i], at)
			}
		})
	}
	r.link.release()
	all.Wait()
}

// TestWatchIsCut cuts the watch again and again while jobs change. Nothing is lost.
func TestWatchIsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, ownClient(t))
	for n := range 3 {
		r.link.hold()
		r.link.cut()
		done := make(chan error, 1)
		go func() {
			_, err := r.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{job1("a", fmt.Sprint(n)), job1(fmt.Sprint("b", n), "")}}, crony.ApplyOptions{})
			done <- err
		}()
		r.link.release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if j := r.look("a"); j.generation() != 3 || r.Counts().Jobs != 4 {
		t.Errorf("%+v, %+v", j.def, r.Counts())
	}
}

// TestCompactedMeanwhile cuts the watch, changes everything, and compacts: what came between is gone from the store, and the
// server must read all anew.
func TestCompactedMeanwhile(t *testing.T) {
	t.Parallel()
	client := ownClient(t)
	var log syncBuffer
	r, other := newRigWithLog(t, client, slog.New(slog.NewTextHandler(&log, nil))), newRig(t, client)
	r.define(job1("stays", "1"), job1("changes", "1"), job1("goes", "1"))
	r.give("a1", "stays", "changes", "goes")
	agent := crony.Agent{ID: "a1", Name: "one", Weight: 1}
	r.put(nodes+"a1", encode(agent))
	everything, ofAgent := r.Changes(""), r.Changes("a2")
	defer everything.Close()
	defer ofAgent.Close()
	for _, f := range []*Feed{everything, ofAgent} {
		if _, err := f.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	r.link.hold()
	r.link.cut()
	other.wait("the other server", func() bool { return other.newest("goes") != nil })
	if err := other.DeleteJob(t.Context(), "goes"); err != nil {
		t.Fatal(err)
	}
	other.define(job1("changes", "2"), job1("comes", "1"))
	other.give("a2", "changes")
	if _, err := client.Delete(t.Context(), nodes+"a1"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), r.put("end", "")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.sync(ctx) }()
	r.link.release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := other.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameView(t, other, r)
	if j := r.look("changes"); agentOf(j) != "a2" || j.generation() != 2 {
		t.Errorf("a changed job: %+v %+v", j.def, j.newest())
	}
	for _, f := range []*Feed{everything, ofAgent} {
		c, err := f.Next(t.Context())
		for err == nil && !c.Reset {
			c, err = f.Next(t.Context()) // what still came by the old watch
		}
		if err != nil {
			t.Error(err)
		}
	}
	r.define(job1("later", "1")) // the mirror goes on from there
	if !strings.Contains(log.String(), "read anew") {
		t.Errorf("the log does not tell of it:\n%s", &log)
	}
}

func text(v any) string {
	data, err := json.Marshal(v)
	return fmt.Sprint(string(data), err)
}

// sameView checks that two stores show the same.
func sameView(t *testing.T, want, got *rig) {
	t.Helper()
	view := func(r *rig) map[string]any {
		r.mirror.mu.RLock()
		defer r.mirror.mu.RUnlock()
		x := map[string]any{"agents": r.mirror.agents, "orders": text(r.mirror.orders), "procs": text(r.mirror.procs), "creds": fmt.Sprint(r.mirror.creds),
			"cluster": fmt.Sprint(r.mirror.cluster), "here": fmt.Sprint(r.mirror.here), "byAgent": r.mirror.jobs.byAgent, "open": r.mirror.jobs.open,
			"orphans": r.mirror.jobs.orphans, "wide": r.mirror.jobs.wide, "own": fmt.Sprint(r.mirror.jobs.own), "figures": [2]int{r.mirror.jobs.paused, r.mirror.jobs.homeless}}
		for name, j := range r.mirror.jobs.byName {
			x["job "+name] = []any{j.def, j.rev, j.assignments, j.stale, j.claim, j.claimRev}
		}
		for i, j := range r.mirror.jobs.list {
			x[fmt.Sprint("list ", i)] = j.name
		}
		return x
	}
	if diff := cmp.Diff(view(want), view(got)); diff != "" {
		t.Errorf("two servers show different things (-want +got):\n%s", diff)
	}
}

// TestUnreadableValues: what this crony can't read is told in the log, and holds up nothing.
func TestUnreadableValues(t *testing.T) {
	client := emptied(t)
	var log syncBuffer
	r := newRigWithLog(t, client, slog.New(slog.NewTextHandler(&log, nil)))
	r.define(job1("a", "1"), job1("b", "1"))
	epoch := r.give("a1", "a", "b")
	if _, err := r.StartJob(t.Context(), "b", crony.StartOptions{Request: "r1"}); err != nil {
		t.Fatal(err)
	}
	before, term := r.look("b"), r.elect()
	broken := map[string]string{
		specs + "b": `{"v":2,"body":{}}`, specs + "c": `{"v":2}`, specs + "d": "{", specs + "e": "",
		assignmentKey("a1", "b"): `{"v":9}`, assignmentKey("a1", "f"): "[]", claims + "b": `{"at":"2027-01-01T00:00:00.000000000Z","v":2}`,
		claims + "g": "x", nodes + "a9": `{"v":0}`, starts + "b/r1": "null", starts + "b": `{"v":1,"body":{}}`, procs + "a1/b": `{"kill":{}}`, procs + "a1/b/r": "[]", tokens + "x": `{"v":1,"body":7}`, sessions + "y": "?",
		leader: "?", servers + "s1": "{", tombstones + "a1": `{"v":7}`, authority: "[]", joins + "j1": `{"v":2}`, joins + "j1/k": "x",
		settings + backupSetting: `{"v":1,"body":"x"}`,
	}
	for key, value := range broken {
		r.put(key, value)
	}
	r.put(root+"unknown/kind", "?")
	r.put(root+"flat", "?")
	r.define(job1("a", "2"))
	for key := range broken {
		if !strings.Contains(log.String(), "read "+key+":") {
			t.Errorf("the log does not tell of %s:\n%s", key, &log)
		}
	}
	after := r.look("b")
	if diff := cmp.Diff(*before.def, *after.def); diff != "" || after.rev != before.rev || after.newest() != before.newest() {
		t.Errorf("a job whose new form can't be read (-before +after):\n%s", diff)
	}
	if r.mirror.order("b", "r1") == nil {
		t.Error("the order that stood before is gone")
	}
	if got := r.Counts(); got != (Counts{Jobs: 2}) {
		t.Errorf("counts: %+v", got)
	}
	_, err := r.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{job1("b", "2")}}, crony.ApplyOptions{})
	if crony.CodeOf(err) != crony.Unavailable || !strings.Contains(err.Error(), "can't read") {
		t.Errorf("a change of a job that can't be read: %v, want unavailable", err)
	}
	if d := r.ask("b", "a1", epoch, 1); d.Granted {
		t.Error("a claim that can't be read was overwritten")
	}
	if _, buried := r.Buried("a1"); !buried {
		t.Error("whose tombstone can't be read counts as alive")
	}
	if err := r.placeAll(t.Context(), term, []crony.Assignment{{Job: "a", Agent: "a2", Generation: 2}}); err != nil || r.agentOf("a") != "a1" {
		t.Errorf("who was replaced as the leader, it can't be read by whom, placed a job: %v", err)
	}

	again := newRig(t, client) // reads all from the start
	if got := again.Counts(); got != (Counts{Jobs: 1}) {
		t.Errorf("counts of a server that starts: %+v", got)
	}
	again.define(job1("z", "1"))
}

func TestTwoAssignmentsOfOneJob(t *testing.T) {
	client := emptied(t)
	r := newRig(t, client)
	r.define(job1("a", "1"))
	r.give("a9", "a")
	first := r.put(assignmentKey("a5", "a"), encode(crony.Assignment{Job: "a", Agent: "a5", Generation: 1}))
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := newRig(t, client)
	if got := r.newest("a"); got.Agent != "a5" || got.Epoch != first {
		t.Errorf("followed: %+v, want the one that was made last", got)
	}
	if got := again.newest("a"); got.Agent != "a5" || got.Epoch != first {
		t.Errorf("listed: %+v, want the one that was made last", got)
	}
}

func TestOpenWithoutAStore(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("a store without a client was opened")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Client: emptied(t), Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, context.Canceled) {
		t.Errorf("opened with a context that is done: %v", err)
	}
}
