package agent

import "crony"

// What is delivered later than it comes, and under another id: runs that were started without a claim.

// withhold has nothing of a run delivered until it is released.
func (r *reporter) withhold(run crony.RunID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apart[run] = nil
}

// release has a run delivered: under another id, unless that is "".
func (r *reporter) release(run, as crony.RunID) {
	r.mu.Lock()
	if as != "" {
		r.names[run] = as
	}
	r.queue = append(r.queue, r.apart[run]...)
	delete(r.apart, run)
	r.mu.Unlock()
	r.ring()
}

// mayGrow says whether what an output has grown by can be sent soon.
func (r *reporter) mayGrow(o *output) bool {
	_, waits := r.apart[o.run]
	return !waits && r.up() && len(r.queue) < busy
}

// renamed returns the fact as it goes: that of a double names the run that it doubles.
func (it *item) renamed() *crony.Fact {
	if it.as == it.fact.Run {
		return it.fact
	}
	f := *it.fact
	f.Run = it.as
	if f.Claimed != nil {
		claimed := *f.Claimed
		claimed.Doubles = it.fact.Run
		f.Claimed = &claimed
	}
	return &f
}
