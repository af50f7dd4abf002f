package strict

import (
	"encoding/json"
	"reflect"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

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
	defer d.leave()
	if !d.enter(n, path) {
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
		out, good := make([]any, len(n.Content)), true
		for i, item := range n.Content {
			var ok bool
			out[i], ok = d.tree(item, place(path, i))
			good = good && ok
		}
		return out, good
	default:
		return d.leaf(n, path)
	}
}

// leaf gives a scalar its JSON type; a number keeps its digits.
func (d *decoder) leaf(n *yaml.Node, path string) (any, bool) {
	switch n.Tag {
	case "!!null":
		return nil, true
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			d.fault(n, path, "write it as JSON does, or put it in quotes", "%.40q is not a number in JSON", n.Value)
			return nil, false
		}
		return json.Number(n.Value), true
	}
	if n.Style == 0 && strings.IndexByte("-0123456789", (n.Value + " ")[0]) >= 0 && json.Valid([]byte(n.Value)) {
		return json.Number(n.Value), true // one so large that YAML takes it for text
	}
	return n.Value, true
}
