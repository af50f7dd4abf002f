package runlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// worstJobs is how many jobs an overview lists.
const worstJobs = 10

// History implements [crony.Figures]. A day is that of the instants in the runs' ids, in UTC; the last of the days is today.
// The longest duration is exact, but up to 5 % too large too on a day on which the end of a run was corrected.
func (l *Log) History(ctx context.Context, job string, days int) ([]crony.DayFigures, error) {
	if days < 1 || days > crony.MaxHistory {
		return nil, crony.Errorf(crony.Invalid, "there is no history of %d days", days).WithHint("1 to %d", crony.MaxHistory)
	}
	today := dayOf(l.now())
	list := []crony.DayFigures{}
	for _, day := range l.days.newestFirst() {
		if day > today || day <= today-dayNumber(days) {
			continue
		}
		if err := l.alive(ctx); err != nil {
			return nil, err
		}
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			name, ok := namesOf(tx).find(job)
			if !ok {
				return nil
			}
			c, err := readDay(tx, name)
			if err == nil && c.counts.Total() > 0 {
				list = append(list, c.day(day))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
	}
	return list, l.alive(ctx)
}

// readDay returns the counter of a job's day, or with job 0 that of all jobs, as the runs are now.
func readDay(tx *bbolt.Tx, job uint32) (counter, error) {
	key := []byte{counterDay}
	if job != 0 {
		key = jobKey(job)
	}
	c, err := readCounter(tx.Bucket([]byte(bucketCounters)).Get(key))
	if err != nil {
		return c, err
	}
	err = pending(tx, func(_ runKey, was, is *header) error {
		if job == 0 || was.job == job {
			c.add(was, -1)
		}
		if job == 0 || is.job == job {
			c.add(is, 1)
		}
		return nil
	})
	return c, err
}

// Overview implements [crony.Figures]. The worst jobs are those with the most runs that failed, timed out, were killed or
// lost: what was skipped never ran, on purpose.
func (l *Log) Overview(ctx context.Context) (crony.Overview, error) {
	now := l.now().UTC()
	today := dayOf(now)
	o := crony.Overview{
		Running: l.Running(), Hours: make([]crony.HourFigures, 25), Day: crony.DayFigures{Day: today.String()},
		Worst: []crony.JobFigures{},
	}
	first := now.Truncate(time.Hour).Add(-24 * time.Hour)
	for i := range o.Hours {
		o.Hours[i].From = first.Add(time.Duration(i) * time.Hour)
	}
	for _, day := range []dayNumber{today - 1, today} {
		if err := l.alive(ctx); err != nil {
			return crony.Overview{}, err
		}
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			v := &overview{jobs: map[uint32]crony.RunCounts{}}
			if err := v.read(tx, day == today); err != nil {
				return err
			}
			for i := range o.Hours {
				if h := &o.Hours[i]; dayOf(h.From) == day {
					h.Counts = v.hours[h.From.Hour()]
				}
			}
			if day == today {
				o.Day, o.Worst = v.day.day(day), v.worst(namesOf(tx))
			}
			return nil
		})
		if err != nil {
			return crony.Overview{}, fmt.Errorf("read overview: %w", err)
		}
	}
	return o, nil
}

// overview is a day's counters, as its runs are now.
type overview struct {
	hours [24]crony.RunCounts
	day   counter
	jobs  map[uint32]crony.RunCounts
}

// read reads the hours and, if jobs are asked for, them and the day.
func (v *overview) read(tx *bbolt.Tx, jobs bool) error {
	var err error
	counters := tx.Bucket([]byte(bucketCounters))
	for hour := range v.hours {
		if v.hours[hour], err = readCounts(counters.Get(hourKey(hour))); err != nil {
			return err
		}
	}
	if v.day, err = readCounter(counters.Get([]byte{counterDay})); err != nil {
		return err
	}
	c := counters.Cursor()
	for key, value := c.Seek([]byte{counterJob}); jobs && len(key) == 5 && key[0] == counterJob; key, value = c.Next() {
		if v.jobs[binary.BigEndian.Uint32(key[1:])], err = readCounts(value); err != nil {
			return err
		}
	}
	return pending(tx, func(k runKey, was, is *header) error {
		v.add(k, was, -1)
		v.add(k, is, 1)
		return nil
	})
}

func (v *overview) add(k runKey, h *header, n int64) {
	if !h.ended() {
		return
	}
	*v.hours[hourOf(k)].Of(h.state) += n
	v.day.add(h, n)
	job := v.jobs[h.job]
	*job.Of(h.state) += n
	v.jobs[h.job] = job
}

func (v *overview) worst(n *names) []crony.JobFigures {
	bad := func(c *crony.RunCounts) int64 { return c.Failed + c.TimedOut + c.Killed + c.Lost }
	list := []crony.JobFigures{}
	for job, counts := range v.jobs {
		if bad(&counts) == 0 {
			continue
		}
		if name, ok := n.name(job); ok {
			list = append(list, crony.JobFigures{Job: name, Counts: counts})
		}
	}
	slices.SortFunc(list, func(a, b crony.JobFigures) int {
		return cmp.Or(cmp.Compare(bad(&b.Counts), bad(&a.Counts)), cmp.Compare(a.Job, b.Job))
	})
	return list[:min(len(list), worstJobs)]
}
