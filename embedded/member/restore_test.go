package member

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/internal/pki"
)

// TestRestore makes a store of a snapshot, for another server.
func TestRestore(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	m := open(t, o)
	put(t, m, "k", "v")
	file := writeSnapshot(t, m)
	before := m.etcd.Server.KV().Rev()
	put(t, m, "later", "v")
	shut(t, m)

	to := RestoreOptions{
		Snapshot: file, Dir: filepath.Join(t.TempDir(), "a", "etcd"), Log: o.Log,
		Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s9"},
	}
	if err := os.Mkdir(filepath.Dir(to.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	fails(t, "restoring over another", Restore(t.Context(), to), crony.Conflict, "is not empty")

	o.Dir, o.Server, o.Create = to.Dir, to.Server, false
	m = open(t, o)
	if get(t, m, "k") != "v" || get(t, m, "later") != "" {
		t.Errorf("restored: %q and %q", get(t, m, "k"), get(t, m, "later"))
	}
	if rev := m.etcd.Server.KV().Rev(); rev < before+revisionBump {
		t.Errorf("revision %d after %d", rev, before)
	}
	if _, err := m.Client().Get(t.Context(), "k", clientv3.WithRev(before)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("who reads at a revision of before is told %v", err)
	}
	token := m.Token()
	if !strings.HasPrefix(token, "c1-") || voters(t, m) != "map[s9:true]" {
		t.Errorf("token %s, members %s", token, voters(t, m))
	}
	shut(t, m)
	if again := open(t, o); again.Token() != token {
		t.Errorf("the token was %s, and is %s", token, again.Token())
	}
}

// TestRestoreRefuses: what is no snapshot makes no store, and does not end the process.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	m := open(t, o)
	put(t, m, "k", "VALUE")
	whole, err := os.ReadFile(writeSnapshot(t, m))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":       "",
		"a letter":    "Dear Sir or Madam",
		"cut short":   string(whole[:len(whole)/2]),
		"no checksum": string(whole[:len(whole)-32]),
		"one byte":    strings.Replace(string(whole), "VALUE", "VALUF", 1),
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "snapshot")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		to := RestoreOptions{Snapshot: file, Dir: filepath.Join(dir, "etcd"), Server: o.Server, Log: o.Log}
		fails(t, name, Restore(t.Context(), to), crony.Invalid, file+" is no snapshot of a store, or is damaged")
		refused(t, Options{Dir: to.Dir, Server: o.Server, Log: o.Log}, crony.NotFound, "holds no data of a server")
	}
	to := RestoreOptions{Snapshot: "missing", Dir: filepath.Join(t.TempDir(), "etcd"), Server: o.Server, Log: o.Log}
	if err := Restore(t.Context(), to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
