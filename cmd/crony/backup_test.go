package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// archiveOf makes backups that are always the same.
func archiveOf(archive []byte) func(http.ResponseWriter, []string) error {
	return func(w http.ResponseWriter, _ []string) error {
		w.Write(archive)
		return nil
	}
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func wantFile(t *testing.T, file string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v; want %d", file, len(got), err, len(want))
	}
}

func TestBackupCreate(t *testing.T) {
	archive := bytes.Repeat([]byte("crony"), 1<<20)
	var asked []string
	f := &fake{cluster: cluster{backup: func(w http.ResponseWriter, recipients []string) error {
		asked = recipients
		return archiveOf(archive)(w, nil)
	}}}
	s := start(t, f)
	dir := t.TempDir()
	file := filepath.Join(dir, "c.backup")
	if got := s.want("backup", "create", file); !strings.HasSuffix(got, "c.backup  5.0MiB\n") || asked != nil {
		t.Errorf("got\n%s for %q", got, asked)
	}
	wantFile(t, file, archive)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others can read it", info.Mode(), err)
	}

	archive = []byte("another")
	r := s.run("backup", "create", file)
	if r.code != 1 || !strings.Contains(r.stderr, "is there already\nhint: name another file, or replace it with --force") {
		t.Errorf("over another: %+v", r)
	}
	if r := s.run("backup", "create", dir, "--force"); r.code != 2 || !strings.Contains(r.stderr, "is a directory") {
		t.Errorf("over a directory: %+v", r)
	}
	if r := s.run("backup", "create", filepath.Join(dir, "none", "c")); r.code != 2 || !strings.Contains(r.stderr, "no such file or directory") {
		t.Errorf("nowhere: %+v", r)
	}
	s.watched = true
	r = s.run("backup", "create", file, "--force", "--recipient", "age1a", "--recipient", "age1b", "-o", "json")
	if r.code != 0 || !strings.Contains(r.stdout, `"bytes": 7`) || !strings.Contains(r.stderr, "receiving a backup: 7B") ||
		!strings.HasSuffix(r.stderr, "\r\x1b[K") {
		t.Errorf("by force: %+v", r)
	}
	wantFile(t, file, archive)
	if diff := cmp.Diff([]string{"age1a", "age1b"}, asked); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"c.backup"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestBackupToStdout(t *testing.T) {
	s := start(t, &fake{cluster: cluster{backup: archiveOf([]byte("\x00archive"))}})
	if got := s.want("backup", "create", "-"); got != "\x00archive" {
		t.Errorf("got %q", got)
	}
	if r := s.run("backup", "create", "-", "-o", "json"); r.code != 2 || r.stdout != "" {
		t.Errorf("as JSON: %+v", r)
	}
}

// TestBackupThatFails: nothing stays that could be taken for a backup, and what was there stays.
func TestBackupThatFails(t *testing.T) {
	f := &fake{}
	s := start(t, f)
	dir := t.TempDir()
	file := filepath.Join(dir, "c.backup")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.cluster.backup = func(w http.ResponseWriter, _ []string) error {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		return errors.New("it breaks off")
	}
	if r := s.run("backup", "create", file, "--force"); r.code != 1 || !strings.Contains(r.stderr, "broke off") || r.stdout != "" {
		t.Errorf("got %+v", r)
	}
	f.cluster.refusal = crony.Errorf(crony.Invalid, "this is no recipient").WithHint("it begins with age1")
	if r := s.run("backup", "create", file, "--force"); r != (result{2, "", "crony: this is no recipient\nhint: it begins with age1\n"}) {
		t.Errorf("got %+v", r)
	}
	wantFile(t, file, []byte("old"))
	if diff := cmp.Diff([]string{"c.backup"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}

	f.cluster.refusal = nil
	late := filepath.Join(dir, "late.backup")
	f.cluster.backup = func(w http.ResponseWriter, _ []string) error {
		return errors.Join(os.WriteFile(late, []byte("first"), 0o600), archiveOf([]byte("second"))(w, nil))
	}
	if r := s.run("backup", "create", late); r.code != 1 || !strings.Contains(r.stderr, "is there already") {
		t.Errorf("one that came meanwhile: %+v", r)
	}
	wantFile(t, late, []byte("first"))
}

// TestBackupPartial: what a process that died left behind is nobody's, and what another one writes is let alone.
func TestBackupPartial(t *testing.T) {
	f := &fake{cluster: cluster{backup: archiveOf([]byte("whole"))}}
	s := start(t, f)
	dir := t.TempDir()
	file := filepath.Join(dir, "c.backup")
	if err := os.WriteFile(file+".partial", []byte("left behind, and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want("backup", "create", file)
	wantFile(t, file, []byte("whole"))

	other, err := openPartial(file + ".partial")
	if err != nil {
		t.Fatal(err)
	}
	if r := s.run("backup", "create", file, "--force"); r.code != 1 || !strings.Contains(r.stderr, "is being written by another process") {
		t.Errorf("got %+v", r)
	}
	if err := os.Rename(other.Name(), file); err != nil {
		t.Fatal(err)
	}
	if still, err := isStill(other); still || err != nil {
		t.Errorf("after it was named: %v, %v", still, err)
	}
	other.Close()
	s.want("backup", "create", file, "--force")
	wantFile(t, file, []byte("whole"))
}

// TestBackupInterrupted: an interrupt leaves nothing behind.
func TestBackupInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	dir := t.TempDir()
	var stderr bytes.Buffer
	c := &cli{stdin: s.stdin, stdout: io.Discard, stderr: &stderr, env: func(key string) string {
		return map[string]string{"CRONY_ADDRESS": s.address}[key]
	}}
	if code := c.run(ctx, []string{"backup", "create", filepath.Join(dir, "c.backup")}); code != 130 {
		t.Errorf("exit code %d\n%s", code, &stderr)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
