package agent

import (
	"container/heap"
	"strings"
	"time"

	"crony"
)

// timetable knows when to ask for what, and when to start what was granted. It is pure: time comes in as an argument. A wake
// costs O(log n) for each job that is due and nothing for one that is not.
type timetable struct {
	zones  crony.Zones // that all plans share
	jobs   map[string]*job
	asks   queue[*job]
	starts queue[*seat]
	turn   time.Time // when the next missed occurrence may be made up for
	solo   map[string]*solo
	alone  bool // the agent is cut off, and decides by itself

	holders func(*job) (first, last crony.RunID) // the runs of this agent that keep a job from starting another; "" if none do
	blocked map[*job]bool                        // jobs that such a run keeps
}

// job is a job that the agent has, in one state: another epoch is another job. There may be a hundred thousand of them, of
// which few are being asked for, and fewer run: a job holds no more than tells when that is to be.
type job struct {
	name   string
	def    packed
	epoch  int64
	plan   *crony.Plan // nil: nothing by time
	since  nanos       // when the job became the agent's
	cursor nanos       // every occurrence up to it is decided, for all that the agent knows
	next   nanos       // when something is to be asked for, or asked for again
	asked  *question   // what was asked for; nil: nothing was
	row    *row        // of occurrences that were given up, and that the servers are not told of yet; nil: there are none
	lately nanos       // when an occurrence was given up last, as a run of this agent was in the way
	slots  int32       // runs that may go on at once; 0: any number
	skips  bool        // what finds no slot is given up
	ask    uint64      // the newest request by which it was
	place  int32       // in the queue, from 1; 0: not in it
	held   bool        // it has missed something, and waits for its turn to make up for that
	loose  bool        // not confirmed since the link came up
	lacked bool        // what was asked for is to give up what was missed for want of preparation
	raced  bool        // other agents claim its occurrences too
	lack   *lack       // what its host is to be prepared with; nil: nothing
	leased bool        // what was claimed starts only while the servers can't have given the agent up
}

// seat is a place of a run that waits for its time, or for its job's lock.
type seat struct {
	run     crony.RunID
	job     *job        // nil: of an order for a job that the agent has not
	what    *assignment // of it
	at      time.Time   // the occurrence; of an order, when it was given
	params  map[string]string
	ordered bool  // by a person: it starts as soon as it may, whatever becomes of the job
	start   nanos // when to start it
	place   int32

	told  bool  // while it waits for its lock: the servers have said so
	again nanos // likewise: when to ask them for it again
	held  bool  // likewise: it had it already, and a run without a claim was in the way
}

// ahead is how long before an occurrence starts it is asked for. When the leader dies, or the agent has to go to another server,
// nothing is granted for about one and a half seconds: that is to cost no occurrence its time. And what is due on a full second
// is asked for between two of them, when the processors have less to do than when all start.
const ahead = 2250 * time.Millisecond

// askAgain is after how long an answer that has not come is asked for again.
const askAgain = 5 * time.Second

// pace is the time between two missed occurrences that are made up for, whosever they are: after a night's absence there is
// no storm.
const pace = 20 * time.Millisecond

func newTimetable(zones crony.Zones) *timetable {
	return &timetable{zones: zones, jobs: map[string]*job{}, solo: map[string]*solo{}, blocked: map[*job]bool{},
		holders: func(*job) (first, last crony.RunID) { return "", "" }}
}

// assign takes a job in, or a newer state of it. Occurrences up to the cursor are decided.
func (t *timetable) assign(def crony.Definition, epoch int64, since, cursor time.Time) {
	j := t.jobs[def.Job.Name]
	if j == nil || j.epoch != epoch {
		t.unassign(def.Job.Name)
		j = newJob(&def, epoch, since) // whoever asked by the one of before still has that
		j.compile(&def, t.zones)
		t.jobs[j.name] = j
	}
	j.loose = false
	j.reach(cursor)
	if s := t.solo[j.name]; s != nil && len(s.runs) == 0 {
		delete(t.solo, j.name) // it only passed over some, which is for the servers to hear of as ever
	}
	t.plan(j)
}

func newJob(def *crony.Definition, epoch int64, since time.Time) *job {
	j := &job{name: def.Job.Name, def: pack(def), epoch: epoch, since: nanosOf(since), slots: int32(def.Job.Slots()),
		raced: def.Job.Mode() == crony.PlaceRace, leased: leased(&def.Job),
		skips: skips(&def.Job)}
	if i := strings.Index(string(j.def), j.name); i >= 0 {
		j.name = string(j.def)[i : i+len(j.name)] // the same letters, which needn't be in memory twice
	}
	return j
}

// compile makes j's plan of its definition.
func (j *job) compile(def *crony.Definition, zones crony.Zones) {
	if !def.Job.Paused {
		j.plan = def.PlanIn(zones)
	}
}

// assignment returns the job as it was assigned.
func (j *job) assignment() *assignment { return &assignment{def: j.def.unpack(), epoch: j.epoch} }

// unassign drops a job.
func (t *timetable) unassign(name string) {
	if j := t.jobs[name]; j != nil {
		t.asks.remove(j)
		delete(t.jobs, name)
		delete(t.blocked, j)
	}
}

