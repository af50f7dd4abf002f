package schedule

import (
	"fmt"
	"time"
	"unique"

	"github.com/robfig/cron/v3"
)

// Entry is one schedule of a job.
type Entry struct {
	Schedule *Schedule
	StartsAt time.Time     // no instant before it; an interval's first is StartsAt itself. Zero: no bound
	EndsAt   time.Time     // no instant from it on. Zero: no bound
	Jitter   time.Duration // how much later than its instant an occurrence may start, less than this; 0: on time
}

// entry is an [Entry] of a set.
type entry struct {
	when             cron.Schedule
	startsAt, endsAt time.Time
	jitter           time.Duration
}

// entries are all of a set's.
type entries struct {
	job string
	all []entry
}

func newEntries(job string, list []Entry) (*entries, error) {
	l := &entries{job: job, all: make([]entry, len(list))}
	for i, e := range list {
		switch {
		case e.Schedule == nil:
			return nil, &Error{Message: "an entry has no schedule"}
		case e.Jitter < 0:
			return nil, &Error{Message: fmt.Sprintf("a jitter of %s is less than none", e.Jitter), Hint: "0s or more"}
		case e.Jitter > 0 && job == "":
			return nil, &Error{Message: "jitter is made from the job's name, and there is none", Hint: "give the job a name"}
		case !e.EndsAt.IsZero() && !e.StartsAt.Before(e.EndsAt):
			return nil, &Error{Message: "the schedule ends before it starts", Hint: "starts_at is before ends_at"}
		}
		l.all[i] = entry{when: e.Schedule.when, startsAt: e.StartsAt, endsAt: e.EndsAt, jitter: e.Jitter}
		switch when := e.Schedule.when.(type) {
		case *spec:
			l.all[i].when = shared{unique.Make(*when)}
		case interval:
			if !e.StartsAt.IsZero() {
				l.all[i].when = when.from(e.StartsAt)
			}
		}
	}
	return l, nil
}

// plain says that e is a schedule and nothing more.
func (e entry) plain() bool { return e.startsAt.IsZero() && e.endsAt.IsZero() && e.jitter == 0 }

func (e entry) next(t time.Time) time.Time {
	if !e.startsAt.IsZero() && t.Before(e.startsAt) {
		t = e.startsAt.Add(-1)
	}
	next := nextOf(e.when, t)
	if !e.endsAt.IsZero() && !next.Before(e.endsAt) {
		return time.Time{}
	}
	return next
}

// named returns the first instant after t that a schedule names.
func (l *entries) named(t time.Time) (due, bool) {
	var first due
	for _, e := range l.all {
		at := e.next(t)
		switch {
		case at.IsZero():
		case first.at.IsZero() || at.Before(first.at):
			first = due{at: at, jitter: e.jitter}
		case at.Equal(first.at):
			first.jitter = min(first.jitter, e.jitter)
		}
	}
	return first, !first.at.IsZero()
}

// Next implements [cron.Schedule].
func (l *entries) Next(t time.Time) time.Time {
	first, _ := l.named(t)
	return first.at
}

// shared is a spec of which there is one copy in memory, however many sets it is of: of a fleet's jobs, many are due at the
// same times.
type shared struct{ spec unique.Handle[spec] }

// Next returns the first instant after t.
func (s shared) Next(t time.Time) time.Time {
	spec := s.spec.Value()
	return spec.Next(t)
}

func (s shared) count(after, until time.Time) int64 {
	spec := s.spec.Value()
	return spec.count(after, until)
}
