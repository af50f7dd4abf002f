package sdk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const maxEvent = 8 << 20 // bytes of one event, and of one line

var errEventTooLarge = errors.New("an event of the stream is too large")

// event is one server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html).
type event struct {
	name string
	data []byte
}

// eventReader reads events from a stream whose lines end in LF or CRLF. It keeps no ids: streams are not resumed.
type eventReader struct{ lines *bufio.Scanner }

func newEventReader(r io.Reader) *eventReader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	return &eventReader{lines: lines}
}

// next returns the next event that has data, or a name; its data is good until the call after. A stream that ends, even in
// the middle of an event, ends with io.ErrUnexpectedEOF: only an event can say that a stream is complete.
func (r *eventReader) next() (event, error) {
	var e event
	for r.lines.Scan() {
		line := r.lines.Bytes()
		if len(line) == 0 {
			if e.name != "" || e.data != nil {
				return e, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
		if len(e.data) > maxEvent {
			return event{}, errEventTooLarge
		}
	}
	switch err := r.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return event{}, errEventTooLarge
	case err != nil:
		return event{}, err
	}
	return event{}, io.ErrUnexpectedEOF
}
