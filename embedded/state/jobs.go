package state

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"iter"
	"math"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

var _ crony.Jobs = (*Store)(nil)

// Define implements [crony.Jobs]. Everything changes in one transaction: the manifest's calendars and jobs, the jobs that
// keep one of the calendars, and the assignments of them all. TooLarge if that is more than one transaction can hold.
func (s *Store) Define(ctx context.Context, m crony.Manifest, opts crony.ApplyOptions) ([]crony.Applied, error) {
	if err := checkList(&m, opts); err != nil {
		return nil, err
	}
	var d *defining
	err := s.change(ctx, "define", func() (*txn, error) {
		d = &defining{txn: s.newTxn(ctx), given: map[string]int{}, contents: map[string]crony.Calendar{},
			written: map[string]bool{}, keepers: map[string]string{}}
		if err := d.manifest(&m, opts); err != nil {
			return nil, err
		}
		if opts.DryRun {
			d.ops = nil
		}
		return d.txn, nil
	})
	if err != nil {
		return nil, d.refused(err)
	}
	return d.applied, nil
}

// checkList refuses what has no meaning as one change.
func checkList(m *crony.Manifest, opts crony.ApplyOptions) error {
	if opts.IfGeneration != nil && len(m.Jobs) > 1 {
		return crony.Errorf(crony.Invalid, "a generation is the condition of one job, not of %d", len(m.Jobs))
	}
	if opts.IfGeneration != nil && len(m.Calendars) > 0 {
		return crony.Errorf(crony.Invalid, "a generation is the condition of one job, and calendars have none")
	}
	seen := make(map[string]bool, len(m.Jobs)+len(m.Calendars))
	for i := range m.Calendars {
		if err := once(seen, "the calendar "+m.Calendars[i].Name); err != nil {
			return err
		}
	}
	for i := range m.Jobs {
		if err := once(seen, "the job "+m.Jobs[i].Name); err != nil {
			return err
		}
	}
	return nil
}

func once(seen map[string]bool, what string) error {
	if seen[what] {
		return crony.Errorf(crony.Invalid, "%s is given twice", what).WithHint("leave one of the two out")
	}
	seen[what] = true
	return nil
}

func precondition(want *int64, now job) error {
	switch {
	case want == nil || *want == now.generation():
		return nil
	case *want == 0:
		return crony.Errorf(crony.Conflict, "the job %s exists already", now.name).
			WithHint("give the generation that it has, %d, to change it", now.generation())
	case now.rev == 0:
		return crony.Errorf(crony.Conflict, "there is no such job any more").WithHint("it was deleted meanwhile")
	}
	return crony.Errorf(crony.Conflict, "the job %s is at generation %d, not %d", now.name, now.generation(), *want).
		WithHint("somebody changed it meanwhile: read it again")
}

// nest makes one operation of each part, if there are several, so that only the parts count against what a transaction may
// hold.
func nest(parts [][]clientv3.Op) []clientv3.Op {
	if len(parts) == 1 {
		return parts[0]
	}
	ops := make([]clientv3.Op, len(parts))
	for i, part := range parts {
		ops[i] = clientv3.OpTxn(nil, part, nil)
	}
	return ops
}

// define returns what makes want the definition of its name in place of old, with the contents of the calendars that it
// keeps, and adds the conditions that old still stands, two at most. That the contents are those of now is for the caller to
// see to.
func (t *txn) define(old job, want *crony.Job, keeps []crony.Calendar) (crony.Applied, []clientv3.Op) {
	if old.rev != 0 && sameJob(old.def, want, keeps) {
		t.loose = true
		return crony.Applied{Kind: crony.KindJob, Name: want.Name, Action: crony.Unchanged, Generation: old.generation()}, nil
	}
	t.expect(specs+want.Name, old.rev)
	one, action := &txn{store: t.store, now: t.now}, crony.Updated
	def := crony.Definition{UID: rand.Text(), CreatedAt: t.now, UpdatedAt: t.now, PlanSince: t.now}
	if old.rev == 0 {
		action = crony.Created
	} else {
		def = *old.def
		def.UpdatedAt = later(t.now, old.def.UpdatedAt) // servers' clocks differ; a job's history does not go back
		one.archive(&old)
		if newPlan(old.def, want, keeps) {
			def.PlanSince = def.UpdatedAt
		}
	}
	def.Job, def.Calendars, def.UpdatedBy = *want, keeps, t.actor
	def.Generation++
	one.put(specs+want.Name, encode(def))
	if old.claimRev == 0 && want.Mode() != crony.PlaceEach {
		one.put(claims+want.Name, claimValue(crony.Claim{At: def.PlanSince, Generation: def.Generation}, time.Time{})) // it begins now
	}
	stays := old.rev == 0 || samePlaces(&old.def.Job, want)
	for _, a := range old.assignments {
		t.expect(assignmentKey(a.Agent, want.Name), a.Epoch)
		if stays {
			one.assign(crony.Assignment{Job: want.Name, Agent: a.Agent, Generation: def.Generation, Since: a.Since, Reason: a.Reason})
		} else {
			one.remove(assignmentKey(a.Agent, want.Name))
		}
	}
	return crony.Applied{Kind: crony.KindJob, Name: want.Name, Action: action, Generation: def.Generation}, one.ops
}

