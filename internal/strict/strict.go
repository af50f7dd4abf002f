// Package strict decodes a YAML or JSON document into Go values and says everything that is wrong with it: each fault has
// its line, the path of its key and, where one can be guessed, the mend. Nothing is decoded by halves: a document with a
// fault is refused whole.
//
// The one thing to know: it follows the `json` tags of encoding/json, so a type that is sent as JSON is read by the same
// names from a person's YAML; JSON is read as the subset of YAML that it is. A type that implements
// [encoding.TextUnmarshaler] reads its own scalar, and a string type with an Allowed method may hold only the words listed.
//
// It does not merge (`<<`), does not read several documents, and does not follow aliases past a bound.
package strict

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
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
	maxNodes  = 1 << 20 // visited, so that aliases cannot multiply without end
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
		more := len(d.faults) - maxFaults
		d.faults = append(d.faults[:maxFaults], Fault{Message: fmt.Sprintf("and %d faults more", more)})
	}
	return d.lines, d.faults
}

func parse(data []byte) (*yaml.Node, *Fault) {
	switch {
	case len(data) > maxBytes:
		return nil, &Fault{Message: fmt.Sprintf("the document has %d bytes; at most %d are read", len(data), maxBytes),
			Hint: "split it, or look whether it is the right file"}
	case !utf8.Valid(data):
		return nil, &Fault{Message: "the document is not UTF-8 text", Hint: "look whether it is the right file"}
	}
	var doc yaml.Node
	if err := unmarshal(data, &doc); err != nil {
		return nil, syntaxFault(err)
	}
	if doc.Kind == 0 {
		return nil, &Fault{Message: "the document is empty"}
	}
	return doc.Content[0], nil
}

// unmarshal guards the YAML parser: what it reports by a panic is reported as an error.
func unmarshal(data []byte, doc *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return yaml.Unmarshal(data, doc)
}

// syntaxFault turns "yaml: line 3: did not find ..." into a fault of line 3.
func syntaxFault(err error) *Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	f := &Fault{Message: text}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			f.Line, _ = strconv.Atoi(number)
			f.Message = message
		}
	}
	f.Message = "not readable as YAML or JSON: " + f.Message
	return f
}

type decoder struct {
	lines  Lines
	faults []Fault
	nodes  int
}

func (d *decoder) fault(n *yaml.Node, path, hint, format string, args ...any) {
	d.faults = append(d.faults, Fault{Path: path, Line: n.Line, Message: fmt.Sprintf(format, args...), Hint: hint})
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fault(n, path, "write less, or use fewer aliases", "the document has more than %d values", maxNodes)
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		d.value(n.Alias, path, v)
		return
	}
	if _, seen := d.lines[path]; !seen && path != "" {
		d.lines[path] = n.Line
	}
	if n.Tag == "!!null" && v.Type() != rawMessage {
		return // given as nothing: as if it were not given
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case v.Type() == rawMessage:
		d.raw(n, path, v)
	case v.CanAddr() && v.Addr().Type().Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		d.text(n, path, v)
	case v.Kind() == reflect.Struct:
		d.object(n, path, v)
	case v.Kind() == reflect.Map:
		d.dict(n, path, v)
	case v.Kind() == reflect.Slice:
		d.list(n, path, v)
	default:
		d.scalar(n, path, v)
	}
}

func (d *decoder) text(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "", "must be a single value, not %s", kindName(n))
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		message, hint, _ := strings.Cut(textError(n.Value, v, err), "; ")
		d.fault(n, path, hint, "%s", message)
	}
}

// textError says in plain words what package time says in its own.
func textError(value string, v reflect.Value, err error) string {
	if v.Type().String() == "time.Time" {
		return fmt.Sprintf("%q is not a time; write one like 2027-01-31T18:00:00Z", value)
	}
	return err.Error()
}

func (d *decoder) object(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "", "must be a mapping of keys to values, not %s", kindName(n))
		return
	}
	fields := fieldsOf(v.Type())
	d.pairs(n, path, func(key, value *yaml.Node, keyPath string) {
		i, ok := fields[key.Value]
		if !ok {
			d.fault(key, keyPath, nearest(key.Value, fields), "unknown key %q", key.Value)
			return
		}
		d.value(value, keyPath, v.Field(i))
	})
}

