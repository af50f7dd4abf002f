package runlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"crony"
)

// maxReason is how long a stretch's reason may be, in bytes.
const maxReason = 4 << 10

type stretchRecord struct {
	day   dayNumber
	key   []byte
	value []byte
	name  string // for people
	from  *request
}

// AppendStretches stores stretches and returns when they are on the disk, under the terms of [Log.Append]: what is stored
// already stays as it is; after Invalid nothing of the call is stored, after Conflict all but what differs from the stored.
// A stretch belongs to the day of its To; it must lie within the years 1970 to 2261, as nanoseconds in 64 bits do.
func (l *Log) AppendStretches(ctx context.Context, list []crony.Stretch) error {
	if err := l.alive(ctx); err != nil {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	r := &request{done: make(chan error, 1)}
	for i := range list {
		rec, err := newStretchRecord(&list[i])
		if err != nil {
			return err
		}
		rec.from = r
		r.stretches = append(r.stretches, rec)
		r.size += len(rec.key) + len(rec.value)
	}
	return l.send(ctx, r)
}

func newStretchRecord(s *crony.Stretch) (stretchRecord, error) {
	name := fmt.Sprintf("the stretch of job %.80q from %s", s.Job, s.From.Format(time.RFC3339Nano))
	if wrong := faultOfStretch(s); wrong != "" {
		return stretchRecord{}, crony.Errorf(crony.Invalid, "%s: %s", name, wrong)
	}
	own := *s
	own.From, own.To, own.DecidedAt = stored(s.From), stored(s.To), stored(s.DecidedAt)
	value, err := encodeJSON(&own)
	if err != nil {
		return stretchRecord{}, &crony.Error{Code: crony.Invalid, Message: name + " can't be written as JSON", Err: err}
	}
	key := stretchKey(own.Job, own.To, own.From, own.JobUID)
	return stretchRecord{day: dayOf(own.To), key: key, value: value, name: name}, nil
}

// faultOfStretch returns what is wrong with s, or "".
func faultOfStretch(s *crony.Stretch) string {
	for _, name := range []struct{ what, text string }{{"job", s.Job}, {"job's uid", s.JobUID}} {
		if name.text == "" || len(name.text) > maxName || strings.ContainsRune(name.text, 0) {
			return fmt.Sprintf("its %s is empty, longer than %d bytes, or holds a NUL", name.what, maxName)
		}
	}
	for _, text := range []string{s.Job, s.JobUID, s.Agent, s.Reason} {
		if !utf8.ValidString(text) {
			return "its text is not UTF-8"
		}
	}
	switch {
	case len(s.Agent) > maxName || len(s.Reason) > maxReason:
		return fmt.Sprintf("its agent has more than %d bytes, or its reason more than %d", maxName, maxReason)
	case !fits(s.From) || !fits(s.To) || s.DecidedAt.Year() < 0 || s.DecidedAt.Year() > 9999:
		return "its times are outside 1970 to 2261"
	case s.Count < 1 || s.To.Before(s.From) || (s.Count == 1) != s.From.Equal(s.To):
		return fmt.Sprintf("%d occurrences can't be from its first to its last", s.Count)
	case s.End != crony.EndSkipped && s.End != crony.EndMissed && s.End != crony.EndLost:
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

// stretch stores one record.
func (w *writing) stretch(tx *bbolt.Tx, s *stretchRecord) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(bucketStretches)) // files from before there were any have none
	if err != nil {
		return err
	}
	if there := bucket.Get(s.key); there != nil {
		if !same[crony.Stretch](there, s.value) {
			w.conflicts = append(w.conflicts, conflict{s.from, "there is another record in place of " + s.name})
		}
		return nil
	}
	w.stored++
	return bucket.Put(s.key, s.value)
}
