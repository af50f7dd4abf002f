package agent

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"crony"
	"crony/internal/wire"
)

// Of some jobs only so many runs may go on at once. What comes due while they do is given up by the agent, or waits for the
// job's lock, or takes the place of what goes on; which of these is for the servers to say, as runs of other agents count too.
//
// It is decided when it is due, and not, as all else is, ahead of that: by then a place may be free. But where it is taken by a
// run of this agent's own, and only for a short time yet, the next occurrence is claimed ahead, behind that: then nobody need be
// asked when it is due. Whether the place is free the agent sees by itself; if it is not, the claimed run is given up.

// row is occurrences right after a job's cursor that were given up, as a run was in the way. The servers are told of many at
// once, so that a job that is due each second costs little behind a run that takes an hour.
type row struct {
	until  nanos
	run    crony.RunID // that was in the way
	reason string
	tell   nanos // when the servers are to be told, at the latest
}

// question is what is asked of the servers about a job.
type question struct {
	crony.Step

	row     *row        // that goes with it; nil: there is none
	skipped bool        // what is passed over is a row, and nothing else is asked
	due     bool        // the occurrence's time has come
	behind  crony.RunID // of this agent, that is to have ended by then; "": none
}

func (r *row) question() *question {
	return &question{Step: crony.Step{Until: r.until.time(), Reason: r.reason}, skipped: true}
}

const (
	rowTime   = 50 * time.Second       // how long the servers are not told of a row
	probeLast = 200 * time.Millisecond // before an occurrence: nearer to it, its slot is not looked for again
	probeSoon = 100 * time.Millisecond // after which a slot is looked for that is about to be given back
)

// reached returns up to where the job's occurrences are decided or given up.
func (j *job) reached() time.Time {
	if j.row != nil && j.row.until > j.cursor {
		return j.row.until.time()
	}
	return j.cursor.time()
}

// reach moves the cursor on, and never back.
func (j *job) reach(cursor time.Time) {
	j.cursor = max(j.cursor, nanosOf(cursor))
	if j.row != nil && j.row.until <= j.cursor {
		j.row = nil
	}
}

// blocks says whether runs of this agent keep a job, the first in the queue, from its next occurrence; nobody need be asked
// then. Of an occurrence whose time has come that is the end, unless it may wait for them or take their place, which is for
// the servers to grant: an agent that is cut off passes it over.
func (t *timetable) blocks(j *job, step *crony.Step, now time.Time) bool {
	if j.slots == 0 {
		return false
	}
	run, _ := t.holders(j)
	switch {
	case run == "", t.behind(j, step, now) != "":
		return false
	case step.Start.After(now):
		t.blocked[j] = true
		t.put(j, step.Start)
		return true
	case t.alone:
		solo := t.soloOf(j.name)
		solo.cursor = max(solo.cursor, nanosOf(step.At))
		t.planAlone(j)
		return true
	case !j.skips:
		return false
	}
	t.blocked[j] = true
	t.giveUp(j, step.At, row{run: run, reason: crony.HolderReason(run)}, now)
	return true
}

// behind returns the run of this agent behind which an occurrence is claimed ahead of its time; "" if it is not. Behind one that
// takes its time it is not, and for a while not of a job whose runs do: each of what came due meanwhile would be a run that was
// given up, where all of it is one row.
func (t *timetable) behind(j *job, step *crony.Step, now time.Time) crony.RunID {
	if j.slots != 1 || !j.skips || t.alone || !step.Start.After(now) || now.Sub(j.lately.time()) < rowTime {
		return ""
	}
	first, last := t.holders(j)
	if first == "" || now.Sub(first.Time()) > ahead {
		return ""
	}
	return last
}

// awaits says whether a run of the job that was granted waits for its lock, as this run is in the way. Of a job that gives up
// what finds no place, it was claimed behind a run of this agent's own.
func (j *job) awaits(busy crony.RunID) bool { return busy != "" && !j.skips }

// inWay returns the run of this agent that keeps one from starting that was claimed ahead; "" if none does.
func (t *timetable) inWay(g *seat, now time.Time) crony.RunID {
	if g.ordered || g.job == nil || g.job.slots != 1 || !g.job.skips {
		return ""
	}
	first, _ := t.holders(g.job)
	if first == g.run {
		return ""
	}
	g.job.lately = nanosOf(now)
	return first
}

// put has j come up in the queue at a time.
func (t *timetable) put(j *job, at time.Time) {
	if j.next = nanosOf(at); j.place > 0 {
		heap.Fix(&t.asks, int(j.place-1))
	}
}

// giveUp notes that an occurrence finds no slot. If something else was in the way of those before it, the servers are told of
// them first, and the occurrence comes up again.
func (t *timetable) giveUp(j *job, at time.Time, why row, now time.Time) {
	j.lately = nanosOf(now)
	switch {
	case j.row == nil:
		why.until, why.tell = nanosOf(at), nanosOf(now.Add(rowTime))
		j.row = &why
	case j.row.run == why.run && j.row.reason == why.reason:
		why.until, why.tell = nanosOf(at), j.row.tell
		j.row = &why
	default:
		j.row.tell = nanosOf(now)
	}
	t.plan(j)
}

