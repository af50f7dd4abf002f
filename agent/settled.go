package agent

import "crony"

// settled says that nothing more comes of a run; its facts may have been acknowledged by now.
func (r *reporter) settled(run crony.RunID) {
	r.mu.Lock()
	o := r.of(run)
	o.ended = true
	done := o.items == 0
	r.mu.Unlock()
	if done {
		r.forget(run)
	}
}

// acked implements sink.
func (r *reporter) acked(id uint64) {
	r.mu.Lock()
	var done []crony.RunID
	for i := range r.inflight[id] {
		it := &r.inflight[id][i]
		if it.fact == nil {
			it.from.ack(it.off, it.end)
		}
		if r.done(it) {
			done = append(done, it.run())
		}
	}
	if _, ok := r.inflight[id]; ok {
		r.failures, r.probe = 0, false
	}
	delete(r.inflight, id)
	r.mu.Unlock()
	r.forgetAll(done)
	r.ring()
}

// done notes that an item is delivered or given up, and reports whether it was the last of its run.
func (r *reporter) done(it *item) bool {
	o := r.owed[it.run()]
	o.items--
	return o.items == 0 && o.ended
}

func (r *reporter) forgetAll(runs []crony.RunID) {
	for _, run := range runs {
		r.forget(run)
	}
}

// forget drops a run that the servers have all of.
func (r *reporter) forget(run crony.RunID) {
	if _, err := r.journal.keep(entry{Settled: run}); err != nil {
		r.log.Warn("journal does not forget a run yet", "run", run, "err", err)
	}
	r.mu.Lock()
	outputs := r.owed[run].outputs
	r.mu.Unlock()
	removeAll(outputs)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range outputs {
		r.used -= o.disk
		o.disk = 0
	}
	delete(r.owed, run)
	delete(r.names, run)
}
