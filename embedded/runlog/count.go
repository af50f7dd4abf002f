package runlog

import (
	"bytes"
	"context"
	"slices"

	"go.etcd.io/bbolt"

	"crony"
)

// countRuns counts what is selected: of days that are asked for whole by the counters, where jobs and ends are all that is
// asked for, or by the list of an agent, of a group or of what is to be handled; else one by one as far as it may.
func (l *Log) countRuns(ctx context.Context, s *selection, steps int) (*crony.RunCount, error) {
	n := &crony.RunCount{}
	b := budget{steps}
	for _, day := range l.days.newestFirst() {
		if !s.has(day, s.high) {
			continue
		}
		if err := l.alive(ctx); err != nil {
			return nil, err
		}
		if b.left -= dayCost; b.left <= 0 {
			n.More = true
			break
		}
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			id, ok := s.oneList(tx)
			switch {
			case s.whole(day) && s.counted():
				return s.countDay(tx, n)
			case s.whole(day) && ok:
				return s.countList(tx, id, &b, n)
			}
			return s.countWalking(tx, day, &b, n)
		})
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

// whole says whether all of a day is within the times that are asked for.
func (s *selection) whole(day dayNumber) bool {
	first, last := day.first(), day.last()
	return bytes.Compare(s.low[:], first[:]) <= 0 && bytes.Compare(last[:], s.high[:]) < 0
}

// plain says whether nothing is asked for that neither counters nor lists know.
func (s *selection) plain() bool {
	return s.q.Trigger == "" && len(s.q.Labels) == 0 && s.q.Longer == 0 && s.q.Shorter == 0
}

// counted says whether counters can tell how many of a day's runs are selected.
func (s *selection) counted() bool {
	return s.plain() && !s.q.ToHandle && s.q.Agent == "" && s.q.Group == "" && (s.q.State == "" || s.q.State.Ended())
}

// oneList returns the list that has all that is selected, and nothing else, if there is one: an agent's, a group's, or that of
// results to handle.
func (s *selection) oneList(tx *bbolt.Tx) (id listID, ok bool) {
	if !s.plain() || s.q.Job != "" || s.q.State != "" || count(s.q.Agent != "", s.q.Group != "", s.q.ToHandle) != 1 {
		return id, false
	}
	if s.q.ToHandle {
		return listID{indexWaits, waitsName}, true
	}
	id.kind = indexAgent
	if s.q.Group != "" {
		id.kind = indexGroup
	}
	id.name, _ = namesOf(tx).find(s.q.Agent + s.q.Group)
	return id, id.name != 0
}

// countList counts a list's runs by its blocks, and puts right what is pending.
func (s *selection) countList(tx *bbolt.Tx, id listID, b *budget, n *crony.RunCount) error {
	c := tx.Bucket([]byte(bucketIndex)).Cursor()
	for slot := range daySlots {
		b.left -= seekCost
		prefix := posting{slot, id}.key(nil, nil)
		for key, value := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, value = c.Next() {
			n.Runs += int64(block(value).len())
			b.left--
		}
	}
	return pending(tx, func(_ runKey, was, is *header) error {
		if slices.Contains(was.lists(nil), id) {
			n.Runs--
		}
		if slices.Contains(is.lists(nil), id) {
			n.Runs++
		}
		return nil
	})
}

func (s *selection) countDay(tx *bbolt.Tx, n *crony.RunCount) error {
	job, ok := namesOf(tx).find(s.q.Job)
	if !ok {
		return nil
	}
	c, err := readDay(tx, job)
	if err != nil {
		return err
	}
	if s.q.State != "" {
		n.Runs += *c.counts.Of(s.q.State)
		return nil
	}
	n.Runs += c.counts.Total()
	runs := tx.Bucket([]byte(bucketRuns))
	return tx.Bucket([]byte(bucketLive)).ForEach(func(key, _ []byte) error {
		h, _, err := headerOf(runKey(key), runs.Get(key))
		if err == nil && (job == 0 || h.job == job) {
			n.Runs++
		}
		return err
	})
}

func (s *selection) countWalking(tx *bbolt.Tx, day dayNumber, b *budget, n *crony.RunCount) error {
	w, ok := s.on(tx, day, s.high)
	if !ok {
		return nil
	}
	for {
		_, _, found, err := w.next(b)
		if err != nil || !found {
			n.More = n.More || w.before != runKey{}
			return err
		}
		n.Runs++
	}
}
