package runlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"crony"
)

// A chunk's value: version byte, encoding byte, length of its plain data, CRC32C of that as uint32, when it was read; CRC32C of
// the key and of all that as uint32; data.
const (
	chunkPlain   = 0
	chunkZstd    = 1
	chunkGivenUp = 2 // there is no data: see space.go. It travels nowhere and is in no sum

	worthPacking = 64 // bytes; less than this never gets smaller
)

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

// refOf returns the place that a chunk's key names.
func refOf(key []byte) (k runKey, r chunkRef, ok bool) {
	if len(key) != chunkKeySize {
		return k, r, false
	}
	r = chunkRef{attempt: binary.BigEndian.Uint32(key[16:]), stream: key[20], offset: binary.BigEndian.Uint64(key[21:])}
	fits := r.attempt >= 1 && r.attempt <= math.MaxInt32 && (r.stream == 1 || r.stream == 2) && r.offset <= math.MaxInt64
	return runKey(key[:16]), r, fits
}

// chunkRecord is a chunk that was checked. It is never changed, and shares nothing with who gave it.
type chunkRecord struct {
	run   runKey
	ref   chunkRef
	key   []byte
	value []byte
	chunkHeader
}

// chunkHeader is what a chunk's value says of its data.
type chunkHeader struct {
	encoding byte
	size     int // of the plain data
	sum      uint32
	at       []byte // when it was read, as it is written
	data     []byte // packed
}

func chunkHeaderOf(key, value []byte) (h chunkHeader, err error) {
	u := unpacker{b: value}
	version := u.byte()
	h.encoding, h.size = u.byte(), u.number(MaxChunk)
	if sum := u.bytes(4); sum != nil {
		h.sum = binary.BigEndian.Uint32(sum)
	}
	at := u.b
	u.time(0)
	h.at = at[:len(at)-len(u.b)]
	head := value[:len(value)-len(u.b)]
	sum := u.bytes(4)
	h.data = u.b
	if u.failed || binary.BigEndian.Uint32(sum) != recordSum(key, head) {
		return chunkHeader{}, errUnknownRecord
	}
	wrong := h.encoding > chunkGivenUp || h.encoding == chunkPlain && len(h.data) != h.size ||
		h.givenUp() != (len(h.data) == 0)
	if version != valueVersion || wrong || h.size == 0 {
		return chunkHeader{}, errUnknownRecord
	}
	return h, nil
}

// givenUp says that there was no room for the data.
func (h *chunkHeader) givenUp() bool { return h.encoding == chunkGivenUp }

// giveUp returns the value of a chunk without its data.
func giveUp(key, value []byte, h *chunkHeader) []byte {
	kept := bytes.Clone(value[:len(value)-len(h.data)-4])
	kept[1] = chunkGivenUp
	return seal(kept, 0, key)
}

// readAt returns when a chunk of the run k was read.
func (h *chunkHeader) readAt(k runKey) time.Time {
	u := unpacker{b: h.at}
	return u.time(k.millis())
}

// outweighs says whether of two different chunks in one place h is the one to keep: on every server the same.
func (h *chunkHeader) outweighs(other *chunkHeader) bool {
	if h.size != other.size {
		return h.size > other.size
	}
	if h.sum != other.sum {
		return h.sum < other.sum
	}
	return bytes.Compare(h.at, other.at) < 0
}

// chunkHash is what a chunk adds to the sums: its place, and the length and CRC32C of its plain data.
func chunkHash(key []byte, h *chunkHeader) uint64 {
	var b [chunkKeySize + 8]byte
	copy(b[:], key)
	binary.BigEndian.PutUint32(b[chunkKeySize:], uint32(h.size))
	binary.BigEndian.PutUint32(b[chunkKeySize+4:], h.sum)
	return xxhash.Sum64(b[:])
}

// codec packs chunks. Its methods are safe for concurrent use.
type codec struct {
	enc   *zstd.Encoder
	dec   *zstd.Decoder
	table *crc32.Table
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxChunk))
	if err != nil {
		return nil, err
	}
	return &codec{enc: enc, dec: dec, table: crc32.MakeTable(crc32.Castagnoli)}, nil
}

