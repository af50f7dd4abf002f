// Package selector chooses agents by their labels, in the notation of Kubernetes: conditions joined by commas, all of which
// must hold.
//
//	role=batch        the label role has the value batch; role==batch is the same
//	zone!=z3          it has another value, or there is no such label
//	gpu               there is such a label, whatever its value
//	!gpu              there is none
//	zone in (a, b)    the label has one of the values
//	zone notin (a, b) it has none of them, or there is no such label
//
// The one thing to know: what denies (!=, !, notin) also holds where the label is missing. The rule of what a label may be is
// here as well ([ValidLabel]), so that every label can be selected.
//
// It does not compare numbers, and knows no "or" beside in: two jobs, or one more label, say that better.
package selector

import (
	"cmp"
	"slices"
	"strings"
)

// Selector is a list of conditions on labels. The zero Selector has none, and matches everything.
type Selector struct{ conditions []condition }

// condition is one of a selector's. With values the label must be one of them; without, it must be there.
type condition struct {
	key    string
	values []string // sorted, none twice
	denied bool     // the condition holds where this does not
}

// Match says whether labels meet all conditions.
func (s Selector) Match(labels map[string]string) bool {
	for _, c := range s.conditions {
		value, there := labels[c.key]
		if there && len(c.values) > 0 {
			_, there = slices.BinarySearch(c.values, value)
		}
		if there == c.denied {
			return false
		}
	}
	return true
}

// String returns the selector as text: the same for selectors that have the same conditions, however they were written.
func (s Selector) String() string {
	texts := make([]string, len(s.conditions))
	for i, c := range s.conditions {
		texts[i] = c.String()
	}
	return strings.Join(texts, ",")
}

func (c condition) String() string {
	pick := func(plain, denied string) string {
		if c.denied {
			return denied
		}
		return plain
	}
	switch len(c.values) {
	case 0:
		return pick("", "!") + c.key
	case 1:
		return c.key + pick("=", "!=") + c.values[0]
	}
	return c.key + pick(" in (", " notin (") + strings.Join(c.values, ",") + ")"
}

// canonical sorts conditions and leaves out those that stand twice.
func canonical(list []condition) []condition {
	slices.SortFunc(list, func(a, b condition) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.String(), b.String()))
	})
	return slices.CompactFunc(list, func(a, b condition) bool { return a.String() == b.String() })
}
