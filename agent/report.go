package agent

import (
	"cmp"
	"errors"
	"io"
	"os"

	"crony"
	"crony/internal/wire"
)

// take takes off the queue what goes into the next report, with the facts in it. A long stretch is taken piece by piece.
func (r *reporter) take(id uint64) ([]item, *wire.Report) {
	var items []item
	report := &wire.Report{Id: id}
	for size := 0; len(r.queue) > 0 && len(items) < reportMost && size < reportSize; {
		it := &r.queue[0]
		it.as = cmp.Or(r.names[it.run()], it.run())
		if room := int64(reportSize - size); it.fact == nil && it.end-it.off > room {
			part := *it
			part.end = it.off + room
			it.off = part.end
			r.of(it.run()).items++
			items = append(items, part)
			break
		}
		if it.fact != nil {
			data := wire.Encode(it.renamed())
			report.Facts = append(report.Facts, data)
			size += len(data)
		} else {
			size += int(it.end - it.off)
		}
		items = append(items, *it)
		r.queue = r.queue[1:]
	}
	if len(r.queue) == 0 {
		r.queue = nil
	}
	return items, report
}

// read adds the output of items to a report.
func (r *reporter) read(items []item, report *wire.Report) {
	for i := range items {
		if items[i].fact != nil {
			continue
		}
		if err := readStretch(&items[i], report); err != nil && !r.gaveUp(items[i].from) {
			it := &items[i]
			r.log.Error("output not readable", "run", it.from.run, "stream", it.from.stream, "offset", it.off, "end", it.end, "err", err)
		}
	}
}

func readStretch(it *item, report *wire.Report) error {
	file, err := os.Open(it.from.path)
	if err != nil {
		return err
	}
	defer file.Close()
	for off := it.off; off < it.end; {
		end := it.end
		if it.from.holes {
			if off, end = nextData(file, off, it.end); off >= end {
				return nil
			}
		}
		for ; off < end; off += chunkSize {
			data := make([]byte, min(end-off, chunkSize))
			n, err := file.ReadAt(data, off)
			if n > 0 {
				report.Chunks = append(report.Chunks, wire.FromChunk(&crony.Chunk{Run: it.as, Attempt: it.from.attempt,
					Stream: it.from.stream, Offset: off, At: it.at, Data: data[:n]}))
			}
			if errors.Is(err, io.EOF) && n == len(data) {
				err = nil
			}
			if err != nil {
				return err // io.EOF: the process has cut its own output
			}
		}
	}
	return nil
}
