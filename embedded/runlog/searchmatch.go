package runlog

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"crony"
)

// tiredAfter is how many bytes are matched by a pattern before the view asks whether to stop.
const tiredAfter = 64 << 10

// findText finds the text, and goes to its line.
func (v *lineView) findText(last bool) (from, to int, got outcome) {
	text := v.pattern.text
	i := bytes.Index(v.buf[v.pos():], text)
	if i < 0 {
		v.nothing(last)
		if v.long(len(v.buf)) {
			v.at = max(v.at, v.end()-int64(len(text)-1)) // a match may have begun
		}
		return 0, 0, waits
	}
	from = v.pos() + i
	v.toLine(from)
	return from, from + len(text), found
}

// nothing goes on to the last line, which has to be looked at again when there is more of it.
func (v *lineView) nothing(last bool) {
	if last {
		v.startLine(len(v.buf))
		return
	}
	v.toLine(len(v.buf))
}

// long says whether the line that v is in is long if it ends at pos.
func (v *lineView) long(pos int) bool { return v.base+int64(pos)-v.line > int64(v.limits.line) }

// findPattern matches the next line, or the next piece of a long one, of those that hold the pattern's text.
func (v *lineView) findPattern(last bool) (from, to int, got outcome) {
	if text := v.pattern.text; len(text) > 0 {
		i := v.pattern.index(v.buf[v.pos():])
		if i < 0 {
			v.nothing(last)
			v.toPiece(len(v.buf) - 1)
			return 0, 0, waits
		}
		i += v.pos()
		v.toLine(i)
		v.toPiece(i)
	}
	start := v.pos()
	piece, end := v.piece(start, last)
	if end < 0 {
		return 0, 0, waits
	}
	if v.matched += len(piece); v.matched >= tiredAfter {
		v.matched = 0
		if v.tired() {
			return 0, 0, waits
		}
	}
	match := v.pattern.re.FindIndex(piece)
	if match == nil || len(piece) == 0 && v.at > v.line { // only the line's end is left
		v.passPiece(end, last)
		return 0, 0, again
	}
	return start + match[0], start + match[1], found
}

// toPiece goes to the piece of the line that pos is in.
func (v *lineView) toPiece(pos int) {
	if ahead := pos - v.pos(); ahead > 0 {
		v.at += int64(ahead / v.limits.line * v.limits.line)
	}
}

// piece returns the line or piece that begins at start, without its end, and where that is; -1 if it is not there yet.
func (v *lineView) piece(start int, last bool) (piece []byte, end int) {
	rest := v.buf[start:min(start+v.limits.line+1, len(v.buf))]
	i := bytes.IndexByte(rest, '\n')
	switch {
	case i >= 0:
		return bytes.TrimSuffix(rest[:i], []byte{'\r'}), start + i
	case len(rest) > v.limits.line:
		return rest[:v.limits.line], start + v.limits.line
	case last:
		return rest, start + len(rest)
	}
	return nil, -1
}

// passPiece goes on after a piece that ends at pos.
func (v *lineView) passPiece(pos int, last bool) {
	switch {
	case pos < len(v.buf) && v.buf[pos] == '\n':
		v.startLine(pos + 1)
	case pos == len(v.buf) && last:
		v.startLine(pos)
	default:
		v.at = v.base + int64(pos)
	}
}

// hit makes the hit of a match, and goes on after its line.
func (v *lineView) hit(from, to int, last bool) (hit crony.OutputHit, got outcome) {
	end, whole := len(v.buf), last
	if i := bytes.IndexByte(v.buf[to:], '\n'); i >= 0 {
		end, whole = to+i, true
	}
	long := v.long(end)
	if !whole && (!long || end-to < v.limits.shown+utf8.UTFMax) {
		return hit, waits
	}
	stop := end
	if end < len(v.buf) && v.buf[end] == '\n' && end > from && v.buf[end-1] == '\r' {
		stop--
	}
	if to > stop { // the text ends with what belongs to the line's end
		v.startLine(end + 1)
		return hit, again
	}
	start := max(0, int(v.line-v.base))
	if !long {
		var ok bool
		if hit.After, ok = v.after(end+1, last); !ok {
			return hit, waits
		}
		hit.Before = v.before(start)
	}
	hit.Offset, hit.At = v.line, v.readAt(v.base+int64(from))
	hit.Line, hit.Match = cutAround(v.buf[start:stop], from-start, to-start, v.limits.shown)
	if whole {
		v.startLine(min(end+1, len(v.buf)))
	} else {
		v.at, v.skip = v.base+int64(to), true
	}
	return hit, found
}

// before returns the lines before one that begins at pos.
func (v *lineView) before(pos int) (lines []string) {
	low := max(0, pos-v.limits.span)
	for end := pos - 1; end >= low && len(lines) < v.around; {
		start := low + bytes.LastIndexByte(v.buf[low:end], '\n') + 1
		if start == low && !(v.edge && pos-low < v.limits.span) {
			break // it begins before
		}
		lines = append(lines, v.shown(start, end))
		end = start - 1
	}
	slices.Reverse(lines)
	return lines
}

// after returns the lines from pos on, and false if they are not there yet.
func (v *lineView) after(pos int, last bool) (lines []string, ok bool) {
	for start := pos; len(lines) < v.around && start < pos+v.limits.span; {
		if start >= len(v.buf) {
			return lines, last
		}
		i := bytes.IndexByte(v.buf[start:], '\n')
		switch {
		case i >= 0:
			lines = append(lines, v.shown(start, start+i))
			start += i + 1
		case last || len(v.buf) > pos+v.limits.span+v.limits.context+1: // where the line after it is too far away
			return append(lines, v.shown(start, len(v.buf))), true
		default:
			return nil, false
		}
	}
	return lines, true
}

// shown returns a line of context as it is shown. It ends at end, before what ends it.
func (v *lineView) shown(start, end int) string {
	if end < len(v.buf) && end > start && v.buf[end-1] == '\r' {
		end--
	}
	end = runeBefore(v.buf[:end], min(end, start+v.limits.context), start)
	return valid(v.buf[start:end])
}

func (v *lineView) readAt(offset int64) (at time.Time) {
	for _, m := range v.marks {
		if m.from > offset {
			break
		}
		at = m.at
	}
	return at
}

// cutAround returns at most size bytes of a line with the match that is from one byte of it up to another, or the begin of
// the match if that is longer, as UTF-8; and where the match is in that.
func cutAround(line []byte, from, to, size int) (text string, match [2]int) {
	if to-from > size {
		to = runeBefore(line, from+size, from)
	}
	room := size - (to - from)
	before := min(from, room/2)
	after := min(len(line)-to, room-before)
	before = min(from, room-after)
	low, high := from-before, runeBefore(line, to+after, to)
	for low > 0 && low < from && !utf8.RuneStart(line[low]) {
		low++
	}
	head, middle := valid(line[low:from]), valid(line[from:to])
	return head + middle + valid(line[to:high]), [2]int{len(head), len(head) + len(middle)}
}

// runeBefore returns the last place up to pos, but not before low, where a rune of the line begins or the line ends.
func runeBefore(line []byte, pos, low int) int {
	for at := pos; at > max(low, pos-utf8.UTFMax); at-- {
		if at == len(line) || utf8.RuneStart(line[at]) {
			return at
		}
	}
	return pos
}

func valid(b []byte) string { return strings.ToValidUTF8(string(b), string(utf8.RuneError)) }
