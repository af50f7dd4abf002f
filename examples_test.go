package crony

import (
	"path/filepath"
	"strings"
	"testing"
)

// The manifests of the examples are what a stranger applies first: nothing may be wrong with them but what crony, as it is, does
// not serve yet.
func TestManifestsOfTheExamples(t *testing.T) {
	files, err := filepath.Glob("docs/examples/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifest under docs/examples: %v", err)
	}
	for _, file := range files {
		m := decodeOnly(t, file)
		for _, f := range m.Faults() {
			if !strings.Contains(f.Message, "not supported yet") {
				t.Errorf("%s: %v", file, f)
			}
		}
		if len(m.Jobs) == 0 || m.Jobs[0].HTTP == nil || !m.Jobs[0].HTTP.Async {
			t.Errorf("%s: its first job is not one that a service answers by and by", file)
		}
	}
}
