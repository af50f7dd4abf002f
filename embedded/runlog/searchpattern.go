package runlog

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"crony"
)

// The bounds of what is searched for. The cost of a pattern is a byte of output by an instruction of its program, at worst.
const (
	maxText    = 1 << 10 // bytes of the text or of the pattern
	maxProgram = 4 << 10 // instructions
)

// pattern is what is searched for.
type pattern struct {
	text []byte         // each match holds it, and is it if re is nil
	re   *regexp.Regexp // of a line
}

func newPattern(text, expr string) (*pattern, error) {
	switch {
	case text == "" && expr == "":
		return nil, crony.Errorf(crony.Invalid, "there is nothing to search for").WithHint("give a text or a pattern")
	case text != "" && expr != "":
		return nil, crony.Errorf(crony.Invalid, "a text and a pattern exclude each other").WithHint("give one of them")
	case len(text) > maxText || len(expr) > maxText:
		return nil, crony.Errorf(crony.Invalid, "what to search for has more than %d bytes", maxText).
			WithHint("search for a part of it")
	case strings.Contains(text, "\n"):
		return nil, crony.Errorf(crony.Invalid, "the text has more than one line").WithHint("search for one of them")
	case text != "":
		return &pattern{text: []byte(text)}, nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err,
			Hint: "the syntax is that of RE2: https://github.com/google/re2/wiki/Syntax"}
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	tree = tree.Simplify()
	if program, err := syntax.Compile(tree); err != nil || len(program.Inst) > maxProgram {
		return nil, crony.Errorf(crony.Invalid, "the pattern is too large").WithHint("repeat less in it")
	}
	p := &pattern{text: []byte(required(tree)), re: re}
	if tree.Op == syntax.OpLiteral && len(p.text) > 0 {
		p.re = nil
	}
	return p, nil
}

// required returns the longest text that it can find in whatever the expression matches; "" if there may be none.
func required(re *syntax.Regexp) (text string) {
	switch re.Op {
	case syntax.OpLiteral:
		// U+FFFD matches a byte that is not UTF-8, too.
		if text = string(re.Rune); re.Flags&syntax.FoldCase != 0 || strings.ContainsRune(text, utf8.RuneError) {
			return ""
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if part := required(sub); len(part) > len(text) {
				text = part
			}
		}
	}
	return text
}
