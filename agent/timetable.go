package agent

import (
	"container/heap"
	"time"

	"crony"
)

// timetable knows when to ask for what, and when to start what was granted. It is pure: time comes in as an argument. A wake
// costs O(log n) for each job that is due and nothing for one that is not.
type timetable struct {
	jobs   map[string]*job
	asks   queue[*job]
	starts queue[*seat]
}

// job is a job that the agent has, in one state: another epoch is another job.
type job struct {
	def    crony.Definition
	epoch  int64
	plan   *crony.Plan // nil: nothing by time
	cursor time.Time   // every occurrence up to it is decided, for all that the agent knows
	taken  crony.RunID // of the last occurrence that was granted
	next   time.Time   // the occurrence to claim next; zero: none
	start  time.Time   // when that one starts
	asked  time.Time   // when it was asked for; zero: it is not
	ask    uint64      // the request by which it was
	place  int         // in the queue, from 1; 0: not in it
	loose  bool        // not confirmed since the link came up
}

// seat is a place of a run that waits for its time.
type seat struct {
	run   crony.RunID
	job   *job
	at    time.Time // the occurrence; of an order, when it was given
	start time.Time // when to start it
	place int
}

// ahead is how long before an occurrence starts it is asked for.
const ahead = time.Second

// askAgain is after how long an answer that has not come is asked for again.
const askAgain = 5 * time.Second

func newTimetable() *timetable { return &timetable{jobs: map[string]*job{}} }

// assign takes a job in, or a newer state of it. Occurrences up to the cursor are decided; of those after it and up to now
// only the latest is asked for: it stands for all of them.
func (t *timetable) assign(def crony.Definition, epoch int64, cursor, now time.Time) {
	j := t.jobs[def.Job.Name]
	if j == nil || j.epoch != epoch {
		t.unassign(def.Job.Name)
		j = &job{def: def, epoch: epoch} // whoever asked by the one of before still has that
		if !def.Job.Paused {
			j.plan = def.Plan()
		}
		t.jobs[def.Job.Name] = j
	}
	j.loose = false
	if cursor.After(j.cursor) {
		j.cursor = cursor
	}
	t.plan(j, j.cursor, now)
}

// unassign drops a job.
func (t *timetable) unassign(name string) {
	if j := t.jobs[name]; j != nil {
		t.asks.remove(j)
		delete(t.jobs, name)
	}
}

// plan makes j's next occurrence the one that is to be asked for after the cursor.
func (t *timetable) plan(j *job, cursor, now time.Time) {
	t.asks.remove(j)
	j.asked, j.next = time.Time{}, time.Time{}
	if j.plan == nil {
		return
	}
	j.expect(latest(j.plan, cursor, now))
	if !j.next.IsZero() {
		t.asks.add(j)
	}
}

// expect makes at the occurrence to claim next.
func (j *job) expect(at time.Time) { j.next, j.start = at, j.startOf(at) }

// startOf returns when an occurrence starts.
func (j *job) startOf(at time.Time) time.Time {
	if j.plan == nil || at.IsZero() {
		return at
	}
	return j.plan.Start(at)
}

// latest returns the last occurrence after the cursor that is due by now, or else the first that is not.
func latest(plan interface{ Next(time.Time) time.Time }, cursor, now time.Time) time.Time {
	next := plan.Next(cursor)
	if next.IsZero() || next.After(now) {
		return next
	}
	// Go back from now in growing steps to the last that is due, so that a long absence costs no more than a short one.
	from := cursor
	for step, most := time.Second, now.Sub(cursor); step < most && step > 0; step *= 2 {
		if due := plan.Next(now.Add(-step)); !due.IsZero() && !due.After(now) {
			from = now.Add(-step)
			break
		}
	}
	last := next
	for at := plan.Next(from); !at.IsZero() && !at.After(now); at = plan.Next(at) {
		last = at
	}
	return last
}

