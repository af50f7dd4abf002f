package runlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
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
// A stretch belongs to the day of its To.
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
	return stretchRecord{day: dayOf(own.To), key: stretchKey(own.Job, own.To, own.From, own.JobUID), value: value, name: name}, nil
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

// stretch stores one record.
func (w *writing) stretch(tx *bbolt.Tx, s *stretchRecord) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(bucketStretches)) // files from before there were any have none
	if err != nil {
		return err
	}
	if there := bucket.Get(s.key); there != nil {
		if !bytes.Equal(there, s.value) {
			w.conflicts = append(w.conflicts, conflict{s.from, "there is another record in place of " + s.name})
		}
		return nil
	}
	w.stored++
	return bucket.Put(s.key, s.value)
}

// Stretches returns a job's stretches that have a part in the time from one instant to another, both included, in the order
// of their To, and at most limit at once. If there may be more, next is where to go on from: everything before it has been
// given, and what ends right at it is given again. Else next is zero.
func (l *Log) Stretches(
	ctx context.Context, job string, from, to time.Time, limit int,
) (list []crony.Stretch, next time.Time, err error) {
	if limit, err = crony.PageLimit(limit); err != nil {
		return nil, next, err
	}
	from = later(from, time.Unix(0, 0))
	budget := pageBudget
	for _, day := range l.daysFrom(dayOf(from)) {
		if err := l.alive(ctx); err != nil {
			return nil, next, err
		}
		start := later(from, day.begin())
		if budget -= dayCost; budget <= 0 && start.After(from) {
			return list, start.UTC(), nil
		}
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte(bucketStretches))
			if bucket == nil {
				return nil
			}
			prefix, c := stretchPrefix(job), bucket.Cursor()
			for key, value := c.Seek(stretchKey(job, start, time.Unix(0, 0), "")); bytes.HasPrefix(key, prefix); key, value = c.Next() {
				var s crony.Stretch
				if err := decodeJSON(value, &s); err != nil {
					return &crony.Error{Code: crony.Internal, Message: "a stretch of the job " + job + " can't be read", Err: err}
				}
				budget--
				// Those that end at one instant are given together: the next call begins after them, or with them again.
				if (len(list) >= limit || budget <= 0) && s.To.After(start) && !s.To.Equal(lastTo(list)) {
					next = s.To
					return nil
				}
				if !s.From.After(to) {
					list = append(list, s)
				}
			}
			return nil
		})
		if err != nil {
			return nil, next, fmt.Errorf("list stretches: %w", err)
		}
		if !next.IsZero() {
			break
		}
	}
	return list, next, nil
}

func lastTo(list []crony.Stretch) time.Time {
	if len(list) == 0 {
		return time.Time{}
	}
	return list[len(list)-1].To
}

// Occurrences returns a job's runs by schedule that were due from one instant to another, both included, in the order of
// their ids, and so of the milliseconds in which they were due, and at most limit at once. If there may be more, next is
// where to go on from: everything before it has been given, and what is due right at it is given again. Else next is zero.
func (l *Log) Occurrences(
	ctx context.Context, job string, from, to time.Time, limit int,
) (list []crony.Run, next time.Time, err error) {
	if limit, err = crony.PageLimit(limit); err != nil {
		return nil, next, err
	}
	from = later(from, time.Unix(0, 0))
	budget := pageBudget
	for _, day := range l.daysFrom(dayOf(from)) {
		if day.begin().After(to) {
			break
		}
		if err := l.alive(ctx); err != nil {
			return nil, next, err
		}
		start := later(from, day.begin())
		if budget -= dayCost; budget <= 0 && start.After(from) {
			return list, start.UTC(), nil
		}
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			prefix, c := indexPrefix(indexJob, job), tx.Bucket([]byte(bucketIndex)).Cursor()
			low := firstAt(start)
			for key, _ := c.Seek(append(slices.Clone(prefix), low[:]...)); bytes.HasPrefix(key, prefix); key, _ = c.Next() {
				k := runKey(key[len(prefix):])
				ms := k.id().Time()
				budget--
				// A millisecond's runs are given together.
				if (len(list) >= limit || budget <= 0) && ms.After(start) && !ms.Equal(lastMs(list)) {
					next = ms
					return nil
				}
				if ms.After(to) {
					return nil
				}
				run, found, err := readRun(tx, k)
				if err != nil {
					return err
				}
				if at := run.ScheduledAt; found && run.Trigger == crony.BySchedule && !at.Before(from) && !at.After(to) {
					list = append(list, run)
				}
			}
			return nil
		})
		if err != nil {
			return nil, next, fmt.Errorf("list occurrences: %w", err)
		}
		if !next.IsZero() {
			break
		}
	}
	return list, next, nil
}

func lastMs(list []crony.Run) time.Time {
	if len(list) == 0 {
		return time.Time{}
	}
	return list[len(list)-1].ID.Time()
}

// daysFrom returns the days from one on that have a file, oldest first.
func (l *Log) daysFrom(first dayNumber) []dayNumber {
	var list []dayNumber
	for _, day := range l.days.newestFirst() {
		if day < first {
			break
		}
		list = append(list, day)
	}
	slices.Reverse(list)
	return list
}

func (d dayNumber) begin() time.Time { return time.UnixMilli(int64(d) * dayMillis) }

// firstAt returns the smallest key that a run of an instant's millisecond can have.
func firstAt(t time.Time) (k runKey) {
	ms := uint64(max(t.UnixMilli(), 0))
	for i := range 6 {
		k[i] = byte(ms >> (40 - 8*i))
	}
	return k
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
