package selector

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxLabel is how long a label's key, and its value, may be.
const MaxLabel = 63

var (
	keyForm   = regexp.MustCompile(`^[a-zA-Z0-9][-._/a-zA-Z0-9]*$`)
	valueForm = regexp.MustCompile(`^[-._/a-zA-Z0-9]*$`)
)

// ValidLabel says what is wrong with an agent's label, in plain words with the rule; nil if nothing is. The rule is the same
// for what agents have and for what selectors ask for, so that every label can be selected. A value may be empty: such a label
// is a group that the agent is in.
func ValidLabel(key, value string) error {
	switch {
	case key == "":
		return fmt.Errorf("a label needs a key, as in zone=north")
	case len(key) > MaxLabel:
		return fmt.Errorf("the label's key %.20q… has %d characters; at most %d", key, len(key), MaxLabel)
	case !keyForm.MatchString(key):
		return fmt.Errorf("%q can't be a label's key: letters, digits and - . _ /, with a letter or digit first", key)
	case len(value) > MaxLabel:
		return fmt.Errorf("the value of the label %s has %d characters; at most %d", key, len(value), MaxLabel)
	case !valueForm.MatchString(value):
		return fmt.Errorf("%q can't be the value of the label %s: letters, digits and - . _ /", value, key)
	}
	return nil
}

// sign says whether a sign may stand in a label's key, after the first, and in its value.
func sign(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._/", r)
}

const signs = "letters, digits and - . _ /"
