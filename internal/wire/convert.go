package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"crony"
)

// FromChunk frames a piece of output.
func FromChunk(c *crony.Chunk) *Chunk {
	return &Chunk{Run: string(c.Run), Attempt: int32(c.Attempt), Stderr: c.Stream == crony.Stderr, Offset: c.Offset,
		At: c.At.UnixNano(), Data: c.Data}
}

// Domain returns the piece of output that was framed.
func (x *Chunk) Domain() crony.Chunk {
	stream := crony.Stdout
	if x.Stderr {
		stream = crony.Stderr
	}
	return crony.Chunk{Run: crony.RunID(x.Run), Attempt: int(x.Attempt), Stream: stream, Offset: x.Offset,
		At: Time(x.At), Data: x.Data}
}

// Time returns the instant of a message's unix nanoseconds, in UTC.
func Time(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }

// Nanos returns the unix nanoseconds of t, 0 of the zero time, which has none.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Encode writes a domain value as the JSON that travels inside a message.
func Encode[T any](v T) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a run's result would grow by that, and be another
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("wire: encode %T: %v", v, err)) // the domain types can all be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Decode reads the JSON inside a message. Keys that this version does not know are left out: the other side may be newer.
func Decode[T any](data []byte) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("decode %T: %w", v, err)
	}
	return v, nil
}
