package replica

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"crony"
	"crony/embedded/runlog"
)

const (
	compareEvery = time.Minute     // on average
	compareAgain = 2 * time.Second // at least between two exchanges with one server
	settleTime   = 2 * time.Second // for what is on its way to arrive: it is no difference
	recent       = 2 * time.Minute // in which most records come, so that two logs always differ
	maxDiffering = 16_384          // items that are looked at together
	fetchStep    = 512             // items whose records are fetched together
	maxUnsettled = 4096            // items that are kept in mind from one exchange to the next
	copyRate     = 64 << 20        // bytes a second of a day's file
)

// exchanged is what is known of how the logs of two servers compare.
type exchanged struct {
	at        time.Time // of the last exchange that came to its end
	once      bool      // nothing was left to fetch then, once since this server has started
	differing int       // days of which the logs did not hold the same, in the end
	copying   int       // days that are still to be copied, in the one that is under way
	err       string    // of the last exchange, so that it is logged when it changes
}

// keepComparing compares this log with the server's at once, each minute, and when there is a reason to, until ctx is done.
func (o *other) keepComparing(ctx context.Context) {
	unsettled := map[runlog.Item]bool{}
	for routine := false; ctx.Err() == nil; {
		err := o.exchangeOnce(ctx, unsettled, routine)
		if ctx.Err() != nil {
			return
		}
		o.note(err)
		if !wait(ctx, compareAgain) {
			return
		}
		timer := time.NewTimer(compareEvery/2 + rand.N(compareEvery))
		select {
		case <-o.compare:
			routine = false
		case <-timer.C:
			routine = true
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (o *other) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != o.exchange.err && o.reached {
		o.log.Warn("run logs could not be compared", "err", err)
	}
	o.exchange.err = text
}

// exchangeOnce compares the logs, and fetches what this one lacks. One exchange is under way at a time.
func (o *other) exchangeOnce(ctx context.Context, unsettled map[runlog.Item]bool, routine bool) error {
	address := o.where()
	if address == "" {
		return crony.Errorf(crony.Unavailable, "its address is not known")
	}
	select {
	case o.l.comparing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-o.l.comparing }()
	x := &exchange{other: o, at: address, start: time.Now(), routine: routine, unsettled: unsettled, skipped: map[runlog.Item]bool{},
		healed: map[string]uint64{}, differing: map[string]bool{}}
	err := x.run(ctx)
	x.report()
	clear(unsettled)
	maps.Copy(unsettled, x.skipped)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.exchange.copying = 0
	if err != nil {
		return err
	}
	o.exchange.at, o.exchange.differing = o.l.opts.Now(), len(x.differing)
	o.exchange.once = o.exchange.once || !x.lacking
	if x.ahead { // it has its own minute, but need not wait for it
		o.tell = true
		poke(o.wake)
	}
	return nil
}

// exchange is one comparison of this log with another server's.
type exchange struct {
	*other
	at        string
	start     time.Time
	routine   bool                 // nothing has happened: the minutes that go on are left to the next one
	unsettled map[runlog.Item]bool // that changed while they were looked at, the time before
	skipped   map[runlog.Item]bool // that do so now
	healed    map[string]uint64    // records that were fetched, by day
	copied    []string             // days
	differing map[string]bool      // days that are not the same in the end
	lacking   bool                 // something could not be fetched
	ahead     bool                 // the other lacks something
}

func (x *exchange) own() Own { return x.l.opts.Own }

func (x *exchange) run(ctx context.Context) error {
	mine, err := x.own().Days(ctx)
	if err != nil {
		return err
	}
	theirs, floor, marks, err := x.l.opts.Peers.Days(ctx, x.at, mine, x.own().Floor(), x.own().Marks())
	if err != nil {
		return err
	}
	if err := x.raise(floor, marks); err != nil {
		return err
	}
	floor = x.own().Floor()
	days := slices.DeleteFunc(slices.Sorted(maps.Keys(theirs)), func(day string) bool {
		return day < floor || theirs[day] == mine[day] || theirs[day].Records == 0
	})
	for day := range mine {
		if theirs[day].Records == 0 && mine[day].Records > 0 && day >= floor {
			x.ahead, x.differing[day] = true, true
		}
	}
	slices.Reverse(days) // the newest first: they are looked at most
	x.toCopy(len(slices.DeleteFunc(slices.Clone(days), func(day string) bool { return mine[day].Records > 0 })))
	for _, day := range days {
		if err := x.day(ctx, day, mine[day].Records == 0); err != nil {
			return err
		}
	}
	return nil
}

// raise lets go of what the other server has let go of. What can't be meant, as it is to come, is refused by the log.
func (x *exchange) raise(floor string, marks map[string]crony.RunID) error {
	if floor > x.own().Floor() {
		x.log.Info("days are dropped, as another server has dropped them", "before", floor)
		if err := x.own().RaiseFloor(floor); err != nil {
			return err
		}
	}
	if len(marks) == 0 {
		return nil
	}
	return x.own().RaiseMarks(marks)
}

func (x *exchange) toCopy(days int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.exchange.copying = days
}

func (x *exchange) day(ctx context.Context, day string, absent bool) error {
	if !absent {
		return x.heal(ctx, day)
	}
	x.mu.Lock()
	left := x.exchange.copying
	x.mu.Unlock()
	defer x.toCopy(left - 1)
	err := x.copyDay(ctx, day)
	switch {
	case err == nil:
		x.copied = append(x.copied, day)
		return nil
	case crony.CodeOf(err) == crony.NotFound: // it was dropped
		return nil
	case crony.CodeOf(err) == crony.Unavailable || ctx.Err() != nil:
		return err
	case crony.CodeOf(err) != crony.Conflict: // of which something has arrived meanwhile
		x.log.Warn("a day can't be copied whole: its records are fetched", "day", day, "err", err)
	}
	return x.heal(ctx, day)
}

// copyDay takes the other server's file for a day of which this one has none.
func (x *exchange) copyDay(ctx context.Context, day string) error {
	return x.l.opts.Peers.Day(ctx, x.at, day, func(_ int64, file io.Reader) error {
		return x.own().AdoptDay(ctx, day, &paced{ctx: ctx, from: file, start: time.Now()})
	})
}

// paced reads no faster than what leaves room for others.
type paced struct {
	ctx   context.Context //nolint:containedctx // a reader has no other way to hear of its end
	from  io.Reader
	start time.Time
	read  int64
}

// Read implements [io.Reader].
func (p *paced) Read(buffer []byte) (int, error) {
	n, err := p.from.Read(buffer)
	p.read += int64(n)
	if early := time.Duration(p.read)*time.Second/copyRate - time.Since(p.start); early > 10*time.Millisecond {
		if !wait(p.ctx, early) {
			return n, context.Cause(p.ctx)
		}
	}
	return n, err
}

// report logs what was healed.
func (x *exchange) report() {
	if len(x.healed) == 0 && len(x.copied) == 0 {
		return
	}
	total := uint64(0)
	var days []string
	for _, day := range slices.Sorted(maps.Keys(x.healed)) {
		total += x.healed[day]
		days = append(days, fmt.Sprintf("%s: %d", day, x.healed[day]))
	}
	x.l.metrics.healed.Add(float64(total))
	x.log.Info("the run log got from another server what it lacked", "records", total, "days", days,
		"days_copied", x.copied, "took", time.Since(x.start))
}
