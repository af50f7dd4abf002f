package state

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

var _ crony.Jobs = (*Store)(nil)

// maxApply is how many jobs may change in one transaction: each costs the store a handful of operations, and the store
// stands still meanwhile.
const maxApply = 5000

// ApplyJobs implements [crony.Jobs]. A definition and its assignment change in one transaction.
func (s *Store) ApplyJobs(ctx context.Context, list []crony.Job, opts crony.ApplyOptions) ([]crony.Applied, error) {
	var applied []crony.Applied
	err := s.retry("apply jobs", func() (bool, error) {
		t := s.newTxn(ctx)
		applied = make([]crony.Applied, len(list))
		for i := range list {
			if err := precondition(opts.IfGeneration, t.look(list[i].Name)); err != nil {
				return false, err
			}
			applied[i] = t.define(list[i])
		}
		if t.changed > maxApply {
			return false, crony.Errorf(crony.TooLarge, "%d jobs would change at once; at most %d can", t.changed, maxApply).
				WithHint("split the manifest")
		}
		if opts.DryRun || t.changed == 0 {
			return true, nil
		}
		return s.commit(ctx, t.conditions, t.ops)
	})
	return applied, err
}

func precondition(want *int64, now job) error {
	if want == nil || *want == now.def.Generation {
		return nil
	}
	if *want == 0 {
		return crony.Errorf(crony.Conflict, "the job %s exists already", now.def.Job.Name)
	}
	return crony.Errorf(crony.Conflict, "the job is at generation %d, not %d", now.def.Generation, *want).
		WithHint("somebody changed it meanwhile: read it again")
}

// txn collects the changes of one transaction, and the conditions that what they were computed from still stands.
type txn struct {
	store      *Store
	actor      string
	now        time.Time
	changed    int
	conditions []clientv3.Cmp
	ops        []clientv3.Op
}

func (s *Store) newTxn(ctx context.Context) *txn {
	return &txn{store: s, actor: crony.ActorFrom(ctx), now: s.now().UTC()}
}

// look returns what the mirror knows of a job; the zero job if there is none.
func (t *txn) look(name string) job { return t.store.mirror.look(name) }

func (t *txn) expect(key string, rev int64) {
	t.conditions = append(t.conditions, clientv3.Compare(clientv3.ModRevision(key), "=", rev))
}

func (t *txn) put(key, value string) { t.ops = append(t.ops, clientv3.OpPut(key, value)) }

// define makes job the definition of its name.
func (t *txn) define(want crony.Job) crony.Applied {
	old := t.look(want.Name)
	if old.rev != 0 && sameJob(&old.def.Job, &want) {
		return crony.Applied{Name: want.Name, Action: crony.Unchanged, Generation: old.def.Generation}
	}
	t.changed++
	def := old.def
	def.Job, def.UpdatedAt, def.UpdatedBy = want, t.now, t.actor
	def.Generation++
	if old.rev == 0 {
		def.UID, def.CreatedAt = rand.Text(), t.now
	}
	t.expect(specs+want.Name, old.rev)
	t.put(specs+want.Name, encode(def))
	t.archive(old)
	if a := old.assignment; a != nil {
		t.assign(want.Name, a, crony.Assignment{Job: want.Name, Agent: a.Agent, Generation: def.Generation,
			Since: a.Since, Reason: a.Reason})
	}
	if old.rev == 0 || newPlan(&old.def.Job, &want) {
		t.decideUntil(want.Name, t.now)
	}
	action := crony.Updated
	if old.rev == 0 {
		action = crony.Created
	}
	return crony.Applied{Name: want.Name, Action: action, Generation: def.Generation}
}

// archive keeps the generation that is replaced, and forgets the oldest.
func (t *txn) archive(old job) {
	if old.rev == 0 {
		return
	}
	t.put(historyKey(old.def.Job.Name, old.def.Generation), encode(old.def))
	if g := old.def.Generation - kept; g > 0 {
		t.ops = append(t.ops, clientv3.OpDelete(historyKey(old.def.Job.Name, g)))
	}
}

// assign replaces the assignment old, nil if there is none, by a.
func (t *txn) assign(name string, old *crony.Assignment, a crony.Assignment) {
	key := assignmentKey(a.Agent, name)
	if old == nil {
		t.expect(key, 0)
	} else {
		t.expect(assignmentKey(old.Agent, name), old.Epoch)
	}
	a.Epoch = 0
	t.put(key, encode(a))
}

// decideUntil makes the occurrences up to at nobody's: the job begins, or goes on, after it. The cursor never goes back.
func (t *txn) decideUntil(name string, at time.Time) {
	key := claims + name
	value := claimValue(crony.Claim{At: at})
	t.ops = append(t.ops, clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
		[]clientv3.Op{clientv3.OpPut(key, value)},
		[]clientv3.Op{clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "<", claimsBefore(at))},
			[]clientv3.Op{clientv3.OpPut(key, value)}, nil)}))
}

