package member

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"crony"
)

func recovery(o Options) RecoverOptions {
	return RecoverOptions{Dir: o.Dir, Server: o.Server, Log: o.Log, Now: time.Now}
}

func recovered(t *testing.T, o RecoverOptions) string {
	t.Helper()
	kept, err := Recover(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, "member", "wal")); err != nil {
		t.Errorf("the store as it was: %v", err)
	}
	left, err := filepath.Glob(o.Dir + ".recovering*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return kept
}

// TestRecover loses two of three, goes on with the third, and then has the two come back after all.
func TestRecover(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	ms, os := f.three()
	one := ms[0]
	for i := range 100 {
		put(t, one, fmt.Sprint(i), "v")
	}
	before := one.etcd.Server.KV().Rev()
	fails(t, "recovering one that runs", errorOf(Recover(t.Context(), recovery(os[0]))), crony.Conflict, "another crony is using")
	closeAll(t, ms...)
	seen, err := Inspect(os[0].Dir, os[0].Server)
	if err != nil || seen.Revision != before || seen.Keys != 100 || len(seen.Members) != 3 || seen.Last < 100 || seen.Term == 0 {
		t.Errorf("seen before: %+v, %v; want revision %d", seen, err, before)
	}

	began := time.Now()
	recovered(t, recovery(os[0]))
	t.Logf("recovered within %s", time.Since(began).Round(time.Millisecond))
	seen, err = Inspect(os[0].Dir, os[0].Server)
	if err != nil || seen.Revision < before+revisionBump || len(seen.Members) != 1 {
		t.Errorf("seen after: %+v, %v", seen, err)
	}
	one = open(t, os[0])
	for i := range 100 {
		if get(t, one, fmt.Sprint(i)) != "v" {
			t.Errorf("key %d is lost", i)
		}
	}
	if got := voters(t, one); got != "map[s1:true]" || one.Token() == ms[0].Token() {
		t.Errorf("members are %s, token %s", got, one.Token())
	}
	w := <-one.Client().Watch(t.Context(), "0", clientv3.WithRev(before))
	if !errors.Is(w.Err(), rpctypes.ErrCompacted) {
		t.Errorf("who watches from before is told %v", w.Err())
	}

	// The others are a quorum, and know nothing of it.
	rest := f.reopen(os[1], os[2])
	put(t, rest[0], "old", "v")
	put(t, one, "new", "v")
	if get(t, one, "old") != "" || get(t, rest[1], "new") != "" || voters(t, one) != "map[s1:true]" {
		t.Errorf("the old cluster and the new mix: %q %q %s", get(t, one, "old"), get(t, rest[1], "new"), voters(t, one))
	}
	closeAll(t, rest...)

	two, _ := f.join(one, "s4") // the cluster grows again
	if get(t, two, "new") != "v" || two.Token() != one.Token() {
		t.Errorf("the new member: %q, token %s", get(t, two, "new"), two.Token())
	}
}

func errorOf(_ string, err error) error { return err }

// TestRecoverCutOff cuts a recovery off after each step, and does it again. Until the last step the store is as it was.
func TestRecoverCutOff(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	m := open(t, o)
	put(t, m, "k", "v")
	shut(t, m)
	o.Create = false
	power := errors.New("power")
	for _, last := range []step{copied, replayed, restored, aside} {
		t.Run(string(last), func(t *testing.T) {
			r := recovery(o)
			r.Now = func() time.Time { return time.Now().Add(time.Duration(len(last)) * time.Hour) } // a directory each
			r.reached = func(s step) error {
				if s == last {
					return power
				}
				return nil
			}
			if _, err := Recover(t.Context(), r); !errors.Is(err, power) {
				t.Fatalf("it went on: %v", err)
			}
			if last == aside {
				refused(t, o, crony.NotFound, "was cut off before its last step")
			} else {
				m := open(t, o)
				put(t, m, string(last), "v")
				shut(t, m)
			}
			r.reached = nil
			recovered(t, r)
			m := open(t, o)
			defer shut(t, m)
			if get(t, m, "k") != "v" || last != aside && get(t, m, string(last)) != "v" {
				t.Error("what was there is lost")
			}
		})
	}
}

// TestRecoverTakesAll: what a follower has, and has not heard to be decided, may have been decided.
func TestRecoverTakesAll(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	m := open(t, o)
	put(t, m, "k", "v")
	shut(t, m)
	o.Create = false
	appendUndecided(t, filepath.Join(o.Dir, "member", "wal"), "undecided")
	seen, err := Inspect(o.Dir, o.Server)
	if err != nil || seen.Last != seen.Committed+1 {
		t.Fatalf("seen: %+v, %v; want one undecided entry", seen, err)
	}
	recovered(t, recovery(o))
	m = open(t, o)
	if get(t, m, "k") != "v" || get(t, m, "undecided") != "v" {
		t.Errorf("k is %q, undecided %q", get(t, m, "k"), get(t, m, "undecided"))
	}
}

// appendUndecided adds a put of a key to a log, after what it knows to be decided.
func appendUndecided(t *testing.T, dir, key string) {
	t.Helper()
	data, err := proto.Marshal(&etcdserverpb.InternalRaftRequest{
		Header: &etcdserverpb.RequestHeader{ID: 1}, Put: &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte("v")},
	})
	if err != nil {
		t.Fatal(err)
	}
	from, err := lastSnapshot(dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	w, err := wal.Open(zap.NewNop(), dir, from)
	if err != nil {
		t.Fatal(err)
	}
	_, state, entries, err := w.ReadAll()
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	last := entries[len(entries)-1]
	state.Commit = new(last.GetIndex())
	last.Index, last.Data = new(last.GetIndex()+1), data
	if err := errors.Join(w.Save(state, entries[len(entries)-1:]), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestInspectChangesNothing compares every byte.
func TestInspectChangesNothing(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	shut(t, open(t, o))
	files := func() map[string]string {
		all := map[string]string{}
		err := filepath.WalkDir(filepath.Dir(o.Dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all[path] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := files()
	if _, err := Inspect(o.Dir, o.Server); err != nil {
		t.Fatal(err)
	}
	after := files()
	for path := range after {
		if before[path] != after[path] {
			t.Errorf("%s was changed", path)
		}
	}
	if len(before) != len(after) {
		t.Errorf("there were %d files, and now %d", len(before), len(after))
	}
	overwrite(t, filepath.Join(o.Dir, "member", "snap", "db"), "", strings.Repeat("damage! ", 4<<10))
	if seen, err := Inspect(o.Dir, o.Server); err == nil {
		t.Errorf("a damaged one is seen as %+v", seen)
	}
}