// due returns the jobs whose next occurrence is to be asked for now. One that is overdue, as the clock went forward or the
// agent stood still, stands for those that came after it: the latest of them is asked for.
func (t *timetable) due(now time.Time) []*job {
	var jobs []*job
	for len(t.asks) > 0 && !t.asks[0].when().After(now) {
		j := t.asks[0]
		if j.asked.IsZero() && j.next.Before(now) {
			j.expect(latest(j.plan, j.next.Add(-1), now))
		}
		jobs = append(jobs, j)
		j.asked = now
		heap.Fix(&t.asks, 0) // it comes again when no answer has come
	}
	return jobs
}

// settle moves a job on once its occurrence is decided. One that was refused may be anybody's: only what was granted moves
// the cursor.
func (t *timetable) settle(j *job, at, now time.Time, granted bool) {
	if granted && at.After(j.cursor) {
		j.cursor = at
	}
	if t.current(j) && j.next.Equal(at) {
		t.plan(j, at, now)
	}
}

// rewind plans everything anew after the clock went back.
func (t *timetable) rewind(now time.Time) {
	for _, j := range t.jobs {
		t.plan(j, j.cursor, now)
	}
}

// current says whether the agent has the job, in this state.
func (t *timetable) current(j *job) bool { return t.jobs[j.def.Job.Name] == j }

// grant seats a run until it is due.
func (t *timetable) grant(g *seat) {
	g.start = g.job.startOf(g.at)
	t.starts.add(g)
}

// ready returns the runs that are due.
func (t *timetable) ready(now time.Time) []*seat {
	var runs []*seat
	for len(t.starts) > 0 && !t.starts[0].start.After(now) {
		runs = append(runs, heap.Pop(&t.starts).(*seat))
	}
	return runs
}

// revoked takes back the runs that wait for their time under a state of their job that is no more.
func (t *timetable) revoked() []*seat {
	var runs []*seat
	for _, g := range t.starts {
		if !t.current(g.job) {
			runs = append(runs, g)
		}
	}
	for _, g := range runs {
		t.starts.remove(g)
	}
	return runs
}

// loosen begins a new list of assignments: what is not confirmed until [timetable.confirmed] is not the agent's.
func (t *timetable) loosen() {
	for _, j := range t.jobs {
		j.loose = true
	}
}

// confirmed ends the list and returns the names of the jobs that were not in it.
func (t *timetable) confirmed() []string {
	var gone []string
	for name, j := range t.jobs {
		if j.loose {
			gone = append(gone, name)
		}
	}
	return gone
}

// wake returns when there is something to do next; the zero time if there is nothing. While nothing may be asked for, only
// starts count.
func (t *timetable) wake(asking bool) time.Time {
	var at time.Time
	if asking && len(t.asks) > 0 {
		at = t.asks[0].when()
	}
	if len(t.starts) > 0 && (at.IsZero() || t.starts[0].start.Before(at)) {
		at = t.starts[0].start
	}
	return at
}

// when is when j is to be asked for, or asked for again.
func (j *job) when() time.Time {
	if !j.asked.IsZero() {
		return j.asked.Add(askAgain)
	}
	return j.start.Add(-ahead)
}

func (j *job) where() *int      { return &j.place }
func (g *seat) when() time.Time { return g.start }
func (g *seat) where() *int     { return &g.place }

// waiter is something that waits for a time, and knows its place in the queue.
type waiter interface {
	when() time.Time
	where() *int
}

// queue is a heap by time.
type queue[T waiter] []T

func (q queue[T]) Len() int           { return len(q) }
func (q queue[T]) Less(i, j int) bool { return q[i].when().Before(q[j].when()) }
func (q queue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	*q[i].where(), *q[j].where() = i+1, j+1
}

// Push implements heap.Interface; use add.
func (q *queue[T]) Push(x any) {
	*q = append(*q, x.(T))
	*x.(T).where() = len(*q)
}

// Pop implements heap.Interface; use remove.
func (q *queue[T]) Pop() any {
	var none T
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = none
	*q = (*q)[:len(*q)-1]
	*last.where() = 0
	return last
}

func (q *queue[T]) add(x T) { heap.Push(q, x) }

func (q *queue[T]) remove(x T) {
	if i := *x.where(); i > 0 {
		heap.Remove(q, i-1)
	}
}
