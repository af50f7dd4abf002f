package runlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"sync"

	"github.com/cespare/xxhash/v2"

	"crony"
)

// Records are what a log holds, in the domain's form.
type Records struct {
	Facts     []crony.Fact
	Chunks    []crony.Chunk
	Stretches []crony.Stretch
}

// Batch is records that were checked and encoded, as they are stored and as they travel between servers. It is never changed,
// and is safe for concurrent use.
type Batch struct {
	facts     []factRecord
	chunks    []chunkRecord
	stretches []stretchRecord
	size      int // of the records in bytes, about
	table     *crc32.Table

	once sync.Once
	data []byte
}

// Item names a run or a stretch within a day, on every server by the same key.
type Item struct {
	Day string // as 2026-11-21
	Key string // a run's 16 bytes, or more of a stretch's: to be compared, not looked into
}

// Encode checks records and makes a batch of them. It shares nothing with them. Invalid if one of them can't be right.
func (l *Log) Encode(r Records) (*Batch, error) {
	b := &Batch{
		facts: make([]factRecord, 0, len(r.Facts)), chunks: make([]chunkRecord, 0, len(r.Chunks)),
		stretches: make([]stretchRecord, 0, len(r.Stretches)), table: l.codec.table,
	}
	room := make([]byte, 0, 96*len(r.Facts))
	var last lastID
	for i := range r.Facts {
		k, err := last.parse(r.Facts[i].Run)
		if err != nil {
			return nil, err
		}
		var rec factRecord
		if room, rec, err = newFactRecord(room, k, &r.Facts[i]); err != nil {
			return nil, err
		}
		b.addFact(rec)
	}
	for i := range r.Chunks {
		k, err := last.parse(r.Chunks[i].Run)
		if err != nil {
			return nil, err
		}
		rec, err := l.codec.newChunkRecord(k, &r.Chunks[i])
		if err != nil {
			return nil, err
		}
		b.addChunk(rec)
	}
	for i := range r.Stretches {
		rec, err := newStretchRecord(&r.Stretches[i])
		if err != nil {
			return nil, err
		}
		b.addStretch(rec)
	}
	return b, nil
}

// lastID remembers the id that was parsed last: records of one run come one after the other.
type lastID struct {
	id crony.RunID
	k  runKey
}

func (l *lastID) parse(id crony.RunID) (k runKey, err error) {
	if id == l.id && id != "" {
		return l.k, nil
	}
	if k, err = parseID(id); err == nil {
		l.id, l.k = id, k
	}
	return k, err
}

func (b *Batch) addFact(rec factRecord) {
	b.facts = append(b.facts, rec)
	b.size += runSize + len(rec.plain)
}

func (b *Batch) addChunk(rec chunkRecord) {
	b.chunks = append(b.chunks, rec)
	b.size += len(rec.key) + len(rec.value)
}

func (b *Batch) addStretch(rec stretchRecord) {
	b.stretches = append(b.stretches, rec)
	b.size += len(rec.key) + len(rec.plain)
}

func (b *Batch) records() int { return len(b.facts) + len(b.chunks) + len(b.stretches) }

// Items returns what the batch has records of, each once, in the order in which they come.
func (b *Batch) Items() []Item {
	var list []Item
	seen := map[string]struct{}{}
	add := func(day dayNumber, key []byte) {
		if _, ok := seen[string(key)]; !ok {
			item := Item{Day: day.String(), Key: string(key)}
			seen[item.Key] = struct{}{}
			list = append(list, item)
		}
	}
	for i := range b.facts {
		add(b.facts[i].run.day(), b.facts[i].run[:])
	}
	for i := range b.chunks {
		add(b.chunks[i].run.day(), b.chunks[i].run[:])
	}
	for i := range b.stretches {
		add(b.stretches[i].day, b.stretches[i].key)
	}
	return list
}

// A batch travels as: a version byte; how many facts there are, and of each its length, doubled and one more if it is of the
// same run as the one before, else its run, and the fact; how many chunks, and each one's key, length and value; how many
// stretches, and each one's key and value with their lengths; the CRC32C of all that as uint32.
const batchVersion = 1

// The fewest bytes that a record takes, and for how many there is room at once, whatever a batch says of their number.
const (
	leastFact    = 5
	leastChunk   = chunkKeySize + 8
	leastStretch = 20
	believed     = 512
)

// Bytes returns the form in which the batch travels. It must not be changed.
func (b *Batch) Bytes() []byte {
	b.once.Do(b.encode)
	return b.data
}