func (d *decoder) dict(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "", "must be a mapping of keys to values, not %s", kindName(n))
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	d.pairs(n, path, func(key, value *yaml.Node, keyPath string) {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(value, keyPath, item)
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
}

// pairs calls f for each key of a mapping, and refuses keys that are no words or stand twice.
func (d *decoder) pairs(n *yaml.Node, path string, f func(key, value *yaml.Node, keyPath string)) {
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Tag == "!!merge":
			d.fault(key, path, "write the keys out", "merging with << is not supported")
			continue
		case key.Kind != yaml.ScalarNode:
			d.fault(key, path, "", "a key must be a word, not %s", kindName(key))
			continue
		}
		keyPath := join(path, key.Value)
		if seen[key.Value] {
			d.fault(key, keyPath, "", "the key %q stands twice", key.Value)
			continue
		}
		seen[key.Value] = true
		f(key, n.Content[i+1], keyPath)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fault(n, path, "write it as [a, b]", "must be a list, not %s", kindName(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
	}
}

func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "", "must be %s, not %s", goName(v), kindName(n))
		return
	}
	ok := true
	switch v.Kind() {
	case reflect.String:
		if n.Tag == "!!bool" {
			d.fault(n, path, fmt.Sprintf("put it in quotes: %q", n.Value), "must be text, but %s is read as yes or no", n.Value)
			return
		}
		v.SetString(n.Value)
		d.word(n, path, v)
	case reflect.Bool:
		ok = n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false")
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int64, reflect.Int32:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		ok = err == nil && n.Tag == "!!int"
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		ok = err == nil && (n.Tag == "!!int" || n.Tag == "!!float") && !math.IsNaN(f) && !math.IsInf(f, 0)
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("strict: cannot decode into %s", v.Type()))
	}
	if !ok {
		d.fault(n, path, "", "must be %s, not %q", goName(v), n.Value)
	}
}

// word holds a string type with an Allowed method to the words it lists.
func (d *decoder) word(n *yaml.Node, path string, v reflect.Value) {
	enum, ok := v.Interface().(interface{ Allowed() []string })
	if !ok || slices.Contains(enum.Allowed(), n.Value) {
		return
	}
	d.fault(n, path, "one of: "+strings.Join(enum.Allowed(), ", "), "%q is not known here", n.Value)
}

// raw keeps a value of any shape as JSON.
func (d *decoder) raw(n *yaml.Node, path string, v reflect.Value) {
	tree, ok := d.tree(n, path)
	if !ok {
		return
	}
	data, err := json.Marshal(tree)
	if err != nil {
		d.fault(n, path, "", "cannot be written as JSON: %v", err)
		return
	}
	v.SetBytes(data)
}

func (d *decoder) tree(n *yaml.Node, path string) (any, bool) {
	if d.nodes++; d.nodes > maxNodes {
		d.fault(n, path, "write less, or use fewer aliases", "the document has more than %d values", maxNodes)
		return nil, false
	}
	switch n.Kind {
	case yaml.AliasNode:
		return d.tree(n.Alias, path)
	case yaml.MappingNode:
		out, good := make(map[string]any, len(n.Content)/2), true
		d.pairs(n, path, func(key, value *yaml.Node, keyPath string) {
			item, ok := d.tree(value, keyPath)
			out[key.Value], good = item, good && ok
		})
		return out, good
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			var ok bool
			if out[i], ok = d.tree(item, fmt.Sprintf("%s[%d]", path, i)); !ok {
				return nil, false
			}
		}
		return out, true
	default:
		return leaf(n), true
	}
}

// leaf gives a scalar its JSON type; a number keeps its digits.
func leaf(n *yaml.Node) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return n.Value == "true"
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	}
	return n.Value
}

// fieldsOf maps a struct's JSON names to its fields' indexes.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = i
		}
	}
	return fields
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%.40q", n.Value)
	}
}

func goName(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}
