package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"

	"crony"
)

// journal is what the agent knows of its runs until servers hold it: a file of frames, each a length, a checksum and an
// entry. Entries are written, not synced: they survive the agent, and not the loss of the host's power, which no run of the
// host survives either. A frame that is torn ends the file.
//
// When most of the file is of runs that are settled, it is written anew with the rest.
type journal struct {
	log  *slog.Logger
	path string

	mu   sync.Mutex
	file *os.File
	size int64
	live map[crony.RunID]*record
	kept int64 // bytes of the entries of live runs
	err  error // the first failed write: from then on nothing is added
}

// entry is one thing to remember. Exactly one of Fact and Settled is set.
type entry struct {
	Fact    *crony.Fact `json:"fact,omitempty"`
	Ticks   uint64      `json:"ticks,omitempty"`   // with a started fact: when the process began, in the kernel's clock ticks
	Terms   *terms      `json:"terms,omitempty"`   // with a claimed fact
	Settled crony.RunID `json:"settled,omitempty"` // the servers have all of this run
}

// terms are what a run is held to, whoever holds it.
type terms struct {
	Limit   int64          `json:"limit"` // bytes kept of each stream
	Timeout crony.Duration `json:"timeout,omitempty"`
	Grace   crony.Duration `json:"grace"`
}

// record is all that the journal has of one run.
type record struct {
	facts []crony.Fact
	ticks uint64
	terms terms
	bytes int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	frameHead   = 8
	maxEntry    = 1 << 20
	compactFrom = 1 << 20 // bytes: a smaller file is never written anew
)

func openJournal(path string, log *slog.Logger) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{log: log, path: path, file: file, live: map[crony.RunID]*record{}}
	if err := j.replay(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

// replay reads the file up to its end, or to a torn frame, which is cut off.
func (j *journal) replay() error {
	r := bufio.NewReader(j.file)
	for {
		e, n, err := readEntry(r)
		if err == io.EOF {
			break
		}
		if err != nil {
			j.log.Warn("journal cut at a torn entry", "offset", j.size, "err", err)
			break
		}
		j.size += n
		j.note(e, n)
	}
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// readEntry returns the next entry and the size of its frame; io.EOF exactly at the end.
func readEntry(r io.Reader) (entry, int64, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return entry{}, 0, err
	}
	size := binary.LittleEndian.Uint32(head[:4])
	if size == 0 || size > maxEntry {
		return entry{}, 0, fmt.Errorf("a frame of %d bytes", size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return entry{}, 0, io.ErrUnexpectedEOF
	}
	if crc32.Checksum(data, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return entry{}, 0, errors.New("a wrong checksum")
	}
	var e entry
	err := json.Unmarshal(data, &e)
	return e, frameHead + int64(size), err
}

func frame(e entry) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	out := make([]byte, frameHead, frameHead+len(data))
	binary.LittleEndian.PutUint32(out, uint32(len(data)))
	binary.LittleEndian.PutUint32(out[4:], crc32.Checksum(data, castagnoli))
	return append(out, data...), nil
}

// note brings the memory up to an entry of n bytes.
func (j *journal) note(e entry, n int64) {
	if e.Settled != "" {
		if r := j.live[e.Settled]; r != nil {
			j.kept -= r.bytes
			delete(j.live, e.Settled)
		}
		return
	}
	if e.Fact == nil {
		return
	}
	r := j.live[e.Fact.Run]
	if r == nil {
		r = &record{}
		j.live[e.Fact.Run] = r
	}
	r.facts = append(r.facts, *e.Fact)
	r.bytes += n
	j.kept += n
	if e.Ticks != 0 {
		r.ticks = e.Ticks
	}
	if e.Terms != nil {
		r.terms = *e.Terms
	}
}

// add writes an entry. Its fact's sequence number is set here: facts are numbered in the order in which they are written.
func (j *journal) add(e entry) (entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return e, j.err
	}
	if e.Fact != nil {
		fact := *e.Fact
		fact.Seq = 1
		if r := j.live[fact.Run]; r != nil {
			fact.Seq += len(r.facts)
		}
		e.Fact = &fact
	}
	data, err := frame(e)
	if err != nil {
		return e, err
	}
	if _, err := j.file.Write(data); err != nil {
		// what is half written would hide everything after it: cut it off, or stop
		j.err = errors.Join(err, j.file.Truncate(j.size))
		if _, seekErr := j.file.Seek(j.size, io.SeekStart); errors.Join(j.err, seekErr) == err {
			j.err = nil
		}
		return e, fmt.Errorf("write the journal: %w", err)
	}
	j.size += int64(len(data))
	j.note(e, int64(len(data)))
	if e.Settled != "" && j.size > compactFrom && j.kept < j.size/4 {
		return e, j.compact()
	}
	return e, nil
}

// compact writes a file of the live runs alone in place of the old one.
func (j *journal) compact() error {
	path := j.path + ".new"
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("write the journal anew: %w", err)
	}
	size, err := j.copyLive(file)
	if err == nil {
		err = os.Rename(path, j.path)
	}
	if err != nil {
		return fmt.Errorf("write the journal anew: %w", errors.Join(err, file.Close()))
	}
	j.file.Close() //nolint:errcheck // replaced
	j.file, j.size = file, size
	return nil
}

func (j *journal) copyLive(file *os.File) (int64, error) {
	w := bufio.NewWriter(file)
	var size int64
	for _, id := range slices.Sorted(maps.Keys(j.live)) {
		r := j.live[id]
		for i := range r.facts {
			e := entry{Fact: &r.facts[i]}
			if r.facts[i].Started != nil {
				e.Ticks = r.ticks
			}
			if r.facts[i].Claimed != nil {
				e.Terms = &r.terms
			}
			data, err := frame(e)
			if err != nil {
				return 0, err
			}
			if _, err := w.Write(data); err != nil {
				return 0, err
			}
			size += int64(len(data))
		}
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return size, file.Sync()
}

// knows says whether the run is in the journal.
func (j *journal) knows(id crony.RunID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.live[id] != nil
}

// runs returns the ids of the runs that the agent answers for.
func (j *journal) runs() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	ids := make([]string, 0, len(j.live))
	for id := range j.live {
		ids = append(ids, string(id))
	}
	return ids
}

// records returns what there is of each run, in the order of their ids.
func (j *journal) records() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]record, 0, len(j.live))
	for _, id := range slices.Sorted(maps.Keys(j.live)) {
		r := *j.live[id]
		r.facts = slices.Clone(r.facts)
		list = append(list, r)
	}
	return list
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}
