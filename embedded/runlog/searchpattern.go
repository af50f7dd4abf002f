package runlog

import (
	"bytes"
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
	text []byte         // each match holds it, and is it if re is nil; of folded in lower case
	fold bool           // text is in any case
	re   *regexp.Regexp // of a line
}

// index returns where the text begins in b; -1 if it is not there.
func (p *pattern) index(b []byte) int {
	if p.fold {
		return indexFold(b, p.text)
	}
	return bytes.Index(b, p.text)
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
	need := required(tree)
	p := &pattern{text: []byte(need.text), fold: need.fold, re: re}
	if tree.Op == syntax.OpLiteral && len(p.text) > 0 && !p.fold {
		p.re = nil
	}
	return p, nil
}

// requirement is a text that is in all that an expression matches.
type requirement struct {
	text string
	fold bool // in any case: it is ASCII then, and in lower case
}

// required returns the longest text that it can find in whatever the expression matches; none if there may be none.
func required(re *syntax.Regexp) (need requirement) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return requirement{longestFolded(re.Rune), true}
		}
		if text := string(re.Rune); !strings.ContainsRune(text, utf8.RuneError) { // it matches what is not UTF-8, too
			return requirement{text, false}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if part := required(sub); len(part.text) > len(need.text) {
				need = part
			}
		}
	}
	return need
}

// longestFolded returns the longest part of a text that has but two cases, both of them one byte. K and S have a third.
func longestFolded(text []rune) (longest string) {
	for part := range strings.FieldsFuncSeq(strings.ToLower(string(text)), func(r rune) bool {
		return r >= utf8.RuneSelf || r == 'k' || r == 's'
	}) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// commonLetters is the letters from the most to the least common in English.
const commonLetters = "etaoinshrdlcumwfgypbvkjxqz"

// indexFold returns where text, which is ASCII in lower case, begins in b in any case; -1 if it does not. It looks for the
// rarest of its letters.
func indexFold(b, text []byte) int {
	rarest, rank := 0, -1
	for i, c := range text {
		if r := strings.IndexByte(commonLetters, c); r > rank {
			rarest, rank = i, r
		}
	}
	low, high := text[rarest], text[rarest]
	if rank >= 0 {
		high -= 'a' - 'A'
	}
	nextLow, nextHigh := next(b, 0, low), len(b)
	if high != low {
		nextHigh = next(b, 0, high)
	}
	for {
		at := min(nextLow, nextHigh)
		if at == len(b) {
			return -1
		}
		if from := at - rarest; from >= 0 && from+len(text) <= len(b) && sameFolded(b[from:from+len(text)], text) {
			return from
		}
		if at == nextLow {
			nextLow = next(b, at+1, low)
		} else {
			nextHigh = next(b, at+1, high)
		}
	}
}

// next returns where a byte is next, from a place on; the length if it is not.
func next(b []byte, from int, c byte) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return len(b)
}

func sameFolded(b, lower []byte) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
