package runlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// Policy is how much of what ran is kept. What it asks for is what every server asks for by itself: the bounds that come of
// it only ever grow, and servers that give them to each other end with the highest.
type Policy struct {
	Age time.Duration // since the end of a day: older ones are dropped; 0: none for its age
	// Size is how many bytes of the disk day files may take. Beyond it the oldest days are dropped, never the newest. If it is
	// 0, it is [DefaultSize], or half of the disk if that is less.
	Size int64
	// Jobs yields what jobs say of their own history, by name; nil: nothing is asked of jobs.
	Jobs func() iter.Seq2[string, crony.Retention]
}

// DefaultSize is how large a log may become where nothing is said of it.
const DefaultSize = 20 << 30

// The rhythm of keeping a log.
const (
	retainTick = 10 * time.Minute
	checkTick  = 24 * time.Hour
	checkRate  = 32 << 20 // bytes a second, of what is on the disk
)

// Keep looks after the log until ctx is done, which is no error, or until it is closed: it watches the disk and the memory,
// takes over what can be read of damaged files, lets go of what the policy does not keep, checks every day's file after the
// start and then daily, and gives back the room that old files do not use. Other calls see of it that they wait for each
// other's transactions, and no more.
func (l *Log) Keep(ctx context.Context, p Policy) error {
	k := &keeping{log: l, policy: p, rate: checkRate}
	var watch sync.WaitGroup
	defer watch.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watch.Go(func() { k.watch(ctx) })
	watch.Go(func() { k.letGo(ctx) })
	return k.run(ctx)
}

// keeping is a log that is looked after.
type keeping struct {
	log    *Log
	policy Policy
	rate   int         // bytes a second that are checked
	queue  []dayNumber // days that are to be checked
	known  map[string]counted
}

