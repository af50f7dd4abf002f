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
	"time"

	yaml "go.yaml.in/yaml/v3"
)

type decoder struct {
	lines  Lines
	faults []Fault
	nodes  int
	depth  int
	full   bool // more would be told of the same again and again
}

func (d *decoder) fault(n *yaml.Node, path, hint, format string, args ...any) {
	d.faults = append(d.faults, Fault{Path: path, Line: n.Line, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// enter counts a value, and says whether it may be looked into. Whoever has entered leaves.
func (d *decoder) enter(n *yaml.Node, path string) bool {
	d.nodes++
	d.depth++
	switch {
	case d.full:
		return false
	case d.nodes > maxNodes:
		d.fault(n, path, "write less, or use fewer aliases", "the document has more than %d values", maxNodes)
		d.full = true
		return false
	case d.depth > maxDepth:
		d.fault(n, "", "", "values are nested more than %d deep", maxDepth)
		d.full = true
		return false
	case n.Style&yaml.TaggedStyle != 0 && !slices.Contains(tags(), n.Tag):
		d.fault(n, path, "leave the tag out", "the tag %.40s is not known", n.Tag)
		return false
	}
	return true
}

func (d *decoder) leave() { d.depth-- }

// tags are those that may be written: they say of a scalar what it is, where that is not plain.
func tags() []string { return []string{"!!str", "!!int", "!!float", "!!bool"} }

var rawMessage = reflect.TypeFor[json.RawMessage]()

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	defer d.leave()
	if !d.enter(n, path) {
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
	if v.Type() == reflect.TypeFor[time.Time]() {
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
		at := place(path, i)
		if item.Tag == "!!null" && v.Type().Elem() != rawMessage {
			d.fault(item, at, `take it out, or write "" for an empty text`, "nothing is given")
			continue
		}
		d.value(item, at, v.Index(i))
	}
}

func place(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "", "must be %s, not %s", goName(v), kindName(n))
		return
	}
	ok, hint := true, ""
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
		if digits := strings.TrimLeft(n.Value, "+-"); ok && len(digits) > 1 && digits[0] == '0' {
			ok, hint = false, "leave out the leading zero: some read it as octal"
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		ok = err == nil && (n.Tag == "!!int" || n.Tag == "!!float") && !math.IsNaN(f) && !math.IsInf(f, 0)
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("strict: cannot decode into %s", v.Type()))
	}
	if !ok {
		d.fault(n, path, hint, "must be %s, not %.40q", goName(v), n.Value)
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
