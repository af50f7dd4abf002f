package strict

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// doc has a field of every kind that is decoded.
type doc struct {
	Name     string            `json:"name"`
	Note     string            `json:"note,omitempty"`
	Count    int               `json:"count"`
	Small    int32             `json:"small"`
	Big      int64             `json:"big"`
	Share    float64           `json:"share"`
	On       bool              `json:"on"`
	Colour   colour            `json:"colour"`
	Colours  []colour          `json:"colours"`
	Wait     span              `json:"wait"`
	At       time.Time         `json:"at"`
	Times    []time.Time       `json:"times"`
	Tags     []string          `json:"tags"`
	Env      map[string]string `json:"env"`
	Sub      *sub              `json:"sub"`
	Subs     []sub             `json:"subs"`
	ByName   map[string]sub    `json:"by_name"`
	Maybe    *bool             `json:"maybe"`
	Any      json.RawMessage   `json:"any"`
	Anything []json.RawMessage `json:"anything"`
	Hidden   string            `json:"-"`
	Bare     string
}

type sub struct {
	Command string `json:"command"`
	Depth   int    `json:"depth"`
	Sub     *sub   `json:"sub"`
}

type colour string

func (colour) Allowed() []string { return []string{"red", "green"} }

// span reads only "short" and "long".
type span int

func (s *span) UnmarshalText(text []byte) error {
	switch string(text) {
	case "short":
		*s = 1
	case "long":
		*s = 2
	default:
		return errors.New("that is no span; write short or long")
	}
	return nil
}

func TestDecode(t *testing.T) {
	const text = `# a comment
name: "true"
note: |
  two
  lines
count: -7
small: +5
big: 9007199254740993
share: 2.5
on: true
colour: red
colours: [green, red]
wait: long
at: 2027-01-31T18:00:00Z
times:
  - 2027-01-31T18:00:00+01:00
tags: [a, '1', 2, 2001-02-03, "", !!str true]
env: {A: b, "1": x, yes: no, empty: , "<<": y}
sub: &s
  command: one
  sub: {depth: 3}
subs: [*s, {command: two}]
by_name: {x: *s}
maybe: false
any: {a: [1, 2.50, -0, 1e2, true, True, ~, null, "x", y, 2001-02-03], b: {}}
anything: [1, ~, {c: d}]
`
	yes := false
	one := sub{Command: "one", Sub: &sub{Depth: 3}}
	want := doc{
		Name: "true", Note: "two\nlines\n", Count: -7, Small: 5, Big: 9007199254740993, Share: 2.5, On: true, Colour: "red",
		Colours: []colour{"green", "red"}, Wait: 2, At: time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC),
		Times: []time.Time{time.Date(2027, 1, 31, 17, 0, 0, 0, time.UTC)}, Tags: []string{"a", "1", "2", "2001-02-03", "", "true"},
		Env: map[string]string{"A": "b", "1": "x", "yes": "no", "empty": "", "<<": "y"},
		Sub: &one, Subs: []sub{one, {Command: "two"}}, ByName: map[string]sub{"x": one}, Maybe: &yes,
		Any:      json.RawMessage(`{"a":[1,2.50,-0,1e2,true,true,null,null,"x","y","2001-02-03"],"b":{}}`),
		Anything: []json.RawMessage{json.RawMessage("1"), json.RawMessage("null"), json.RawMessage(`{"c":"d"}`)},
	}
	var got doc
	lines, faults := Decode([]byte(text), &got)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	for path, line := range map[string]int{"name": 2, "note": 3, "times[0]": 16, "tags[4]": 17, "sub.sub.depth": 21, "subs[1].command": 22,
		"by_name.x.command": 20, "env.A": 18, "maybe": 24, "any": 25, "count": 6} {
		if lines[path] != line {
			t.Errorf("%s is on line %d, not %d", path, line, lines[path])
		}
	}
}

