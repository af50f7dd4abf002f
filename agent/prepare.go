package agent

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"crony"
)

// A host is prepared for a job by the scripts that the job names: they run in their order, each as a run of its own, and until
// all have succeeded nothing of the job starts.
//
// What a script does it does to the host, so that it runs once for what it holds, however many jobs name it: a thousand jobs
// that want a package installed are one installation, and not a thousand that wait for the package manager's lock. CRONY_JOB
// is the first of these jobs. What was last run of each name is remembered (prepared.go), so that a script which is changed
// back runs again.
//
// While a job waits, what it misses is given up, whatever its misfire policy, and told of now and then. What has not been
// missed when the scripts are through runs as usual. Runs that were ordered, or claimed before, wait; they fail with the next
// script that fails, and make it be tried at once.

// maxPreparing is how many scripts run at once on a host. One that hangs is not to keep all jobs of the host waiting.
const maxPreparing = 4

// parked is when a run starts that waits until its host is prepared.
const parked = nanos(1<<63 - 1)

// retryAfter is how long after a failure, the n-th from 0 on, a script is tried again; and how long after it was told what a
// job has missed it is told again.
func retryAfter(n int) time.Duration {
	const first, most = 10 * time.Second, 10 * time.Minute
	return min(first<<min(n, 10), most)
}

// hurryAfter is how long after a failure a script is tried again at the earliest, whoever is in a hurry: ten thousand jobs that
// change at once are not ten thousand tries.
const hurryAfter = time.Second

// try is a script that jobs wait for, in one version.
type try struct {
	content
	script   crony.Script
	lacks    []*lack // of jobs that wait for it, now or after others
	running  bool
	failures int       // since it, or a job that names it, was changed
	failed   time.Time // the last of them
	next     time.Time // when to try again
	why      string    // it failed the last time
}

// lack is what a job waits for.
type lack struct {
	job  *job
	left []*try // in the job's order; none: its host is prepared
	last string // reason why what was missed until then is given up

	said  string    // reason that was told last
	tell  time.Time // when it is told again
	tells int       // how often it was
}

func (k *lack) ready() bool { return len(k.left) == 0 }

func (k *lack) waitsFor(t *try) bool { return len(k.left) > 0 && k.left[0] == t }

// reason says why the job can't run.
func (k *lack) reason() string {
	if k.ready() {
		return k.last
	}
	switch t := k.left[0]; {
	case t.why != "":
		return "not prepared: script " + t.name + " failed: " + t.why
	case t.running:
		return "not prepared yet: script " + t.name + " runs"
	default:
		return "not prepared yet: script " + t.name + " waits for its turn"
	}
}

// preparer knows which jobs wait for which scripts. It is the loop's own.
type preparer struct {
	*prepared
	tries map[content]*try
	at    time.Time // when there is something to start; zero: nothing is
}

func newPreparer(known *prepared) *preparer {
	return &preparer{prepared: known, tries: map[content]*try{}}
}

// need has a job that is new here, or was changed, wait for those of its scripts that its host lacks. They are tried at once.
func (p *preparer) need(j *job, list []crony.Script, now time.Time) {
	k := &lack{job: j}
	for _, s := range list {
		c := contentOf(&s)
		if p.has(c) {
			continue
		}
		t := p.tries[c]
		if t == nil {
			t = &try{content: c, script: s, running: p.runs(c)}
			p.tries[c] = t
		}
		t.lacks = append(t.lacks, k)
		k.left = append(k.left, t)
	}
	if k.ready() {
		return
	}
	j.lack = k
	k.left[0].failures = 0
	p.hurry(k, now)
}

// hurry has the script that a job waits for tried at once, or as soon as may be.
func (p *preparer) hurry(k *lack, now time.Time) {
	t := k.left[0]
	t.next, p.at = now, now
	if soonest := t.failed.Add(hurryAfter); soonest.After(now) {
		t.next = soonest
	}
}

// due returns the scripts that are to be tried now, those that have waited for longest first.
func (p *preparer) due(now time.Time, current func(*job) bool) []*try {
	if p.at.IsZero() || now.Before(p.at) {
		return nil
	}
	p.at = time.Time{}
	busy := p.going()
	var list []*try
	for c, t := range p.tries {
		t.lacks = slices.DeleteFunc(t.lacks, func(k *lack) bool { return !current(k.job) })
		switch {
		case len(t.lacks) == 0 && !t.running:
			delete(p.tries, c)
		case busy[c.name] || !slices.ContainsFunc(t.lacks, func(k *lack) bool { return k.waitsFor(t) }):
		case !t.next.After(now):
			list = append(list, t)
		case p.at.IsZero() || t.next.Before(p.at):
			p.at = t.next
		}
	}
	slices.SortFunc(list, func(a, b *try) int { return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.name, b.name)) })
	list = slices.CompactFunc(list, func(a, b *try) bool { return a.name == b.name }) // versions of one name do not run at once
	return list[:min(len(list), max(maxPreparing-len(busy), 0))]                      // the others come with what ends
}

// prepare takes in how scripts have ended, and starts those that are to be tried.
func (l *loop) prepare(now time.Time) {
	for _, o := range l.prep.news() {
		l.tried(o, now)
	}
	if l.full() {
		return
	}
	for _, t := range l.prep.due(now, l.table.current) {
		l.try(t, now)
	}
}

