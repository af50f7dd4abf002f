package runlog

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"crony"
)

// packedChunk is a chunk as it is stored; good within its transaction.
type packedChunk struct {
	ref chunkRef
	chunkHeader
}

func (c *packedChunk) from() int64 { return int64(c.ref.offset) }
func (c *packedChunk) to() int64   { return c.from() + int64(c.size) }

// eachChunk calls f with the chunks of a run from a place on, in their order, until it returns false. The chunk is good until
// f returns. What is no chunk, or of an unknown version, is told to bad and passed over.
func eachChunk(tx *bbolt.Tx, run runKey, from chunkRef, bad func(chunkRef, error), f func(*packedChunk) bool) {
	c := tx.Bucket([]byte(bucketChunks)).Cursor()
	for key, value := c.Seek(chunkKey(run, from)); bytes.HasPrefix(key, run[:]); key, value = c.Next() {
		_, ref, ok := refOf(key)
		h, err := chunkHeaderOf(key, value)
		switch {
		case err != nil || !ok:
			bad(ref, errUnknownRecord)
		case h.givenUp(): // a gap, as if nothing were there
		case !f(&packedChunk{ref, h}):
			return
		}
	}
}

// unpack appends a chunk's data to to, which has room for it, and checks it.
func (c *codec) unpack(to []byte, h *chunkHeader) (data []byte, err error) {
	if h.encoding == chunkPlain {
		data = append(to, h.data...)
	} else if data, err = c.dec.DecodeAll(h.data, to); err != nil {
		return nil, err
	}
	if fresh := data[len(to):]; len(fresh) != h.size || c.checksum(fresh) != h.sum {
		return nil, fmt.Errorf("its data has changed since it was stored")
	}
	return data, nil
}

func streamOf(b byte) crony.Stream {
	if b == 2 {
		return crony.Stderr
	}
	return crony.Stdout
}
