package runlog

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/oklog/ulid/v2"

	"crony"
)

// searchCursor is how far a search has come: all runs newer than run are done and, unless it is inside, run too. The zero
// cursor is the beginning.
type searchCursor struct {
	run    runKey
	inside bool

	// Inside the run: all before at has been looked at.
	attempt uint32
	stream  byte
	at      int64
	line    int64 // where the line that at is in begins
	skip    bool  // that line is done
}

func startOf(id crony.RunID) (searchCursor, error) {
	k, err := parseID(id)
	return searchCursor{run: k, inside: true}, err
}

// beforeList returns the cursor from which the list goes on.
func beforeList(next string) (searchCursor, error) {
	u, err := ulid.ParseStrict(next)
	return searchCursor{run: runKey(u)}, err
}

// list returns the list's cursor for the runs after the one that the search is at.
func (c *searchCursor) list() string {
	if c.run == (runKey{}) {
		return ""
	}
	return string(c.run.id())
}

// A cursor's text is the base64 of its version, the run and, inside it, the place.
const (
	searchVersion    = 1
	searchCursorOut  = 1 + 16
	searchCursorSize = searchCursorOut + 4 + 1 + 8 + 8 + 1
)

// String returns the cursor as its text.
func (c *searchCursor) String() string {
	b := append(make([]byte, 0, searchCursorSize), searchVersion)
	b = append(b, c.run[:]...)
	if c.inside {
		b = append(binary.BigEndian.AppendUint32(b, c.attempt), c.stream)
		b = binary.BigEndian.AppendUint64(b, uint64(c.at))
		b = binary.BigEndian.AppendUint64(b, uint64(c.line))
		b = append(b, 0)
		if c.skip {
			b[len(b)-1] = 1
		}
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseSearchCursor(text string) (c searchCursor, err error) {
	if text == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != searchCursorOut && len(b) != searchCursorSize || b[0] != searchVersion {
		return c, errNoCursor(text)
	}
	c.run = runKey(b[1:])
	if len(b) == searchCursorOut {
		return c, nil
	}
	b = b[searchCursorOut:]
	at, line := binary.BigEndian.Uint64(b[5:]), binary.BigEndian.Uint64(b[13:])
	if line > at || at > math.MaxInt64 || b[21] > 1 || c.run.day() > lastDay {
		return c, errNoCursor(text)
	}
	c.inside, c.attempt, c.stream = true, binary.BigEndian.Uint32(b), b[4]
	c.at, c.line, c.skip = int64(at), int64(line), b[21] == 1
	return c, nil
}

func errNoCursor(text string) error {
	return crony.Errorf(crony.Invalid, "%.40q is not a cursor", text).WithHint("take `next` of the page before")
}
