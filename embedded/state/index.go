package state

import (
	"maps"
	"slices"
	"strings"
	"time"

	"crony"
)

// job is all that is known of one job, but for the cursors that agents have of their own: see [part]. The record is changed in
// place, and copied when it is handed out; what it points to is replaced.
type job struct {
	name        string
	def         *crony.Definition   // nil: there is none
	rev         int64               // of the definition's key; 0: there is none
	title       string              // the definition's, in small letters
	assignments []*crony.Assignment // by agent
	stale       int                 // how many of them are not of the definition's generation
	claim       crony.Claim         // the cursor that all agents share
	claimRev    int64               // of its key; 0: there is none, as the job is of mode each
}

// part is a job as one agent has it, with the cursor that the agent's claims move.
type part struct {
	job
	whose string    // the agent whose own the cursor is; "": all share it
	since time.Time // when it became the agent's own; zero if all share it
}

// cursor is what an agent of a job of mode each has of its own.
type cursor struct {
	claim crony.Claim
	since time.Time
	rev   int64
}

func (j *job) mode() crony.PlacementMode {
	if j.def == nil {
		return crony.PlaceOne
	}
	return j.def.Job.Mode()
}

// each says whether every agent that has the job runs every occurrence of it.
func (j *job) each() bool { return j.mode() == crony.PlaceEach }

// find returns where among the assignments an agent's is, or would be.
func (j *job) find(agent string) (int, bool) {
	return slices.BinarySearchFunc(j.assignments, agent, func(a *crony.Assignment, agent string) int {
		return strings.Compare(a.Agent, agent)
	})
}

// newest returns the assignment that was written last; nil if there is none. Of a job that one agent is to have it is the one
// that counts.
func (j *job) newest() *crony.Assignment {
	var last *crony.Assignment
	for _, a := range j.assignments {
		if last == nil || last.Epoch < a.Epoch {
			last = a
		}
	}
	return last
}

// of returns an agent's assignment; nil if it has not the job.
func (j *job) of(agent string) *crony.Assignment {
	i, found := j.find(agent)
	if !found || j.mode() == crony.PlaceOne && j.newest() != j.assignments[i] {
		return nil
	}
	return j.assignments[i]
}

// agents returns who has the job, by id.
func (j *job) agents() []string {
	list := make([]string, len(j.assignments))
	for i, a := range j.assignments {
		list[i] = a.Agent
	}
	return list
}

// assigned returns copies of the first assignments, at most most of them.
func (j *job) assigned(most int) []crony.Assignment {
	var list []crony.Assignment
	for _, a := range j.assignments[:min(len(j.assignments), most)] {
		list = append(list, *a)
	}
	return list
}

// generation returns the definition's, 0 if there is none.
func (j *job) generation() int64 {
	if j.def == nil {
		return 0
	}
	return j.def.Generation
}

// unsettled says whether placement has something to do for the job, whatever the agents are.
func (j *job) unsettled() bool {
	return j.def != nil && (len(j.assignments) == 0 || j.stale > 0 || j.mode() == crony.PlaceOne && len(j.assignments) > 1)
}

// outdated returns 1 for an assignment that is not of the definition's generation, else 0.
func (j *job) outdated(a *crony.Assignment) int {
	if j.def != nil && a.Generation == j.def.Generation {
		return 0
	}
	return 1
}

// index holds the jobs, and what would else have to be counted among all of them again and again.
type index struct {
	byName   map[string]*job
	list     []*job                       // those that are defined, by name
	byAgent  map[string]map[string]bool   // of those, the names of each agent's
	own      map[string]map[string]cursor // the cursors that agents have of their own, by job and agent
	wide     map[string]bool              // the names of the defined that any number of agents may have
	open     map[string]bool              // the names of the unsettled
	orphans  map[string]bool              // the names of what is assigned, but not defined
	keepers  map[string]map[string]bool   // the names of the jobs that keep a calendar, by its name
	paused   int
	homeless int // defined, but no agent's
}

func newIndex() index {
	return index{byName: map[string]*job{}, byAgent: map[string]map[string]bool{},
		own: map[string]map[string]cursor{}, wide: map[string]bool{}, open: map[string]bool{}, orphans: map[string]bool{}, keepers: map[string]map[string]bool{}}
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
	if j.def == nil && len(j.assignments) == 0 && j.claim.At.IsZero() {
		delete(x.byName, name)
	}
	return *j
}

