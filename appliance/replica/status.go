package replica

import (
	"cmp"
	"context"
	"io"
	"iter"
	"slices"
	"time"

	"crony"
	"crony/embedded/runlog"
)

// Status says how this log stands to those of the other servers. It does not wait.
func (l *Log) Status() crony.RunLogStatus {
	members := l.members.Load()
	status := crony.RunLogStatus{}
	compared := 1
	for _, o := range members.others {
		other, once, copying := o.status()
		status.Others = append(status.Others, other)
		status.Copying += copying
		if once {
			compared++
		}
	}
	status.Whole = compared >= members.need
	slices.SortFunc(status.Others, func(a, b crony.RunLogOther) int { return cmp.Compare(a.Server, b.Server) })
	return status
}

func (o *other) status() (s crony.RunLogOther, once bool, copying int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s = crony.RunLogOther{Server: o.id, Behind: o.hints.n + len(o.queue) + len(o.sent), BehindSince: o.behind,
		ComparedAt: o.exchange.at, DifferingDays: o.exchange.differing}
	waits := func(e *entry) {
		if s.BehindSince.IsZero() || e.at.Before(s.BehindSince) {
			s.BehindSince = e.at
		}
	}
	if len(o.queue) > 0 {
		waits(o.queue[0])
	}
	for _, e := range o.sent {
		waits(e)
	}
	return s, o.exchange.once, o.exchange.copying
}

// Behind is told that another server could not keep in mind what this one lacks.
func (l *Log) Behind(server string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.others[server]; o != nil {
		poke(o.compare)
	}
}

// Days returns what the own log holds of each day.
func (l *Log) Days(ctx context.Context) (map[string]runlog.Sum, error) { return l.opts.Own.Days(ctx) }

// Minutes returns what the own log holds of each minute of a day.
func (l *Log) Minutes(ctx context.Context, day string) ([]runlog.Sum, error) {
	return l.opts.Own.Minutes(ctx, day)
}

// Items returns what the own log holds of each item of a minute.
func (l *Log) Items(ctx context.Context, day string, minute int) (map[string]runlog.Sum, error) {
	return l.opts.Own.Items(ctx, day, minute)
}

// Records yields all that the own log holds of items of a day.
func (l *Log) Records(ctx context.Context, day string, keys []string) iter.Seq2[*runlog.Batch, error] {
	return l.opts.Own.Records(ctx, day, keys)
}

// CopyDay gives the own log's file of a day, as it is at one moment.
func (l *Log) CopyDay(ctx context.Context, day string, put func(size int64, write func(io.Writer) error) error) error {
	return l.opts.Own.CopyDay(ctx, day, put)
}

// Floor returns the first day of which the own log keeps something; "" if it has dropped none.
func (l *Log) Floor() string { return l.opts.Own.Floor() }

// Marks returns, by job, the first run of which the own log keeps something.
func (l *Log) Marks() map[string]crony.RunID { return l.opts.Own.Marks() }

// age returns how long ago the last exchange was; false before the first.
func (o *other) age(now time.Time) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Sub(o.exchange.at), !o.exchange.at.IsZero()
}
