package agent

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"strings"

	"crony"
)

// contain makes ready what holds runs together, whatever they start: a cgroup for each attempt, or else the agent as the one who
// adopts orphans. The cgroups are in one that is named for the agent and its directory, which no other agent uses. It returns
// what is to go on as long as the agent does, and what undoes it.
func (r *runner) contain(parent string) (reap func(context.Context) error, undo func()) {
	name := fnv.New32()
	name.Write([]byte(r.dir))
	groups, err := openCgroups(parent, fmt.Sprintf("crony-%s-%08x", r.agent, name.Sum32()), r.log)
	if err != nil {
		r.log.Warn("runs have no cgroups: they are known by their processes, and held to no limits", "err", err)
		if err := adoptOrphans(); err != nil {
			r.log.Warn("processes that runs leave behind may not be found", "err", err)
		}
	} else {
		r.cgroups = groups
		r.log.Info(runsHave, "dir", groups.dir)
		if lacks := groups.lacking(); len(lacks) > 0 {
			r.log.Warn("runs can't be held to some limits: there are no cgroup controllers for them", "limits", strings.Join(lacks, ", "))
		}
	}
	reap = func(context.Context) error { return nil }
	if groups == nil || os.Getpid() == 1 {
		reap = r.children.reap
	}
	return reap, func() {
		if err := r.cgroups.close(); err != nil {
			r.log.Warn("cgroup stays", "err", err)
		}
	}
}

// enclose makes the cgroup of an attempt.
func (r *runner) enclose(run crony.RunID, attempt int, job *crony.Job) *cgroup {
	if job.Shell == nil {
		return &cgroup{}
	}
	return r.cgroups.make(run, attempt, job.Shell.Limits)
}

// empty has a cgroup removed in which nothing goes on any more, when there is nothing to start: that takes the kernel as long as
// to make it.
func (r *runner) empty(c *cgroup) {
	if c.path == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emptied = append(r.emptied, c)
	r.idle.Signal()
}

// removeEmptied removes what no starter has come to remove.
func (r *runner) removeEmptied() {
	r.mu.Lock()
	list := r.emptied
	r.emptied = nil
	r.mu.Unlock()
	for _, c := range list {
		c.remove(r.log)
	}
}

// held is in what an attempt is held, for the agent's next life.
type held struct {
	Cgroup string   `json:"cgroup,omitempty"` // its path; "" if there is none
	Unheld []string `json:"unheld,omitempty"` // limits that it is not held to

	Rlimits *crony.Rlimits `json:"rlimits,omitempty"` // of its processes
}

func (p *process) held() *held {
	return &held{Cgroup: p.cgroup.path, Unheld: p.cgroup.unheld, Rlimits: p.rlimits}
}

// heldOf returns in what an attempt is held that an earlier life was starting, and which it had no time to write down.
func (r *runner) heldOf(run crony.RunID, attempt int) held {
	if r.cgroups == nil || !isCgroup(r.cgroups.pathOf(run, attempt)) {
		return held{}
	}
	return held{Cgroup: r.cgroups.pathOf(run, attempt)}
}
