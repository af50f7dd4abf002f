package runlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"

	"crony"
)

// This file is the format of a day file. All integers are big-endian, so that keys sort as what they stand for.
//
//	bucket  key                                                        value
//	meta    "format"                                                   uint32
//	facts   run [16], seq uint32                                       version byte, the fact as JSON
//	runs    run [16]                                                   version byte, the folded run as JSON
//	index   'j' job, 'a' agent or 's' state; 0; run [16]               one byte, without meaning
//	chunks  run [16], attempt uint32, stream byte, offset uint64       version byte, chunk header, data
//	stretches  job; 0; to, from as nanoseconds since 1970 uint64; uid  version byte, the stretch as JSON
//
// The bucket of stretches is made with the first of them; the older files have none.
const (
	format = 1 // of a day file; grows when an older crony could not read it

	bucketMeta   = "meta"
	bucketFacts  = "facts"
	bucketRuns   = "runs"
	bucketIndex  = "index"
	bucketChunks = "chunks"
	keyFormat    = "format"

	bucketStretches = "stretches"

	valueVersion = 1

	indexJob   = 'j'
	indexAgent = 'a'
	indexState = 's'
)

// runKey is a run's id as the 16 bytes of its ULID.
type runKey ulid.ULID

// dayNumber counts UTC days from 1970-01-01.
type dayNumber int64

const (
	dayMillis = 24 * 60 * 60 * 1000
	lastDay   = dayNumber(2932896) // 9999-12-31: RFC 3339 and the files' names have four digits for the year
)

func parseID(id crony.RunID) (runKey, error) {
	if _, err := crony.ParseRunID(string(id)); err != nil {
		return runKey{}, err
	}
	u, err := ulid.ParseStrict(string(id))
	if err != nil {
		return runKey{}, err
	}
	k := runKey(u)
	if k.day() > lastDay {
		return runKey{}, crony.Errorf(crony.Invalid, "run %s would be after the year 9999", id)
	}
	return k, nil
}

func (k runKey) id() crony.RunID { return crony.RunID(ulid.ULID(k).String()) }
func (k runKey) day() dayNumber  { return dayNumber(ulid.ULID(k).Time() / dayMillis) }

// first returns the smallest key that a run of the day can have.
func (d dayNumber) first() (k runKey) {
	_ = (*ulid.ULID)(&k).SetTime(uint64(d) * dayMillis) // fails from the year 10889 on
	return k
}

func (d dayNumber) String() string {
	return time.UnixMilli(int64(d) * dayMillis).UTC().Format(time.DateOnly)
}

func parseDay(s string) (dayNumber, error) {
	t, err := time.Parse(time.DateOnly, s)
	return dayNumber(t.Unix() / (24 * 60 * 60)), err
}

func factKey(k runKey, seq int) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 20), k[:]...), uint32(seq))
}

func indexPrefix(kind byte, name string) []byte {
	return append(append(append(make([]byte, 0, 18+len(name)), kind), name...), 0)
}

func indexKey(kind byte, name string, k runKey) []byte {
	return append(indexPrefix(kind, name), k[:]...)
}

// chunkRef is a chunk's place within its run.
type chunkRef struct {
	attempt uint32
	stream  byte // 1 is stdout, 2 is stderr
	offset  uint64
}

func streamByte(s crony.Stream) (byte, bool) {
	switch s {
	case crony.Stdout:
		return 1, true
	case crony.Stderr:
		return 2, true
	}
	return 0, false
}

const chunkKeySize = 16 + 4 + 1 + 8

func chunkKey(k runKey, r chunkRef) []byte {
	b := append(make([]byte, 0, chunkKeySize), k[:]...)
	b = append(binary.BigEndian.AppendUint32(b, r.attempt), r.stream)
	return binary.BigEndian.AppendUint64(b, r.offset)
}

func encodeJSON(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte{valueVersion}, body...), nil
}

func decodeJSON(value []byte, v any) error {
	if len(value) == 0 || value[0] != valueVersion {
		return fmt.Errorf("unknown version of a record")
	}
	return json.Unmarshal(value[1:], v)
}

// same says whether two values hold the same record, even if another version of crony wrote one of them.
func same[T any](stored, value []byte) bool {
	if bytes.Equal(stored, value) {
		return true
	}
	var v T
	if decodeJSON(stored, &v) != nil {
		return false
	}
	again, err := encodeJSON(&v)
	return err == nil && bytes.Equal(again, value)
}

// codec compresses chunks. Its methods are safe for concurrent use.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxChunk))
	if err != nil {
		return nil, err
	}
	return &codec{enc: enc, dec: dec}, nil
}

func (c *codec) close() {
	c.enc.Close() //nolint:errcheck // it writes to nothing
	c.dec.Close()
}

// A chunk's header: version, encoding, the time it was read as seconds and nanoseconds, the length of its plain data.
const (
	chunkHeaderSize = 1 + 1 + 8 + 4 + 4
	chunkPlain      = 0
	chunkZstd       = 1
)

func (c *codec) encodeChunk(ch *crony.Chunk) []byte {
	at := ch.At.UTC()
	b := make([]byte, 0, chunkHeaderSize+len(ch.Data))
	b = append(b, valueVersion, chunkZstd)
	b = binary.BigEndian.AppendUint64(b, uint64(at.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(at.Nanosecond()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(ch.Data)))
	if packed := c.enc.EncodeAll(ch.Data, b); len(packed) < chunkHeaderSize+len(ch.Data) {
		return packed
	}
	b[1] = chunkPlain
	return append(b, ch.Data...)
}

// plainSize returns the length of a stored chunk's data without unpacking it.
func plainSize(value []byte) int {
	if len(value) < chunkHeaderSize {
		return 0
	}
	return int(binary.BigEndian.Uint32(value[14:]))
}

// decodeChunk returns the chunk that key and value hold. Its data is a copy.
func (c *codec) decodeChunk(id crony.RunID, key, value []byte) (ch crony.Chunk, err error) {
	if len(key) != chunkKeySize || len(value) < chunkHeaderSize || value[0] != valueVersion {
		return ch, fmt.Errorf("unknown version of a chunk")
	}
	ch = crony.Chunk{
		Run: id, Attempt: int(binary.BigEndian.Uint32(key[16:])), Stream: crony.Stdout,
		Offset: int64(binary.BigEndian.Uint64(key[21:]) & math.MaxInt64),
		At:     time.Unix(int64(binary.BigEndian.Uint64(value[2:])), int64(binary.BigEndian.Uint32(value[10:]))).UTC(),
	}
	if key[20] == 2 {
		ch.Stream = crony.Stderr
	}
	switch value[1] {
	case chunkPlain:
		ch.Data = bytes.Clone(value[chunkHeaderSize:])
	case chunkZstd:
		ch.Data, err = c.dec.DecodeAll(value[chunkHeaderSize:], make([]byte, 0, min(plainSize(value), MaxChunk)))
	default:
		err = fmt.Errorf("unknown encoding %d", value[1])
	}
	if err == nil && len(ch.Data) != plainSize(value) {
		err = fmt.Errorf("%d bytes where %d were stored", len(ch.Data), plainSize(value))
	}
	if err != nil {
		return ch, fmt.Errorf("unpack a chunk of run %s: %w", id, err)
	}
	return ch, nil
}
