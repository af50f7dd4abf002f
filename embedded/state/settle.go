package state

import (
	"context"
	"time"

	"crony"
)

// Settle has what is decided of a job catch up with its definition, and returns the job as the agent has it, or that it has
// it not. Nothing is claimed of a new definition before.
//
// What came due by definitions of before and was not decided is passed over: skipped while the job was paused, else missed.
// What was claimed under an assignment that there is no more is lost, unless its agent reports it. Occurrences of the new
// schedule that the cursor had gone past already, as the one before was claimed ahead, are missed.
func (s *Store) Settle(ctx context.Context, agent, name string) (Assigned, bool, error) {
	for range attempts {
		p := s.mirror.part(name, agent)
		a, has := p.has(agent)
		if !has || p.settled() {
			return a, has, nil
		}
		t := s.newTxn(ctx)
		var defs []crony.Definition
		if p.claim.Generation != p.def.Generation { // else the job was only moved
			var err error
			if defs, err = s.generations(ctx, &p.job); err != nil {
				return a, false, err
			}
		}
		t.expect(p.claimKey(), p.claimRev)
		t.expect(assignmentKey(agent, name), a.Assignment.Epoch)
		t.put(p.claimKey(), claimValue(crony.Claim{At: later(p.claim.At, p.def.PlanSince), Epoch: a.Assignment.Epoch,
			Generation: p.def.Generation}, p.since))
		for _, open := range openOf(&p, defs, t.now) {
			t.ops = append(t.ops, open.put())
		}
		if _, err := s.commit(ctx, t.compares(), t.ops); err != nil {
			return a, false, err
		}
	}
	return Assigned{}, false, crony.Errorf(crony.Unavailable, "settle %s: others keep changing it", name)
}

// settled says that the cursor is of the definition in force, and that who claimed what it stands at has the job as it did
// then: it is either at it or will be told that it owes a report.
func (p *part) settled() bool {
	c := &p.claim
	if c.Generation != p.def.Generation {
		return false
	}
	a := p.of(c.Agent)
	return c.Run == "" || a != nil && a.Epoch == c.Epoch
}

func (p *part) claimKey() string { return claimKey(p.name, p.whose) }

// passOf returns the record of occurrences of the part.
func (p *part) passOf(def *crony.Definition, after, until time.Time) Pass {
	pass := passOf(def, after, until)
	pass.Of = p.whose
	return pass
}

// lost returns the record of what the cursor stands at, which was claimed: it is lost unless it is reported.
func (p *part) lost(now time.Time) Pass {
	c := &p.claim
	pass := Pass{Definition: crony.Definition{UID: p.def.UID, Generation: c.Generation, Job: crony.Job{Name: p.name}}, Of: p.whose,
		Agent: c.Agent, After: c.At.Add(-1).UTC(), Until: c.At.UTC(), Unless: c.Run, End: crony.EndLost, DecidedAt: now}
	pass.Reason = "its agent claimed it and never reported it"
	return pass
}

// openOf returns the records of what is not decided of a job up to its definition's PlanSince; defs are its generations, and
// not needed if the claim was made by the one in force.
func openOf(p *part, defs []crony.Definition, now time.Time) []Pass {
	var list []Pass
	c := &p.claim
	if c.Run != "" {
		list = append(list, p.lost(now))
	}
	if c.Generation == p.def.Generation {
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
			list = append(list, p.overtaken(def, &by, until, now)...)
		}
		if i+1 < len(plans) {
			from, to := later(c.At, def.PlanSince), plans[i+1].PlanSince
			list = append(list, p.undecided(def, from, to, now, changedBefore)...)
		}
	}
	return list
}

