package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
)

// A journal's file is a sequence of frames: the length of an entry's JSON and its CRC-32C, both of 4 bytes, the low one
// first, and the JSON. A frame that is cut short or fails its checksum is torn. Where whole frames follow it the file was
// damaged, and they count; where none does, a write stopped half way, and the file ends before it.
const (
	frameHead  = 8
	maxEntry   = 1 << 20
	entryStart = `{"` // of every entry
)

var errTorn = errors.New("torn")

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

func frame(e *entry) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // as [wire.Encode]: what is told again is to be the same
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	data := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(data) > maxEntry {
		return nil, fmt.Errorf("an entry of %d bytes; at most %d", len(data), maxEntry)
	}
	out := make([]byte, frameHead, frameHead+len(data))
	binary.LittleEndian.PutUint32(out, uint32(len(data)))
	binary.LittleEndian.PutUint32(out[4:], checksum(data))
	return append(out, data...), nil
}

// frames reads entries out of a file of which so many bytes count.
type frames struct {
	file io.ReaderAt
	size int64
	off  int64 // of the next frame
	r    *bufio.Reader
}

func newFrames(file io.ReaderAt, size int64) *frames {
	f := &frames{file: file, size: size}
	f.seek(0)
	return f
}

func (f *frames) seek(off int64) {
	f.off, f.r = off, bufio.NewReaderSize(io.NewSectionReader(f.file, off, f.size-off), scanSize)
}

// next returns an entry and the size of its frame. The error is io.EOF exactly at the end, errTorn if what follows is no
// whole frame, and another if the file can't be read or the entry is none that this version knows.
func (f *frames) next() (entry, int64, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return entry{}, 0, cutShort(err)
	}
	size := int64(binary.LittleEndian.Uint32(head[:4]))
	if size == 0 || size > maxEntry {
		return entry{}, 0, fmt.Errorf("%w: a frame of %d bytes", errTorn, size)
	}
	if size > f.size-f.off-frameHead {
		return entry{}, 0, cutShort(io.ErrUnexpectedEOF)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f.r, data); err != nil {
		return entry{}, 0, cutShort(err)
	}
	if checksum(data) != binary.LittleEndian.Uint32(head[4:]) {
		return entry{}, 0, fmt.Errorf("%w: a wrong checksum", errTorn)
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return entry{}, 0, fmt.Errorf("an entry of another version of crony: %w", err)
	}
	f.off += frameHead + size
	return e, frameHead + size, nil
}

// scanSize is how much of a file is read at once.
const scanSize = 64 << 10

// skip goes on to the next whole frame after one that is torn, and reports whether there is one. What it finds is no part of
// another entry: the length of every frame has a byte 0 in it, and JSON has none.
func (f *frames) skip() (bool, error) {
	buf := make([]byte, scanSize)
	const again = frameHead + 1 // a frame's head and its first byte may be in one part of the file, the second in the next
	for at := f.off + 1; ; at += scanSize - again {
		n, err := f.file.ReadAt(buf[:min(scanSize, max(f.size-at, 0))], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		for i := frameHead; i < n; i++ {
			k := bytes.Index(buf[i:n], []byte(entryStart))
			if k < 0 {
				break
			}
			i += k
			if off := at + int64(i) - frameHead; f.wholeAt(off) {
				f.seek(off)
				return true, nil
			}
		}
		if n < scanSize {
			return false, nil
		}
	}
}

// wholeAt says whether a frame begins at an offset.
func (f *frames) wholeAt(off int64) bool {
	var head [frameHead]byte
	if _, err := f.file.ReadAt(head[:], off); err != nil {
		return false
	}
	size := int64(binary.LittleEndian.Uint32(head[:4]))
	if size == 0 || size > min(maxEntry, f.size-off-frameHead) {
		return false
	}
	data := make([]byte, size)
	_, err := f.file.ReadAt(data, off+frameHead)
	return (err == nil || errors.Is(err, io.EOF)) && checksum(data) == binary.LittleEndian.Uint32(head[4:])
}

func cutShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut short", errTorn)
	}
	return err
}

// writeFrames writes entries over what a file holds, and returns their size once they are on the disk.
func writeFrames(file *os.File, entries iter.Seq[*entry]) (int64, error) {
	w := bufio.NewWriter(file)
	var size int64
	for e := range entries {
		data, err := frame(e)
		if err != nil {
			return 0, err
		}
		if _, err := w.Write(data); err != nil {
			return 0, err
		}
		size += int64(len(data))
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if err := file.Truncate(size); err != nil {
		return 0, err
	}
	return size, file.Sync()
}
