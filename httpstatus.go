package crony

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// statusRange is the statuses from one to another, both among them.
type statusRange struct{ from, to int }

// parseStatus reads "204" or "200-299".
func parseStatus(text string) (statusRange, error) {
	first, last, is := strings.Cut(text, "-")
	if !is {
		last = first
	}
	from, err1 := statusCode(first)
	to, err2 := statusCode(last)
	switch {
	case err1 != nil:
		return statusRange{}, err1
	case err2 != nil:
		return statusRange{}, err2
	case from > to:
		return statusRange{}, fmt.Errorf("%q ends before it begins", text)
	}
	return statusRange{from, to}, nil
}

func statusCode(text string) (int, error) {
	code, err := strconv.Atoi(text)
	if err != nil || len(text) != 3 || code < 200 || code > 599 {
		return 0, fmt.Errorf("%q is no status of an answer", text)
	}
	return code, nil
}

// Takes says whether an answer's status is a success; the zero value's are 200 to 299.
func (e *HTTPExpect) Takes(status int) bool {
	if e == nil || len(e.Status) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.ContainsFunc(e.Status, func(text string) bool {
		r, err := parseStatus(text)
		return err == nil && r.from <= status && status <= r.to
	})
}