// TestNothingGiven: a key without a value is as if it were not there, and changes nothing.
func TestNothingGiven(t *testing.T) {
	got := doc{Name: "before"}
	if _, faults := Decode([]byte("name:\nsub: ~\nsubs: null\nenv:\nwait:\nat:\non:\ncount:\n"), &got); len(faults) > 0 {
		t.Fatal(faults)
	}
	if diff := cmp.Diff(doc{Name: "before"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var list []string
	if _, faults := Decode([]byte("[a, b]"), &list); len(faults) > 0 || len(list) != 2 {
		t.Error(list, faults)
	}
	table := map[string]int{}
	if _, faults := Decode([]byte("a: 1\nb: 2"), &table); len(faults) > 0 || table["b"] != 2 {
		t.Error(table, faults)
	}
}

// TestFaults gives for each document its faults, one a line, as they are told.
func TestFaults(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		// The document.
		{"", "the document is empty"},
		{"# nothing\n", "the document is empty"},
		{"null", "the document is empty"},
		{"---\n", "the document is empty"},
		{"\xff\xfe", "the document is not UTF-8 text (look whether it is the right file)"},
		{"name: a\n---\nname: b\n", "line 2: a second document begins here (one is read: take out the line ---, or make two files of it)"},
		{"name: a\n---\n}", "line 2: not readable as YAML or JSON: did not find expected node content"},
		{"name: [a\n", "line 1: not readable as YAML or JSON: did not find expected ',' or ']'"},
		{"name: a\n\tnote: b", "line 2: not readable as YAML or JSON: found a tab character that violates indentation"},
		{"name: 'a", "not readable as YAML or JSON: found unexpected end of stream"},
		{"name: *a", "not readable as YAML or JSON: unknown anchor 'a' referenced"},
		{"name: a\x00", "not readable as YAML or JSON: control characters are not allowed"},
		{"[a]", "line 1: must be a mapping of keys to values, not a list"},
		{"just text", `line 1: must be a mapping of keys to values, not "just text"`},
		{"%PDF-1.4", "not readable as YAML or JSON: found unexpected non-alphabetical character"},

		// Keys.
		{"nam: a", `line 1: nam: unknown key "nam" (did you mean "name"?)`},
		{"sub:\n  comand: a", `line 2: sub.comand: unknown key "comand" (did you mean "command"?)`},
		{"subs:\n- command: a\n- zzz: a", `line 3: subs[1].zzz: unknown key "zzz"`},
		{"Hidden: a\nBare: b\n-: c", "line 1: Hidden: unknown key \"Hidden\"\nline 2: Bare: unknown key \"Bare\" (did you mean \"name\"?)\nline 3: -: unknown key \"-\""},
		{"NAME: a", `line 1: NAME: unknown key "NAME" (did you mean "name"?)`},
		{"name: a\ncount: 1\nname: b", `line 3: name: the key "name" stands twice`},
		{"env: {a: b, a: c}", `line 1: env.a: the key "a" stands twice`},
		{"env: {1: b, '1': c}", `line 1: env.1: the key "1" stands twice`},
		{"any: {x: {a: 1, a: 2}}", `line 1: any.x.a: the key "a" stands twice`},
		{"sub: &s {depth: 1}\nsubs:\n- <<: *s", "line 3: subs[0]: merging with << is not supported (write the keys out)"},
		{"[a, b]: c", "line 1: a key must be a word, not a list"},
		{"? {a: b}\n: c", "line 1: a key must be a word, not a mapping"},
		{"name: &n x\nenv: {*n : y}", `line 2: env: a key must be a word, not "n"`},

		// Kinds.
		{"name: [a]", "line 1: name: must be text, not a list"},
		{"name: {a: b}", "line 1: name: must be text, not a mapping"},
		{"name: true", `line 1: name: must be text, but true is read as yes or no (put it in quotes: "true")`},
		{"env:\n  A: False", `line 2: env.A: must be text, but False is read as yes or no (put it in quotes: "False")`},
		{"count: a", `line 1: count: must be a whole number, not "a"`},
		{`count: "1"`, `line 1: count: must be a whole number, not "1"`},
		{"count: 1.0", `line 1: count: must be a whole number, not "1.0"`},
		{"count: 0x10", `line 1: count: must be a whole number, not "0x10"`},
		{"count: 1_000", `line 1: count: must be a whole number, not "1_000"`},
		{"count: 010", `line 1: count: must be a whole number, not "010" (leave out the leading zero: some read it as octal)`},
		{"count: -08", `line 1: count: must be a whole number, not "-08"`},
		{"count: [1]", "line 1: count: must be a whole number, not a list"},
		{"count: 9223372036854775808", `line 1: count: must be a whole number, not "9223372036854775808"`},
		{"small: 2147483648", `line 1: small: must be a whole number, not "2147483648"`},
		{"share: .inf", `line 1: share: must be a number, not ".inf"`},
		{"share: .nan", `line 1: share: must be a number, not ".nan"`},
		{"share: a", `line 1: share: must be a number, not "a"`},
		{"share: 0x10", `line 1: share: must be a number, not "0x10"`},
		{"on: yes", `line 1: on: must be true or false, not "yes"`},
		{"on: True", `line 1: on: must be true or false, not "True"`},
		{"on: 1", `line 1: on: must be true or false, not "1"`},
		{"on: " + strings.Repeat("x", 50), `line 1: on: must be true or false, not "` + strings.Repeat("x", 40) + `"`},
		{"maybe: 7", `line 1: maybe: must be true or false, not "7"`},
		{"tags: a", `line 1: tags: must be a list, not "a" (write it as [a, b])`},
		{"tags: {a: b}", "line 1: tags: must be a list, not a mapping (write it as [a, b])"},
		{"tags:\n- a\n-\n- c", "line 3: tags[1]: nothing is given (take it out, or write \"\" for an empty text)"},
		{"subs: [~]", "line 1: subs[0]: nothing is given (take it out, or write \"\" for an empty text)"},
		{"env: [a]", "line 1: env: must be a mapping of keys to values, not a list"},
		{"sub: x", `line 1: sub: must be a mapping of keys to values, not "x"`},
		{"by_name: {x: 1}", `line 1: by_name.x: must be a mapping of keys to values, not "1"`},

		// Words, and what reads itself.
		{"colour: blue", `line 1: colour: "blue" is not known here (one of: red, green)`},
		{"colours:\n- red\n- Red", `line 3: colours[1]: "Red" is not known here (one of: red, green)`},
		{`colour: ""`, `line 1: colour: "" is not known here (one of: red, green)`},
		{"wait: forever", "line 1: wait: that is no span (write short or long)"},
		{"wait: [short]", "line 1: wait: must be a single value, not a list"},
		{"at: tomorrow", `line 1: at: "tomorrow" is not a time (write one like 2027-01-31T18:00:00Z)`},
		{"times: [2027-01-31]", `line 1: times[0]: "2027-01-31" is not a time (write one like 2027-01-31T18:00:00Z)`},

		// Tags and numbers that JSON does not know.
		{"name: !secret x", "line 1: name: the tag !secret is not known (leave the tag out)"},
		{"any: [!!binary aGk=]", "line 1: any[0]: the tag !!binary is not known (leave the tag out)"},
		{"name: !!null x", "line 1: name: the tag !!null is not known (leave the tag out)"},
		{"count: !!int x", `line 1: count: must be a whole number, not "x"`},
		{"any: {a: 0x10}", `line 1: any.a: "0x10" is not a number in JSON (write it as JSON does, or put it in quotes)`},
		{"any: .inf", `line 1: any: ".inf" is not a number in JSON (write it as JSON does, or put it in quotes)`},
		{"any: [1_000, 010]", "line 1: any[0]: \"1_000\" is not a number in JSON (write it as JSON does, or put it in quotes)\n" +
			"line 1: any[1]: \"010\" is not a number in JSON (write it as JSON does, or put it in quotes)"},

		// All of them, in their order.
		{"count: x\nsub: {deth: 1}\non: 3", "line 1: count: must be a whole number, not \"x\"\n" +
			"line 2: sub.deth: unknown key \"deth\" (did you mean \"depth\"?)\nline 3: on: must be true or false, not \"3\""},
	} {
		var v doc
		_, faults := Decode([]byte(test.text), &v)
		var got []string
		for _, f := range faults {
			got = append(got, f.String())
		}
		if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
}

// TestBounds decodes documents that are made to cost more than they should. Each is refused, with few words.
func TestBounds(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for n := range 7 {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*a%d, ", n), 9), n)
	}
	strings10k := "s: &s [" + strings.Repeat("x, ", 10_000) + "x]\n"
	var wide struct {
		S     []string     `json:"s"`
		Lists [][]string   `json:"lists"`
		Deep  [][][]string `json:"deep"`
	}
	var raw map[string]json.RawMessage
	for name, test := range map[string]struct {
		text string
		v    any
		want string
	}{
		"too long":                     {"name: " + strings.Repeat("x", maxBytes), new(doc), "at most 4194304"},
		"aliases that multiply":        {bomb, &raw, "more than 262144 values"},
		"aliases of a long list":       {strings10k + "lists: [" + strings.Repeat("*s, ", 500) + "]", &wide, "more than 262144 values"},
		"an alias of what it is in":    {"any: &a [*a]", new(doc), "nested more than 100 deep"},
		"two of what they are in":      {"any: &a [*a, *a]", new(doc), "nested more than 100 deep"},
		"a mapping in itself":          {"any: &a {b: *a, c: *a}", new(doc), "nested more than 100 deep"},
		"deep":                         {"any: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), new(doc), "nested more than 100 deep"},
		"deeper than the parser reads": {"any: " + strings.Repeat("[", 100_000), new(doc), "not readable"},
		"deep mappings":                {"any: " + strings.Repeat("{a: ", 500) + strings.Repeat("}", 500), new(doc), "nested more than 100 deep"},
		"deep in its own type":         {"sub: " + strings.Repeat("{sub: ", 500) + strings.Repeat("}", 500), new(doc), "nested more than 100 deep"},
		"many values":                  {"any: [" + strings.Repeat("1,", maxNodes+10) + "]", new(doc), "more than 262144 values"},
	} {
		began := time.Now()
		_, faults := Decode([]byte(test.text), test.v)
		if len(faults) != 1 || !strings.Contains(faults[0].String(), test.want) || len(faults[0].String()) > 300 {
			t.Errorf("%s: %d faults, the first %.300s; want one: %s", name, len(faults), append(faults, Fault{})[0], test.want)
		}
		t.Logf("%s: %v", name, time.Since(began).Round(time.Millisecond))
	}

	var v doc
	_, faults := Decode([]byte("subs:\n"+strings.Repeat("- {x: 1}\n", 250)), &v)
	if len(faults) != maxFaults+1 || faults[maxFaults].String() != "and more: 250 in all" {
		t.Errorf("%d faults, the last %v", len(faults), faults[len(faults)-1])
	}
	if _, faults := Decode([]byte("any: "+strings.Repeat("[", 90)+strings.Repeat("]", 90)), &v); len(faults) > 0 {
		t.Errorf("90 deep: %v", faults)
	}
}

// TestJSON: what encoding/json reads in a document is read in it here.
func TestJSON(t *testing.T) {
	for _, text := range []string{
		`{"name":"\/ \\ \" \b\f\n\r\t \u0000 \u4e2d \ud83d\ude00 😀"}`, `{"name":"\ud83d"}`, `{"name":"\ude00\ud83d x"}`, `{"name":"\ud83d\u0041"}`,
		`{"name":"\\ud83d\\/"}`, "{\"name\":\"\u007f\u0085\u009f\u2028\u2029\ufeff\ufffe\uffff\"}", "{\n\t\"name\"\t:\t\"x\",\r\n\t\"tags\": [\n\t]\n}\n",
		"\n\t{\t}\n\t", "{\"name\"\n \r\n:\"a : b\",\"note\" :\n\"\"}",
		`{"name":"a: b # c","note":"- x","env":{"k":"~","l":"null","m":"true","n":"<<","<<":"o","":"p"}}`,
		`{"count":0,"big":-9223372036854775808,"share":1E+2,"on":false,"maybe":null,"sub":null}`, `{"any":{"a":[[],{},"",0,-0,1.50,1e400]}}`,
		`{"name":"` + strings.Repeat("long ", 5000) + `"}`, "{}", `{"note":"  two  spaces  ","tags":["","\n","---"]}`,
	} {
		var want, got doc
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if _, faults := Decode([]byte(text), &got); len(faults) > 0 {
			t.Errorf("%.100q: %v", text, faults)
		}
		want.Any, got.Any = normal(t, want.Any), normal(t, got.Any)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.100q (-encoding/json +strict):\n%s", text, diff)
		}
	}
}

func normal(t *testing.T, raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%.100q: %v", raw, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLocate(t *testing.T) {
	var v doc
	lines, faults := Decode([]byte("name: x\nsubs:\n- command: a\n-\n  command: b\n  depth: 1\n"), &v)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	faults = []Fault{
		{Path: "subs[1].depth"}, {Path: "subs[1].sub.command"}, {Path: "subs[7]"}, {Path: "nothing.at.all"}, {Path: ""}, {Path: "name", Line: 9},
	}
	lines.Locate(faults)
	var got []int
	for _, f := range faults {
		got = append(got, f.Line)
	}
	if diff := cmp.Diff([]int{6, 5, 3, 0, 0, 9}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestNearest(t *testing.T) {
	known := map[string]int{"schedule": 0, "schedules": 1, "shell": 2, "on_lost": 3, "a": 4}
	for word, want := range map[string]string{
		"schedul": "schedule", "schedulse": "schedule", "scheudle": "schedule", "shel": "shell", "hsell": "shell", "onlost": "on_lost",
		"on-lost": "on_lost", "b": "a", "timetable": "", "": "a", "schedulesx": "schedules", "SHELL": "shell", strings.Repeat("x", 100): "",
	} {
		hint := ""
		if want != "" {
			hint = fmt.Sprintf("did you mean %q?", want)
		}
		if got := nearest(word, known); got != hint {
			t.Errorf("%q: %q, want %q", word, got, hint)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
		{strings.Repeat("a", 64), strings.Repeat("b", 64), 64}, {strings.Repeat("a", 65), "", 64}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("from %q to %q: %d, want %d", test.a, test.b, got, test.want)
		}
		if got := distance(test.b, test.a); got != test.want {
			t.Errorf("from %q to %q: %d, want %d", test.b, test.a, got, test.want)
		}
	}
}

// FuzzDecode: no document makes it panic or take long, and each fault is told with a line of the document.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{"name: a\nsub: {depth: 1}\n", "any: &a [*a]", "a: !!set {b}", "? a\n: b", "subs: [{}, ~]", "---\n---\n", "<<: {a: b}",
		`{"name":"\ud83d\ude00"}`, "at: 2027-01-31T18:00:00Z", "env: {a: b, ? : c}", "tags:\n- 'x'\n- \"\\x41\"\n- >-\n  a\n  b\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v doc
		lines, faults := Decode(data, &v)
		last := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
			strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 2
		for _, f := range faults {
			if f.Message == "" || f.Line < 0 || f.Line > last || f.Line == 0 && f.Path != "" {
				t.Errorf("%+v of a document of %d lines", f, last)
			}
		}
		for path, line := range lines {
			if path == "" || line < 1 || line > last {
				t.Errorf("%q is on line %d of %d", path, line, last)
			}
		}
		if len(faults) == 0 {
			normal(t, v.Any)
		}
	})
}

// FuzzJSON: a JSON document is read as encoding/json reads it, or refused.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"a":"\/\ud83d\ude00\ud83d"}`, "{\"a\":\"\u0085\u2028\ufeff\"}", `{"a":[1,-0,1e5,true,null,""],"b":{"<<":"~"}}`, "{\n\t\"a\":\t0}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || !json.Valid(data) || data[0] != '{' {
			return
		}
		got := map[string]json.RawMessage{}
		if _, faults := Decode(data, &got); len(faults) > 0 {
			for _, f := range faults {
				if !strings.Contains(f.Message, "stands twice") && !strings.Contains(f.Message, "nested") && len(data) < 1000 {
					t.Errorf("%q: %v", data, f)
				}
			}
			return
		}
		all, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(normal(t, data)), string(normal(t, all))); diff != "" {
			t.Errorf("%q (-encoding/json +strict):\n%s", data, diff)
		}
	})
}
