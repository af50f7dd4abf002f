package crony

import (
	"errors"
	"fmt"
	"strings"

	"crony/internal/strict"
)

// Code sorts an [Error] by what the caller can do about it. It travels over REST by its text.
type Code string

// The codes, each with the HTTP status that the REST API gives it.
const (
	Invalid      Code = "invalid"      // 422: the input is wrong; mend it
	NotFound     Code = "not_found"    // 404: no such thing
	Conflict     Code = "conflict"     // 409, 412: it exists, or has changed meanwhile
	Unauthorized Code = "unauthorized" // 401: who are you?
	Forbidden    Code = "forbidden"    // 403: you may not
	TooLarge     Code = "too_large"    // 413: send less
	Unavailable  Code = "unavailable"  // 503: not now; the same call may work later
	Internal     Code = "internal"     // 500: our fault
)

// Fault is one thing wrong with an input: where it is, what is wrong, and what to do.
type Fault = strict.Fault

// Error is an error that a person may read: the same from a local store and over REST.
type Error struct {
	Code    Code
	Message string  // what was refused, in plain words; no trailing full stop
	Hint    string  // what to do; "" if there is nothing to say
	Faults  []Fault // for Invalid: every fault of the input, in its order
	Err     error   // the cause, for the log; never shown to a stranger
}

// Errorf returns an Error without a hint.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns e with its hint set.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns the message, the hint and each fault on a line of its own.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	for _, f := range e.Faults {
		b.WriteString("\n" + f.String())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first [Error] in err's tree, Internal for another error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// invalid makes one Error of faults, nil of none.
func invalid(what string, faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	noun := "fault"
	if len(faults) > 1 {
		noun = "faults"
	}
	return &Error{Code: Invalid, Message: fmt.Sprintf("%s has %d %s", what, len(faults), noun), Faults: faults}
}