// define replaces the definition of a name; nil takes it away.
func (x *index) define(name string, def *crony.Definition, rev int64) job {
	return x.change(name, func(j *job) {
		defined := j.def != nil
		j.def, j.rev, j.title, j.stale = def, rev, "", 0
		if def != nil {
			j.title = strings.ToLower(def.Job.Title)
		}
		for _, a := range j.assignments {
			j.stale += j.outdated(a)
			if defined != (def != nil) {
				x.have(a.Agent, name, def != nil)
			}
		}
	})
}

// assign puts an assignment in its place. What was handed out holds the list of before.
func (x *index) assign(a *crony.Assignment) {
	x.change(a.Job, func(j *job) {
		i, found := j.find(a.Agent)
		list := make([]*crony.Assignment, 0, len(j.assignments)+1)
		list = append(append(list, j.assignments[:i]...), a)
		if found {
			j.stale -= j.outdated(j.assignments[i])
			i++
		}
		j.assignments = append(list, j.assignments[i:]...)
		j.stale += j.outdated(a)
		x.have(a.Agent, a.Job, j.def != nil)
	})
}

// unassign takes an agent's assignment away.
func (x *index) unassign(agent, name string) {
	x.change(name, func(j *job) {
		i, found := j.find(agent)
		if !found {
			return
		}
		j.stale -= j.outdated(j.assignments[i])
		if j.assignments = slices.Delete(slices.Clone(j.assignments), i, i+1); len(j.assignments) == 0 {
			j.assignments = nil
		}
		x.have(agent, name, false)
	})
}

// have notes whether an agent has a job that is defined.
func (x *index) have(agent, name string, has bool) { among(x.byAgent, agent, name, has) }

// among notes whether a name is in the set of a key. A set that is empty is not kept.
func among(sets map[string]map[string]bool, key, name string, in bool) {
	if in {
		sets[key] = add(sets[key], name)
	} else if delete(sets[key], name); len(sets[key]) == 0 {
		delete(sets, key)
	}
}

// setClaim is change for what no figure depends on, and what changes most.
func (x *index) setClaim(name string, c crony.Claim, rev int64) {
	if j := x.byName[name]; j != nil && !c.At.IsZero() {
		j.claim, j.claimRev = c, rev
		return
	}
	x.change(name, func(j *job) { j.claim, j.claimRev = c, rev })
}

// setOwn replaces an agent's own cursor of a job; one without a revision takes it away.
func (x *index) setOwn(name, agent string, c cursor) {
	of := x.own[name]
	switch {
	case c.rev != 0 && of == nil:
		x.own[name] = map[string]cursor{agent: c}
	case c.rev != 0:
		of[agent] = c
	case of != nil:
		if delete(of, agent); len(of) == 0 {
			delete(x.own, name)
		}
	}
}

// part returns a job as an agent has it, or would have it.
func (x *index) part(name, agent string) part {
	p := part{job: job{name: name}}
	if j := x.byName[name]; j != nil {
		p.job = *j
	}
	if p.each() {
		p.take(agent, x.own[name][agent])
	}
	return p
}

// take makes an agent's own cursor the part's.
func (p *part) take(agent string, c cursor) {
	p.whose, p.since, p.claim, p.claimRev = agent, c.since, c.claim, c.rev
}

// parts returns a job once for each cursor that there is of it: the one that all share, and by agent each one's own.
func (x *index) parts(name string) []part {
	j := x.byName[name]
	if j == nil {
		return nil
	}
	var list []part
	if j.claimRev != 0 {
		list = append(list, part{job: *j})
	}
	for _, agent := range slices.Sorted(maps.Keys(x.own[name])) {
		p := part{job: *j}
		p.take(agent, x.own[name][agent])
		list = append(list, p)
	}
	return list
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

// count adds a job to the figures, or with by -1 takes it out of them. It takes no longer for a job that many agents have.
func (x *index) count(j *job, by int) {
	mark(x.open, j.name, by > 0 && j.unsettled())
	mark(x.orphans, j.name, by > 0 && j.def == nil && len(j.assignments) > 0)
	mark(x.wide, j.name, by > 0 && j.def != nil && j.mode() != crony.PlaceOne)
	if j.def == nil {
		return
	}
	x.keep(j, by)
	if j.def.Job.Paused {
		x.paused += by
	}
	if len(j.assignments) == 0 {
		x.homeless += by
	}
}

func mark(set map[string]bool, name string, in bool) {
	if in {
		set[name] = true
	} else {
		delete(set, name)
	}
}
