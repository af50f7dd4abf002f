package strict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// plainJSON returns a JSON document such that YAML reads in it what JSON means, on the same lines; anything else it returns
// as it is. In JSON, a slash may be escaped, a character beyond the first 65,536 may be written as two escapes, some characters
// may stand for themselves that YAML refuses or takes for line breaks, a tab may stand wherever a space may, and a colon may
// be on another line than its key.
func plainJSON(data []byte) []byte {
	if !json.Valid(data) {
		return data
	}
	var out bytes.Buffer
	out.Grow(len(data))
	quoted := false
	for len(data) > 0 {
		if data[0] == '\\' { // only strings hold one, and something follows it
			data = data[plainEscape(&out, data):]
			continue
		}
		r, size := utf8.DecodeRune(data)
		quoted = quoted != (r == '"')
		switch {
		case foreign(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		case r == '\t': // not in a string
			out.WriteByte(' ')
		case r == ':' && !quoted:
			key := len(bytes.TrimRight(out.Bytes(), " \t\r\n"))
			space := ":" + string(out.Bytes()[key:])
			out.Truncate(key)
			out.WriteString(space)
		default:
			out.Write(data[:size])
		}
		data = data[size:]
	}
	return out.Bytes()
}

// foreign says whether YAML reads something else than the character, or nothing, where it stands for itself in quotes.
func foreign(r rune) bool {
	return 0x7f <= r && r <= 0x9f || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff
}

// plainEscape writes the escape that data begins with, and returns how long it was.
func plainEscape(out *bytes.Buffer, data []byte) int {
	switch data[1] {
	case '/':
		out.WriteByte('/')
		return 2
	case 'u':
	default:
		out.Write(data[:2])
		return 2
	}
	const long = len(`\uXXXX`)
	r := unit(data)
	if !utf16.IsSurrogate(r) {
		out.Write(data[:long])
		return long
	}
	if len(data) >= 2*long && data[long] == '\\' && data[long+1] == 'u' {
		if both := utf16.DecodeRune(r, unit(data[long:])); both != utf8.RuneError {
			out.WriteRune(both)
			return 2 * long
		}
	}
	out.WriteRune(utf8.RuneError) // half a character, which encoding/json reads so
	return long
}

// unit returns the number in an escape of JSON's, which is known to be one.
func unit(escape []byte) rune {
	n, _ := strconv.ParseUint(string(escape[2:6]), 16, 16)
	return rune(n)
}
