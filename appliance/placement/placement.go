// Package placement decides which agent has which job. It is the leader's work, and stands in the path of no run: an agent
// that has a job goes on with it, whether or not there is a leader.
//
// The one thing to know: [Decide] is a pure function from what there is to what must change, and [Run] does no more than
// call it after each change and write the result under the leader's term. A job that has a live agent stays where it is.
//
// It does not move jobs from agents that are gone: they get their jobs back when they return.
package placement

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"crony"
	"crony/embedded/state"
)

// Decide returns the assignments to write so that every job has an agent, and every assignment is of its job's generation.
// A job without an agent gets the one with the fewest jobs for its weight; of equals, the one whose id is less. Jobs are
// decided in the order in which they are given. The epoch of what it returns is not set.
func Decide(p state.Places, now time.Time) []crony.Assignment {
	var changes []crony.Assignment
	loads := loadsOf(p)
	for i := range p.Jobs {
		def, a := p.Jobs[i].Definition, p.Jobs[i].Assignment
		switch {
		case a != nil && a.Generation == def.Generation:
		case a != nil:
			changes = append(changes, crony.Assignment{Job: def.Job.Name, Agent: a.Agent, Generation: def.Generation,
				Since: a.Since, Reason: a.Reason})
		case len(loads) > 0:
			changes = append(changes, crony.Assignment{Job: def.Job.Name, Agent: loads[0].agent, Generation: def.Generation,
				Since: now, Reason: loads.reason()})
			loads[0].jobs++
			heap.Fix(&loads, 0)
		}
	}
	return changes
}

type load struct {
	agent        string
	jobs, weight int
}

// loads is a heap, the least loaded agent first.
type loads []load

func loadsOf(p state.Places) loads {
	l := make(loads, 0, len(p.Agents))
	for _, a := range p.Agents {
		l = append(l, load{a.ID, p.Load[a.ID], max(a.Weight, 1)})
	}
	heap.Init(&l)
	return l
}

// reason says why the first agent gets a job.
func (l loads) reason() string {
	if len(l) == 1 {
		return "the only connected agent"
	}
	return fmt.Sprintf("the fewest jobs for its weight of %d connected agents", len(l))
}

func (l loads) Len() int      { return len(l) }
func (l loads) Swap(i, j int) { l[i], l[j] = l[j], l[i] }

// Less compares what the share of each would be with one job more: (jobs+1)/weight, without the division.
func (l loads) Less(i, j int) bool {
	a, b := (l[i].jobs+1)*l[j].weight, (l[j].jobs+1)*l[i].weight
	if a != b {
		return a < b
	}
	return cmp.Less(l[i].agent, l[j].agent)
}

// Push and Pop are never called: the number of agents does not change while jobs are placed.
func (l *loads) Push(x any) { *l = append(*l, x.(load)) }

// Pop removes the last element.
func (l *loads) Pop() any {
	last := (*l)[len(*l)-1]
	*l = slices.Delete(*l, len(*l)-1, len(*l))
	return last
}

// Run keeps every job placed until ctx, the scope of a leader's term, is done.
func Run(ctx context.Context, store *state.Store, term state.Term, log *slog.Logger, now func() time.Time) error {
	log = log.With("part", "placement")
	feed := store.Changes("")
	defer feed.Close()
	for {
		if _, err := feed.Next(ctx); err != nil {
			return nil // the term is over; nothing went wrong
		}
		if err := settle(ctx, store, term, log, now().UTC()); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// settle does what there is to do now.
func settle(ctx context.Context, store *state.Store, term state.Term, log *slog.Logger, now time.Time) error {
	places := store.Places()
	changes := Decide(places, now)
	if err := store.Place(ctx, term, changes); err != nil {
		return fmt.Errorf("write assignments: %w", err)
	}
	if err := store.Unplace(ctx, term, places.Orphans); err != nil {
		return fmt.Errorf("remove assignments: %w", err)
	}
	for _, agent := range places.Buried {
		if err := store.Vacate(ctx, term, agent); err != nil {
			return fmt.Errorf("take the jobs of an agent that was removed: %w", err)
		}
	}
	if len(changes) > 0 {
		log.Info("jobs placed", "jobs", len(changes))
	}
	return nil
}
