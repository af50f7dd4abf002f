package runlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

	"github.com/oklog/ulid/v2"

	"crony"
)

// This file is the format of a day file. All integers in keys are big-endian, so that keys sort as what they stand for.
//
//	bucket     key                                                   value
//	meta       "format"                                              uint32
//	names      id uint32, from 1 on                                  a text: a job's name, an agent's id, a set of labels, …
//	ids        xxhash64 of a text                                    the ids of the texts that have it, uint32 each
//	runs       run [16]                                              version byte, header, facts, CRC32C: see header.go and fact.go
//	live       run [16]                                              one byte: the run goes on
//	pending    run [16]                                              version byte, header: see settle.go
//	index      slot byte, kind byte, name id uint32, run [16]        runs [16] each, in order; the key's is the first
//	counters   'd', 'h' and hour byte, or 'j' and name id uint32     counts and histogram: see counter.go
//	chunks     run [16], attempt uint32, stream byte, offset uint64  version byte, header, data: see chunk.go
//	stretches  job; 0; to, from as nanoseconds since 1970 uint64; uid  version byte, packed, CRC32C: see stretch.go
//	sums       minute of the day uint16                              records uint64, hash uint64
//
// Runs, chunks and stretches are the truth. Names belong to one file: a text has another id in the next. Live and sums are
// kept in the transaction that changes the truth; index and counters follow it some thousand runs later, and pending says
// how far, so that who reads all three sees what is true now.
const (
	format = 2 // of a day file; grows when an older crony could not read it. The first was never released

	bucketMeta      = "meta"
	bucketNames     = "names"
	bucketIDs       = "ids"
	bucketRuns      = "runs"
	bucketLive      = "live"
	bucketPending   = "pending"
	bucketIndex     = "index"
	bucketCounters  = "counters"
	bucketChunks    = "chunks"
	bucketStretches = "stretches"
	bucketSums      = "sums"

	keyFormat = "format"

	valueVersion = 1 // of the records, each of which begins with it
)

// buckets returns the names of all that a day file has.
func buckets() []string {
	return []string{
		bucketMeta, bucketNames, bucketIDs, bucketRuns, bucketLive, bucketPending, bucketIndex, bucketCounters, bucketChunks,
		bucketStretches, bucketSums,
	}
}

// runKey is a run's id as the 16 bytes of its ULID.
type runKey ulid.ULID

// dayNumber counts UTC days from 1970-01-01.
type dayNumber int64

const (
	dayMillis    = 24 * 60 * 60 * 1000
	minuteMillis = 60 * 1000
	dayMinutes   = 24 * 60
	lastDay      = dayNumber(2932896) // 9999-12-31: RFC 3339 and the files' names have four digits for the year
)

func parseID(id crony.RunID) (runKey, error) {
	u, err := ulid.ParseStrict(string(id))
	if err == nil {
		var text [ulid.EncodedSize]byte
		if err = u.MarshalTextTo(text[:]); err == nil && string(text[:]) != string(id) {
			err = ulid.ErrInvalidCharacters
		}
	}
	if err != nil {
		_, err := crony.ParseRunID(string(id))
		return runKey{}, err
	}
	k := runKey(u)
	if k.day() > lastDay {
		return runKey{}, crony.Errorf(crony.Invalid, "run %s would be after the year 9999", id)
	}
	return k, nil
}

func (k runKey) id() crony.RunID { return crony.RunID(ulid.ULID(k).String()) }
func (k runKey) millis() int64   { return int64(ulid.ULID(k).Time()) }
func (k runKey) day() dayNumber  { return dayNumber(k.millis() / dayMillis) }

// minute returns which of the day's minutes the run belongs to.
func (k runKey) minute() int { return int(k.millis() % dayMillis / minuteMillis) }

func compareRuns(a, b runKey) int { return bytes.Compare(a[:], b[:]) }

// below returns the greatest key that is less than k; false if there is none.
func (k runKey) below() (runKey, bool) {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]--
		if k[i] != 0xff {
			return k, true
		}
	}
	return k, false
}

// above returns the smallest key that is greater than k; false if there is none.
func (k runKey) above() (runKey, bool) {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			return k, true
		}
	}
	return k, false
}

