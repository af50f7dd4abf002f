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
	bad error // why nothing else is known of it
}

func (c *packedChunk) from() int64 { return int64(c.ref.offset) }
func (c *packedChunk) to() int64   { return c.from() + int64(c.size) }

// eachChunk calls f with the chunks of a run from a place on, in their order, until it returns false. The chunk is good until
// f returns.
func eachChunk(tx *bbolt.Tx, run runKey, from chunkRef, f func(*packedChunk) (bool, error)) error {
	c := tx.Bucket([]byte(bucketChunks)).Cursor()
	for key, value := c.Seek(chunkKey(run, from)); bytes.HasPrefix(key, run[:]); key, value = c.Next() {
		_, ref, ok := refOf(key)
		h, err := chunkHeaderOf(value)
		if !ok {
			err = errUnknownRecord
		}
		if more, err := f(&packedChunk{ref, h, err}); err != nil || !more {
			return err
		}
	}
	return nil
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
