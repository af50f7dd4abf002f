package state

import (
	"slices"
	"strings"

	"crony"
)

// job is all that is known of one job. The record is changed in place, and copied when it is handed out; what it points to
// is replaced.
type job struct {
	name       string
	def        *crony.Definition // nil: there is none
	rev        int64             // of the definition's key; 0: there is none
	title      string            // the definition's, in small letters
	assignment *crony.Assignment
	claim      crony.Claim
	claimRev   int64 // of the claim's key
}

func (j *job) agent() string {
	if j.assignment == nil {
		return ""
	}
	return j.assignment.Agent
}

// generation returns the definition's, 0 if there is none.
func (j *job) generation() int64 {
	if j.def == nil {
		return 0
	}
	return j.def.Generation
}

// unsettled says whether placement has something to do for the job.
func (j *job) unsettled() bool {
	return j.def != nil && (j.assignment == nil || j.assignment.Generation != j.def.Generation)
}

// index holds the jobs, and what would else have to be counted among all of them again and again.
type index struct {
	byName   map[string]*job
	list     []*job                     // those that are defined, by name
	byAgent  map[string]map[string]bool // of those, the names of each agent's
	open     map[string]bool            // the names of the unsettled
	orphans  map[string]bool            // the names of what is assigned, but not defined
	keepers  map[string]map[string]bool // the names of the jobs that name a preset, by its key
	paused   int
	homeless int // defined, but no agent's
}

func newIndex() index {
	return index{byName: map[string]*job{}, byAgent: map[string]map[string]bool{},
		open: map[string]bool{}, orphans: map[string]bool{}, keepers: map[string]map[string]bool{}}
}

// change lets f change the record of a name, a new one if need be, and returns what it is then.
func (x *index) change(name string, f func(*job)) job {
	j := x.byName[name]
	if j == nil {
		j = &job{name: name}
		x.byName[name] = j
	}
	x.count(j, -1)
	defined := j.def != nil
	f(j)
	x.count(j, 1)
	if defined != (j.def != nil) {
		x.enlist(j)
	}
	if j.def == nil && j.assignment == nil && j.claim.At.IsZero() {
		delete(x.byName, name)
	}
	return *j
}

// setClaim is change for what no figure depends on, and what changes most.
func (x *index) setClaim(name string, c crony.Claim, rev int64) {
	if j := x.byName[name]; j != nil && !c.At.IsZero() {
		j.claim, j.claimRev = c, rev
		return
	}
	x.change(name, func(j *job) { j.claim, j.claimRev = c, rev })
}

// enlist puts a job that is newly defined in the list, and takes out one that is no more.
func (x *index) enlist(j *job) {
	i, found := x.search(j.name)
	switch {
	case j.def != nil && !found:
		x.list = slices.Insert(x.list, i, j)
	case j.def == nil && found:
		x.list = slices.Delete(x.list, i, i+1)
	}
}

func (x *index) search(name string) (int, bool) {
	return slices.BinarySearchFunc(x.list, name, func(j *job, name string) int { return strings.Compare(j.name, name) })
}

// count adds a job to the figures, or with by -1 takes it out of them.
func (x *index) count(j *job, by int) {
	mark(x.open, j.name, by > 0 && j.unsettled())
	mark(x.orphans, j.name, by > 0 && j.def == nil && j.assignment != nil)
	if j.def == nil {
		return
	}
	x.keep(j, by)
	if j.def.Job.Paused {
		x.paused += by
	}
	agent := j.agent()
	switch {
	case agent == "":
		x.homeless += by
	case by > 0:
		x.byAgent[agent] = add(x.byAgent[agent], j.name)
	default:
		if delete(x.byAgent[agent], j.name); len(x.byAgent[agent]) == 0 {
			delete(x.byAgent, agent)
		}
	}
}

func mark(set map[string]bool, name string, in bool) {
	if in {
		set[name] = true
	} else {
		delete(set, name)
	}
}
