package runlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"crony"
)

// maxReason is how long a stretch's reason may be, in bytes.
const maxReason = 4 << 10

// stretchRecord is a stretch that was checked. It is never changed, and shares nothing with who gave it.
type stretchRecord struct {
	day     dayNumber
	key     []byte
	plain   []byte // what the key does not tell, with its texts spelled out
	stretch crony.Stretch
	hash    uint64 // of key and plain
}

func (s *stretchRecord) name() string {
	return fmt.Sprintf("the stretch of job %.80q from %s", s.stretch.Job, s.stretch.From.Format(time.RFC3339Nano))
}

// A stretch's key has its job, its times, its job's uid and, after a NUL, whose it is if it is one agent's alone. Its value is
// a version byte, where it is stored, and then
//
//	generation, count, end byte; references: agent, reason; when it was decided
func appendStretch(b []byte, t texts, s *crony.Stretch) []byte {
	b = binary.AppendVarint(b, s.Generation)
	b = binary.AppendUvarint(b, uint64(s.Count))
	b = append(b, endByte(s.End))
	b = t.appendRef(b, s.Agent, false)
	b = t.appendRef(b, s.Reason, false)
	return appendTime(b, s.To.UnixMilli(), s.DecidedAt)
}

// stretch reads what appendStretch has written, of the stretch that key names.
func (u *unpacker) stretch(key []byte, t texts) (s crony.Stretch) {
	job, rest, ok := bytes.Cut(key, []byte{0})
	from, to, fits := timesOf(rest)
	if !ok || !fits {
		u.fail()
		return s
	}
	uid, of, _ := strings.Cut(string(rest[16:]), "\x00")
	s.Job, s.JobUID, s.Of, s.From, s.To = string(job), uid, of, from, to
	s.Generation, s.Count, s.End = u.varint(), int64(u.number(math.MaxInt64)), endOf(u.byte())
	s.Agent, s.Reason = t.text(u), t.text(u)
	s.DecidedAt = u.time(s.To.UnixMilli())
	return s
}

// stretchOf reads a stretch that is stored.
func stretchOf(key, value []byte, t texts) (crony.Stretch, error) {
	value, ok := unseal(key, value)
	u := unpacker{b: value}
	u.byte() // the version
	s := u.stretch(key, t)
	if !ok || u.failed || len(u.b) > 0 {
		job, _, _ := bytes.Cut(key, []byte{0})
		return s, &crony.Error{
			Code: crony.Internal, Message: fmt.Sprintf("a stretch of the job %.80q can't be read", job), Err: errUnknownRecord,
		}
	}
	return s, nil
}

// ends returns a stretch's, each at the number that stands for it. Zero stands for none.
func ends() []crony.End { return []crony.End{"", crony.EndSkipped, crony.EndMissed, crony.EndLost} }

func endByte(e crony.End) byte { return byteFor(ends(), e) }

func endOf(b byte) crony.End { return wordFor(ends(), b) }

func newStretchRecord(s *crony.Stretch) (stretchRecord, error) {
	own := *s
	own.From, own.To, own.DecidedAt = stored(s.From), stored(s.To), stored(s.DecidedAt)
	rec := stretchRecord{stretch: own}
	if wrong := faultOfStretch(s); wrong != "" {
		return stretchRecord{}, crony.Errorf(crony.Invalid, "%s: %s", rec.name(), wrong)
	}
	rec.day, rec.key = dayOf(own.To), stretchKey(own.Job, own.To, own.From, own.JobUID)
	if own.Of != "" {
		rec.key = append(append(rec.key, 0), own.Of...)
	}
	whole := appendStretch(bytes.Clone(rec.key), (*spelled)(nil), &own)
	rec.plain, rec.hash = whole[len(rec.key):], xxhash.Sum64(whole)
	return rec, nil
}

// outweighs says whether of two different stretches with one key s is the one to keep: on every server the same.
func (s *stretchRecord) outweighs(other *stretchRecord) bool {
	if !s.stretch.DecidedAt.Equal(other.stretch.DecidedAt) {
		return s.stretch.DecidedAt.Before(other.stretch.DecidedAt)
	}
	return bytes.Compare(s.plain, other.plain) < 0
}

// minute returns which of its day's minutes the stretch belongs to.
func (s *stretchRecord) minute() int { return minuteOf(s.stretch.To) }

func minuteOf(t time.Time) int { return int(t.UnixMilli() % dayMillis / minuteMillis) }

// faultOfStretch returns what is wrong with s, or "".
func faultOfStretch(s *crony.Stretch) string {
	for _, name := range []struct{ what, text string }{{"job", s.Job}, {"job's uid", s.JobUID}} {
		if name.text == "" || len(name.text) > maxName || strings.ContainsRune(name.text, 0) {
			return fmt.Sprintf("its %s is empty, longer than %d bytes, or holds a NUL", name.what, maxName)
		}
	}
	for _, text := range []string{s.Job, s.JobUID, s.Of, s.Agent, s.Reason} {
		if !utf8.ValidString(text) {
			return "its text is not UTF-8"
		}
	}
	switch {
	case len(s.Of) > maxName || strings.ContainsRune(s.Of, 0):
		return fmt.Sprintf("whose it is has more than %d bytes, or holds a NUL", maxName)
	case len(s.Agent) > maxName || len(s.Reason) > maxReason:
		return fmt.Sprintf("its agent has more than %d bytes, or its reason more than %d", maxName, maxReason)
	case !fits(s.From) || !fits(s.To) || !writable(s.DecidedAt):
		return "its times are outside 1970 to 2261"
	case s.Count < 1 || s.To.Before(s.From) || (s.Count == 1) != s.From.Equal(s.To):
		return fmt.Sprintf("%d occurrences can't be from its first to its last", s.Count)
	case endByte(s.End) == 0:
		return fmt.Sprintf("no stretch ends in %.40q", s.End)
	}
	return ""
}

// fits says whether a time can be part of a key: as nanoseconds since 1970.
func fits(t time.Time) bool { return t.Unix() >= 0 && t.Year() < 2262 }

func dayOf(t time.Time) dayNumber { return dayNumber(t.UnixMilli() / dayMillis) }

func stretchPrefix(job string) []byte { return append([]byte(job), 0) }

func stretchKey(job string, to, from time.Time, uid string) []byte {
	b := binary.BigEndian.AppendUint64(stretchPrefix(job), uint64(to.UnixNano()))
	return append(binary.BigEndian.AppendUint64(b, uint64(from.UnixNano())), uid...)
}

// timesOf returns the times in a key without its prefix; false if it is no such key.
func timesOf(key []byte) (from, to time.Time, ok bool) {
	if len(key) < 16 {
		return from, to, false
	}
	to = time.Unix(0, int64(binary.BigEndian.Uint64(key))).UTC()
	from = time.Unix(0, int64(binary.BigEndian.Uint64(key[8:]))).UTC()
	return from, to, true
}
