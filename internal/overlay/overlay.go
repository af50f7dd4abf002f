// Package overlay changes Go's standard library for one build of a test's program: `go build -overlay`. What is changed is read
// from the Go that is installed, so none of its source is kept here; and the program's own sources hold nothing for it.
package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Edit puts one text in the place of another, which must be in a file once.
type Edit struct {
	File     string // below GOROOT/src
	Old, New string
}

// Write writes the edited files and those that are added, by their names below GOROOT/src, into a folder, and returns the name
// of the overlay. It is an error when the installed Go's source is not what the edits are for.
func Write(dir string, edits []Edit, added map[string]string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("look for the standard library: %w", err)
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src")
	texts := map[string]string{}
	for _, e := range edits {
		text, again := texts[e.File]
		if !again {
			source, err := os.ReadFile(filepath.Join(std, e.File))
			if err != nil {
				return "", err
			}
			text = string(source)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return "", fmt.Errorf("%s/%s is not as it was: %d times in it, not once:\n%s", std, e.File, n, e.Old)
		}
		texts[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	for name, text := range added {
		texts[name] = text
	}
	replace := map[string]string{}
	for name, text := range texts {
		file, err := filepath.Abs(filepath.Join(dir, strings.ReplaceAll(name, "/", "_")))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(std, name)] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, text, 0o600)
}
