//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"crony"
)

// soakLog is a run log in memory, which notes what no run log should be asked to take.
type soakLog struct {
	mu        sync.Mutex
	runs      map[crony.RunID]*soakRun
	byJob     map[string][]*soakRun
	open      map[crony.RunID]*soakRun
	stretches map[string][]crony.Stretch // by job
	known     map[stretchKey]crony.Stretch
	strange   []string
}

// soakRun is a run with its facts, which are dropped when its agent has said the last of it.
type soakRun struct {
	crony.Run
	facts []crony.Fact
	over  bool
}

type stretchKey struct {
	uid  string
	of   string
	from int64
}

func newSoakLog() *soakLog {
	return &soakLog{runs: map[crony.RunID]*soakRun{}, byJob: map[string][]*soakRun{}, open: map[crony.RunID]*soakRun{},
		stretches: map[string][]crony.Stretch{}, known: map[stretchKey]crony.Stretch{}}
}

// Append implements hub.RunLog.
func (l *soakLog) Append(_ context.Context, facts []crony.Fact, _ []crony.Chunk) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range facts {
		l.append(f)
	}
	return nil
}

func (l *soakLog) append(f crony.Fact) {
	r := l.runs[f.Run]
	if r == nil {
		if f.Claimed == nil {
			l.strange = append(l.strange, fmt.Sprintf("the run %s begins with its fact %d", f.Run, f.Seq))
			return
		}
		r = &soakRun{}
		l.runs[f.Run], l.open[f.Run] = r, r
		l.byJob[f.Claimed.Job] = append(l.byJob[f.Claimed.Job], r)
	}
	if r.over {
		return
	}
	for i := range r.facts {
		if old := &r.facts[i]; old.Seq == f.Seq {
			if !same(old, &f) {
				l.strange = append(l.strange, fmt.Sprintf("the run %s has two facts %d", f.Run, f.Seq))
			}
			return
		}
	}
	r.facts = append(r.facts, f)
	r.Run, _ = crony.Fold(r.facts)
	if len(r.Attempts) < 2 && len(r.Former) == 0 {
		r.Attempts = nil
	}
	if r.State.Ended() {
		delete(l.open, f.Run)
	}
	if f.Ended != nil && f.Seq < crony.VerdictSeq {
		r.over, r.facts = true, nil
	}
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Run implements hub.RunLog.
func (l *soakLog) Run(_ context.Context, id crony.RunID) (crony.Run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.runs[id]; r != nil {
		return r.Run, nil
	}
	return crony.Run{}, crony.Errorf(crony.NotFound, "there is no run %s", id)
}

// Refresh implements hub.RunLog: there is no other log.
func (*soakLog) Refresh(context.Context, ...crony.RunID) error { return nil }

// Unfinished implements hub.RunLog.
func (l *soakLog) Unfinished(agent string) []crony.Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []crony.Run
	for _, r := range l.open {
		if r.Agent == agent {
			list = append(list, r.Run)
		}
	}
	return list
}

// Busy implements lost.RunLog.
func (l *soakLog) Busy() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	busy := map[string]bool{}
	for _, r := range l.open {
		busy[r.Agent] = true
	}
	return slices.Sorted(maps.Keys(busy))
}

// AppendStretches implements ledger.Keeper.
func (l *soakLog) AppendStretches(_ context.Context, list []crony.Stretch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range list {
		key := stretchKey{s.JobUID, s.Of, s.From.UnixNano()}
		old, known := l.known[key]
		switch {
		case !known:
			l.known[key] = s
			l.stretches[s.Job] = append(l.stretches[s.Job], s)
		case !same(old, s):
			l.strange = append(l.strange, fmt.Sprintf("two stretches of %s begin at %s: %+v and %+v", s.Job, clockOf(s.From), old, s))
		}
	}
	return nil
}

// ready sorts what there is, for the methods below.
func (l *soakLog) ready() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for job, runs := range l.byJob {
		l.byJob[job] = slices.DeleteFunc(runs, func(r *soakRun) bool { return r.Trigger != crony.BySchedule })
		slices.SortStableFunc(l.byJob[job], func(a, b *soakRun) int { return a.ScheduledAt.Compare(b.ScheduledAt) })
	}
	for _, list := range l.stretches {
		slices.SortStableFunc(list, func(a, b crony.Stretch) int { return a.To.Compare(b.To) })
	}
}

// Occurrences implements ledger.RunLog.
func (l *soakLog) Occurrences(_ context.Context, job string, from, to time.Time, limit int) ([]crony.Run, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	runs := l.byJob[job]
	i, _ := slices.BinarySearchFunc(runs, from, func(r *soakRun, t time.Time) int { return r.ScheduledAt.Compare(t) })
	var list []crony.Run
	for _, r := range runs[i:] {
		switch {
		case r.ScheduledAt.After(to):
			return list, time.Time{}, nil
		case len(list) == limit:
			return list, r.ScheduledAt, nil
		}
		list = append(list, r.Run)
	}
	return list, time.Time{}, nil
}

// Stretches implements ledger.RunLog.
func (l *soakLog) Stretches(
	_ context.Context, job string, from, to time.Time, limit int,
) ([]crony.Stretch, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []crony.Stretch
	for _, s := range l.stretches[job] {
		switch {
		case s.To.Before(from) || s.From.After(to):
		case len(list) == limit:
			return list, s.To, nil
		default:
			list = append(list, s)
		}
	}
	return list, time.Time{}, nil
}

func clockOf(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999999Z") }
