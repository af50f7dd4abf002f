package crony

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ResultEnv names, in a command's environment, the file into which it may write the run's result: JSON, see [CheckResult].
const ResultEnv = "CRONY_RESULT"

// The bounds of a result.
const (
	MaxResult      = 48 << 10 // bytes
	MaxResultDepth = 64       // arrays and objects in one another
)

// ResultFact is what an attempt gives back. That of a run's last attempt counts: what one gave that was tried again does not,
// and of several of one attempt the first by number does. The others stay on record.
type ResultFact struct {
	Attempt int             `json:"attempt,omitempty"` // 0: whichever is the last
	Data    json.RawMessage `json:"data"`              // JSON
}

// ofLast says whether a result is of the run's last attempt, as far as is known.
func (r *Run) ofLast(f *ResultFact) bool {
	last := len(r.Attempts) - 1
	return f.Attempt == 0 || last < 0 || f.Attempt == r.Attempts[last].Number
}

// HandledFact says that somebody has handled the run's result.
type HandledFact struct {
	By      string `json:"by,omitempty"`
	Note    string `json:"note,omitempty"`
	Request string `json:"request"` // by which who asked knows their own
}

// Handled is who has handled a run's result, and when.
type Handled struct {
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"`
	Note    string    `json:"note,omitempty"`
	Request string    `json:"-"`
}

// Fact returns what is on record of it.
func (h *Handled) Fact(run RunID) Fact {
	return Fact{Run: run, Seq: HandledSeq, At: h.At, Handled: &HandledFact{By: h.By, Note: h.Note, Request: h.Request}}
}

// Words says it in plain words: "handled by alice at 2026-03-01T12:00:00Z: booked".
func (h *Handled) Words() string {
	text := "handled by " + or(h.By, "somebody") + " at " + h.At.UTC().Format(time.RFC3339)
	if h.Note != "" {
		text += ": " + h.Note
	}
	return text
}

// HandleOptions says how a result is marked as handled.
type HandleOptions struct {
	Note string `json:"note,omitempty"` // at most [MaxReason] bytes
	// Request is the caller's own name for what it asks for: the same again, by way of whichever server, has the same answer.
	// "": this can't be asked for again.
	Request string `json:"request,omitempty"`
}

// Check returns what is wrong with the options, an error of code Invalid with each fault; nil if nothing is.
func (o *HandleOptions) Check() error {
	var faults []Fault
	if len(o.Note) > MaxReason || !utf8.ValidString(o.Note) {
		faults = append(faults, Fault{Path: "note", Message: "is too long, or no text",
			Hint: fmt.Sprintf("at most %d bytes of UTF-8", MaxReason)})
	}
	if o.Request != "" && !requestForm.MatchString(o.Request) {
		faults = append(faults, Fault{Path: "request", Message: "is no name for a request",
			Hint: "1 to 64 of letters, digits, and _ . - inside"})
	}
	return invalid("this can't be marked as handled", faults)
}

// CheckResult returns what is to be kept of what a run gives back, in as few bytes as it takes: one JSON value (RFC 8259) in
// UTF-8, of at most [MaxResult] bytes and [MaxResultDepth]. The error, of code Invalid, says why it can't be kept.
func CheckResult(data []byte) (json.RawMessage, error) {
	var raw json.RawMessage
	switch syntax := (*json.SyntaxError)(nil); {
	case len(data) > MaxResult:
		return nil, Errorf(Invalid, "it has more than %d bytes", MaxResult)
	case !utf8.Valid(data):
		return nil, Errorf(Invalid, "it is not text in UTF-8")
	case errors.As(json.Unmarshal(data, &raw), &syntax):
		return nil, Errorf(Invalid, "it is not one JSON value: at byte %d, %v", syntax.Offset, syntax)
	case depth(raw) > MaxResultDepth:
		return nil, Errorf(Invalid, "it has arrays and objects in one another, more than %d deep", MaxResultDepth)
	}
	var kept bytes.Buffer
	if err := json.Compact(&kept, raw); err != nil {
		return nil, Errorf(Internal, "what is JSON can't be compacted: %v", err)
	}
	return kept.Bytes(), nil
}

// depth returns how many arrays and objects are in one another at most, in JSON that is known to be right.
func depth(data []byte) (most int) {
	now, text := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			now++
			most = max(most, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return most
}
