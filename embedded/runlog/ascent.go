package runlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// Stretches returns a job's stretches that have a part in the time from one instant to another, both included, in the order
// of their To, then their From. Limit is as for [crony.PageLimit]; more are given only where many end at one instant, for
// those stay together. Fewer, or none, are given where it has come to what one call may cost.
//
// Next is where to go on, as the next call's from: what ends before it has been given, and nothing that ends at it or after
// it. It is later than from, or zero if there is no more.
func (l *Log) Stretches(
	ctx context.Context, job string, from, to time.Time, limit int,
) (list []crony.Stretch, next time.Time, err error) {
	a, err := newAscent[crony.Stretch](from, limit)
	if err != nil {
		return nil, next, err
	}
	prefix := stretchPrefix(job)
	err = a.climb(ctx, l, lastDay, func(tx *bbolt.Tx, start time.Time) error { // what has begun by then may end on any day
		n, c, low := namesOf(tx), tx.Bucket([]byte(bucketStretches)).Cursor(), stretchKey(job, start, time.Unix(0, 0), "")
		for key, value := c.Seek(low); bytes.HasPrefix(key, prefix); key, value = c.Next() {
			begin, end, ok := timesOf(key[len(prefix):])
			if ok && a.endsAt(end) {
				return nil
			}
			if ok && begin.After(to) { // by far the most, where the time is long ago: they are not worth decoding
				continue
			}
			s, err := stretchOf(key, value, n)
			if err != nil {
				return err
			}
			a.list = append(a.list, s)
		}
		return nil
	})
	if err != nil {
		return nil, next, fmt.Errorf("list stretches: %w", err)
	}
	return a.list, a.next, nil
}

// Occurrences returns a job's runs by schedule that were due from one instant to another, both included, in the order of
// their ids, and so of the milliseconds in which they were due. Limit is as for [crony.PageLimit]; more are given only where
// many were due in one millisecond, for those stay together. Fewer, or none, are given where it has come to what one call
// may cost.
//
// Next is where to go on, as the next call's from: what was due before it has been given, and nothing that was due at it or
// after it. It is later than from, or zero if there is no more.
func (l *Log) Occurrences(
	ctx context.Context, job string, from, to time.Time, limit int,
) (list []crony.Run, next time.Time, err error) {
	a, err := newAscent[crony.Run](from, limit)
	if err != nil {
		return nil, next, err
	}
	err = a.climb(ctx, l, dayOf(to), func(tx *bbolt.Tx, start time.Time) error {
		c, ok := newAscending(tx, job, start)
		for ok {
			k, h, err := c.next()
			if err != nil || h == nil {
				return err
			}
			due := time.UnixMilli(k.millis()).UTC()
			if due.After(to) || a.endsAt(due) {
				return nil
			}
			if h.trigger != c.schedule || h.due.Before(from) || h.due.After(to) {
				continue
			}
			run, _, err := foldOf(k, c.runs.Get(k[:]), c.names)
			if err != nil {
				return err
			}
			a.list = append(a.list, run)
		}
		return nil
	})
	if err != nil {
		return nil, next, fmt.Errorf("list occurrences: %w", err)
	}
	return a.list, a.next, nil
}

// ascent is a page in the making that goes up through the days, the earliest first; [page] goes down.
type ascent[T any] struct {
	from   time.Time
	limit  int
	budget int
	list   []T
	last   time.Time // where the last that was looked at stands
	next   time.Time // where the page after it begins; zero as long as nothing is left out
}

func newAscent[T any](from time.Time, limit int) (*ascent[T], error) {
	limit, err := crony.PageLimit(limit)
	if err != nil {
		return nil, err
	}
	return &ascent[T]{from: later(from, time.Unix(0, 0)), limit: limit, budget: pageBudget}, nil
}

// climb calls collect for each day that has a file, up to one, in a transaction and with the instant from which on to look.
func (a *ascent[T]) climb(ctx context.Context, l *Log, last dayNumber, collect func(*bbolt.Tx, time.Time) error) error {
	for _, day := range l.days.upward(dayOf(a.from), last) {
		if err := l.alive(ctx); err != nil {
			return err
		}
		start := later(a.from, day.begin())
		if a.budget -= dayCost; a.full() && start.After(a.from) {
			a.next = start.UTC()
			return nil
		}
		if err := l.days.view(day, func(tx *bbolt.Tx) error { return collect(tx, start) }); err != nil {
			return err
		}
		if !a.next.IsZero() {
			return nil
		}
	}
	return nil
}

func (a *ascent[T]) full() bool { return len(a.list) >= a.limit || a.budget <= 0 }

// endsAt says whether the page ends before what stands at an instant. What stands at the same one as that before it never
// ends a page, since an instant is all that the next one knows of this; nor does what stands at the page's first instant,
// so that each page gets on.
func (a *ascent[T]) endsAt(at time.Time) bool {
	a.budget--
	if !a.full() || at.Equal(a.last) || !at.After(a.from) {
		a.last = at
		return false
	}
	a.next = at
	return true
}

// upward returns the days that have a file, from one to another, the earliest first.
func (s *days) upward(first, last dayNumber) []dayNumber {
	var list []dayNumber
	for _, day := range slices.Backward(s.newestFirst()) {
		if day >= first && day <= last {
			list = append(list, day)
		}
	}
	return list
}

func (d dayNumber) begin() time.Time { return time.UnixMilli(int64(d) * dayMillis) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ascending goes up the runs of a job on a day: those in its list, and the pending ones beside them.
type ascending struct {
	names         *names
	runs          *bbolt.Bucket
	list          *list
	pending       *bbolt.Cursor
	job, schedule uint32
	day           dayNumber
	from          runKey // what is below it has been looked at
}

// newAscending returns the way up from an instant on; false if the day knows nothing of the job or of schedules.
func newAscending(tx *bbolt.Tx, job string, start time.Time) (*ascending, bool) {
	c := &ascending{names: namesOf(tx), runs: tx.Bucket([]byte(bucketRuns)), day: dayOf(start), from: firstOf(start.UnixMilli())}
	var known, scheduled bool
	c.job, known = c.names.find(job)
	c.schedule, scheduled = c.names.find(string(crony.BySchedule))
	c.list = newList(tx, c.day, listID{indexJob, c.job})
	c.pending = tx.Bucket([]byte(bucketPending)).Cursor()
	return c, known && scheduled && c.job != 0
}

// next returns the next run of the job, and its header; nil if there is none.
func (c *ascending) next() (runKey, *header, error) {
	for c.from.day() == c.day {
		k, listed := c.list.atOrAbove(c.from)
		if key, _ := c.pending.Seek(c.from[:]); len(key) == runSize && (!listed || bytes.Compare(key, k[:]) < 0) {
			k, listed = runKey(key), true
		}
		if !listed {
			break
		}
		c.from, _ = k.above()
		value := c.runs.Get(k[:])
		if value == nil {
			continue
		}
		h, _, err := headerOf(k, value)
		if err != nil {
			return k, nil, err
		}
		if h.claimed() && h.job == c.job {
			return k, &h, nil
		}
	}
	return runKey{}, nil, nil
}