// plan puts j in the queue with the first occurrence after its cursor that is not given up.
func (t *timetable) plan(j *job) {
	if t.alone {
		t.planAlone(j)
		return
	}
	t.asks.remove(j)
	j.asked, j.held, j.lacked = nil, false, false
	if j.plan == nil {
		return
	}
	cursor := j.reached()
	step := j.plan.Step(cursor, cursor) // as of then, nothing is late
	if !step.At.IsZero() {
		j.next = nanosOf(step.Start.Add(-ahead))
	}
	switch {
	case j.row != nil && (step.At.IsZero() || j.row.tell < j.next):
		j.next = j.row.tell
	case step.At.IsZero():
		return
	}
	t.asks.add(j)
}

// startOf returns when an occurrence starts.
func (j *job) startOf(at time.Time) time.Time {
	if j.plan == nil {
		return at
	}
	return j.plan.Start(at)
}

// due returns the jobs of which something is to be asked for now. What was asked for and has no answer is asked for again as
// it was: nothing is passed over that may have been granted.
func (t *timetable) due(now time.Time) []*job {
	var jobs []*job
	for len(t.asks) > 0 && t.asks[0].next <= nanosOf(now) {
		j := t.asks[0]
		if j.asked == nil && !t.decide(j, now) {
			continue
		}
		jobs = append(jobs, j)
		j.next = nanosOf(now.Add(askAgain))
		heap.Fix(&t.asks, 0) // it comes again when no answer has come
	}
	return jobs
}

// decide finds out what is to be asked for j, the first in the queue, and says whether it is j's turn.
func (t *timetable) decide(j *job, now time.Time) bool {
	until, _, tells := t.tell(j)
	switch {
	case t.alone:
	case j.row != nil && (tells || j.lack != nil || j.row.tell <= nanosOf(now)):
		j.asked = j.row.question()
		return true
	case tells:
		j.asked = &question{Step: crony.Step{Until: until}}
		return true
	case j.lack != nil:
		if asks, waits := t.forgo(j, now); waits {
			return asks
		}
	}
	step, held := j.plan.Step(t.decided(j), now), j.held
	j.held = false
	switch {
	case step == (crony.Step{}):
		t.plan(j) // which leaves it out, but for its row
		return false
	case !step.Until.IsZero() && j.row != nil && !t.alone:
		j.asked = j.row.question()
		return true
	case step.Until.IsZero() && t.blocks(j, &step, now):
		return false
	case !step.CatchUp || !step.Until.IsZero() || held:
	case t.turn.After(now):
		j.held, j.next = true, nanosOf(t.turn)
		t.turn = t.turn.Add(pace)
		heap.Fix(&t.asks, 0)
		return false
	default:
		t.turn = now.Add(pace)
	}
	j.asked = &question{Step: step, row: j.row, due: !step.Start.After(now), behind: t.behind(j, &step, now)}
	return true
}

// settle moves a job on once the servers say that every occurrence up to a cursor is decided. Without news it is asked for
// again later.
func (t *timetable) settle(j *job, cursor time.Time) {
	if nanosOf(cursor) <= j.cursor {
		return
	}
	j.reach(cursor)
	if t.current(j) {
		t.plan(j)
	}
}

// rewind plans everything anew after the clock went back.
func (t *timetable) rewind() {
	t.turn = time.Time{}
	for _, j := range t.jobs {
		j.row = nil // its occurrences come again
		t.plan(j)
	}
}

// recompile makes all plans anew, by zones that have changed.
func (t *timetable) recompile() {
	for _, j := range t.jobs {
		def := j.def.unpack()
		j.compile(&def, t.zones)
		t.plan(j)
	}
}

// unclaimed says whether an agent that is cut off starts the job without a claim.
func (j *job) unclaimed() bool { return !j.raced && !j.leased }

// has says whether the agent has a job.
func (t *timetable) has(name string) bool { return t.jobs[name] != nil }

// current says whether the agent has the job, in this state.
func (t *timetable) current(j *job) bool { return t.jobs[j.name] == j }

// grant seats a run until it is due.
func (t *timetable) grant(g *seat) {
	g.start = nanosOf(g.job.startOf(g.at))
	t.starts.add(g)
}

// ready returns the runs that are due.
func (t *timetable) ready(now time.Time) []*seat {
	var runs []*seat
	for len(t.starts) > 0 && t.starts[0].start <= nanosOf(now) {
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

// unseat takes back a run that waits for its time, and says whether it did.
func (t *timetable) unseat(run crony.RunID) bool {
	for _, g := range t.starts {
		if g.run == run {
			t.starts.remove(g)
			return true
		}
	}
	return false
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
		at = t.asks[0].next.time()
	}
	if len(t.starts) > 0 && (at.IsZero() || t.starts[0].start.time().Before(at)) {
		at = t.starts[0].start.time()
	}
	return at
}

func (j *job) when() nanos    { return j.next }
func (j *job) where() *int32  { return &j.place }
func (g *seat) when() nanos   { return g.start }
func (g *seat) where() *int32 { return &g.place }

// waiter is something that waits for a time, and knows its place in the queue.
type waiter interface {
	when() nanos
	where() *int32
}

// queue is a heap by time.
type queue[T waiter] []T

func (q queue[T]) Len() int           { return len(q) }
func (q queue[T]) Less(i, j int) bool { return q[i].when() < q[j].when() }
func (q queue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	*q[i].where(), *q[j].where() = int32(i+1), int32(j+1)
}

// Push implements heap.Interface; use add.
func (q *queue[T]) Push(x any) {
	*q = append(*q, x.(T))
	*x.(T).where() = int32(len(*q))
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

func (q *queue[T]) fix(x T) { heap.Fix(q, int(*x.where()-1)) }

func (q *queue[T]) remove(x T) {
	if i := *x.where(); i > 0 {
		heap.Remove(q, int(i-1))
	}
}