// watch looks at the disk, whatever else takes its time.
func (k *keeping) watch(ctx context.Context) {
	tick := time.NewTicker(spaceTick)
	defer tick.Stop()
	for {
		k.attempt(ctx, "look at the disk", func(context.Context) error { return k.log.measure() })
		select {
		case <-tick.C:
		case <-k.log.closing:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (k *keeping) run(ctx context.Context) error {
	retain, check := time.NewTicker(retainTick), time.NewTicker(checkTick)
	defer retain.Stop()
	defer check.Stop()
	next := make(chan struct{}) // closed: always ready
	close(next)
	k.attempt(ctx, "take over what damaged files hold", k.log.salvage)
	k.attempt(ctx, "let go of what is not kept", k.retain)
	k.queue = k.log.days.newestFirst()
	for {
		more := next
		if len(k.queue) == 0 {
			more = nil
		}
		select {
		case <-k.log.mended:
			k.attempt(ctx, "take over what a damaged file holds", k.log.salvage)
		case <-k.log.raised:
			k.attempt(ctx, "let go of runs", k.log.sweep)
		case <-retain.C:
			k.attempt(ctx, "let go of what is not kept", k.retain)
		case <-check.C:
			k.queue = k.log.days.newestFirst()
		case <-more:
			day := k.queue[0]
			k.queue = k.queue[1:]
			k.attempt(ctx, "check the day "+day.String(), func(ctx context.Context) error { return k.checkup(ctx, day) })
		case <-k.log.closing:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// attempt does one thing. What fails is tried again in time.
func (k *keeping) attempt(ctx context.Context, what string, act func(context.Context) error) {
	if err := act(ctx); err != nil && k.log.alive(ctx) == nil {
		k.log.log.Warn("looking after the run log has to wait", "what", what, "err", err)
	}
}

// checkup looks after one day's file.
func (k *keeping) checkup(ctx context.Context, day dayNumber) error {
	if err := k.log.checkDay(ctx, day, k.rate); err != nil {
		return err
	}
	return k.log.compact(ctx, day)
}

// retain draws the bounds that the policy asks for.
func (k *keeping) retain(ctx context.Context) error {
	floor, err := k.floor()
	if err != nil {
		return err
	}
	if floor > 0 {
		if err := k.log.RaiseFloor(floor.String()); err != nil { //nolint:contextcheck // it is short, and for good
			return err
		}
	}
	marks, err := k.marks(ctx)
	if err != nil {
		return err
	}
	if err := k.log.RaiseMarks(marks); err != nil { //nolint:contextcheck // likewise
		return err
	}
	return k.log.sweep(ctx)
}

// present is the present as far as the log bears it out: the end of the newest day of which it holds something, if the clock
// is ahead of that. A clock that went wrong must not take the whole log with it.
func (k *keeping) present() time.Time {
	now := k.log.now()
	if days := k.log.days.newestFirst(); len(days) > 0 {
		if end := (days[0] + 1).begin(); now.After(end) {
			return end
		}
	}
	return now
}

// floor returns the first day that is kept; 0 if all are.
func (k *keeping) floor() (floor dayNumber, err error) {
	days := k.log.days.newestFirst()
	if len(days) == 0 {
		return 0, nil
	}
	if k.policy.Age > 0 {
		if since := k.present().Add(-k.policy.Age); since.After(time.UnixMilli(0)) {
			floor = dayOf(since)
		}
	}
	bound := k.policy.Size
	if bound == 0 {
		half, err := halfOfDisk(k.log.days.dir)
		if err != nil {
			return 0, err
		}
		bound = min(DefaultSize, half)
	}
	sizes, err := k.log.days.sizes()
	if err != nil {
		return 0, err
	}
	var sum int64
	for i, day := range days {
		if sum += sizes[day]; sum > bound && i > 0 {
			return max(floor, day+1), nil
		}
	}
	return floor, nil
}

// counted is a job's newest run at the time when its runs were counted, and what came of that.
type counted struct {
	newest runKey
	runs   int
	mark   runKey
}

// marks returns, by job, before which run its runs are not kept. A run that goes on is kept, and what is newer.
func (k *keeping) marks(ctx context.Context) (map[string]crony.RunID, error) {
	marks := map[string]crony.RunID{}
	if k.policy.Jobs == nil {
		return marks, nil
	}
	known := map[string]counted{}
	oldest, now := k.log.mem.oldestLive(), k.present()
	for job, keep := range k.policy.Jobs() {
		var mark runKey
		if since := now.Add(-keep.Age.Std()); keep.Age > 0 && since.After(time.UnixMilli(0)) {
			mark = firstOf(since.UnixMilli())
		}
		if keep.Runs > 0 {
			c, err := k.count(ctx, job, keep.Runs)
			if err != nil {
				return nil, fmt.Errorf("count the runs of the job %s: %w", job, err)
			}
			known[job] = c
			mark = greater(mark, c.mark)
		}
		if live, ok := oldest[job]; ok && bytes.Compare(live[:], mark[:]) < 0 {
			mark = live
		}
		if mark != (runKey{}) {
			marks[job] = mark.id()
		}
	}
	k.known = known
	return marks, nil
}

func greater(a, b runKey) runKey {
	if bytes.Compare(a[:], b[:]) >= 0 {
		return a
	}
	return b
}

// count finds a job's nth newest run, anew if there is a newer one than the last time.
func (k *keeping) count(ctx context.Context, job string, runs int) (counted, error) {
	newest := k.log.mem.newestOf(job)
	if c, ok := k.known[job]; ok && newest.sure && c.newest == newest.run && c.runs == runs {
		return c, nil
	}
	nth, err := k.log.nthNewest(ctx, job, runs)
	return counted{newest: newest.run, runs: runs, mark: nth}, err
}

// countStep is how much of a walk is done in one transaction.
const countStep = 10_000

// nthNewest returns a job's nth newest run; the zero key if it has fewer.
func (l *Log) nthNewest(ctx context.Context, job string, n int) (nth runKey, err error) {
	s, err := newSelection(crony.RunQuery{Job: job}, l.now())
	if err != nil {
		return nth, err
	}
	for _, day := range l.days.newestFirst() {
		for before, more := highest(), true; more; {
			if err := l.alive(ctx); err != nil {
				return nth, err
			}
			if nth, before, n, more, err = l.countDown(s, day, before, n); err != nil || n == 0 {
				return nth, err
			}
		}
	}
	return runKey{}, nil
}

// countDown counts runs of a day below one, down from n, for a bounded time. It returns the run at which that came to 0, and
// otherwise where to go on, if there is more.
func (l *Log) countDown(s *selection, day dayNumber, before runKey, n int) (at, next runKey, left int, more bool, err error) {
	left = n
	err = l.days.view(day, func(tx *bbolt.Tx) error {
		w, ok := s.on(tx, day, before)
		if !ok {
			return nil
		}
		for b := (budget{countStep}); left > 0; left-- {
			k, _, found, err := w.next(&b)
			if err != nil || !found {
				next, more = w.before, w.before != runKey{}
				return err
			}
			at = k
		}
		return nil
	})
	return at, next, left, more, err
}

// sweepStep is how many records are taken away in one transaction, about.
const sweepStep = 300

// sweep takes away the runs that are before their jobs' marks, a few at a time, so that nobody waits for it.
func (l *Log) sweep(ctx context.Context) error {
	var errs []error
	for _, day := range l.days.newestFirst() {
		if err := l.sweepDay(ctx, day); err != nil {
			errs = append(errs, fmt.Errorf("let go of runs of %s: %w", day, err))
		}
	}
	return errors.Join(errs...)
}

func (l *Log) sweepDay(ctx context.Context, day dayNumber) error {
	first := day.first()
	for job, mark := range l.bounds.Load().marks {
		if bytes.Compare(mark[:], first[:]) <= 0 {
			continue
		}
		for {
			if err := l.alive(ctx); err != nil {
				return err
			}
			victims, err := l.outOfBounds(day, job, mark)
			if err != nil {
				return err
			}
			if len(victims) == 0 {
				break
			}
			if err := l.exclusively(ctx, func(w *writer) error { return w.drop(day, job, victims) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// outOfBounds returns some runs of a job on a day that are before its mark.
func (l *Log) outOfBounds(day dayNumber, job string, mark runKey) (victims []runKey, err error) {
	s, err := newSelection(crony.RunQuery{Job: job}, l.now())
	if err != nil {
		return nil, err
	}
	err = l.days.view(day, func(tx *bbolt.Tx) error {
		w, ok := s.on(tx, day, mark)
		if !ok {
			return nil
		}
		for b := unbounded(); len(victims) < sweepStep; {
			k, _, found, err := w.next(b)
			if err != nil || !found {
				return err
			}
			victims = append(victims, k)
		}
		return nil
	})
	return victims, err
}

// drop takes runs of a job away, as many as go into one transaction. A run with much output goes in pieces, the run itself
// with the last.
func (w *writer) drop(day dayNumber, job string, victims []runKey) error {
	var t *writing
	err := w.update(day, func(tx *bbolt.Tx) error {
		own, err := w.day(tx, day)
		if err != nil {
			return err
		}
		t = newWriting(tx, day, w.log.mem, own)
		left := sweepStep
		for _, k := range victims {
			if err := t.drop(k, job, &left); err != nil {
				return err
			}
			if left <= 0 {
				break
			}
		}
		if t.stored == 0 {
			return errNothingNew
		}
		return t.finish(w.settleAt)
	})
	if errors.Is(err, errNothingNew) {
		return nil
	}
	if err == nil {
		w.log.mem.commit(t)
	}
	return err
}
