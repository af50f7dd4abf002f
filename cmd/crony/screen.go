package main

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// screen makes what runs wrote fit to be written to a terminal. Colours, tabs and the ends of lines stay; any other control
// character, and what is not UTF-8, is made visible, so that output can neither hide anything nor make the terminal do
// anything. It remembers what was left open: a line, a character, a sequence, a colour.
type screen struct {
	from     string // the stream that was written last
	open     bool   // its last line has no end yet
	rest     []byte // of it: what may go on in the next piece
	coloured bool
}

const resetColour = "\x1b[0m"

// render returns what is to be written for a piece of a stream. Each line of it begins with mark.
func (s *screen) render(mark []byte, stream string, piece []byte) (out []byte) {
	if s.from != stream {
		out = s.end(out)
	}
	s.from = stream
	data := append(s.rest, piece...) //nolint:gocritic // rest is given up
	s.rest = nil
	for len(data) > 0 {
		size, text := s.next(data)
		if size == 0 {
			s.rest = bytes.Clone(data)
			break
		}
		if !s.open {
			out = append(out, mark...)
		}
		out = append(out, text...)
		s.open = data[size-1] != '\n'
		data = data[size:]
	}
	return out
}

// end returns out and what brings the terminal to the beginning of a line, without colours.
func (s *screen) end(out []byte) []byte {
	for _, b := range s.rest {
		out = appendByte(out, b)
	}
	if s.coloured {
		out = append(out, resetColour...)
	}
	if s.open || len(s.rest) > 0 {
		out = append(out, '\n')
	}
	*s = screen{}
	return out
}

// next returns how long the next character or sequence of data is, and how it is shown; 0 if more has to be known.
func (s *screen) next(data []byte) (size int, text []byte) {
	switch data[0] {
	case '\n', '\t':
		return 1, data[:1]
	case '\r':
		switch {
		case len(data) == 1:
			return 0, nil
		case data[1] == '\n':
			return 2, data[1:2]
		}
		return 1, []byte("^M")
	case '\x1b':
		size, colour := colourSequence(data)
		if colour {
			s.coloured = !bytes.Equal(data[:size], []byte(resetColour)) && !bytes.Equal(data[:size], []byte("\x1b[m"))
			return size, data[:size]
		}
		if size == 0 {
			return 0, nil
		}
		return 1, []byte("^[")
	}
	if !utf8.FullRune(data) {
		return 0, nil
	}
	r, size := utf8.DecodeRune(data)
	switch {
	case r == utf8.RuneError && size == 1:
		return 1, appendByte(nil, data[0])
	case r < 0x20 || r == 0x7f:
		return 1, []byte{'^', data[0] ^ 0x40}
	case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
		return size, fmt.Appendf(nil, "<U+%04X>", r)
	}
	return size, data[:size]
}

func appendByte(out []byte, b byte) []byte { return fmt.Appendf(out, `\x%02x`, b) }

// maxSequence is how long a sequence that sets colours may be.
const maxSequence = 32

// colourSequence says whether data begins with a sequence that sets colours (ECMA-48, SGR), and how long that is; if not, 0
// if it may yet become one.
func colourSequence(data []byte) (size int, is bool) {
	for i := 1; i < min(len(data), maxSequence); i++ {
		b := data[i]
		switch {
		case i == 1 && b == '[':
		case i > 1 && (b >= '0' && b <= '9' || b == ';' || b == ':'):
		case i > 1 && b == 'm':
			return i + 1, true
		default:
			return 1, false
		}
	}
	if len(data) < maxSequence {
		return 0, false
	}
	return 1, false
}
