package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/pki"
)

func writeTo(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodConfig = "server: crony.example:8471\nca_file: /a\ncert_file: /b\n"

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	c, err := ReadConfig(writeTo(t, filepath.Join(dir, "good"), goodConfig+"labels: {disk: ssd}\nweight: 3\ndrain: 30s\nname: host\n"))
	if err != nil || c.Dir != "/var/lib/crony-agent" || c.Labels["disk"] != "ssd" || c.Weight != 3 || c.Drain.Std() != 30*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := ReadConfig(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{
		"":                            "the document is empty",
		"server":                      "line 1",
		"- a":                         "line 1",
		goodConfig + "sever: x":       "line 4: sever",
		goodConfig + "weight: -1":     "line 4: weight",
		goodConfig + "weight: many":   "line 4: weight",
		goodConfig + "drain: 1":       "line 4: drain",
		goodConfig + "drain: -5s":     "line 4: drain",
		goodConfig + "dir: ''":        "line 4: dir: must be given",
		goodConfig + "labels: [a]":    "line 4: labels",
		"server: a:1\nca_file: /a\n":  "cert_file: must be given",
		"ca_file: /a\ncert_file: b":   `server: "" is no address (HOST:PORT)`,
		"server: crony.example":       "line 1: server",
		"server: ':8471'":             "line 1: server",
		"server: 'a:port'":            "line 1: server",
		"server: 'a:0'":               "line 1: server",
		"server: 'a:70000'":           "line 1: server",
		"server: 'https://a.b:8471/'": "line 1: server",
	} {
		path := writeTo(t, filepath.Join(dir, "bad"), text)
		if _, err := ReadConfig(path); crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestConfigOptions(t *testing.T) {
	dir := t.TempDir()
	authority := func(name string) *pki.CA {
		ca, err := pki.NewCA(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	ca, other := authority("prod"), authority("other")
	save := func(name string, ca *pki.CA, role pki.Role) string {
		leaf, err := ca.Issue(pki.Identity{Role: role, ID: "a1"}, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := leaf.Save(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root := writeTo(t, filepath.Join(dir, "ca"), string(ca.Root().PEM()))
	good := save("good", ca, pki.Agent)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	half := writeTo(t, filepath.Join(dir, "half"), string(text[:len(text)/2]))
	junk := writeTo(t, filepath.Join(dir, "junk"), "junk")
	none := filepath.Join(dir, "none")
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct{ ca, cert, want string }{
		"good":          {root, good, ""},
		"no authority":  {none, good, "read the authority"},
		"junk for one":  {junk, good, "read " + junk},
		"no leaf":       {root, none, "read " + none},
		"junk for leaf": {root, junk, "read " + junk},
		"half a leaf":   {root, half, "read " + half},
		"no key":        {root, root, "read " + root},
		"a server's":    {root, save("server", ca, pki.Server), "it must be that of an agent of the cluster prod"},
		"another's":     {root, save("foreign", other, pki.Agent), "it must be that of an agent of the cluster prod"},
	} {
		config := Config{Server: "a:1", Dir: dir, CAFile: c.ca, CertFile: c.cert, Weight: 2}
		opts, err := config.Options("v1", log)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil && (opts.ID != "a1" || opts.Weight != 2 || opts.TLS == nil || opts.Version != "v1") {
			t.Errorf("%s: %+v", name, opts)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an agent of nothing")
	}
}
