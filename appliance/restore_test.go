package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/appliance/backup"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/pki"
	"crony/internal/storetest"
)

// lostCluster is a cluster of which nothing is left but a backup.
type lostCluster struct {
	archive  []byte
	key      string
	token    string // an API token
	session  string
	link     string
	run      crony.Run
	def      crony.Definition
	revision int64
	root     *pki.Root // that of the authority which signs
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// loseCluster makes a cluster, fills it, backs it up and throws it away. Its authority is being replaced.
func loseCluster(t *testing.T) *lostCluster {
	t.Helper()
	dir, l := t.TempDir(), &lostCluster{}
	old := must(pki.NewCA("c1", time.Now()))(t)
	ca := must(old.Successor(time.Now()))(t)
	l.root = ca.Root()
	seal := pki.NewSealKey()
	roots := string(pki.NewTrust(ca.Root(), old.Root()).PEM())

	who := pki.Identity{Cluster: "c1", Role: pki.Server, ID: "before"}
	opts := member.Options{Dir: filepath.Join(dir, "etcd"), Server: who, Create: true, Log: quiet()}
	m := must(member.Open(t.Context(), opts))(t)
	defer m.Close()
	store := must(state.Open(t.Context(), state.Options{Client: m.Client(), Log: quiet()}))(t)
	defer store.Close()
	authority := state.Authority{Sealed: [][]byte{ca.Seal(seal), old.Seal(seal)}, Roots: roots}
	if err := store.PutAuthority(t.Context(), authority, 0); err != nil {
		t.Fatal(err)
	}
	l.fill(t, store)

	runs := must(runlog.Open(runlog.Options{Dir: filepath.Join(dir, "runs"), Log: quiet()}))(t)
	defer runs.Close()
	facts := storetest.Life(crony.OccurrenceRunID("uid", time.Now(), ""), "nightly", "a1", crony.Succeeded)
	if err := runs.Append(t.Context(), facts, nil); err != nil {
		t.Fatal(err)
	}
	l.run = must(runs.Run(t.Context(), facts[0].Run))(t)
	l.write(t, m, runs, map[string]string{backup.RootsFile: string(old.Root().PEM()), backup.SealKeyFile: seal.Hex()})
	return l
}

// fill puts into the keyspace what is looked for later.
func (l *lostCluster) fill(t *testing.T, store *state.Store) {
	t.Helper()
	manifest := must(crony.DecodeManifest([]byte("jobs: [{name: nightly, schedule: 0 2 * * *, shell: {command: echo}}]")))(t)
	must(store.Define(t.Context(), manifest, crony.ApplyOptions{}))(t)
	status := must(store.Job(t.Context(), "nightly"))(t)
	l.def = status.Definition
	l.token = must(store.CreateToken(t.Context(), "t1", "ann", crony.Admin))(t)
	l.link = must(store.CreateLink(t.Context(), "l1", "ann", crony.Admin, time.Hour))(t)
	var err error
	if _, l.session, err = store.SignIn(t.Context(), l.token); err != nil {
		t.Fatal(err)
	}
	must(store.RegisterServer(t.Context(), state.Server{ID: "before"}))(t)
}

func (l *lostCluster) write(t *testing.T, m *member.Member, runs *runlog.Log, files map[string]string) {
	t.Helper()
	key, recipient, err := backup.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	about := backup.About{Cluster: "c1", Server: "before", ServerName: "alpha", Version: "v1", CreatedAt: time.Now()}
	err = backup.Write(t.Context(), &out, []string{recipient}, about, func(put backup.Put) (int64, error) {
		err := put.Spooled(t.TempDir(), backup.KeyspaceFile, func(w io.Writer) (err error) {
			l.revision, err = m.Snapshot(t.Context(), w)
			return err
		})
		if err != nil {
			return 0, err
		}
		err = runs.Snapshot(t.Context(), func(name string, size int64, write func(io.Writer) error) error {
			return put(backup.RunsDir+name, size, write)
		})
		for name, text := range files {
			err = errors.Join(err, put(name, int64(len(text)), func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			}))
		}
		return l.revision, err
	})
	if err != nil {
		t.Fatal(err)
	}
	l.archive, l.key = out.Bytes(), key
}

func (l *lostCluster) options(dir string) RestoreOptions {
	return RestoreOptions{Archive: bytes.NewReader(l.archive), Key: l.key, Dir: dir, Name: "beta",
		People: "https://crony.example.org:8470", Log: quiet()}
}