// newPlan says whether what was due before the change is no measure of what is due after it.
func newPlan(old, want *crony.Job) bool {
	return old.Paused != want.Paused || !sameJSON(old.Entries(), want.Entries())
}

func sameJob(a, b *crony.Job) bool { return sameJSON(a, b) }

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
	return j.status(s.now(), s.mirror.agentCount()), nil
}

func noJob(name string) error {
	return crony.Errorf(crony.NotFound, "there is no job %.80q", name).WithHint("`crony job list` shows the jobs")
}

func (j *job) status(now time.Time, agents int) crony.JobStatus {
	st := crony.JobStatus{Definition: j.def, Assignment: j.assignment}
	if j.plan != nil && !j.def.Job.Paused {
		st.NextAt = j.plan.Next(now)
	}
	switch {
	case j.assignment != nil:
	case agents == 0:
		st.Waiting = "no agent is connected"
	default:
		st.Waiting = "not placed yet"
	}
	return st
}

// ListJobs implements [crony.Jobs].
func (s *Store) ListJobs(_ context.Context, q crony.JobQuery) (crony.JobPage, error) {
	limit, err := crony.PageLimit(q.Limit)
	if err != nil {
		return crony.JobPage{}, err
	}
	now, search := s.now(), strings.ToLower(q.Search)
	page := crony.JobPage{Items: []crony.JobStatus{}}
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	from, found := slices.BinarySearch(m.names, q.Cursor)
	if found {
		from++
	}
	for _, name := range m.names[from:] {
		j := m.jobs[name]
		if !matches(&j.def.Job, search, q.Group) {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Job.Name
			break
		}
		page.Items = append(page.Items, j.status(now, len(m.agents)))
	}
	return page, nil
}

func matches(j *crony.Job, search, group string) bool {
	if group != "" && j.InGroup() != group {
		return false
	}
	return search == "" || strings.Contains(j.Name, search) || strings.Contains(strings.ToLower(j.Title), search)
}

// PauseJob implements [crony.Jobs].
func (s *Store) PauseJob(ctx context.Context, name string, paused bool) (crony.JobStatus, error) {
	err := s.retry("pause "+name, func() (bool, error) {
		t := s.newTxn(ctx)
		old := t.look(name)
		if old.rev == 0 {
			return false, noJob(name)
		}
		want := old.def.Job
		want.Paused = paused
		if t.define(want).Action == crony.Unchanged {
			return true, nil
		}
		return s.commit(ctx, t.conditions, t.ops)
	})
	if err != nil {
		return crony.JobStatus{}, err
	}
	return s.Job(ctx, name)
}

// DeleteJob implements [crony.Jobs].
func (s *Store) DeleteJob(ctx context.Context, name string) error {
	return s.retry("delete "+name, func() (bool, error) {
		t := s.newTxn(ctx)
		old := t.look(name)
		if old.rev == 0 {
			return false, noJob(name)
		}
		t.expect(specs+name, old.rev)
		if a := old.assignment; a != nil {
			t.expect(assignmentKey(a.Agent, name), a.Epoch)
			t.ops = append(t.ops, clientv3.OpDelete(assignmentKey(a.Agent, name)))
		}
		t.ops = append(t.ops, clientv3.OpDelete(specs+name), clientv3.OpDelete(claims+name), clientv3.OpDelete(starts+name),
			clientv3.OpDelete(history+name+"/", clientv3.WithPrefix()))
		return s.commit(ctx, t.conditions, t.ops)
	})
}

// StartJob implements [crony.Jobs].
func (s *Store) StartJob(ctx context.Context, name string) (crony.RunID, error) {
	var id crony.RunID
	err := s.retry("start "+name, func() (bool, error) {
		t := s.newTxn(ctx)
		j := t.look(name)
		switch {
		case j.rev == 0:
			return false, noJob(name)
		case j.assignment == nil:
			return false, crony.Errorf(crony.Unavailable, "no agent has the job %s", name).
				WithHint("`crony agent list` shows the agents")
		case s.mirror.start(name).Run != "":
			return false, crony.Errorf(crony.Conflict, "an earlier order to start %s waits for its agent", name).
				WithHint("try again when it has been taken")
		}
		id = crony.NewRunID(t.now)
		t.expect(assignmentKey(j.assignment.Agent, name), j.assignment.Epoch)
		t.expect(starts+name, 0)
		t.put(starts+name, encode(crony.StartRequest{Run: id, Job: name, Agent: j.assignment.Agent, By: t.actor, At: t.now}))
		return s.commit(ctx, t.conditions, t.ops)
	})
	return id, err
}

// TakeStart removes the order to start a job, if it is still the order for this run: its agent answers for the run now.
func (s *Store) TakeStart(ctx context.Context, name string, run crony.RunID) error {
	return s.retry("take the order to start "+name, func() (bool, error) {
		order := s.mirror.start(name)
		if order.Run != run {
			return true, nil
		}
		t := s.newTxn(ctx)
		t.expect(starts+name, order.rev)
		t.ops = append(t.ops, clientv3.OpDelete(starts+name))
		return s.commit(ctx, t.conditions, t.ops)
	})
}