func (b *Batch) encode() {
	if b.data != nil {
		return
	}
	data := append(make([]byte, 0, b.size+8*b.records()+32), batchVersion)
	data = binary.AppendUvarint(data, uint64(len(b.facts)))
	for i := range b.facts {
		f := &b.facts[i]
		if size := uint64(len(f.plain)) << 1; i > 0 && f.run == b.facts[i-1].run {
			data = binary.AppendUvarint(data, size|1)
		} else {
			data = append(binary.AppendUvarint(data, size), f.run[:]...)
		}
		data = append(data, f.plain...)
	}
	data = binary.AppendUvarint(data, uint64(len(b.chunks)))
	for i := range b.chunks {
		data = appendText(append(data, b.chunks[i].key...), b.chunks[i].value)
	}
	data = binary.AppendUvarint(data, uint64(len(b.stretches)))
	for i := range b.stretches {
		data = appendText(appendText(data, b.stretches[i].key), b.stretches[i].plain)
	}
	b.data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, b.table))
}

// Decode makes a batch of [Batch.Bytes], of which it keeps data: it must not be changed any more. Invalid if it was damaged
// on its way, or is of a newer crony.
func (l *Log) Decode(data []byte) (*Batch, error) {
	end := len(data) - 4
	if end < 1 || crc32.Checksum(data[:end], l.codec.table) != binary.BigEndian.Uint32(data[end:]) {
		return nil, crony.Errorf(crony.Invalid, "a batch of run records was damaged on its way")
	}
	if data[0] != batchVersion {
		return nil, crony.Errorf(crony.Invalid, "a batch of run records has version %d, and this crony knows none but %d",
			data[0], batchVersion).WithHint("upgrade this server too")
	}
	b := &Batch{data: data, table: l.codec.table}
	d := decoder{u: unpacker{b: data[1:end]}, b: b}
	for _, step := range []func() error{d.facts, d.chunks, d.stretches} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if d.u.failed || len(d.u.b) > 0 {
		return nil, errBatch()
	}
	return b, nil
}

func errBatch() error { return crony.Errorf(crony.Invalid, "a batch of run records can't be read") }

// decoder reads a batch. Every record must be written as this crony would write it: for its hash is that of its bytes.
type decoder struct {
	u     unpacker
	b     *Batch
	texts spelled
	again []byte
}

func (d *decoder) number(least int) int { return d.u.number(uint64(len(d.u.b) / least)) }

func (d *decoder) facts() error {
	n := d.number(leastFact)
	d.b.facts = make([]factRecord, 0, min(n, believed))
	var k runKey
	var id crony.RunID
	for i := range n {
		size := d.u.uvarint()
		if size&1 == 0 {
			run := d.u.bytes(uint64(runSize))
			if run == nil {
				return errBatch()
			}
			k = runKey(run)
			id = k.id()
			if k.day() > lastDay {
				return errBatch()
			}
		} else if i == 0 {
			return errBatch()
		}
		rec := factRecord{run: k, plain: d.u.bytes(size >> 1)}
		inner := unpacker{b: rec.plain}
		rec.fact = inner.fact(id, k.millis(), &d.texts)
		if d.u.failed || inner.failed || len(inner.b) > 0 || len(rec.plain)+runSize > MaxFact {
			return errBatch()
		}
		if wrong := faultOfFact(&rec.fact); wrong != "" {
			return crony.Errorf(crony.Invalid, "fact %d of run %s: %s", rec.fact.Seq, id, wrong)
		}
		d.again = appendFact(append(d.again[:0], k[:]...), k.millis(), (*spelled)(nil), &rec.fact)
		if !bytes.Equal(d.again[runSize:], rec.plain) {
			return errBatch()
		}
		rec.hash = xxhash.Sum64(d.again)
		d.b.addFact(rec)
	}
	return nil
}

func (d *decoder) chunks() error {
	n := d.number(leastChunk)
	d.b.chunks = make([]chunkRecord, 0, min(n, believed))
	for range n {
		rec := chunkRecord{key: d.u.bytes(chunkKeySize)}
		rec.value = d.u.text()
		var ok bool
		var err error
		if rec.run, rec.ref, ok = refOf(rec.key); !ok || rec.run.day() > lastDay {
			return errBatch()
		}
		if rec.chunkHeader, err = chunkHeaderOf(rec.key, rec.value); err != nil || rec.givenUp() ||
			rec.ref.offset+uint64(rec.size) > math.MaxInt64 {
			return errBatch()
		}
		if !writable(rec.readAt(rec.run)) {
			return errBatch()
		}
		d.b.addChunk(rec)
	}
	return nil
}

func (d *decoder) stretches() error {
	n := d.number(leastStretch)
	d.b.stretches = make([]stretchRecord, 0, min(n, believed))
	for range n {
		key, plain := d.u.text(), d.u.text()
		inner := unpacker{b: plain}
		s := inner.stretch(key, &d.texts)
		if d.u.failed || inner.failed || len(inner.b) > 0 {
			return errBatch()
		}
		rec, err := newStretchRecord(&s)
		if err != nil {
			return err
		}
		if !bytes.Equal(rec.key, key) || !bytes.Equal(rec.plain, plain) {
			return errBatch()
		}
		d.b.addStretch(rec)
	}
	return nil
}
