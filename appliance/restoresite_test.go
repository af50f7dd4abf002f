package appliance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// TestRestoreKeepsOut looks that nothing of somebody else's is touched.
func TestRestoreKeepsOut(t *testing.T) {
	l := &lostCluster{} // the directory is looked at first
	for name, files := range map[string][]string{
		"something":            {"photo.jpg"},
		"a server":             {etcdDir, pkiDir, serverFile},
		"a server and a stage": {etcdDir, serverFile, stageName},
		"a removed server":     {removedFile},
		"more than unfinished": {stageName, "pki", "photo.jpg"},
		"no stage":             {"pki"},
	} {
		dir := t.TempDir()
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := names(t, dir)
		if _, err := Restore(t.Context(), l.options(dir)); crony.CodeOf(err) != crony.Conflict {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
		if diff := cmp.Diff(before, names(t, dir)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
	}
	dir := t.TempDir()
	s := must(openSite(dir))(t)
	if _, err := Restore(t.Context(), l.options(dir)); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("two at once: %v, want a conflict", err)
	}
	if err := s.abandon(); err != nil || len(names(t, dir)) > 0 {
		t.Errorf("left are %v, %v", names(t, dir), err)
	}
}
