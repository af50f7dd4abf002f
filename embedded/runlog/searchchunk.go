package runlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// packedChunk is a chunk as it is stored; good within its transaction.
type packedChunk struct {
	ref      chunkRef
	at       time.Time
	size     int // of its plain data
	encoding byte
	data     []byte
}

func (c *packedChunk) from() int64 { return int64(c.ref.offset & math.MaxInt64) }
func (c *packedChunk) to() int64   { return c.from() + int64(c.size) }

// eachChunk calls f with the chunks of a run from a place on, in their order, until it returns false. The chunk is good until
// f returns.
func eachChunk(tx *bbolt.Tx, run runKey, from chunkRef, f func(*packedChunk) (bool, error)) error {
	c := tx.Bucket([]byte(bucketChunks)).Cursor()
	for key, value := c.Seek(chunkKey(run, from)); bytes.HasPrefix(key, run[:]); key, value = c.Next() {
		if len(key) != chunkKeySize || len(value) < chunkHeaderSize || value[0] != valueVersion {
			return fmt.Errorf("run %s has a chunk of an unknown version", run.id())
		}
		more, err := f(&packedChunk{
			ref: chunkRef{
				attempt: binary.BigEndian.Uint32(key[16:]), stream: key[20], offset: binary.BigEndian.Uint64(key[21:]),
			},
			at:   time.Unix(int64(binary.BigEndian.Uint64(value[2:])), int64(binary.BigEndian.Uint32(value[10:]))).UTC(),
			size: min(plainSize(value), MaxChunk), encoding: value[1], data: value[chunkHeaderSize:],
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// unpack writes the chunk's data over what to has room for beyond its length, and returns it.
func (c *codec) unpack(to []byte, p *packedChunk) (data []byte, err error) {
	switch p.encoding {
	case chunkPlain:
		data = append(to, p.data...)
	case chunkZstd:
		data, err = c.dec.DecodeAll(p.data, to)
	default:
		err = fmt.Errorf("unknown encoding %d", p.encoding)
	}
	if err == nil && len(data) != len(to)+p.size {
		err = fmt.Errorf("%d bytes where %d were stored", len(data)-len(to), p.size)
	}
	return data, err
}

func streamOf(b byte) crony.Stream {
	if b == 2 {
		return crony.Stderr
	}
	return crony.Stdout
}
