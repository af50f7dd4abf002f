package selector

import (
	"errors"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	host := map[string]string{"role": "batch", "zone": "z1", "gpu": "", "地": "x"}
	for text, want := range map[string]bool{
		"":                                  true,
		" \t":                               true,
		"role=batch":                        true,
		"role==batch":                       true,
		"role=web":                          false,
		"role = batch , zone != z3,gpu":     true,
		"role=batch,zone!=z1":               false,
		"missing=x":                         false,
		"missing=":                          false,
		"gpu=":                              true,
		"gpu":                               true,
		"missing":                           false,
		"!gpu":                              false,
		"! missing":                         true,
		"missing!=x":                        true,
		"missing!=":                         true,
		"zone in (z1,z2)":                   true,
		"zone in(z3, z2 ,z1)":               true,
		"zone in (z2)":                      false,
		"zone notin (z2,z3)":                true,
		"zone notin (z1)":                   false,
		"missing in (x)":                    false,
		"missing notin (x)":                 true,
		"role=batch,role=web":               false,
		"in":                                false,
		"!notin":                            true,
		"in in (a)":                         false,
		"in notin (in,notin)":               true,
		"role in (batch),zone in (z1),!web": true,
	} {
		s, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := s.Match(host); got != want {
			t.Errorf("%q matches: %v", text, got)
		}
	}
	if s, err := Parse("!a"); err != nil || !s.Match(nil) {
		t.Errorf("no labels at all: %v, %v", s, err)
	}
}

func TestString(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		" a ":                        "a",
		"! a":                        "!a",
		"b==2 ,a = 1":                "a=1,b=2",
		"a!=":                        "a!=",
		"z in (c , a,b,a),z":         "z,z in (a,b,c)",
		"z in (a)":                   "z=a",
		"z notin (a)":                "z!=a",
		"z notin(b,a),z notin (a,b)": "z notin (a,b)",
		"a/b.c-d_e=x":                "a/b.c-d_e=x",
	} {
		if s, err := Parse(text); err != nil || s.String() != want {
			t.Errorf("%q: %q, %v; want %q", text, s, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		",":                            `at character 1: a label's key can't begin with "," (letters, digits and - . _ /)`,
		"a,":                           "at character 3: a condition is missing (give a label's key, or leave the comma out)",
		"a,,b":                         `at character 3: a label's key can't begin with "," (letters, digits and - . _ /)`,
		"!":                            "at character 2: a condition is missing (give a label's key, or leave the comma out)",
		"!!a":                          `at character 2: a label's key can't begin with "!" (letters, digits and - . _ /)`,
		"-a":                           `at character 1: "-a" can't be a label's key: letters, digits and - . _ /, with a letter or digit first`,
		"a=b,城=x":                      `at character 5: a label's key can't begin with "城" (letters, digits and - . _ /)`,
		"a>3":                          `at character 2: ">" is no comparison (labels are compared by =, !=, in and notin)`,
		"a b":                          `at character 3: "b" can't stand here (conditions are joined by commas; a comparison is =, !=, in or notin)`,
		"!a=b":                         `at character 3: "=" can't stand here (conditions are joined by commas; a comparison is =, !=, in or notin)`,
		"a===b":                        `at character 4: "=" can't stand here (conditions are joined by commas, and values have letters, digits and - . _ /)`,
		"a=b c":                        `at character 5: "c" can't stand here (conditions are joined by commas, and values have letters, digits and - . _ /)`,
		`a="b"`:                        `at character 3: "\"" can't stand here (conditions are joined by commas, and values have letters, digits and - . _ /)`,
		"a in b":                       "at character 6: in needs its values in parentheses (as in (a, b))",
		"a notin":                      "at character 8: notin needs its values in parentheses (as notin (a, b))",
		"a in ()":                      `at character 7: a value must stand here, not ")" (letters, digits and - . _ /)`,
		"a in (x,)":                    `at character 9: a value must stand here, not ")" (letters, digits and - . _ /)`,
		"a in (x":                      "at character 8: the values of in have no end (close it with ))",
		"a in (x,":                     "at character 9: the values of in have no end (close it with ))",
		"a in (x y)":                   `at character 9: "y" can't stand here (values are joined by commas, and have letters, digits and - . _ /)`,
		"a in (x) b":                   `at character 10: "b" can't stand here (conditions are joined by commas, and values have letters, digits and - . _ /)`,
		"a=\xff":                       `at character 3: "\xff" can't stand here (conditions are joined by commas, and values have letters, digits and - . _ /)`,
		"a=" + strings.Repeat("x", 64): "at character 3: the value of the label a has 64 characters; at most 63",
		strings.Repeat("x", 64):        `at character 1: the label's key "xxxxxxxxxxxxxxxxxxxx"… has 64 characters; at most 63`,
		strings.Repeat("x", 4097):      "the selector has 4097 bytes; at most 4096",
	} {
		_, err := Parse(text)
		if e, ok := errors.AsType[*Error](err); !ok || e.Error() != want {
			t.Errorf("%.20q: %v; want %s", text, err, want)
		}
	}
}

// FuzzParse has every text either refused with a place in it, or read as a selector whose own text means the same; and every
// label that is allowed can be selected.
func FuzzParse(f *testing.F) {
	f.Add("role=batch,zone!=z3,gpu", "role", "batch")
	f.Add("a in (x, y), !b,c notin (z)", "a", "y")
	f.Add("a==", "in", "")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		s, err := Parse(text)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Message == "" || e.Column > len([]rune(text))+1 || e.Column < 1 && len(text) <= MaxText {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		if len(s.String()) > MaxText {
			return // it has spaces that the text has not
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is %q, is %q, %v", text, s, again, err)
		}
		labels := map[string]string{key: value}
		if s.Match(labels) != again.Match(labels) {
			t.Fatalf("%q and %q differ for %q", text, s, labels)
		}
		if ValidLabel(key, value) != nil {
			return
		}
		only, err := Parse(key + "=" + value)
		if err != nil || !only.Match(labels) || only.Match(map[string]string{key: value + "x"}) || only.Match(nil) {
			t.Fatalf("%q=%q: %q, %v", key, value, only, err)
		}
	})
}
