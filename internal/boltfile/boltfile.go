// Package boltfile reads files of bbolt without bbolt, to say whether one is sound, and what can still be read of one that
// is not.
//
// The one thing to know: bbolt maps a file into memory and follows every number in it. A page that names itself as its child
// is a stack without end there, a file that was cut short is a signal, and opening a damaged file for writing can end the
// process from a goroutine of bbolt's own. Here nothing is taken for granted: each page is read by a call that can fail, and
// each number is held against what is possible. A file that [File.Check] finds nothing wrong with can't do bbolt harm.
//
// It does not read a file that is being written: its pages change while they are looked at. And it knows no sums of what
// stands in the elements, as bbolt keeps none: those are for whoever wrote them.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
	"os"
)

// A file is of pages of equal size. The first two are metas, of which the one with the later transaction counts; each other
// begins with a header: its number uint64, its kind uint16, how many elements it has uint16, how many pages it goes on for
// after itself uint32. A bucket is a tree of branches and leaves, and is itself an element of a leaf of the root's tree.
// Integers are in the machine's order.
const (
	headerSize  = 16
	elementSize = 16
	metaSize    = 64 // its last 8 bytes are the FNV-1a of those before

	magic   = 0xED0CDAED
	version = 2

	kindBranch = 0x01
	kindLeaf   = 0x02
	kindFree   = 0x10
	noFreelist = ^uint64(0)

	elementBucket = 1

	minPageSize = 1 << 10
	maxPageSize = 1 << 24
	maxPage     = 256 << 20 // bytes of a page and those that it goes on for; a number that says more is wrong
	maxHeight   = 32        // of a tree
)

// File is a file of bbolt at one moment. It is used by one goroutine at a time.
type File struct {
	f        io.ReaderAt
	pageSize int
	count    uint64 // of pages that are in use or were; what is beyond is room to grow
	root     uint64
	freelist uint64
	txid     uint64
	spare    [][]byte // buffers of a page each
	pace     func(bytes int) error
}

// Pace has wait be called for each page that is read from now on, with its size. An error of it ends what reads.
func (f *File) Pace(wait func(bytes int) error) { f.pace = wait }

// Read finds the meta of a file that counts, and sees that the file is as long as that says. An error says what is wrong with
// the file.
func Read(f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case info.Size() == 0:
		return nil, errors.New("it is empty")
	}
	best, err := newest(f, info.Size())
	switch {
	case err != nil:
		return nil, err
	case best == nil:
		return nil, errors.New("it is no database, or its beginning is damaged")
	case best.count > uint64(info.Size())/uint64(best.pageSize):
		return nil, fmt.Errorf("it is cut short: it has %d bytes of %d", info.Size(), best.count*uint64(best.pageSize))
	}
	return best, nil
}

// newest returns what the later of the two metas says, nil if there is none: the first page is one, and the second, wherever
// that begins.
func newest(f io.ReaderAt, size int64) (best *File, err error) {
	for at := int64(0); at <= maxPageSize && at < size; at = max(minPageSize, 2*at) {
		m, err := readMeta(f, at)
		if err != nil {
			return nil, err
		}
		if m != nil && (best == nil || m.txid > best.txid) {
			best = m
		}
	}
	return best, nil
}

// readMeta returns what the meta at a place says, or nil if there is none. An error is one of reading.
func readMeta(f io.ReaderAt, at int64) (*File, error) {
	var page [headerSize + metaSize]byte
	if _, err := f.ReadAt(page[:], at); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	e, m := binary.NativeEndian, page[headerSize:]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	if e.Uint32(m) != magic || e.Uint32(m[4:]) != version || sum.Sum64() != e.Uint64(m[metaSize-8:]) {
		return nil, nil
	}
	size := int64(e.Uint32(m[8:]))
	if bits.OnesCount64(uint64(size)) != 1 || size < minPageSize || size > maxPageSize || (at != 0 && at != size) {
		return nil, nil // the last: it is a copy of one, in somebody's data
	}
	return &File{
		f: f, pageSize: int(size), root: e.Uint64(m[16:]), freelist: e.Uint64(m[32:]), count: e.Uint64(m[40:]), txid: e.Uint64(m[48:]),
	}, nil
}

// Transaction returns the number of the last transaction that wrote the file. It grows with each.
func (f *File) Transaction() uint64 { return f.txid }

// Size returns how many bytes of the file are in use, or were.
func (f *File) Size() int64 { return int64(f.count) * int64(f.pageSize) }

