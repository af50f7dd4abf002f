package crony

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// CallFacts are what the templates of an HTTP job may name, as {{.RunID}} or {{.Params.day}}.
type CallFacts struct {
	RunID       RunID
	Job         string
	ScheduledAt string // RFC 3339, in UTC
	Attempt     int
	Epoch       int64
	Params      map[string]string // that a person gave the run; to name one that was not given is an error
}

// callText is one template of a job: its URL, a header or its body. What it can say is so little that it can be applied, and
// checked, on any server: no loops, no variables, no templates within it. It takes time and room in proportion to its length.
type callText struct {
	template *template.Template
	params   []string // that it names
}

const (
	maxCallNodes = 1000     // parts of a template
	maxCallValue = 64 << 10 // bytes of what a function of it is given
)

// callFuncs are what a template may call, beside and, or, not, eq and ne.
func callFuncs() template.FuncMap {
	return template.FuncMap{"json": jsonText, "urlquery": queryText}
}

func jsonText(text string) (string, error) {
	if len(text) > maxCallValue {
		return "", fmt.Errorf("json is given %d bytes; at most %d", len(text), maxCallValue)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(text)
	return strings.TrimSuffix(out.String(), "\n"), err
}

func queryText(text string) (string, error) {
	if len(text) > maxCallValue {
		return "", fmt.Errorf("urlquery is given %d bytes; at most %d", len(text), maxCallValue)
	}
	return url.QueryEscape(text), nil
}

// parseCallText reads a template. The error begins with the line, if there is one.
func parseCallText(text string) (*callText, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(callFuncs()).Parse(text)
	if err != nil {
		return nil, errors.New(place(err))
	}
	c := &callText{template: t}
	if t.Tree == nil { // it is empty, or defines others only
		return c, nil
	}
	w := callWalk{tree: t.Tree}
	if w.list(t.Root); w.err == nil && len(t.Templates()) > 1 {
		w.err = errors.New("defines templates, which it can't do here")
	}
	if w.err != nil {
		return nil, w.err
	}
	c.params = w.params
	if _, err := c.with(c.sample()); err != nil {
		return nil, err
	}
	return c, nil
}

// place makes "template: :3: unexpected EOF" into "line 3: unexpected EOF".
func place(err error) string {
	text := strings.TrimPrefix(err.Error(), "template: :")
	line, rest, ok := strings.Cut(text, ": ")
	if !ok {
		return text
	}
	line, _, _ = strings.Cut(line, ":")
	return "line " + line + ": " + strings.TrimPrefix(rest, `executing "" at `)
}

// with returns the text with the facts in it.
func (c *callText) with(facts *CallFacts) (string, error) {
	if c.template.Tree == nil {
		return "", nil
	}
	var out strings.Builder
	if err := c.template.Execute(&out, facts); err != nil {
		return "", errors.New(place(err))
	}
	return out.String(), nil
}

// sample are facts with which each template that can be applied at all is.
func (c *callText) sample() *CallFacts {
	facts := &CallFacts{RunID: "00000000000000000000000000", Job: "job", ScheduledAt: "2027-01-01T00:00:00Z", Attempt: 1, Epoch: 1,
		Params: map[string]string{}}
	for _, name := range c.params {
		facts.Params[name] = "0"
	}
	return facts
}

// callWalk looks at each part of a template, for what it may not hold.
type callWalk struct {
	tree   *parse.Tree
	nodes  int
	params []string
	err    error
}

func (w *callWalk) refuse(n parse.Node, format string, args ...any) {
	if w.err == nil {
		where, _ := w.tree.ErrorContext(n)
		where = strings.TrimPrefix(where, ":")
		line, _, _ := strings.Cut(where, ":")
		w.err = fmt.Errorf("line %s: %s", line, fmt.Sprintf(format, args...))
	}
}

func (w *callWalk) list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		w.node(n)
	}
}

func (w *callWalk) node(n parse.Node) {
	if w.nodes++; w.nodes > maxCallNodes {
		w.refuse(n, "there are more than %d parts", maxCallNodes)
	}
	if w.err != nil {
		return
	}
	switch n := n.(type) {
	case *parse.TextNode, *parse.CommentNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
	case *parse.ActionNode:
		w.pipe(n.Pipe)
	case *parse.IfNode:
		w.pipe(n.Pipe)
		w.list(n.List)
		w.list(n.ElseList)
	case *parse.PipeNode:
		w.pipe(n)
	case *parse.FieldNode:
		w.field(n)
	case *parse.IdentifierNode:
		if !slices.Contains([]string{"and", "or", "not", "eq", "ne", "json", "urlquery"}, n.Ident) {
			w.refuse(n, "%q can't be called here; there are and, or, not, eq, ne, json and urlquery", n.Ident)
		}
	default:
		w.refuse(n, "%q can't be used here; there are the run's facts, and if", strings.TrimSpace(n.String()))
	}
}

func (w *callWalk) pipe(p *parse.PipeNode) {
	if len(p.Decl) > 0 {
		w.refuse(p, "variables can't be used here")
	}
	for _, command := range p.Cmds {
		for _, n := range command.Args {
			w.node(n)
		}
	}
}

func (w *callWalk) field(n *parse.FieldNode) {
	switch name := n.Ident[0]; {
	case name == "Params" && len(n.Ident) == 2:
		w.params = append(w.params, n.Ident[1])
	case name == "Params":
		w.refuse(n, "a parameter is named as {{.Params.day}}")
	case !slices.Contains([]string{"RunID", "Job", "ScheduledAt", "Attempt", "Epoch"}, name) || len(n.Ident) > 1:
		w.refuse(n, "there is no {{%s}}; there are RunID, Job, ScheduledAt, Attempt, Epoch and Params.NAME", n)
	}
}

// Fill returns the job's call with a run's facts in its templates. The error says in plain words what can't be filled in.
func (h *HTTP) Fill(facts *CallFacts) (HTTP, error) {
	filled := *h
	fill := func(what, text string) (string, error) {
		t, err := parseCallText(text)
		if err == nil {
			text, err = t.with(facts)
		}
		if err != nil {
			return "", fmt.Errorf("the template of its %s: %w", what, err)
		}
		return text, nil
	}
	var err error
	if filled.URL, err = fill("url", h.URL); err != nil {
		return HTTP{}, err
	}
	if filled.Body, err = fill("body", h.Body); err != nil {
		return HTTP{}, err
	}
	filled.Headers = make(map[string]string, len(h.Headers))
	for name, text := range h.Headers {
		if filled.Headers[name], err = fill("header "+name, text); err != nil {
			return HTTP{}, err
		}
	}
	return filled, nil
}