// samePlaces says that a changed job may stay on the agents that have it. If it may not, it is taken from all of them, and
// placement decides anew; agents' own cursors are left to go on from, or to be closed when it has decided.
func samePlaces(old, want *crony.Job) bool {
	return old.Kind() == want.Kind() && sameJSON(old.Placement, want.Placement)
}

// archive keeps the generation that is replaced, and forgets the oldest. What is not decided yet is decided by the generation
// that was in force: until then that is kept, however old.
func (t *txn) archive(old *job) {
	t.put(historyKey(old.name, old.generation()), encode(*old.def))
	g := old.generation() - kept
	for _, p := range t.store.mirror.parts(old.name) {
		if p.claim.At.Before(old.def.PlanSince) {
			g = min(g, p.claim.Generation-1)
		}
	}
	if g > 0 {
		t.ops = append(t.ops, clientv3.OpDelete(historyKey(old.name, 1), clientv3.WithRange(historyKey(old.name, g+1))))
	}
}

func (t *txn) assign(a crony.Assignment) {
	a.Epoch = 0
	t.put(assignmentKey(a.Agent, a.Job), encode(a))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// newPlan says whether what was due before the change is no measure of what is due after it.
func newPlan(old *crony.Definition, want *crony.Job, keeps []crony.Calendar) bool {
	return old.Job.Paused != want.Paused || (old.Job.Mode() == crony.PlaceEach) != (want.Mode() == crony.PlaceEach) || !sameJSON(old.Job.Entries(), want.Entries()) ||
		!sameJSON(old.Job.Calendars, want.Calendars) || !sameJSON(old.Calendars, keeps)
}

func sameJob(old *crony.Definition, want *crony.Job, keeps []crony.Calendar) bool {
	return sameJSON(&old.Job, want) && sameJSON(old.Calendars, keeps)
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Job implements [crony.Jobs].
func (s *Store) Job(_ context.Context, name string) (crony.JobStatus, error) {
	j := s.mirror.look(name)
	if j.rev == 0 {
		return crony.JobStatus{}, noJob(name)
	}
	return j.status(s.now(), s.mirror.agentCount(), math.MaxInt), nil
}

func noJob(name string) error {
	return crony.Errorf(crony.NotFound, "there is no job %.80q", name).WithHint("`crony job list` shows the jobs")
}

// status returns the job as people see it, with at most most of its assignments; agents is how many are connected.
func (j *job) status(now time.Time, agents, most int) crony.JobStatus {
	st := crony.JobStatus{Definition: *j.def, Assignments: j.assigned(most), Assigned: len(j.assignments)}
	if plan := j.def.Plan(); plan != nil && !j.def.Job.Paused {
		st.NextAt = plan.Next(now)
	}
	st.Waiting = j.waiting(agents)
	return st
}

// waiting says why no agent has the job; "" if one has.
func (j *job) waiting(agents int) string {
	switch {
	case len(j.assignments) > 0:
		return ""
	case agents == 0:
		return "no agent is connected"
	}
	return "not placed yet"
}

// ListJobs implements [crony.Jobs].
func (s *Store) ListJobs(_ context.Context, q crony.JobQuery) (crony.JobPage, error) {
	limit, err := crony.PageLimit(q.Limit)
	if err != nil {
		return crony.JobPage{}, err
	}
	search := strings.ToLower(q.Search)
	found := s.mirror.find(q.Cursor, limit+1, func(j *job) bool { return j.matches(search, &q) })
	page := crony.JobPage{Items: make([]crony.JobStatus, 0, min(len(found), limit))}
	if len(found) > limit {
		found = found[:limit]
		page.Next = found[limit-1].name
	}
	now, agents := s.now(), s.mirror.agentCount()
	for i := range found {
		page.Items = append(page.Items, found[i].status(now, agents, crony.ListedAssignments))
	}
	return page, nil
}

// Retentions yields, in the order of the jobs' names, what those say of how much of their history is kept that say it.
func (s *Store) Retentions() iter.Seq2[string, crony.Retention] {
	return func(yield func(string, crony.Retention) bool) {
		for _, j := range s.mirror.find("", math.MaxInt, func(j *job) bool { return j.def.Job.Retention != nil }) {
			if !yield(j.name, *j.def.Job.Retention) {
				return
			}
		}
	}
}

// matches says whether the job is of the query's group and its agent's, and has the text, in small letters, in its name or title.
func (j *job) matches(search string, q *crony.JobQuery) bool {
	if q.Group != "" && j.def.Job.InGroup() != q.Group || q.Agent != "" && j.of(q.Agent) == nil {
		return false
	}
	return search == "" || strings.Contains(j.name, search) || strings.Contains(j.title, search)
}

// PauseJob implements [crony.Jobs].
func (s *Store) PauseJob(ctx context.Context, name string, paused bool) (crony.JobStatus, error) {
	err := s.change(ctx, "pause "+name, func() (*txn, error) {
		t := s.newTxn(ctx)
		old := t.look(name)
		if old.rev == 0 {
			return nil, noJob(name)
		}
		want := old.def.Job
		want.Paused = paused
		_, t.ops = t.define(old, &want, old.def.Calendars) // which change only with the definition
		return t, nil
	})
	if err != nil {
		return crony.JobStatus{}, err
	}
	return s.Job(ctx, name)
}

// DeleteJob implements [crony.Jobs].
func (s *Store) DeleteJob(ctx context.Context, name string) error {
	var defs []crony.Definition // of the last attempt: read anew if the job has been defined anew
	return s.change(ctx, "delete "+name, func() (*txn, error) {
		t := s.newTxn(ctx)
		old := t.look(name)
		if old.rev == 0 {
			return nil, noJob(name)
		}
		t.expect(specs+name, old.rev)
		for _, a := range old.assignments {
			t.expect(assignmentKey(a.Agent, name), a.Epoch)
			t.remove(assignmentKey(a.Agent, name))
		}
		t.remove(specs + name)
		t.remove(starts + name)
		t.ops = append(t.ops, clientv3.OpDelete(history+name+"/", clientv3.WithPrefix()))
		if n := len(defs); n == 0 || defs[n-1].UID != old.def.UID || defs[n-1].Generation != old.generation() {
			var err error
			if defs, err = s.generations(ctx, &old); err != nil {
				return nil, err
			}
		}
		for _, p := range s.mirror.parts(name) {
			t.close(&p, defs, removedBefore)
		}
		return t, nil
	})
}

// StartJob implements [crony.Jobs].
func (s *Store) StartJob(ctx context.Context, name string) (crony.RunID, error) {
	var id crony.RunID
	err := s.change(ctx, "start "+name, func() (*txn, error) {
		t := s.newTxn(ctx)
		j := t.look(name)
		a := s.willing(&j)
		switch {
		case j.rev == 0:
			return nil, noJob(name)
		case a == nil:
			return nil, crony.Errorf(crony.Unavailable, "no agent has the job %s", name).
				WithHint("`crony agent list` shows the agents")
		case s.mirror.start(name).Run != "":
			return nil, crony.Errorf(crony.Conflict, "an earlier order to start %s waits for its agent", name).
				WithHint("try again when it has been taken")
		}
		id = crony.NewRunID(t.now)
		t.expect(assignmentKey(a.Agent, name), a.Epoch)
		t.expect(tombstones+a.Agent, 0)
		t.expect(starts+name, 0)
		t.put(starts+name, encode(crony.StartRequest{Run: id, Job: name, Agent: a.Agent, By: t.actor, At: t.now}))
		return t, nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// willing returns the assignment of an agent that can be ordered to run the job: one that is connected, if there is one.
func (s *Store) willing(j *job) *crony.Assignment {
	var first *crony.Assignment
	for _, agent := range j.agents() {
		a := j.of(agent)
		if _, buried := s.Buried(agent); a == nil || buried {
			continue
		}
		if s.connected(agent) {
			return a
		}
		if first == nil {
			first = a
		}
	}
	return first
}

// TakeStart removes the order to start a job, if it is still the order for this run: its agent answers for the run now.
func (s *Store) TakeStart(ctx context.Context, name string, run crony.RunID) error {
	return s.change(ctx, "take the order to start "+name, func() (*txn, error) {
		t := s.newTxn(ctx)
		if order := s.mirror.start(name); order.Run == run {
			t.expect(starts+name, order.rev)
			t.remove(starts + name)
		}
		return t, nil
	})
}
