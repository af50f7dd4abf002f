package member

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crony"
)

func refused(t *testing.T, o Options, code crony.Code, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := Open(ctx, o)
	if err == nil {
		shut(t, m)
	}
	if crony.CodeOf(err) != code || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want %s with %q", err, code, want)
	}
}

func TestNothingIsMadeUnasked(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		o := options(path)
		o.Create = false
		refused(t, o, crony.NotFound, "holds no data of a server")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a refusal left %v, %v", entries, err)
	}
}

func TestDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	m := open(t, options(dir))
	shut(t, m)
	mode := func() os.FileMode {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode() != 0o700 {
		t.Errorf("made with mode %o", mode())
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	shut(t, open(t, options(dir)))
	if mode() != 0o700 {
		t.Errorf("opened, and left with mode %o", mode())
	}
}

func TestForeignDirectories(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, options(full), crony.Conflict, "not a data directory of crony")
	if entries, err := os.ReadDir(full); err != nil || len(entries) != 1 {
		t.Errorf("a foreign directory was changed: %v, %v", entries, err)
	}

	ours := t.TempDir()
	shut(t, open(t, options(ours)))
	for _, change := range []func(*Options){
		func(o *Options) { o.Server.Cluster = "c2" },
		func(o *Options) { o.Server.ID = "s2" },
	} {
		o := options(ours)
		change(&o)
		refused(t, o, crony.Conflict, `belongs to "crony://c1/server/s1"`)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	m := open(t, options(dir))
	refused(t, options(dir), crony.Conflict, "another crony is using "+dir)
	put(t, m, "still", "alive")
	shut(t, m)
	shut(t, open(t, options(dir)))
}

func TestDatabaseInUseByAnotherProgram(t *testing.T) {
	dir := t.TempDir()
	shut(t, open(t, options(dir)))
	f, err := os.OpenFile(filepath.Join(dir, "member", "snap", "db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lock(f); err != nil {
		t.Fatal(err)
	}
	refused(t, options(dir), crony.Conflict, "is using "+dir)
}

func TestLostParts(t *testing.T) {
	for lost, c := range map[string]struct {
		create bool
		code   crony.Code
		want   string
	}{
		"member":     {true, crony.NotFound, "has lost the data"},
		"member/wal": {false, crony.NotFound, "has lost the data"},
		"owner":      {true, crony.Conflict, "not a data directory of crony"},
	} {
		t.Run(lost, func(t *testing.T) {
			o := options(t.TempDir())
			shut(t, open(t, o))
			if err := os.RemoveAll(filepath.Join(o.Dir, lost)); err != nil {
				t.Fatal(err)
			}
			o.Create = c.create
			refused(t, o, c.code, c.want)
		})
	}
}

// TestFirstStartCutOff leaves behind what a power cut may leave of a first start, at each of its steps.
func TestFirstStartCutOff(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"before the mark":  {"owner": ""},
		"before the owner": {"owner": "", "unfinished": ""},
		"in the owner":     {"owner": "crony://c1/ser", "unfinished": ""},
		"before etcd":      {"owner": "crony://c1/server/s1\n", "unfinished": ""},
		"in etcd": {
			"owner": "crony://c1/server/s1\n", "unfinished": "", "member/snap/db": "", "member/wal/0-0.wal": "",
		},
		"of another new cluster": {"owner": "crony://c123456/server/s1234\n", "unfinished": "", "member/snap/db": ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			for file, text := range files {
				path := filepath.Join(o.Dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o.Create = false
			refused(t, o, crony.NotFound, "holds no data of a server")
			o.Create = true
			m := open(t, o)
			put(t, m, "a", "1")
			shut(t, m)
			o.Create = false
			if got := get(t, open(t, o), "a"); got != "1" {
				t.Errorf("after a restart, a is %q", got)
			}
			text, err := os.ReadFile(filepath.Join(o.Dir, "owner"))
			if err != nil || string(text) != "crony://c1/server/s1\n" {
				t.Errorf("the owner is %q, %v", text, err)
			}
		})
	}
}

// TestLostDatabase: etcd makes it anew from its log, while that is whole. What it must never do is to come up without the
// data.
func TestLostDatabase(t *testing.T) {
	o := options(t.TempDir())
	database := filepath.Join(o.Dir, "member", "snap", "db")
	m := open(t, o)
	put(t, m, "a", "1")
	shut(t, m)
	if err := os.Remove(database); err != nil {
		t.Fatal(err)
	}
	m = open(t, o)
	if got := get(t, m, "a"); got != "1" {
		t.Errorf("made anew from the log, a is %q", got)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			for range 250 {
				put(t, m, "b", "1")
			}
		})
	}
	group.Wait() // more than the 10,000 entries after which etcd takes a snapshot and relies on the database
	shut(t, m)
	if err := os.Remove(database); err != nil {
		t.Fatal(err)
	}
	refusedInChild(t, o.Dir, "recover v3 backend")
}

// TestDamagedFiles must return, not end the process, which is what etcd does by itself.
func TestDamagedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		pattern string
		old     string
		damage  string
		want    string
	}{
		"the database's head": {"member/snap/db", "", strings.Repeat("damage! ", 4<<10), "open database"},
		"the log's head":      {"member/wal/*.wal", "", strings.Repeat("damage! ", 4<<10), "can't make sense"},
		"a byte in the log":   {"member/wal/*.wal", "VALUE", "value", "crc mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			m := open(t, o)
			put(t, m, "a", "VALUE")
			put(t, m, "b", "1")
			shut(t, m)
			files, err := filepath.Glob(filepath.Join(o.Dir, c.pattern))
			if err != nil || len(files) != 1 {
				t.Fatalf("%s: %v, %v", c.pattern, files, err)
			}
			overwrite(t, files[0], c.old, c.damage)
			refusedInChild(t, o.Dir, c.want)
		})
	}
}

// refusedInChild opens the directory in another process, which ends with what etcd leaves running when it fails this way.
func refusedInChild(t *testing.T, dir, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.Output()
	if child.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
		t.Errorf("the child ended by %v and said %.500q, want %q", err, out, want)
	}
}

func overwrite(t *testing.T, file, old, damage string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(old))
	if at < 0 {
		t.Fatalf("%s has no %q", file, old)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(damage), int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(file)); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), file) {
		t.Errorf("a file for a directory: %v", err)
	}
	// Not even root may make a directory there.
	refused(t, options("/proc/self/fdinfo/crony"), crony.Internal, "make data directory")
}
