package state

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// Settle has what is decided of a job catch up with its definition, and returns the job as the agent has it, or that it has
// it not. Nothing is claimed of a new definition before.
//
// What came due by definitions of before and was not decided is passed over: skipped while the job was paused, else missed.
// What was claimed under an assignment of before is lost, unless its agent reports it. Occurrences of the new schedule that
// the cursor had gone past already, as the one before was claimed ahead, are missed.
func (s *Store) Settle(ctx context.Context, agent, name string) (Assigned, bool, error) {
	for range attempts {
		a, has := s.Assigned(agent, name)
		if !has || settled(&a) {
			return a, has, nil
		}
		j := s.mirror.look(name)
		if j.assignment == nil || j.assignment.Epoch != a.Assignment.Epoch {
			continue
		}
		t := s.newTxn(ctx)
		var defs []crony.Definition
		if j.claim.Generation != j.def.Generation { // else the job was only moved
			var err error
			if defs, err = s.generations(ctx, &j); err != nil {
				return a, false, err
			}
		}
		open := openOf(&j, defs, t.now)
		t.expect(claims+name, j.claimRev)
		t.expect(assignmentKey(agent, name), a.Assignment.Epoch)
		t.put(claims+name, claimValue(crony.Claim{At: later(j.claim.At, j.def.PlanSince), Epoch: a.Assignment.Epoch,
			Generation: j.def.Generation}))
		for i := range open {
			t.ops = append(t.ops, open[i].put())
		}
		if _, err := s.commit(ctx, t.compares(), t.ops); err != nil {
			return a, false, err
		}
	}
	return Assigned{}, false, crony.Errorf(crony.Unavailable, "settle %s: others keep changing it", name)
}

func settled(a *Assigned) bool {
	c := &a.Claim
	return c.Generation == a.Definition.Generation && (c.Run == "" || c.Epoch == a.Assignment.Epoch)
}

// openOf returns the records of what is not decided of a job up to its definition's PlanSince; defs are its generations, and
// not needed if the claim was made by the one in force.
func openOf(j *job, defs []crony.Definition, now time.Time) []Pass {
	var list []Pass
	c := &j.claim
	if c.Run != "" {
		claimed := passOf(j.def, c.At.Add(-1), c.At)
		claimed.Definition.Generation = c.Generation
		claimed.Agent, claimed.Unless, claimed.End, claimed.DecidedAt = c.Agent, c.Run, crony.EndLost, now
		claimed.Reason = "its agent claimed it and never reported it"
		list = append(list, claimed)
	}
	if c.Generation == j.def.Generation {
		return list
	}
	by := crony.Definition{}
	for i := range defs {
		if defs[i].Generation == c.Generation {
			by = defs[i]
		}
	}
	plans := plansOf(defs)
	for i, def := range plans {
		until := c.At.Add(-1)
		if i+1 < len(plans) {
			until = earlier(until, plans[i+1].PlanSince)
		}
		if def.PlanSince.After(by.PlanSince) {
			list = append(list, overtaken(def, &by, until, now)...)
		}
		if i+1 < len(plans) {
			from, to := later(c.At, def.PlanSince), plans[i+1].PlanSince
			list = append(list, undecided(def, from, to, now, "the job was changed before they were decided")...)
		}
	}
	return list
}

// overtaken returns the records of a definition's occurrences up to a time before the cursor, which had gone past them by the
// definition of before. What that one names as well was decided by it.
func overtaken(def, by *crony.Definition, until, now time.Time) []Pass {
	const why = "the job was changed right before they were due"
	var list []Pass
	from := def.PlanSince
	if plan := by.Plan(); plan != nil {
		for at := plan.Next(from); !at.IsZero() && !at.After(until); at = plan.Next(at) {
			list = append(list, undecided(def, from, at.Add(-1), now, why)...)
			from = at
		}
	}
	return append(list, undecided(def, from, until, now, why)...)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// plansOf returns of each row of definitions that come due alike the last.
func plansOf(defs []crony.Definition) []*crony.Definition {
	var plans []*crony.Definition
	for i := range defs {
		if n := len(plans); n > 0 && plans[n-1].PlanSince.Equal(defs[i].PlanSince) {
			plans[n-1] = &defs[i]
			continue
		}
		plans = append(plans, &defs[i])
	}
	return plans
}

// undecided returns the record of a definition's occurrences after from and up to to; none if it has none.
func undecided(def *crony.Definition, from, to, now time.Time, missed string) []Pass {
	plan := def.Plan()
	if plan == nil || !from.Before(to) {
		return nil
	}
	if at := plan.Next(from); at.IsZero() || at.After(to) {
		return nil
	}
	p := passOf(def, from, to)
	p.Reason, p.DecidedAt = missed, now
	if def.Job.Paused {
		p.End, p.Reason = crony.EndSkipped, def.PauseReason()
	}
	return []Pass{p}
}

// decideAll returns the operations that record what is open of a job that is being removed, up to now.
func decideAll(j *job, defs []crony.Definition, now time.Time) []clientv3.Op {
	list := openOf(j, defs, now)
	from := later(j.claim.At, j.def.PlanSince)
	list = append(list, undecided(j.def, from, now, now, "the job was removed before they were decided")...)
	ops := make([]clientv3.Op, len(list))
	for i := range list {
		ops[i] = list[i].put()
	}
	return ops
}