// wait takes in that a run was in the way of what was asked for. Ending says that it is one of this agent's that has ended, of
// which the servers hear just now.
func (t *timetable) wait(j *job, why row, ending bool, now time.Time) {
	q := j.asked
	if !t.current(j) || q == nil {
		return
	}
	j.asked = nil
	left := q.Start.Sub(now)
	switch {
	case left > 0 && ending:
		t.put(j, now.Add(min(left, probeSoon)))
	case left > probeLast:
		t.put(j, now.Add(left/2))
	case left > 0:
		t.put(j, q.Start)
	case !q.due:
		t.put(j, now)
	case ending && -left < crony.MisfireGrace:
		t.put(j, now.Add(probeSoon))
	default:
		t.giveUp(j, q.At, why, now)
	}
}

// unblock takes up the jobs that no run of this agent keeps any more: the servers are told of what was given up meanwhile, and
// the next occurrence is asked for in time.
func (t *timetable) unblock(now time.Time) {
	for j := range t.blocked {
		if first, _ := t.holders(j); first != "" {
			continue
		}
		delete(t.blocked, j)
		if j.row != nil {
			j.row.tell = nanosOf(now)
		}
		if j.asked == nil {
			t.plan(j)
		}
	}
}

// enter seats a run that was not granted together with its job's lock, if it has one: then it waits until it has it.
func (l *loop) enter(g *seat) {
	if g.job.slots > 0 && l.table.current(g.job) {
		l.await(g)
		return
	}
	l.seat(g)
}

// startOrdered starts a run that a person has asked for, as soon as it has its job's lock if there is one.
func (l *loop) startOrdered(g *seat) {
	if g.what.def.Job.Slots() == 0 {
		l.begin(g)
		return
	}
	l.await(g)
}

// await has a run wait for its job's lock.
func (l *loop) await(g *seat) {
	l.locked[g.run] = g
}

// unlock has a run wait for its job's lock no more, and says whether it did.
func (l *loop) unlock(run crony.RunID) bool {
	g := l.locked[run]
	delete(l.locked, run)
	return g != nil
}

// admit starts a run that has its job's lock, when its time has come.
func (l *loop) admit(g *seat) {
	if g.ordered {
		l.begin(g)
		return
	}
	l.seat(g)
}

// besideAlone says whether a run that is about to start is not to, as one that the agent has started without a claim is in its
// way: what the servers granted, they granted before they knew of that. It is given up, or has to wait for its lock anew.
func (l *loop) besideAlone(g *seat) bool {
	job := &g.what.def.Job
	if job.Slots() == 0 {
		return false
	}
	run := l.journal.unclaimed(job.Name, g.run, job.Slots())
	switch {
	case run == "":
		return false
	case !g.ordered && skips(job):
		l.runner.skip(g.run, crony.HolderReason(run))
	default:
		g.told, g.held, g.again = false, true, nanosOf(l.clock().Add(askAgain))
		l.await(g)
	}
	return true
}

// freed has locks asked for at once that were left for later, as a run without a claim was in the way: one has ended.
func (l *loop) freed() {
	for _, g := range l.locked {
		if g.held {
			g.again = 0
		}
	}
}

// skips says whether what finds no slot is given up.
func skips(job *crony.Job) bool {
	return job.Overlap != crony.OverlapQueue && job.Overlap != crony.OverlapReplace
}

// doubt says that what the servers told of locks may not be so any more: they are asked again.
func (l *loop) doubt() {
	for _, g := range l.locked {
		g.told, g.again = false, 0
	}
}

// askLocks asks for the locks that runs wait for, of which the servers have said nothing.
func (l *loop) askLocks(now time.Time) {
	for _, g := range l.locked {
		if g.told || g.again > nanosOf(now) {
			continue
		}
		g.again = nanosOf(now.Add(askAgain))
		ask := &wire.Lock{Run: string(g.run), Job: g.what.def.Job.Name, Epoch: g.what.epoch}
		l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Lock{Lock: ask}})
	}
}

// placed takes in how runs stand with their jobs' locks.
func (l *loop) placed(reply *wire.LockReply) {
	for _, p := range reply.GetPlaces() {
		run := crony.RunID(p.GetRun())
		if by := crony.RunID(p.GetReplacedBy()); by != "" {
			l.end(run, crony.KillOrder{At: l.clock().UTC(), ReplacedBy: by})
			continue
		}
		g := l.locked[run]
		if g == nil {
			continue
		}
		g.told = true
		switch {
		case p.GetRefused() != "":
			delete(l.locked, run)
			l.runner.skip(run, p.GetRefused())
		case p.GetBehind() == "", !g.ordered && g.job != nil && g.job.skips: // then whether it starts is seen when it is due
			delete(l.locked, run)
			g.held = false
			l.admit(g)
		}
	}
}

// goings is the runs that have not ended, by job.
type goings map[string]map[crony.RunID]bool

// goes notes whether a run goes on.
func (j *journal) goes(r *record, run crony.RunID, on bool) {
	of := r.origin()
	switch {
	case of == nil:
	case on && j.going[of.Job] == nil:
		j.going[of.Job] = map[crony.RunID]bool{run: true}
	case on:
		j.going[of.Job][run] = true
	default:
		if delete(j.going[of.Job], run); len(j.going[of.Job]) == 0 {
			delete(j.going, of.Job)
		}
	}
}

// holders returns the first and the last, by when they were due, of a job's runs that have not ended, if they are as many as may
// go on at once; else "".
func (j *journal) holders(job string, slots int) (first, last crony.RunID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if slots == 0 || len(j.going[job]) < slots {
		return "", ""
	}
	going := slices.Collect(maps.Keys(j.going[job]))
	return slices.Min(going), slices.Max(going)
}