// whole looks whether a directory holds a server, and all of it.
func (l *lostCluster) whole(t *testing.T, dir string) {
	t.Helper()
	seal := must(pki.ReadSealKey(filepath.Join(dir, "pki", "seal.key")))(t)
	roots := must(pki.ParseRoots(must(os.ReadFile(filepath.Join(dir, "pki", "ca.crt")))(t)))(t)
	if len(roots) != 2 || roots[0].Fingerprint() != l.root.Fingerprint() {
		t.Errorf("%d authorities are trusted", len(roots))
	}
	cert := must(must(pki.OpenLeaf(filepath.Join(dir, "pki", "server.pem")))(t).Certificate())(t)
	who := must(pki.IdentityOf(cert.Leaf))(t)
	if who.Cluster != "c1" || who.Role != pki.Server || who.ID == "before" {
		t.Errorf("the server is %s", who)
	}
	if pki.Issuer(cert.Leaf, pki.NewTrust(roots...)) != l.root.Fingerprint() {
		t.Error("the certificate is not of the authority that signs")
	}
	var self settings
	if err := readJSON(filepath.Join(dir, serverFile), &self); err != nil || self.Name != "beta" {
		t.Errorf("the server's name is %q, %v", self.Name, err)
	}
	m := must(member.Open(t.Context(), member.Options{Dir: filepath.Join(dir, "etcd"), Server: who, Log: quiet()}))(t)
	defer m.Close()
	store := must(state.Open(t.Context(), state.Options{Client: m.Client(), Log: quiet()}))(t)
	defer store.Close()
	l.keyspace(t, store)
	authority, _, _ := store.Authority()
	if _, err := pki.OpenSealedCA(seal, authority.Sealed[0]); err != nil {
		t.Error(err)
	}
	runs := must(runlog.Open(runlog.Options{Dir: filepath.Join(dir, "runs"), Log: quiet()}))(t)
	defer runs.Close()
	if diff := cmp.Diff(l.run, must(runs.Run(t.Context(), l.run.ID))(t)); diff != "" {
		t.Errorf("the run (-want +got):\n%s", diff)
	}
}