// firstOf returns the smallest key that a run of a millisecond can have.
func firstOf(millis int64) (k runKey) {
	_ = (*ulid.ULID)(&k).SetTime(uint64(millis)) // fails from the year 10889 on
	return k
}

// highest returns a key above every run's.
func highest() (k runKey) {
	for i := range k {
		k[i] = 0xff
	}
	return k
}

// first returns the smallest key that a run of the day can have.
func (d dayNumber) first() runKey { return firstOf(int64(d) * dayMillis) }

// last returns a key that no run of the day is above.
func (d dayNumber) last() runKey {
	k := firstOf(int64(d+1)*dayMillis - 1)
	for i := 6; i < len(k); i++ {
		k[i] = 0xff
	}
	return k
}

func (d dayNumber) String() string {
	return time.UnixMilli(int64(d) * dayMillis).UTC().Format(time.DateOnly)
}

func parseDay(s string) (dayNumber, error) {
	t, err := time.Parse(time.DateOnly, s)
	return dayNumber(t.Unix() / (24 * 60 * 60)), err
}

// seal appends the checksum of a record, whose value is b from start on: the CRC32C of its key and of that.
func seal(b []byte, start int, key []byte) []byte {
	return binary.BigEndian.AppendUint32(b, recordSum(key, b[start:]))
}

// unseal returns a stored record's value without its checksum; false if the record is not what was stored under the key.
func unseal(key, value []byte) ([]byte, bool) {
	end := len(value) - 4
	if end < 1 || value[0] != valueVersion || binary.BigEndian.Uint32(value[end:]) != recordSum(key, value[:end]) {
		return nil, false
	}
	return value[:end:end], true
}

func recordSum(key, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, value)
}

// packer and unpacker are how records are written: integers as varints, times by what they are away from an instant that the
// record's key tells, texts as names of the file or spelled out.

// relative is how many seconds a time may be away from its base to be written so.
const relative = 1 << 30

// appendTime appends t as nanoseconds away from base, in milliseconds since 1970. What is too far away stands by itself.
func appendTime(b []byte, base int64, t time.Time) []byte {
	if seconds := t.Unix() - base/1000; -relative < seconds && seconds < relative {
		away := seconds*1e9 + int64(t.Nanosecond()) - base%1000*1e6
		return binary.AppendUvarint(b, uint64(away<<1^away>>63)<<1)
	}
	b = append(b, 1)
	b = binary.AppendVarint(b, t.Unix())
	return binary.AppendUvarint(b, uint64(t.Nanosecond()))
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// unpacker reads what was packed. After a failure everything that it returns is empty.
type unpacker struct {
	b      []byte
	failed bool
}

func (u *unpacker) fail() {
	u.b, u.failed = nil, true
}

func (u *unpacker) byte() byte {
	if len(u.b) == 0 {
		u.fail()
		return 0
	}
	v := u.b[0]
	u.b = u.b[1:]
	return v
}

func (u *unpacker) uvarint() uint64 {
	if len(u.b) > 0 && u.b[0] < 0x80 {
		v := u.b[0]
		u.b = u.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v := u.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// number returns an unsigned integer of at most limit.
func (u *unpacker) number(limit uint64) int {
	v := u.uvarint()
	if v > limit {
		u.fail()
		return 0
	}
	return int(v)
}

// bytes returns the next n bytes, which it shares.
func (u *unpacker) bytes(n uint64) []byte {
	if n > uint64(len(u.b)) {
		u.fail()
		return nil
	}
	v := u.b[:n:n]
	u.b = u.b[n:]
	return v
}

func (u *unpacker) text() []byte { return u.bytes(u.uvarint()) }

func (u *unpacker) time(base int64) time.Time {
	v := u.uvarint()
	if v&1 == 0 {
		v >>= 1
		away := int64(v>>1) ^ -int64(v&1)
		return time.Unix(base/1000, base%1000*1e6+away).UTC()
	}
	seconds, nanos := u.varint(), u.number(1e9-1)
	if v != 1 || seconds < math.MinInt32*64 || seconds > math.MaxInt32*200 {
		u.fail()
	}
	if u.failed {
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}
