package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"crony/appliance/backup"
	"crony/internal/pki"
)

// writeBackup writes a small backup and returns it with its key.
func writeBackup(t *testing.T) (archive []byte, key string) {
	t.Helper()
	key, recipient, err := backup.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	day, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewCA("c1", noon)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(day)
	about := backup.About{Cluster: "c1", Server: "s1", ServerName: "alpha", Version: "v1.2.3", CreatedAt: noon.Add(-time.Hour)}
	var out bytes.Buffer
	err = backup.Write(t.Context(), &out, []string{recipient}, about, func(put backup.Put) (int64, error) {
		for _, f := range []struct {
			name string
			data []byte
		}{
			{backup.KeyspaceFile, append(bytes.Clone(day), sum[:]...)},
			{backup.RunsDir + "runs-2027-02-28.db", day},
			{backup.RunsDir + "runs-2027-03-01.db", day},
			{backup.RootsFile, ca.Root().PEM()},
			{backup.SealKeyFile, []byte(strings.Repeat("ab", 32))},
		} {
			err := put(f.name, int64(len(f.data)), func(w io.Writer) error { _, err := w.Write(f.data); return err })
			if err != nil {
				return 0, err
			}
		}
		return 42, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), key
}

// runBackup runs a verb of `crony backup` that calls no server.
func runBackup(t *testing.T, stdin io.Reader, form format, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := &cli{stdin: stdin, stdout: &stdout, stderr: &stderr, env: func(string) string { return "" },
		now: func() time.Time { return noon }, format: form}
	root := noun("crony", "", "", noun("backup", "", "", c.backupVerifyCmd()))
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(append([]string{"backup"}, args...))
	cmd, err := root.ExecuteContextC(t.Context())
	code := 0
	if err != nil {
		code = c.fail(t.Context(), cmd, err)
	}
	return result{code, stdout.String(), stderr.String()}
}

func save(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBackupVerify(t *testing.T) {
	archive, key := writeBackup(t)
	file, keyFile := save(t, "a.backup", archive), save(t, "key", []byte("# the recovery key\n"+key+"\n"))
	nobody := strings.NewReader("")

	r := runBackup(t, nobody, asTable, "verify", file, "--key-file", keyFile)
	for _, want := range []string{
		"Backup:    whole\n", "Cluster:   c1\n", "Made by:   alpha (s1), crony v1.2.3\n",
		"Made:      2027-03-01 11:00:00 UTC (1h ago)\n",
		"Revision:  42\n", "Run log:   2 days, 2027-02-28 to 2027-03-01\n", "\nkeyspace.db ", "\nruns/runs-2027-02-28.db ",
	} {
		if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, want) {
			t.Errorf("%+v, want %q in\n%s", r.code, want, r.stdout)
		}
	}

	var m backup.Manifest
	r = runBackup(t, bytes.NewReader(archive), asJSON, "verify", "-", "--key-file", keyFile)
	if err := json.Unmarshal([]byte(r.stdout), &m); r.code != 0 || err != nil || m.Revision != 42 || len(m.Files) != 5 {
		t.Errorf("%v, %+v", err, r)
	}
	if r := runBackup(t, strings.NewReader(key), asYAML, "verify", file, "--key-file", "-"); r.code != 0 ||
		!strings.Contains(r.stdout, "cluster: c1\n") {
		t.Errorf("got %+v", r)
	}
}

func TestBackupVerifyRefuses(t *testing.T) {
	archive, key := writeBackup(t)
	_, other := writeBackup(t)
	file, keyFile := save(t, "a.backup", archive), save(t, "key", []byte(key))
	flipped := bytes.Clone(archive)
	flipped[len(flipped)-1] ^= 1
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no key":       {[]string{"verify", file}, 2, "key-file"},
		"key missing":  {[]string{"verify", file, "--key-file", file + "x"}, 2, "no such file"},
		"not a key":    {[]string{"verify", file, "--key-file", file}, 2, "recovery key"},
		"missing":      {[]string{"verify", file + "x", "--key-file", keyFile}, 3, "no such file"},
		"both stdin":   {[]string{"verify", "-", "--key-file", "-"}, 2, "can't both"},
		"wrong key":    {[]string{"verify", file, "--key-file", save(t, "other", []byte(other))}, 1, "a.backup: this key does"},
		"cut":          {[]string{"verify", save(t, "cut", archive[:900]), "--key-file", keyFile}, 2, "cut: the archive is cut"},
		"damaged":      {[]string{"verify", save(t, "bad", flipped), "--key-file", keyFile}, 2, "bad: the archive is cut"},
		"no archive":   {[]string{"verify", save(t, "txt", []byte("hello")), "--key-file", keyFile}, 2, "looks like a text"},
		"swapped":      {[]string{"verify", keyFile, "--key-file", keyFile}, 2, "looks like a recovery key"},
		"a directory":  {[]string{"verify", t.TempDir(), "--key-file", keyFile}, 1, "is a directory"},
		"two archives": {[]string{"verify", file, file, "--key-file", keyFile}, 2, "backup verify --help"},
	} {
		r := runBackup(t, strings.NewReader(""), asTable, test.args...)
		if r.code != test.code || r.stdout != "" || !strings.Contains(r.stderr, test.want) {
			t.Errorf("%s: %+v, want %d and %q", name, r, test.code, test.want)
		}
		if strings.Contains(r.stderr, key[20:40]) {
			t.Errorf("%s: the key is shown: %s", name, r.stderr)
		}
	}
}
