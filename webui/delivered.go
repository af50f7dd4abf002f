package webui

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"crony"
)

// delivered is what a client has of a run's output: of each stream of each attempt some stretches, which are apart from each
// other and in order. Its text is the id of an event, from which a client that lost the connection goes on: "1o0-500,1e0-9"
// is 500 bytes of the first attempt's stdout and 9 of its stderr.
type delivered map[place][]stretch

// place is one stream of one attempt.
type place struct {
	attempt int
	stream  crony.Stream
}

// stretch is the bytes from one offset up to another.
type stretch struct{ from, to int64 }

// maxID is how long an event's id may be. Output with more holes than fit has none: who loses it gets some again.
const maxID = 1 << 10

// add counts a chunk as delivered.
func (d delivered) add(c crony.Chunk) {
	at := place{c.Attempt, c.Stream}
	d[at] = join(d[at], stretch{c.Offset, c.End()})
}

// missing returns the parts of a chunk that were not delivered yet.
func (d delivered) missing(c crony.Chunk) (parts []crony.Chunk) {
	had := d[place{c.Attempt, c.Stream}]
	from, end := c.Offset, c.End()
	for i := 0; from < end; i++ {
		to := end
		if i < len(had) {
			to = min(end, had[i].from)
		}
		if from < to {
			part := c
			part.Offset, part.Data = from, c.Data[from-c.Offset:to-c.Offset]
			parts = append(parts, part)
		}
		if i == len(had) {
			break
		}
		from = max(from, had[i].to)
	}
	return parts
}

// join returns the stretches and another as stretches that are apart again.
func join(list []stretch, n stretch) []stretch {
	first, _ := slices.BinarySearchFunc(list, n.from, func(s stretch, from int64) int { return cmp.Compare(s.to, from) })
	after := first
	for after < len(list) && list[after].from <= n.to {
		n.from, n.to = min(n.from, list[after].from), max(n.to, list[after].to)
		after++
	}
	return slices.Replace(list, first, after, n)
}

// String returns the event id; "" if there is none.
func (d delivered) String() string {
	all := make([]place, 0, len(d))
	for at := range d {
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.attempt, b.attempt), cmp.Compare(b.stream, a.stream)) // stdout first
	})
	var b strings.Builder
	for _, at := range all {
		for _, s := range d[at] {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Itoa(at.attempt) + letterOf(at.stream) +
				strconv.FormatInt(s.from, 10) + "-" + strconv.FormatInt(s.to, 10))
			if b.Len() > maxID {
				return ""
			}
		}
	}
	return b.String()
}

func letterOf(s crony.Stream) string {
	if s == crony.Stderr {
		return "e"
	}
	return "o"
}

// parseDelivered reads an event's id.
func parseDelivered(id string) (delivered, error) {
	d := delivered{}
	if id == "" {
		return d, nil
	}
	if len(id) > 2*maxID {
		return nil, errNoEventID(id)
	}
	for part := range strings.SplitSeq(id, ",") {
		at, s, ok := parseStretch(part)
		if !ok {
			return nil, errNoEventID(id)
		}
		d[at] = join(d[at], s)
	}
	return d, nil
}

func parseStretch(text string) (at place, s stretch, ok bool) {
	i := strings.IndexAny(text, "oe")
	if i < 0 {
		return at, s, false
	}
	from, to, ok := strings.Cut(text[i+1:], "-")
	attempt, err := strconv.ParseUint(text[:i], 10, 31)
	first, err1 := strconv.ParseUint(from, 10, 63)
	last, err2 := strconv.ParseUint(to, 10, 63)
	at, s = place{int(attempt), crony.Stdout}, stretch{int64(first), int64(last)}
	if text[i] == 'e' {
		at.stream = crony.Stderr
	}
	return at, s, ok && err == nil && err1 == nil && err2 == nil && attempt > 0 && first < last
}

func errNoEventID(id string) error {
	return crony.Errorf(crony.Invalid, "%.60q is not the id of an event", id).
		WithHint("send the last one that the stream had, or none")
}