// try starts a script, in the name of the first job that waits for it.
func (l *loop) try(t *try, now time.Time) {
	first := slices.IndexFunc(t.lacks, func(k *lack) bool { return k.waitsFor(t) })
	what := t.assignment(t.lacks[first].job)
	run := crony.NewRunID(now)
	l.prep.begin(run, t.content)
	err := l.runner.claim(run, what, crony.ClaimedFact{Trigger: crony.ByPrepare, By: t.name, ScheduledAt: now.UTC()})
	if err != nil {
		l.prep.forget(run)
		l.log.Error("script not written down, and so not started", "script", t.name, "run", run, "err", err)
		t.next = now.Add(retryAfter(0))
		l.prep.at = now.Add(tick)
		return
	}
	t.running = true
	l.log.Info("host is being prepared", "script", t.name, "job", what.def.Job.Name, "run", run)
	l.runner.start(newAttempt(run, what, now))
}

// assignment returns what a run of the script is of: the job, with the script as its work.
func (t *try) assignment(j *job) *assignment {
	what := j.assignment()
	s := &t.script
	what.def.Job.Shell = &crony.Shell{Interpreter: s.Interpreter, Script: s.Script, Env: map[string]string{"CRONY_SCRIPT": s.Name}}
	what.def.Job.Timeout, what.def.Job.KillGrace = crony.Duration(s.Limit()), 0
	what.def.Job.Retry, what.def.Job.RunTimeout = nil, 0
	what.prepares = t.hash
	return what
}

// tried takes in how a run of a script has ended.
func (l *loop) tried(o outcome, now time.Time) {
	l.prep.at = now
	t := l.prep.tries[o.content]
	if t == nil {
		return
	}
	switch o.state {
	case crony.Succeeded:
		l.succeeded(t)
		return
	case crony.Skipped: // it was not even begun
		t.running, t.next = false, now
		return
	}
	t.running, t.why, t.failed, t.next = false, cmp.Or(o.reason, string(o.state)), now, now.Add(retryAfter(t.failures))
	t.failures++
	l.log.Warn("host not prepared", "script", t.name, "reason", t.why, "again", t.next.UTC())
	for _, k := range t.lacks {
		if k.waitsFor(t) {
			for _, g := range l.table.parkedOf(k.job) {
				l.runner.fail(g.run, k.reason())
			}
		}
	}
}

// succeeded lets go on those that waited for a script.
func (l *loop) succeeded(t *try) {
	delete(l.prep.tries, t.content)
	for _, k := range t.lacks {
		if !l.table.current(k.job) {
			continue
		}
		k.last = k.reason()
		if k.left = slices.DeleteFunc(k.left, func(other *try) bool { return other == t }); !k.ready() {
			continue
		}
		for _, g := range l.table.parkedOf(k.job) {
			l.begin(g)
		}
		if k.job.asked == nil {
			l.table.plan(k.job)
		}
	}
}

// begin starts a run whose time has come, or has it wait until its host is prepared. A host is prepared for the jobs that
// its agent has.
func (l *loop) begin(g *seat) {
	switch {
	case g.job == nil && len(g.what.def.Job.Scripts) > 0:
		l.runner.skip(g.run, "not prepared: the job names scripts, and its agent has not the job")
		return
	case g.job != nil && g.job.lack != nil && !g.job.lack.ready():
		g.start = parked
		l.table.starts.add(g)
		l.prep.hurry(g.job.lack, l.clock())
		return
	}
	if run := l.table.inWay(g, l.clock()); run != "" {
		l.runner.skip(g.run, crony.HolderReason(run))
		return
	}
	if l.besideAlone(g) {
		return
	}
	l.runner.start(g.attempt())
}

// attempt returns the first attempt of the seat's run.
func (g *seat) attempt() *attempt {
	a := newAttempt(g.run, g.what, g.at)
	a.params = g.params
	return a
}

// parkedOf takes out the runs of a job that wait until its host is prepared, in the order of their times.
func (t *timetable) parkedOf(j *job) []*seat {
	var list []*seat
	for _, g := range t.starts {
		if g.job == j && g.start == parked {
			list = append(list, g)
		}
	}
	for _, g := range list {
		t.starts.remove(g)
	}
	slices.SortFunc(list, func(a, b *seat) int { return cmp.Compare(a.run, b.run) })
	return list
}

// forgo finds out what is to be given up of j, the first in the queue, whose host is not prepared, and says whether anything
// is now. Waits is false if the host is prepared and nothing is missed any more: then the job is as any other.
func (t *timetable) forgo(j *job, now time.Time) (asks, waits bool) {
	k := j.lack
	why := k.reason()
	step := j.plan.Forgo(j.cursor.time(), now, why)
	switch {
	case step == (crony.Step{}):
		t.asks.remove(j)
		return false, true
	case step.Until.IsZero() && k.ready():
		j.lack = nil
		return false, false
	case step.Until.IsZero():
		j.next = nanosOf(step.Start.Add(crony.MisfireGrace))
	case !k.ready() && why == k.said && now.Before(k.tell):
		j.next = nanosOf(k.tell)
	default:
		if why != k.said {
			k.tells = 0
		}
		k.said, k.tell = why, now.Add(retryAfter(k.tells))
		k.tells++
		j.asked, j.lacked = &question{Step: step}, true
		return true, true
	}
	heap.Fix(&t.asks, 0)
	return false, true
}
