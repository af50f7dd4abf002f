package runlog

import (
	"bytes"
	"slices"
	"time"

	"crony"
)

// lineView is a piece of one stream's output, of which it holds what has not been looked at yet and as much before that as a
// hit's context may need. What it finds depends on the output alone, not on how it is cut when it is added: where that is not
// so, it waits for more.
type lineView struct {
	pattern *pattern
	around  int // lines of context
	limits  *searchLimits
	tired   func() bool // asked now and then while it matches a pattern: whether to stop
	matched int         // bytes, since it was asked

	buf    []byte
	base   int64 // where buf begins in the stream
	edge   bool  // nothing comes before buf
	marks  []readAt
	seen   int  // bytes of buf when it was last looked at
	closed bool // nothing can be added to buf

	at   int64 // all before it has been looked at
	line int64 // where the line that at is in begins; less than at only if it is long
	skip bool  // the rest of that line is not looked at
}

// readAt says when the bytes from an offset on were read.
type readAt struct {
	from int64
	at   time.Time
}

// resume begins anew, at a place that is added next or later.
func (v *lineView) resume(at, line int64, skip bool) {
	v.buf, v.base, v.marks, v.seen, v.closed = v.buf[:0], at, v.marks[:0], 0, false
	v.at, v.line, v.skip = at, line, skip
}

func (v *lineView) empty() bool   { return len(v.buf) == 0 }
func (v *lineView) end() int64    { return v.base + int64(len(v.buf)) }
func (v *lineView) enough() bool  { return len(v.buf)-v.seen >= v.limits.fill }
func (v *lineView) wanted() int64 { return v.at - int64(v.limits.span) } // the output before it is not needed

// add adds the bytes from an offset on, which is not after v.end. Unpack appends them, and there are size of them.
func (v *lineView) add(from int64, at time.Time, size int, unpack func(to []byte) ([]byte, error)) error {
	known := 0
	if !v.empty() {
		known = int(min(v.end()-from, int64(size)))
	}
	if known == size {
		return nil
	}
	v.buf = slices.Grow(v.buf, size)
	n := len(v.buf)
	data, err := unpack(v.buf[n:n:cap(v.buf)])
	if err != nil {
		return err
	}
	if n == 0 {
		v.begin(from)
	}
	v.marks = append(v.marks, readAt{v.end(), at})
	if v.buf = v.buf[:n+size]; known > 0 || &data[0] != &v.buf[n] { // else it is in its place
		v.buf = v.buf[:n+copy(v.buf[n:], data[known:])]
	}
	return nil
}

// begin begins the piece.
func (v *lineView) begin(from int64) {
	v.base, v.edge = from, from > v.wanted() || from == 0
	if from > v.at {
		v.at, v.line, v.skip = from, from, false
	}
}

// shift drops what is not needed any more.
func (v *lineView) shift() {
	if v.closed {
		v.resume(v.at, v.line, v.skip)
	}
	if drop := v.wanted() - v.base; drop > 0 && !v.empty() {
		n := copy(v.buf, v.buf[min(drop, int64(len(v.buf))):])
		v.base, v.buf, v.edge = v.end()-int64(n), v.buf[:n], false
		first := 0
		for first+1 < len(v.marks) && v.marks[first+1].from <= v.base {
			first++
		}
		v.marks = slices.Delete(v.marks, 0, first)
	}
	v.seen = len(v.buf)
}

// next finds the next line that matches. It reports false when there is none in what was added, or it can't tell without
// more; last says that there is no more. Its hit has no run, attempt or stream.
func (v *lineView) next(last bool) (hit crony.OutputHit, ok bool) {
	v.closed = last
	for v.at < v.end() {
		if v.skip {
			v.passLine(v.pos(), last)
			continue
		}
		find := v.findText
		if v.pattern.re != nil {
			find = v.findPattern
		}
		from, to, got := find(last)
		if got == found {
			hit, got = v.hit(from, to, last)
		}
		if got != again {
			return hit, got == found
		}
	}
	return hit, false
}

// outcome is what came of looking for a line.
type outcome int

const (
	waits outcome = iota // without more, nothing can be found
	again                // nothing so far; look from v.at on
	found
)

func (v *lineView) pos() int { return int(v.at - v.base) }

// passLine goes on after the line that the position is in, or as far as there is any of it.
func (v *lineView) passLine(pos int, last bool) {
	if i := bytes.IndexByte(v.buf[pos:], '\n'); i >= 0 {
		v.startLine(pos + i + 1)
		return
	}
	v.at = v.end()
	if last {
		v.line, v.skip = v.at, false
	}
}

func (v *lineView) startLine(pos int) {
	v.at = v.base + int64(pos)
	v.line, v.skip = v.at, false
}

// toLine goes to the line that the position is in, if it is not the one where v is.
func (v *lineView) toLine(pos int) {
	if i := bytes.LastIndexByte(v.buf[v.pos():pos], '\n'); i >= 0 {
		v.startLine(v.pos() + i + 1)
	}
}