func (l *lostCluster) keyspace(t *testing.T, store *state.Store) {
	t.Helper()
	if diff := cmp.Diff(l.def, must(store.Job(t.Context(), "nightly"))(t).Definition); diff != "" {
		t.Errorf("the job (-want +got):\n%s", diff)
	}
	if store.Revision() <= l.revision+1_000_000 {
		t.Errorf("revision %d after %d: what was seen before the loss could be taken for newer", store.Revision(), l.revision)
	}
	if _, err := store.AuthenticateToken(t.Context(), l.token); err != nil {
		t.Errorf("an API token: %v", err)
	}
	if _, err := store.Authenticate(t.Context(), l.session); crony.CodeOf(err) != crony.Unauthorized {
		t.Errorf("a session: %v", err)
	}
	if _, _, err := store.SignIn(t.Context(), l.link); crony.CodeOf(err) != crony.Unauthorized {
		t.Errorf("a link: %v", err)
	}
	if servers := store.Servers(); len(servers) > 0 {
		t.Errorf("servers of before: %v", servers)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	for _, e := range must(os.ReadDir(dir))(t) {
		list = append(list, e.Name())
	}
	return list
}

func TestRestore(t *testing.T) {
	l := loseCluster(t)
	dir := filepath.Join(t.TempDir(), "crony")
	got, err := Restore(t.Context(), l.options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision != l.revision || got.Cluster != "c1" || got.Server != "before" {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([]string{"client.yaml", "etcd", "pki", "runs", "server.json"}, names(t, dir)); diff != "" {
		t.Errorf("the directory (-want +got):\n%s", diff)
	}
	l.whole(t, dir)
	link, ok := strings.CutPrefix(got.Link, "https://crony.example.org:8470/login#")
	if got.ClientFile != filepath.Join(dir, clientFile) || !ok || link == l.link {
		t.Errorf("got %q, %q", got.ClientFile, got.Link)
	}
	for path, want := range map[string]os.FileMode{
		".": 0o700, "pki/seal.key": 0o600, "pki/server.pem": 0o600, "pki/ca.crt": 0o644, "client.yaml": 0o600,
	} {
		if mode := must(os.Stat(filepath.Join(dir, path)))(t).Mode().Perm(); mode != want {
			t.Errorf("%s has mode %v, want %v", path, mode, want)
		}
	}
	if _, err := Restore(t.Context(), l.options(dir)); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("again: %v, want a conflict", err)
	}
	l.whole(t, dir)
}

// TestRestoreCutOff has a restore end after each of its steps, and restores again.
func TestRestoreCutOff(t *testing.T) {
	l := loseCluster(t)
	for steps := range len(settled()) + 1 {
		dir := t.TempDir()
		s := must(openSite(dir))(t)
		if err := (&restoration{opts: withNow(l.options(dir)), site: s}).build(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range settled()[:steps] {
			if err := s.place(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.close(); err != nil { // as the kernel does for a process that dies
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), l.options(dir))
		switch complete := steps == len(settled()); {
		case complete && crony.CodeOf(err) != crony.Conflict:
			t.Errorf("over a whole server: %v, want a conflict", err)
		case !complete && err != nil:
			t.Errorf("after %d steps: %v", steps, err)
		}
		l.whole(t, dir)
	}
}

func withNow(o RestoreOptions) RestoreOptions {
	o.Now = time.Now
	return o
}

// TestRestoreForOwner restores as root into a directory of somebody else's, who is to run the server.
func TestRestoreForOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const uid, gid = 12345, 54321
	l, dir := loseCluster(t), t.TempDir()
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	must(Restore(t.Context(), l.options(dir)))(t)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != uid || owner.Gid != gid {
			t.Errorf("%s belongs to %d:%d", path, owner.Uid, owner.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestoreFails looks that a restore which fails leaves everything as it was.
func TestRestoreFails(t *testing.T) {
	l := loseCluster(t)
	_, other, err := backup.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	wrongKey, _, err := backup.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	for name, test := range map[string]struct {
		ctx    context.Context //nolint:containedctx // a test's
		change func(*RestoreOptions)
		want   string
	}{
		"cut":       {t.Context(), func(o *RestoreOptions) { o.Archive = bytes.NewReader(l.archive[:999]) }, "cut short"},
		"no backup": {t.Context(), func(o *RestoreOptions) { o.Archive = strings.NewReader("hello") }, "looks like a text"},
		"wrong key": {t.Context(), func(o *RestoreOptions) { o.Key = wrongKey }, "does not open"},
		"recipient": {t.Context(), func(o *RestoreOptions) { o.Key = other }, "not the key"},
		"cancelled": {cancelled, func(*RestoreOptions) {}, "enough"},
		"no parent": {t.Context(), func(o *RestoreOptions) { o.Dir = filepath.Join(o.Dir, "x", "y") }, "no such file"},
	} {
		for _, made := range []bool{true, false} {
			parent := t.TempDir()
			dir := filepath.Join(parent, "crony")
			if made {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			before := names(t, parent)
			opts := l.options(dir)
			test.change(&opts)
			if _, err := Restore(test.ctx, opts); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
			if diff := cmp.Diff(before, names(t, parent)); diff != "" {
				t.Errorf("%s (-before +after):\n%s", name, diff)
			}
			if made && len(names(t, dir)) > 0 {
				t.Errorf("%s: left are %v", name, names(t, dir))
			}
		}
	}
}

// TestRestoreServes loses a running cluster, and starts the server that is restored.
func TestRestoreServes(t *testing.T) {
	dir := t.TempDir()
	founded := must(Found(t.Context(), FoundOptions{
		Dir: filepath.Join(dir, "before"), Name: "alpha", People: "http://127.0.0.1:1", Log: quiet()}))(t)
	before := serve(t, filepath.Join(dir, "before"))
	manifest := must(crony.DecodeManifest([]byte("jobs: [{name: nightly, schedule: 0 2 * * *, shell: {command: echo}}]")))(t)
	must(before.Store.Define(t.Context(), manifest, crony.ApplyOptions{}))(t)
	var archive bytes.Buffer
	if err := before.backup(t.Context(), &archive, nil); err != nil {
		t.Fatal(err)
	}
	if err := before.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(Restore(t.Context(), RestoreOptions{
		Archive: &archive, Key: founded.Key, Dir: filepath.Join(dir, "after"), Name: "beta", Log: quiet()}))(t)

	after := serve(t, filepath.Join(dir, "after"))
	if after.Cluster != founded.Cluster || after.ID == before.ID || after.Name != "beta" {
		t.Errorf("server %s %q of cluster %s; it was %s of %s", after.ID, after.Name, after.Cluster, before.ID, founded.Cluster)
	}
	must(after.Store.Job(t.Context(), "nightly"))(t)

	// An agent of before trusts the server, and the server trusts it.
	trust := before.id.trust
	leaf := must(before.Issue(pki.Agent, "a1"))(t)
	config := pki.ClientTLS(trust, leaf.Certificate)
	config.NextProtos = []string{"h2"}
	conn := must(tls.Dial("tcp", after.opts.AgentsAddress, config))(t)
	defer conn.Close()
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	must(conn.Read(make([]byte, 9)))(t) // the server's settings, which it sends to those whose certificate it has taken
}

func serve(t *testing.T, dir string) *Server {
	t.Helper()
	listen := func() net.Listener { return must(net.Listen("tcp", "127.0.0.1:0"))(t) }
	s := must(Open(t.Context(), Options{
		Dir: dir, People: listen(), PeopleURL: "http://127.0.0.1:1", Agents: listen(), Log: quiet()}))(t)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}
