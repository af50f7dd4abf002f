//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
)

func writeTo(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	c, err := ReadConfig(writeTo(t, filepath.Join(dir, "good"), "labels: {disk: ssd}\nweight: 3\ndrain: 30s\nname: host\nspool: {size: 2GiB}\ncallbacks: {allow_link_local: true}\n"))
	if err != nil || c.Dir != DefaultDir || c.Labels["disk"] != "ssd" || c.Weight != 3 || c.Drain.Std() != 30*time.Second ||
		c.Spool.Size != 2*crony.GiB || c.Spool.Free != 64*crony.MiB || c.Metrics.Listen != "127.0.0.1:8473" ||
		!c.Callbacks.AllowLinkLocal || !c.Options("v", nil).CallLinkLocal {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := ReadConfig(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{
		"":                      "the document is empty",
		"dir":                   "line 1",
		"- a":                   "line 1",
		"dir: /a\nnome: x":      "line 2: nome",
		"dir: /a\nweight: -1":   "line 2: weight",
		"dir: /a\nweight: x":    "line 2: weight",
		"dir: /a\nweight: 1001": "line 2: weight: 1001 is out of range",
		"dir: /a\ndrain: 1":     "line 2: drain",
		"dir: /a\ndrain: -5s":   "line 2: drain",
		"dir: ''":               "line 1: dir: must be given",
		"dir: /a\nlabels: [a]":  "line 2: labels",
		"dir: /a\nservers: [h]": "line 2: servers[0]",

		"dir: /a\nlabels: {a b: c}":                  `line 2: labels.a b: "a b" can't be a label's key`,
		"dir: /a\nlabels:\n  a: b c":                 `line 3: labels.a: "b c" can't be the value of the label a`,
		"dir: /a\nspool: {size: 1MiB}":               "line 2: spool.size: must be 8MiB or more",
		"dir: /a\nspool: {free: 0B}":                 "line 2: spool.free: must be 1MiB or more",
		"dir: /a\nspool: {sise: 1GiB}":               "line 2: spool.sise",
		"dir: /a\nallow: {users: ['']}":              "line 2: allow.users[0]",
		"dir: /a\nallow: {comands: [/bin/sh]}":       "line 2: allow.comands",
		"dir: /a\nallow:\n  commands: [sh]":          `line 3: allow.commands[0]: "sh" is no absolute path`,
		"dir: /a\nallow: {interpreters: ['/bin/[']}": "line 2: allow.interpreters[0]: \"/bin/[\" is no pattern",
		"dir: /a\nallow: {paths: [/srv/, /a/../b]}":  "line 2: allow.paths[0]",
		"dir: /a\ncgroup: crony":                     "line 2: cgroup",
		"dir: /a\nmetrics: {listen: ':8473'}":        "line 2: metrics.listen",
		"dir: /a\nmetrics: {listen: localhost}":      "line 2: metrics.listen",
	} {
		path := writeTo(t, filepath.Join(dir, "bad"), text)
		if _, err := ReadConfig(path); crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestWriteConfig has what is written be read again; a file that is there is nobody's to overwrite.
func TestWriteConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crony", "agent.yaml")
	want := Config{Dir: "/x", Name: "a: b", Labels: map[string]string{"disk": "ssd", "zone": "on"}, Weight: 3}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(path)
	if err != nil || got.Dir != want.Dir || got.Name != want.Name || got.Weight != 3 || len(got.Labels) != 2 || got.Labels["zone"] != "on" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := want.Write(path); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("written again: %v", err)
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an agent of nothing")
	}
}
