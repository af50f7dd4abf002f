package callback

import (
	"bytes"
	"io"
	"strings"
)

// A callee may say back all that it was told, as services do that show their requests. What goes into output and reasons does
// not hold the call's token: whoever reads them could answer in the callee's place.

const veiled = "…"

// quiet returns a text without the call's token.
func (call *Call) quiet(text string) string {
	if token := call.told[tokenHeader]; token != "" {
		text = strings.ReplaceAll(text, token, veiled)
	}
	return text
}

// veil writes on what is written to it, without a token.
type veil struct {
	to    io.Writer
	token []byte // none: all of it
	held  []byte // may be the beginning of a token
}

func (call *Call) veil(to io.Writer) *veil {
	return &veil{to: to, token: []byte(call.told[tokenHeader])}
}

// Write implements [io.Writer].
func (v *veil) Write(p []byte) (int, error) {
	if len(v.token) == 0 {
		return v.to.Write(p)
	}
	v.held = bytes.ReplaceAll(append(v.held, p...), v.token, []byte(veiled))
	whole := len(v.held) - v.begun()
	_, err := v.to.Write(v.held[:whole])
	v.held = append(v.held[:0], v.held[whole:]...)
	return len(p), err
}

// begun returns how many bytes at the end may be the beginning of a token.
func (v *veil) begun() int {
	for n := min(len(v.token)-1, len(v.held)); n > 0; n-- {
		if bytes.HasSuffix(v.held, v.token[:n]) {
			return n
		}
	}
	return 0
}

// flush writes what was held back: no more comes.
func (v *veil) flush() {
	v.to.Write(v.held) //nolint:errcheck // what becomes of it is the writer's affair
	v.held = nil
}
