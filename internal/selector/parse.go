package selector

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxText is the longest selector, in bytes.
const MaxText = 4 << 10

// Error says what is wrong with a selector.
type Error struct {
	Column  int // of the first sign that is wrong, from 1, in characters; 0: it is too long
	Message string
	Hint    string // what to do; "" if there is nothing to say
}

// Error returns the place, the message and the hint.
func (e *Error) Error() string {
	text := e.Message
	if e.Column > 0 {
		text = fmt.Sprintf("at character %d: %s", e.Column, text)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Parse reads a selector. The error is an [Error]. Text of nothing but spaces is the selector that matches everything.
func Parse(text string) (Selector, error) {
	if len(text) > MaxText {
		return Selector{}, &Error{Message: fmt.Sprintf("the selector has %d bytes; at most %d", len(text), MaxText)}
	}
	p := &parser{text: text}
	if p.spaces(); p.done() {
		return Selector{}, nil
	}
	var list []condition
	for {
		c, err := p.condition()
		if err != nil {
			return Selector{}, err
		}
		list = append(list, c)
		if p.done() {
			return Selector{canonical(list)}, nil
		}
		if !p.take(",") {
			return Selector{}, p.unexpected(c)
		}
	}
}

// parser reads a text from its left to its right; whatever it has taken, it has taken the spaces after it, too.
type parser struct {
	text string
	at   int // in bytes
}

func (p *parser) condition() (condition, error) {
	if p.take("!") {
		key, err := p.key()
		return condition{key: key, denied: true}, err
	}
	key, err := p.key()
	if err != nil {
		return condition{}, err
	}
	c := condition{key: key}
	switch {
	case p.take("!="):
		c.denied = true
		c.values, err = p.value(key)
	case p.take("=="), p.take("="):
		c.values, err = p.value(key)
	case p.word("in"):
		c.values, err = p.values(key, "in")
	case p.word("notin"):
		c.denied = true
		c.values, err = p.values(key, "notin")
	}
	return c, err
}

func (p *parser) key() (string, error) {
	at := p.at
	key := p.run()
	switch {
	case key == "" && p.done():
		return "", p.fault(at, "give a label's key, or leave the comma out", "a condition is missing")
	case key == "":
		return "", p.fault(at, signs, "a label's key can't begin with %q", p.next())
	}
	if err := ValidLabel(key, ""); err != nil {
		return "", p.fault(at, "", "%v", err)
	}
	return key, nil
}

// value reads the one value after a sign of comparison; it may be empty.
func (p *parser) value(key string) ([]string, error) {
	at := p.at
	value := p.run()
	if err := ValidLabel(key, value); err != nil {
		return nil, p.fault(at, "", "%v", err)
	}
	return []string{value}, nil
}

// values reads the list after in or notin.
func (p *parser) values(key, word string) ([]string, error) {
	if !p.take("(") {
		return nil, p.fault(p.at, fmt.Sprintf("as %s (a, b)", word), "%s needs its values in parentheses", word)
	}
	var list []string
	for {
		at := p.at
		value, err := p.value(key)
		switch {
		case err != nil:
			return nil, err
		case value[0] == "" && !p.done():
			return nil, p.fault(at, signs, "a value must stand here, not %q", p.next())
		}
		list = append(list, value...)
		switch {
		case p.take(")"):
			slices.Sort(list)
			return slices.Compact(list), nil
		case p.done():
			return nil, p.fault(p.at, "close it with )", "the values of %s have no end", word)
		case !p.take(","):
			return nil, p.fault(p.at, "values are joined by commas, and have "+signs,
				"%q can't stand here", p.next())
		}
	}
}

// unexpected says that what follows a condition is none of what may.
func (p *parser) unexpected(after condition) error {
	switch {
	case len(after.values) == 0 && !after.denied && strings.ContainsAny(p.next(), "<>~&|"):
		return p.fault(p.at, "labels are compared by =, !=, in and notin", "%q is no comparison", p.next())
	case len(after.values) == 0:
		return p.fault(p.at, "conditions are joined by commas; a comparison is =, !=, in or notin", "%q can't stand here", p.next())
	}
	return p.fault(p.at, "conditions are joined by commas, and values have "+signs,
		"%q can't stand here", p.next())
}

func (p *parser) done() bool { return p.at == len(p.text) }

// next returns the sign that comes next; "" at the end.
func (p *parser) next() string {
	_, n := utf8.DecodeRuneInString(p.text[p.at:])
	return p.text[p.at : p.at+n]
}

// take takes a sign, if it is what comes next.
func (p *parser) take(sign string) bool {
	if !strings.HasPrefix(p.text[p.at:], sign) {
		return false
	}
	p.at += len(sign)
	p.spaces()
	return true
}

// word takes a word, if it comes next and ends there.
func (p *parser) word(word string) bool {
	rest, ok := strings.CutPrefix(p.text[p.at:], word)
	if next, _ := utf8.DecodeRuneInString(rest); !ok || rest != "" && sign(next) {
		return false
	}
	return p.take(word)
}

// run takes the signs that may stand in a key or a value.
func (p *parser) run() string {
	from := p.at
	end := strings.IndexFunc(p.text[from:], func(r rune) bool { return !sign(r) })
	if end < 0 {
		end = len(p.text) - from
	}
	p.at = from + end
	p.spaces()
	return p.text[from : from+end]
}

func (p *parser) spaces() {
	for p.at < len(p.text) && strings.ContainsRune(" \t\r\n", rune(p.text[p.at])) {
		p.at++
	}
}

func (p *parser) fault(at int, hint, format string, args ...any) error {
	return &Error{Column: utf8.RuneCountInString(p.text[:at]) + 1, Message: fmt.Sprintf(format, args...), Hint: hint}
}
