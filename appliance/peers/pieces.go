package peers

import (
	"iter"

	"crony"
	"crony/internal/wire"
)

// The bounds of what travels of a run log. The hub takes no message of more than 1 MiB.
const (
	maxData  = 256 << 10 // bytes of records, or of a file, in one message
	maxBatch = 16 << 20  // bytes of one batch
)

// messages cuts batches, which are numbered from first, into pieces, and yields those of one message after the other.
func messages(first uint64, batches [][]byte) iter.Seq[[]*wire.Piece] {
	return func(yield func([]*wire.Piece) bool) {
		var pieces []*wire.Piece
		room := maxData
		for i, rest := range batches {
			for more := true; more; {
				n := min(room, len(rest))
				more = n < len(rest)
				pieces = append(pieces, &wire.Piece{Number: first + uint64(i), Data: rest[:n], More: more})
				rest, room = rest[n:], room-n
				if room > 0 {
					continue
				}
				if !yield(pieces) {
					return
				}
				pieces, room = nil, maxData
			}
		}
		if len(pieces) > 0 {
			yield(pieces)
		}
	}
}

// joiner puts pieces together again, in the order in which they come.
type joiner struct {
	number uint64
	data   []byte
	open   bool // the next piece is of the same batch
}

// add takes a piece, and reports whether its batch is whole now. The error says that the pieces can't be of a batch.
func (j *joiner) add(p *wire.Piece) (batch []byte, whole bool, err error) {
	switch {
	case j.open && p.GetNumber() != j.number:
		return nil, false, crony.Errorf(crony.Invalid, "a piece of batch %d where batch %d goes on", p.GetNumber(), j.number)
	case p.GetMore() && len(p.GetData()) == 0:
		return nil, false, crony.Errorf(crony.Invalid, "a piece of batch %d is empty", p.GetNumber())
	case len(j.data)+len(p.GetData()) > maxBatch:
		return nil, false, crony.Errorf(crony.Invalid, "batch %d has more than %d bytes", p.GetNumber(), maxBatch)
	}
	data := p.GetData()
	if j.open {
		data = append(j.data, data...)
	}
	j.number, j.data, j.open = p.GetNumber(), data, p.GetMore()
	if j.open {
		return nil, false, nil
	}
	j.data = nil
	return data, true, nil
}
