package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"crony"
)

// What the journal knows of runs that were started without a claim.

// open says whether the run was started without a claim and the servers have not decided on it: nothing of it is delivered.
func (r *record) open() bool {
	c := r.facts[0].Claimed
	return c != nil && c.Unclaimed && !r.decided
}

// decision returns what was decided on the run; nil if nothing was, or had to be.
func (r *record) decision(id crony.RunID) *decision {
	switch {
	case r.double != "":
		return &decision{Double: []crony.RunID{id}}
	case r.decided:
		return &decision{Stand: []crony.RunID{id}}
	}
	return nil
}

// decide notes an entry of n bytes. j.mu is held.
func (j *journal) decide(d *decision, n int64) {
	runs := len(d.Stand) + len(d.Double)
	for i, id := range slices.Concat(d.Stand, d.Double) {
		r := j.live[id]
		if r == nil || !r.open() {
			continue
		}
		r.decided = true
		r.bytes += n / int64(runs)
		j.kept += n / int64(runs)
		if c := r.facts[0].Claimed; i >= len(d.Stand) {
			r.double = crony.DoubleRunID(c.JobUID, c.ScheduledAt, c.Agent)
		}
	}
}

// undecided returns the first fact of each run that was started without a claim and the servers have not decided on.
func (j *journal) undecided() []crony.Fact {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []crony.Fact
	for _, id := range slices.Sorted(maps.Keys(j.live)) {
		if r := j.live[id]; r.open() {
			list = append(list, r.facts[0])
		}
	}
	return list
}

// double returns the id under which a run is delivered, if that is not its own.
func (j *journal) double(run crony.RunID) crony.RunID {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.live[run]; r != nil {
		return r.double
	}
	return ""
}

// goesBy returns the id under which a run is delivered; false if that is not decided yet.
func (j *journal) goesBy(run crony.RunID) (crony.RunID, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.live[run]
	if r == nil {
		return run, true
	}
	return cmp.Or(r.double, run), !r.open()
}

// known returns the run that is delivered under an id; the id itself if none is delivered under another.
func (j *journal) known(as crony.RunID) crony.RunID {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, r := range j.live {
		if r.double == as {
			return id
		}
	}
	return as
}

// asked returns when a run was claimed, if that was in this boot of the host, and [longAgo] otherwise.
func (j *journal) asked(run crony.RunID, boot string) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.live[run]; r != nil && r.terms.Boot == boot {
		return r.terms.Asked
	}
	return longAgo
}

// unclaimed returns a run of a job, other than one, that was started without a claim and goes on, if beside that one as many go
// on as may; else "". The job's lock may not know of it yet.
func (j *journal) unclaimed(job string, but crony.RunID, slots int) (found crony.RunID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for run := range j.going[job] {
		r := j.live[run]
		alone := r.facts[0].Claimed.Unclaimed
		switch {
		case run == but || !alone && len(r.facts) == 1:
			continue
		case alone && (found == "" || run < found):
			found = run
		}
		slots--
	}
	if slots > 0 {
		return ""
	}
	return found
}
