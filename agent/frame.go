package agent

import (
	"bufio"
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
// first, and the JSON. A frame that is cut short or fails its checksum is torn, and ends the file.
const (
	frameHead = 8
	maxEntry  = 1 << 20
)

var errTorn = errors.New("torn")

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

func frame(e *entry) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	if len(data) > maxEntry {
		return nil, fmt.Errorf("an entry of %d bytes; at most %d", len(data), maxEntry)
	}
	out := make([]byte, frameHead, frameHead+len(data))
	binary.LittleEndian.PutUint32(out, uint32(len(data)))
	binary.LittleEndian.PutUint32(out[4:], checksum(data))
	return append(out, data...), nil
}

// frames reads entries.
type frames struct{ r *bufio.Reader }

func newFrames(r io.Reader) *frames { return &frames{bufio.NewReader(r)} }

// next returns an entry and the size of its frame. The error is io.EOF exactly at the end, errTorn if what follows is no
// whole frame, and another if the file can't be read or the entry is none that this version knows.
func (f *frames) next() (entry, int64, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return entry{}, 0, cutShort(err)
	}
	size := binary.LittleEndian.Uint32(head[:4])
	if size == 0 || size > maxEntry {
		return entry{}, 0, fmt.Errorf("%w: a frame of %d bytes", errTorn, size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f.r, data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return entry{}, 0, cutShort(err)
	}
	if checksum(data) != binary.LittleEndian.Uint32(head[4:]) {
		return entry{}, 0, fmt.Errorf("%w: a wrong checksum", errTorn)
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return entry{}, 0, fmt.Errorf("an entry of another version of crony: %w", err)
	}
	return e, frameHead + int64(size), nil
}

func cutShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut short", errTorn)
	}
	return err
}

// writeFrames writes entries to a file, and returns their size once they are on the disk.
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
	return size, file.Sync()
}
