package agent

import (
	"time"

	"crony"
	"crony/internal/wire"
)

// kill has a run ended, by an order that is written down first, so that it holds for the next life too. It says whether the
// run goes on here; the first order counts. What waits for a starter is skipped when its turn comes, and what waits for its
// time is left to the loop; what waits for its next attempt ends.
func (r *runner) kill(run crony.RunID, order crony.KillOrder) bool {
	if !r.journal.goesOn(run) {
		return false
	}
	if _, again := r.killed(run); again {
		return true
	}
	if _, err := r.journal.keep(entry{Kill: &kill{run, order}}); err != nil {
		r.log.Error("order to end a run not written down yet", "run", run, "err", err)
	}
	r.log.Info("run is to be ended", "run", run, "by", order.By, "reason", order.Reason)
	r.mu.Lock()
	r.kills[run] = order
	w, waited := r.running[run], r.unpause(func(p *pause) bool { return p.run == run })
	r.mu.Unlock()
	if w != nil {
		w.kill(crony.Killed, order.Words())
	}
	if len(waited) > 0 {
		r.end(run, crony.Killed, order.Words())
	}
	r.giveUp(run, crony.Killed, order.Words())
	if !r.journal.goesOn(run) { // it has ended meanwhile
		r.unkill(run)
	}
	return true
}

// killed returns the order to end a run, and whether there is one.
func (r *runner) killed(run crony.RunID) (crony.KillOrder, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	order, ok := r.kills[run]
	return order, ok
}

func (r *runner) unkill(run crony.RunID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kills, run)
}

// goesOn says whether the run is in the journal, and not its end.
func (j *journal) goesOn(id crony.RunID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.live[id]
	return r != nil && r.last().Ended == nil
}

// lasting is how long a process lasts before the servers are told of it.
const lasting = time.Second

// tellMost is how many processes go into one message.
const tellMost = 1024

// untold has all processes that last told of anew: another server listens.
func (r *runner) untold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.running {
		w.now().told = false
	}
}

// tellRunning tells the server of processes and calls that last, each once a stream, under the ids by which it knows their runs.
func (l *loop) tellRunning(now time.Time) {
	if now.Sub(l.looked) < lasting && !now.Before(l.looked) {
		return
	}
	l.looked = now
	l.runner.mu.Lock()
	defer l.runner.mu.Unlock()
	var list []*ongoing
	msg := &wire.Running{}
	for _, w := range l.runner.running {
		p := w.now()
		if len(list) == tellMost || p.told || now.Sub(p.began) < lasting {
			continue
		}
		if run, decided := l.journal.goesBy(p.run); decided {
			list = append(list, p)
			msg.Processes = append(msg.Processes, &wire.Process{Run: string(run), Job: p.job, Pid: int64(p.pid),
				StartedAt: wire.Nanos(p.began)})
		}
	}
	if len(list) == 0 {
		return
	}
	if !l.link.post(&wire.FromAgent{Kind: &wire.FromAgent_Running{Running: msg}}) {
		return
	}
	for _, p := range list {
		p.told = true
	}
}
