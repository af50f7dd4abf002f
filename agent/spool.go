package agent

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"crony"
)

// spool bounds what an agent takes of its disk while it can't deliver. The journal's facts go on whatever happens; output
// makes room for them. First goes the output of runs that have ended, the oldest first. If that is not enough, runs that go on
// keep the beginning of their output, and of the rest only what can be sent at once. What was given up shows as a gap: a run's
// record says how much it has written. When the disk is all but full, what starts has no output, and its record says so: a job
// is not to fail because there is no room for what it says.
type spool struct {
	dir  string // on the disk
	size int64  // bytes that the journal and outputs may take; 0: any number
	free int64  // bytes that are to stay free for others, but no more than a part of the disk; 0: none
}

const (
	spoolPoll = time.Second // how often the bounds are looked at
	freePart  = 20          // of the disk, that are to stay free at most
	fullPart  = 8           // of what is to stay free: with less, the disk is full
	calm      = 16          // part of a bound that is to be free again before the disk is short no more
	smallHead = 16 << 10    // bytes of each stream that are kept while it is
)

// standing is how a spool stands to its bounds.
type standing struct {
	over, margin int64 // bytes by which it is over one, and by which it should come under it
	full         bool  // nothing is left free, or next to nothing
}

// look returns how a spool that takes so many bytes stands.
func (s *spool) look(used int64) (standing, error) {
	now := standing{over: -1}
	if s.size > 0 {
		now.over, now.margin = used-s.size, s.size/calm
	}
	if s.free == 0 {
		return now, nil
	}
	disk, err := diskOf(s.dir)
	if err != nil {
		return now, err
	}
	least, free := min(s.free, disk.total/freePart), disk.available
	if s.size == 0 || least-free > now.over {
		now.over, now.margin = least-free, least/calm
	}
	now.full = free < least/fullPart
	return now, nil
}

// relieve holds the spool to its bounds.
func (r *reporter) relieve() {
	inJournal := r.journal.bytes()
	r.mu.Lock()
	now, err := r.spool.look(inJournal + r.used)
	if err != nil {
		r.mu.Unlock()
		r.log.Warn("free disk not known", "err", err)
		return
	}
	var freed int64
	if now.over > 0 {
		freed = r.dropEnded(now.over + now.margin)
	}
	before, lost := r.short, r.lost
	over := now.over - freed
	r.short = over > 0 || r.short && over > -now.margin
	r.full.Store(now.full && over > 0)
	done := r.prune()
	lost = r.lost - lost
	r.mu.Unlock()
	r.forgetAll(done)
	r.tell(before, freed, lost, slog.Int64("over", over))
}

func (r *reporter) tell(before bool, freed, lost int64, over slog.Attr) {
	if freed > 0 {
		r.log.Warn("output of runs that have ended is given up for want of disk", "freed", freed, "lost", lost)
	}
	switch {
	case r.short && !before:
		r.log.Error("disk short: of runs that go on, only the beginning of the output is kept, and what is sent at once", over)
	case !r.short && before:
		r.log.Info("disk short no more: output is kept")
	}
}

// dropEnded gives up outputs of runs that have ended until so many bytes are free, and returns how many are.
func (r *reporter) dropEnded(need int64) (freed int64) {
	for _, run := range slices.Sorted(maps.Keys(r.owed)) {
		if freed >= need {
			break
		}
		if !r.owed[run].ended {
			continue
		}
		for _, o := range r.owed[run].outputs {
			freed += r.drop(o)
		}
	}
	return freed
}

func (r *reporter) drop(o *output) int64 {
	if o.dropped {
		return 0
	}
	r.size(o)
	o.dropped = true
	o.remove()
	freed := o.disk
	o.disk = 0
	r.used -= freed
	return freed
}

// prune takes off the queue what was given up, and returns the runs of which nothing is left to deliver.
func (r *reporter) prune() []crony.RunID {
	var done []crony.RunID
	gone := func(it item) bool {
		if it.fact != nil || !it.from.dropped {
			return false
		}
		r.lost += it.end - it.off
		if r.done(&it) {
			done = append(done, it.run())
		}
		return true
	}
	r.queue = slices.DeleteFunc(r.queue, gone)
	for run := range r.apart {
		r.apart[run] = slices.DeleteFunc(r.apart[run], gone)
	}
	return done
}

func (r *reporter) gaveUp(o *output) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return o.dropped
}

// depth is what waits to be delivered.
type depth struct {
	records int       // facts, and stretches of output
	outputs int64     // bytes of the disk that outputs take
	oldest  time.Time // when the oldest of it came to be; zero if nothing waits
	lost    int64     // bytes of output that were given up, since the agent began
	short   bool      // the disk is
}

func (r *reporter) depth() depth {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := depth{records: len(r.queue), outputs: r.used, lost: r.lost, short: r.short}
	older := func(at time.Time) {
		if !at.IsZero() && (d.oldest.IsZero() || at.Before(d.oldest)) {
			d.oldest = at
		}
	}
	for _, items := range r.inflight {
		d.records += len(items)
		older(items[0].since())
	}
	if len(r.queue) > 0 {
		older(r.queue[0].since())
	}
	for _, items := range r.apart {
		d.records += len(items)
		if len(items) > 0 {
			older(items[0].since())
		}
	}
	for o := range r.open {
		older(o.waits)
	}
	return d
}

// since returns when the item came to be.
func (it *item) since() time.Time {
	if it.fact != nil {
		return it.fact.At
	}
	return it.at
}
