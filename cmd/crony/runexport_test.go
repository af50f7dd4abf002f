package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// readLines decodes JSON lines.
func readLines(t *testing.T, text string) (runs []runWithOutput) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		var run runWithOutput
		if err := json.Unmarshal(lines.Bytes(), &run); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		runs = append(runs, run)
	}
	return runs
}

func TestRunExport(t *testing.T) {
	f := &fake{runs: manyRuns(2*pageSize + 1), output: func(w http.ResponseWriter, id crony.RunID) {
		send(w, "chunk", chunk(crony.Stdout, 0, "<"+string(id)+">\n"))
		send(w, "end", nil)
	}}
	s := start(t, f)
	r := s.run("run", "export")
	if got := readLines(t, r.stdout); len(got) != len(f.runs) || got[0].ID != f.runs[0].ID || got[len(got)-1].ID != "R00001" {
		t.Errorf("%d lines", len(got))
	}
	if r.code != 0 || r.stderr != "crony: 1001 runs\n" || strings.Contains(r.stdout, "output") {
		t.Errorf("exit code %d, %q", r.code, r.stderr)
	}
	r = s.run("run", "export", "--limit", "1", "--with-output", "-o", "json")
	if got := readLines(t, r.stdout); len(got) != 1 || got[0].Output != "<R01001>\n" || r.stderr != "crony: 1 run\n" {
		t.Errorf("%+v", r)
	}
	if r := s.run("run", "export", "-o", "yaml"); r.code != 2 {
		t.Errorf("%+v", r)
	}
	s.want("run", "export", "--trigger", "reboot", "--limit", "1")
	if f.query.Get("trigger") != "reboot" {
		t.Errorf("asked for %v", f.query)
	}
}

func TestRunExportToAFile(t *testing.T) {
	f := &fake{runs: manyRuns(pageSize + 1)}
	s := start(t, f)
	dir := t.TempDir()
	file := filepath.Join(dir, "runs.jsonl")
	if r := s.run("run", "export", "-f", file); r.code != 0 || r.stdout != "" || r.stderr != "crony: 501 runs\n" {
		t.Errorf("%+v", r)
	}
	whole, err := os.ReadFile(file)
	if err != nil || len(readLines(t, string(whole))) != pageSize+1 {
		t.Errorf("%d bytes, %v", len(whole), err)
	}
	if r := s.run("run", "export", "-f", file); r.code != 1 || !strings.Contains(r.stderr, "--force") {
		t.Errorf("over another: %+v", r)
	}
	s.want("run", "export", "-f", file, "--force", "--limit", "1")
	if whole, _ = os.ReadFile(file); len(readLines(t, string(whole))) != 1 {
		t.Errorf("%d bytes", len(whole))
	}
	calls := 0
	broken := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls > 1 {
			refuse(w, crony.Errorf(crony.Internal, "the disk is gone"))
			return
		}
		f.ServeHTTP(w, r)
	})
	if r := broken.run("run", "export", "-f", file, "--force"); r.code != 1 || strings.Contains(r.stderr, "runs\n") {
		t.Errorf("broken off: %+v", r)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	again, _ := os.ReadFile(file)
	if diff := cmp.Diff([]string{file}, names); diff != "" || err != nil || string(again) != string(whole) {
		t.Errorf("what was there is not there as it was: %v\n%s", err, diff)
	}
}
