package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// marshalYAML writes v as YAML with the names and the order of its JSON, through which it goes: so that the two forms can
// differ in nothing but their looks. Numbers keep their digits, and a text that YAML could take for something else is quoted.
func marshalYAML(v any) ([]byte, error) {
	data, err := marshalJSON(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// yamlNode reads the next JSON value of dec.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		kind := yaml.MappingNode
		if token == '[' {
			kind = yaml.SequenceNode
		}
		return yamlNodes(dec, kind)
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: token.String()}, nil
	}
	if text, ok := token.(string); ok && strings.Contains(text, "\n") {
		return yamlLines(text), nil
	}
	node := new(yaml.Node)
	if err := node.Encode(token); err != nil { // a text, a bool or nothing: the library knows what must be quoted
		return nil, err
	}
	return node, nil
}

// yamlLines writes a text of several lines as such, unless it begins with white space: a block's indentation is told by its
// first line, and the library gets it wrong where that is not plain.
func yamlLines(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.LiteralStyle}
	if strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") || strings.HasPrefix(text, "\n") {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// yamlNodes reads the rest of an object, whose keys and values take turns, or of an array.
func yamlNodes(dec *json.Decoder, kind yaml.Kind) (*yaml.Node, error) {
	parent := &yaml.Node{Kind: kind}
	for dec.More() {
		child, err := yamlNode(dec)
		if err != nil {
			return nil, err
		}
		parent.Content = append(parent.Content, child)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	return parent, nil
}
