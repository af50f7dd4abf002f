// Package strict decodes a YAML or JSON document into Go values and says everything that is wrong with it: each fault has
// its line, the path of its key and, where one can be guessed, the mend. Nothing is decoded by halves: a document with a
// fault is refused whole.
//
// The one thing to know: it follows the `json` tags of encoding/json, so a type that is sent as JSON is read by the same
// names from a person's YAML. JSON means what it means to encoding/json, but for keys that stand twice or in other letters. A
// type that implements [encoding.TextUnmarshaler] reads its own scalar, and a string type with an Allowed method may hold only
// the words listed.
//
// It does not merge (`<<`), knows no tags but YAML's own, does not read several documents, and does not follow aliases past a
// bound.
package strict

import (
	"fmt"
	"reflect"
	"strings"
)

// Fault is one thing wrong with a document.
type Fault struct {
	Path    string `json:"path,omitempty"` // jobs[1].shell.comand; "" is the document itself
	Line    int    `json:"line,omitempty"` // from 1; 0 if not known
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String is the fault on one line.
func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString(" (" + f.Hint + ")")
	}
	return b.String()
}

const (
	maxBytes  = 4 << 20 // of a document
	maxNodes  = 1 << 18 // visited, so that aliases cannot multiply without end
	maxDepth  = 100     // of one value in another, so that an alias of what it stands in comes to an end
	maxFaults = 100     // told of at once
)

// Lines tells on which line of a document the value of a path stands, so that a fault found after decoding has its line.
type Lines map[string]int

// Locate gives each fault without a line the line of its path, or of the nearest path above it.
func (l Lines) Locate(faults []Fault) {
	for i, f := range faults {
		for path := f.Path; f.Line == 0 && path != ""; path = parent(path) {
			faults[i].Line = l[path]
			f.Line = l[path]
		}
	}
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)]
}

// Decode reads data into the struct, map or slice that v points to. With faults, v must not be used. Lines are given for
// whatever was understood, so that the caller can go on to check values and still name their places.
func Decode(data []byte, v any) (Lines, []Fault) {
	d := decoder{lines: Lines{}}
	node, fault := parse(data)
	if fault != nil {
		return d.lines, []Fault{*fault}
	}
	d.value(node, "", reflect.ValueOf(v).Elem())
	if len(d.faults) > maxFaults {
		d.faults = append(d.faults[:maxFaults], Fault{Message: fmt.Sprintf("and more: %d in all", len(d.faults))})
	}
	return d.lines, d.faults
}