// overtaken returns the records of a definition's occurrences up to a time before the cursor, which had gone past them by the
// definition of before. What that one names as well was decided by it.
func (p *part) overtaken(def, by *crony.Definition, until, now time.Time) []Pass {
	const why = "the job was changed right before they were due"
	var list []Pass
	from := def.PlanSince
	if plan := by.Plan(); plan != nil {
		for at := plan.Next(from); !at.IsZero() && !at.After(until); at = plan.Next(at) {
			list = append(list, p.undecided(def, from, at.Add(-1), now, why)...)
			from = at
		}
	}
	return append(list, p.undecided(def, from, until, now, why)...)
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
func (p *part) undecided(def *crony.Definition, from, to, now time.Time, missed string) []Pass {
	plan := def.Plan()
	if plan == nil || !from.Before(to) {
		return nil
	}
	if at := plan.Next(from); at.IsZero() || at.After(to) {
		return nil
	}
	pass := p.passOf(def, from, to)
	pass.Reason, pass.DecidedAt = missed, now
	if def.Job.Paused {
		pass.End, pass.Reason = crony.EndSkipped, def.PauseReason()
	}
	return []Pass{pass}
}

const (
	changedBefore = "the job was changed before they were decided"
	removedBefore = "the job was removed before they were decided"
	takenBefore   = "the job was taken from the agent before they were decided"
)

// close takes the part's cursor away, and records what is open of it: up to now, or up to when it was its part's no more. Defs
// are the job's generations.
func (t *txn) close(p *part, defs []crony.Definition, why string) {
	def, end := p.def, t.now
	if n := p.ended(defs); n > 0 {
		def, end, why = &defs[n-1], defs[n].UpdatedAt, changedBefore
		defs = defs[:n]
	}
	last := *p
	last.def = def
	list := openOf(&last, defs, t.now)
	list = append(list, last.undecided(def, later(p.claim.At, def.PlanSince), end, t.now, why)...)
	t.expect(p.claimKey(), p.claimRev)
	t.remove(p.claimKey())
	for i := range list {
		t.ops = append(t.ops, list[i].put())
	}
}

// ended returns which of the definitions, if not 0, ended what the cursor is for: from it on the job's occurrences are decided
// otherwise, by all agents together or by each for itself, or the job was taken from the agent, to be placed anew.
func (p *part) ended(defs []crony.Definition) int {
	gone := p.whose != "" && p.of(p.whose) == nil
	for n := 1; n < len(defs); n++ {
		d := &defs[n]
		otherwise := (d.Job.Mode() == crony.PlaceEach) != (p.whose != "")
		if d.Generation > p.claim.Generation && (otherwise || gone && !samePlaces(&defs[n-1].Job, &d.Job)) {
			return n
		}
	}
	return 0
}

// cursors has a job have the cursors that it needs when agents, and nobody else, have it: for mode each, one for every agent,
// which begins now if it is new, or when the job's plan does; else the one that all share, which begins with the definition.
// What is open of those that are not needed is recorded, and they go, but for those of agents that get the job later on. The job
// must be as its definition stands.
func (t *txn) cursors(ctx context.Context, j *job, agents []string, coming []crony.Assignment) error {
	if !j.each() && !t.store.mirror.hasOwn(j.name) {
		return nil
	}
	missing, kept := map[string]bool{}, map[string]bool{} // cursors, by whose they are
	for _, agent := range agents {
		missing[agent] = j.each()
	}
	missing[""] = !j.each()
	for _, a := range coming {
		kept[a.Agent] = j.each()
	}
	var spare []part
	for _, p := range t.store.mirror.parts(j.name) {
		if !missing[p.whose] && !kept[p.whose] {
			spare = append(spare, p)
		}
		delete(missing, p.whose)
	}
	for agent, is := range missing {
		if is {
			claim := crony.Claim{At: later(t.now, j.def.PlanSince), Generation: j.generation()}
			t.expect(claimKey(j.name, agent), 0)
			t.put(claimKey(j.name, agent), claimValue(claim, claim.At))
		}
	}
	if len(spare) == 0 {
		return nil
	}
	defs, err := t.store.generations(ctx, j)
	if err != nil {
		return err
	}
	for i := range spare {
		t.close(&spare[i], defs, takenBefore)
	}
	return nil
}