func (c *codec) close() {
	c.enc.Close() //nolint:errcheck // it writes to nothing
	c.dec.Close()
}

func (c *codec) checksum(data []byte) uint32 { return crc32.Checksum(data, c.table) }

// newChunkRecord checks a chunk of the run k and packs it.
func (c *codec) newChunkRecord(k runKey, ch *crony.Chunk) (chunkRecord, error) {
	stream, ok := streamByte(ch.Stream)
	wrong := ""
	switch {
	case !ok:
		wrong = fmt.Sprintf("there is no stream %.40q", ch.Stream)
	case !attemptFits(ch.Attempt):
		wrong = "attempts are numbered from 1"
	case len(ch.Data) == 0:
		wrong = "it is empty"
	case len(ch.Data) > MaxChunk:
		wrong = fmt.Sprintf("its %d bytes are more than %d", len(ch.Data), MaxChunk)
	case ch.Offset < 0 || ch.Offset > math.MaxInt64-int64(len(ch.Data)):
		wrong = fmt.Sprintf("its offset %d is out of range", ch.Offset)
	case !writable(ch.At):
		wrong = "its time is outside the years 0 to 9999"
	}
	if wrong != "" {
		return chunkRecord{}, crony.Errorf(crony.Invalid, "a chunk of run %s: %s", ch.Run, wrong)
	}
	ref := chunkRef{attempt: uint32(ch.Attempt), stream: stream, offset: uint64(ch.Offset)}
	rec := chunkRecord{run: k, ref: ref, key: chunkKey(k, ref)}
	rec.value = c.encodeChunk(rec.key, ch)
	var err error
	rec.chunkHeader, err = chunkHeaderOf(rec.key, rec.value)
	return rec, err
}

func (c *codec) encodeChunk(key []byte, ch *crony.Chunk) []byte {
	b := append(make([]byte, 0, 32+len(ch.Data)), valueVersion, chunkPlain)
	b = binary.AppendUvarint(b, uint64(len(ch.Data)))
	b = binary.BigEndian.AppendUint32(b, c.checksum(ch.Data))
	b = appendTime(b, runKey(key[:runSize]).millis(), ch.At)
	head := len(b)
	b = append(b, 0, 0, 0, 0) // the checksum of what is before it, when that is known
	var whole []byte
	if len(ch.Data) >= worthPacking {
		whole = c.enc.EncodeAll(ch.Data, b)
	}
	if packed := len(whole); packed > 0 && packed < len(b)+len(ch.Data) {
		whole[1] = chunkZstd
	} else {
		whole = append(b, ch.Data...)
	}
	binary.BigEndian.PutUint32(whole[head:], recordSum(key, whole[:head]))
	return whole
}

// plain returns a copy of a chunk's data, checked.
func (c *codec) plain(h *chunkHeader) (data []byte, err error) {
	if h.encoding == chunkPlain {
		data = bytes.Clone(h.data)
	} else if data, err = c.dec.DecodeAll(h.data, make([]byte, 0, h.size)); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnknownRecord, err)
	}
	if len(data) != h.size || c.checksum(data) != h.sum {
		return nil, fmt.Errorf("%w: its data has changed since it was stored", errUnknownRecord)
	}
	return data, nil
}

// decodeChunk returns the chunk that key and value hold. Its data is a copy; there is none if it was given up.
func (c *codec) decodeChunk(id crony.RunID, key, value []byte) (ch crony.Chunk, err error) {
	k, ref, ok := refOf(key)
	h, err := chunkHeaderOf(key, value)
	if err == nil && !ok {
		err = errUnknownRecord
	}
	if err == nil && !h.givenUp() {
		ch.Data, err = c.plain(&h)
	}
	if err != nil {
		return crony.Chunk{}, unreadableChunk(id, err)
	}
	ch.Run, ch.Attempt, ch.Stream, ch.Offset = id, int(ref.attempt), crony.Stdout, int64(ref.offset)
	if ref.stream == 2 {
		ch.Stream = crony.Stderr
	}
	ch.At = h.readAt(k)
	return ch, nil
}
