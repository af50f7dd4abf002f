package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestJoinRefused: flags that say what can't be are refused before anybody is asked.
func TestJoinRefused(t *testing.T) {
	for flags, want := range map[string]string{
		"--label a=b --label a.c,web --weight -1": "weight: -1 is out of range",
		"--label =b":    "a label needs a key",
		"--label a=b=c": `"b=c" can't be the value of the label a`,
		"--weight 1001": "weight: 1001 is out of range",
		"--label -web":  `"-web" can't be a label's key`,
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"join", "https://127.0.0.1:1", "--token", "x", "-c", filepath.Join(t.TempDir(), "none.yaml")}, strings.Fields(flags)...)
		code := run(t.Context(), args, &stdout, &stderr)
		if code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d, %q; want %q", flags, code, stderr.String(), want)
		}
		if want == "weight: -1 is out of range" && strings.Contains(stderr.String(), "label") {
			t.Errorf("good labels are refused: %s", stderr.String())
		}
	}
}
