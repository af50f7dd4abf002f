package replica

import (
	"context"
	"slices"
	"time"

	"crony"
	"crony/embedded/runlog"
)

// difference is an item of which the two logs do not hold the same.
type difference struct {
	minute       int
	key          string
	mine, theirs runlog.Sum
}

// heal fetches what this log lacks of a day of which it has something.
func (x *exchange) heal(ctx context.Context, day string) error {
	mine, err := x.own().Minutes(ctx, day)
	if err != nil {
		return err
	}
	theirs, err := x.l.opts.Peers.Minutes(ctx, x.at, day)
	if err != nil {
		return err
	}
	var found []difference
	for minute := range min(len(mine), len(theirs)) {
		if mine[minute] == theirs[minute] || x.routine && x.goesOn(day, minute) {
			continue
		}
		if found, err = x.healMinute(ctx, day, minute, found); err != nil {
			return err
		}
	}
	return x.settle(ctx, day, found)
}

// healMinute adds what differs of a minute to what was found before, and heals all that as soon as it is much. What is left of
// the minute is looked for as long as that does any good.
func (x *exchange) healMinute(ctx context.Context, day string, minute int, found []difference) ([]difference, error) {
	for {
		list, err := x.compareItems(ctx, day, minute)
		if err != nil {
			return nil, err
		}
		if found = append(found, list...); len(found) < maxDiffering {
			return found, nil
		}
		before := x.healed[day]
		if err := x.settle(ctx, day, found); err != nil {
			return nil, err
		}
		if found = nil; len(list) < maxDiffering || x.healed[day] == before {
			return nil, nil
		}
	}
}

// goesOn says whether a minute is among the latest. With many runs a second it costs much to compare them, and shows little
// but what is on its way.
func (x *exchange) goesOn(day string, minute int) bool {
	from, err := time.Parse(time.DateOnly, day)
	return err == nil && x.l.opts.Now().Sub(from.Add(time.Duration(minute)*time.Minute)) < recent
}

// compareItems returns the items of a minute of which the logs do not hold the same, those first that the other has.
func (x *exchange) compareItems(ctx context.Context, day string, minute int) (list []difference, err error) {
	mine, err := x.own().Items(ctx, day, minute)
	if err != nil {
		return nil, err
	}
	err = x.l.opts.Peers.Items(ctx, x.at, day, minute, func(key string, theirs runlog.Sum) error {
		own, here := mine[key]
		delete(mine, key)
		if (!here || own != theirs) && len(list) < maxDiffering {
			list = append(list, difference{minute, key, own, theirs})
		}
		return nil
	})
	for key, own := range mine {
		if len(list) == maxDiffering {
			break
		}
		list = append(list, difference{minute: minute, key: key, mine: own})
	}
	return list, err
}

// settle waits until what was on its way has arrived, and fetches what this log still lacks.
func (x *exchange) settle(ctx context.Context, day string, found []difference) error {
	if len(found) == 0 {
		return nil
	}
	if !wait(ctx, settleTime) {
		return context.Cause(ctx)
	}
	now, err := x.sums(ctx, day, found)
	if err != nil {
		return err
	}
	var open []difference
	var keys []string
	for _, d := range found {
		own := now(d)
		switch item := (runlog.Item{Day: day, Key: d.key}); {
		case own == d.theirs:
			continue
		case own != d.mine && !x.unsettled[item]:
			if len(x.skipped) < maxUnsettled {
				x.skipped[item] = true
			}
			continue
		}
		d.mine = own
		open = append(open, d)
		if d.theirs.Records > 0 {
			keys = append(keys, d.key)
		}
	}
	for part := range slices.Chunk(keys, fetchStep) {
		if err := x.fetch(ctx, day, part); err != nil {
			return err
		}
	}
	return x.judge(ctx, day, open)
}

// judge says what is left of differences after the fetching.
func (x *exchange) judge(ctx context.Context, day string, open []difference) error {
	now, err := x.sums(ctx, day, open)
	if err != nil {
		return err
	}
	for _, d := range open {
		own := now(d)
		if own.Records > d.mine.Records {
			x.healed[day] += own.Records - d.mine.Records
		}
		if own == d.theirs {
			continue
		}
		x.differing[day] = true
		x.ahead = x.ahead || own.Records >= d.theirs.Records
		x.lacking = x.lacking || own.Records < d.theirs.Records
	}
	return nil
}

// sums returns what tells the sum that this log has now of an item.
func (x *exchange) sums(ctx context.Context, day string, list []difference) (func(difference) runlog.Sum, error) {
	minutes := map[int]map[string]runlog.Sum{}
	for _, d := range list {
		if minutes[d.minute] != nil {
			continue
		}
		items, err := x.own().Items(ctx, day, d.minute)
		if err != nil {
			return nil, err
		}
		minutes[d.minute] = items
	}
	return func(d difference) runlog.Sum { return minutes[d.minute][d.key] }, nil
}

// fetch merges the other server's records of items of a day.
func (x *exchange) fetch(ctx context.Context, day string, keys []string) error {
	return x.l.fetch(ctx, x.at, day, keys, func(took time.Duration) error {
		if !wait(ctx, min(took, time.Second)) { // half of the time is left to what comes anew
			return context.Cause(ctx)
		}
		return nil
	})
}

// fetch merges a server's records of items of a day, and calls merged after each batch with how long that took.
func (l *Log) fetch(ctx context.Context, at, day string, keys []string, merged func(took time.Duration) error) error {
	asked := make(map[runlog.Item]bool, len(keys))
	for _, key := range keys {
		asked[runlog.Item{Day: day, Key: key}] = true
	}
	for data, err := range l.opts.Peers.Records(ctx, at, day, keys) {
		if err != nil {
			return err
		}
		start := time.Now()
		b, err := l.opts.Own.Decode(data)
		if err != nil {
			return err
		}
		for _, item := range b.Items() {
			if !asked[item] {
				return crony.Errorf(crony.Internal, "the server at %s sent records that it was not asked for", at)
			}
		}
		if err := l.opts.Own.Merge(ctx, b); err != nil {
			return err
		}
		if err := merged(time.Since(start)); err != nil {
			return err
		}
	}
	return nil
}
