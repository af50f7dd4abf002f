package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// parse returns the value that the document is.
func parse(data []byte) (*yaml.Node, *Fault) {
	switch {
	case len(data) > maxBytes:
		return nil, &Fault{Message: fmt.Sprintf("the document has %d bytes; at most %d are read", len(data), maxBytes),
			Hint: "split it, or look whether it is the right file"}
	case !utf8.Valid(data):
		return nil, &Fault{Message: "the document is not UTF-8 text", Hint: "look whether it is the right file"}
	}
	documents, err := readAll(plainJSON(data))
	switch {
	case err != nil:
		return nil, syntaxFault(err)
	case len(documents) == 0 || documents[0].Content[0].Tag == "!!null":
		return nil, &Fault{Message: "the document is empty"}
	case len(documents) > 1:
		return nil, &Fault{Line: documents[1].Line, Message: "a second document begins here",
			Hint: "one is read: take out the line ---, or make two files of it"}
	}
	return documents[0].Content[0], nil
}

// readAll reads the first two documents. What the YAML parser reports by a panic is an error.
func readAll(data []byte) (documents []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for len(documents) < 2 {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		documents = append(documents, &node)
	}
	return documents, nil
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