// Free returns how many of the bytes that [File.Size] counts hold nothing, as far as the file says.
func (f *File) Free() (int64, error) {
	if f.freelist == noFreelist {
		return 0, nil
	}
	p, err := f.page(f.freelist)
	if err != nil {
		return 0, err
	}
	defer f.done(p)
	ids, err := p.free()
	return int64(len(ids)/8) * int64(f.pageSize), err
}

// page is one page with those that it goes on for, or a bucket that is kept within an element.
type page struct {
	id    uint64 // 0 within an element
	kind  uint16
	count int
	data  []byte
}

// page reads one. The caller calls done when it has no more use of it.
func (f *File) page(id uint64) (*page, error) {
	if id < 2 || id >= f.count {
		return nil, fmt.Errorf("there is no page %d", id)
	}
	if f.pace != nil {
		if err := f.pace(f.pageSize); err != nil {
			return nil, err
		}
	}
	data := f.buffer()
	if _, err := f.f.ReadAt(data, int64(id)*int64(f.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	more := uint64(binary.NativeEndian.Uint32(data[12:]))
	if own := binary.NativeEndian.Uint64(data); own != id {
		return nil, fmt.Errorf("page %d says that it is page %d", id, own)
	}
	if more >= f.count-id || more >= maxPage/uint64(f.pageSize) {
		return nil, fmt.Errorf("page %d can't go on for %d pages", id, more)
	}
	if more > 0 {
		whole := make([]byte, (more+1)*uint64(f.pageSize))
		copy(whole, data)
		if _, err := f.f.ReadAt(whole[f.pageSize:], int64(id+1)*int64(f.pageSize)); err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
		data = whole
	}
	return newPage(id, data), nil
}

func newPage(id uint64, data []byte) *page {
	return &page{
		id: id, kind: binary.NativeEndian.Uint16(data[8:]), count: int(binary.NativeEndian.Uint16(data[10:])), data: data,
	}
}

func (f *File) buffer() []byte {
	if n := len(f.spare); n > 0 {
		b := f.spare[n-1]
		f.spare = f.spare[:n-1]
		return b
	}
	return make([]byte, f.pageSize)
}

func (f *File) done(p *page) {
	if len(p.data) == f.pageSize {
		f.spare = append(f.spare, p.data)
	}
}

func (p *page) fault(format string, args ...any) error {
	return fmt.Errorf("page %d: %s", p.id, fmt.Sprintf(format, args...))
}

// bytes returns size bytes that begin so far from the numbers of an element; false if they are not in the page, behind the
// numbers.
func (p *page) bytes(i int, pos, size uint64) ([]byte, bool) {
	at := uint64(headerSize+i*elementSize) + pos
	if at < uint64(headerSize+p.count*elementSize) || at+size > uint64(len(p.data)) {
		return nil, false
	}
	return p.data[at : at+size : at+size], true
}

// numbers returns those of an element; false if the page is too short.
func (p *page) numbers(i int) ([]byte, bool) {
	at := headerSize + i*elementSize
	if at+elementSize > len(p.data) {
		return nil, false
	}
	return p.data[at : at+elementSize], true
}

// branch returns a branch's element.
func (p *page) branch(i int) (key []byte, child uint64, err error) {
	n, ok := p.numbers(i)
	if ok {
		e := binary.NativeEndian
		key, ok = p.bytes(i, uint64(e.Uint32(n)), uint64(e.Uint32(n[4:])))
		child = e.Uint64(n[8:])
	}
	if !ok {
		return nil, 0, p.fault("its element %d is not within it", i)
	}
	return key, child, nil
}

// leaf returns a leaf's element.
func (p *page) leaf(i int) (key, value []byte, bucket bool, err error) {
	n, ok := p.numbers(i)
	if !ok {
		return nil, nil, false, p.fault("its element %d is not within it", i)
	}
	e := binary.NativeEndian
	flags, keySize, size := e.Uint32(n), uint64(e.Uint32(n[8:])), uint64(e.Uint32(n[12:]))
	both, ok := p.bytes(i, uint64(e.Uint32(n[4:])), keySize+size)
	if !ok || keySize == 0 || flags&^elementBucket != 0 {
		return nil, nil, false, p.fault("its element %d is not within it, or of no kind", i)
	}
	return both[:keySize:keySize], both[keySize:], flags == elementBucket, nil
}

// free returns the numbers in a list of free pages, 8 bytes each.
func (p *page) free() ([]byte, error) {
	ids, count := p.data[headerSize:], uint64(p.count)
	if p.count == 0xffff { // or more: then the first number says how many
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if p.kind != kindFree || count > uint64(len(ids)/8) {
		return nil, p.fault("it is not the list of free pages that it should be")
	}
	return ids[:8*count], nil
}
