package state

import (
	"context"
	"fmt"
	"time"

	"crony"
)

// Loss is a run that is lost: nobody knows, or will say, how it ended.
type Loss struct {
	Job, JobUID string
	Agent       string // whose run it is
	Run         crony.RunID
	At          time.Time // when it was due
	Said        bool      // its agent itself says that it is lost, or that it knows nothing of it
}

// LossOf returns the loss of a run; false if none may take its place: it was of no occurrence, or is a second run itself.
func LossOf(r *crony.Run) (Loss, bool) {
	l := Loss{Job: r.Job, JobUID: r.JobUID, Agent: r.Agent, Run: r.ID, At: r.ScheduledAt}
	return l, r.Trigger == crony.BySchedule && r.Doubles == "" && r.RerunOf == ""
}

// Loss returns the run that was claimed and that the record gives up; false if it gives up none.
func (p *Pass) Loss() (Loss, bool) {
	l := Loss{Job: p.Definition.Job.Name, JobUID: p.Definition.UID, Agent: p.Agent, Run: p.Unless, At: p.Until}
	return l, p.Unless != "" && !p.Adopted()
}

// RunLog is what is known of runs. Its methods are safe for concurrent use.
type RunLog interface {
	// Run returns one run; NotFound if this server knows of none.
	Run(ctx context.Context, id crony.RunID) (crony.Run, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer.
	Refresh(ctx context.Context, runs ...crony.RunID) error
}

// Rerun orders that an occurrence runs once more, if its run is lost and its job says so (on_lost). It is for whoever is about
// to put on record that the run is lost, and comes before that: so whoever dies in between, the loss is found again, and the
// order with it. The same may be asked again, by any server; an occurrence has one second run at the most.
//
// A run of an agent that says nothing of it may go on there. What that means is for the job's on_disconnect: by run, it is
// run again all the same; by stop, once it has been killed there, for which the loss is to wait for a while; by hold, not
// before the agent is back and has had time to report it, or was removed. Wait is how long the loss is not to be put on record.
func (s *Store) Rerun(ctx context.Context, runs RunLog, l Loss) (wait time.Duration, err error) {
	def, sure, wait := s.mirror.atLoss(&l)
	if def == nil || !sure {
		return wait, nil
	}
	id, request := rerunOf(def, &l)
	if s.mirror.order(l.Job, request) != nil {
		return 0, nil
	}
	switch known, err := Knows(ctx, runs, id); {
	case err != nil:
		return 0, fmt.Errorf("make up for the lost run %s: %w", l.Run, err)
	case known: // the order was done long ago
		return 0, nil
	}
	ordered := false
	err = s.change(ctx, "order another run of "+l.Job, func() (*txn, error) {
		t := s.newTxn(ctx)
		ordered = s.mirror.order(l.Job, request) == nil && s.orderRerun(ctx, t, &l)
		return t, nil
	})
	if err != nil {
		return 0, fmt.Errorf("make up for the lost run %s: %w", l.Run, err)
	}
	if ordered {
		s.log.Warn("run is lost, and is to run again", "run", l.Run, "job", l.Job, "agent", l.Agent)
	}
	return 0, nil
}

// Knows says whether anything is known of a run, by whichever server; they are asked if this one knows nothing. An error must
// not be taken for a no: what is done for want of a run would be done twice.
func Knows(ctx context.Context, runs RunLog, id crony.RunID) (bool, error) {
	_, err := runs.Run(ctx, id)
	if crony.CodeOf(err) == crony.NotFound {
		if err := runs.Refresh(ctx, id); err != nil {
			return false, fmt.Errorf("ask the other servers for the run %s: %w", id, err)
		}
		_, err = runs.Run(ctx, id)
	}
	switch {
	case crony.CodeOf(err) == crony.NotFound:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up the run %s: %w", id, err)
	}
	return true, nil
}

// rerunOf returns the id of the run in the place of one that is lost, and the name of the order for it, which no person can
// give to one.
func rerunOf(def *crony.Definition, l *Loss) (id crony.RunID, request string) {
	whose := ""
	if def.Job.Mode() == crony.PlaceEach {
		whose = l.Agent
	}
	id = crony.RerunID(l.JobUID, l.At, whose)
	return id, "rerun:" + string(id)
}

// orderRerun adds the order to t, unless there is to be none.
func (s *Store) orderRerun(ctx context.Context, t *txn, l *Loss) bool {
	def, sure, _ := s.mirror.atLoss(l)
	if def == nil || !sure {
		return false
	}
	j := t.look(l.Job)
	agent := l.Agent
	if !j.each() {
		if agents, err := s.targets(ctx, &j, &crony.StartOptions{}); err == nil {
			agent = agents[0]
		} // else it is for whoever gets the job
	}
	id, request := rerunOf(def, l)
	if reason := t.succeed(&j, l.Run, crony.Lock{Run: id, Agent: agent, Since: t.now}); reason != "" {
		s.log.Warn("lost run is not made up for", "run", l.Run, "job", l.Job, "reason", reason)
		return false
	}
	o := &order{job: l.Job, request: request, Made: t.now, Chosen: j.each(), Runs: []orderedRun{{Run: id, Agent: agent}},
		What: crony.ClaimedFact{Job: l.Job, JobUID: l.JobUID, Generation: j.generation(), Group: def.Job.InGroup(),
			Labels: def.Job.Labels, Trigger: crony.BySchedule, ScheduledAt: l.At, RerunOf: l.Run}}
	t.expect(specs+l.Job, j.rev)
	t.expect(o.key(), 0)
	t.put(o.key(), encode(o))
	return true
}

const (
	stopMargin = 5 * time.Second  // after its time of grace, before what `stop` kills is taken to be gone
	backMargin = 10 * time.Second // after it has come back, before what an agent has not reported is taken to be none of its own
)

// atLoss returns the definition of a job, a run of which is lost, if it is to run again; whether the lost run is over, as far
// as the job wants to be sure of that; and if it is not, after which time it will be.
func (m *mirror) atLoss(l *Loss) (def *crony.Definition, sure bool, wait time.Duration) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	j := m.jobs.byName[l.Job]
	_, up := m.agents[l.Agent]
	_, buried := m.cluster.tombstones[l.Agent]
	p := m.procs[l.Agent][l.Run]
	switch {
	case j == nil || j.def == nil || j.def.UID != l.JobUID || j.def.Job.OnLost != crony.LostRerun || j.def.Job.Paused,
		buried && j.each(),
		p != nil && p.Kill != nil: // it was to be ended
		return nil, false, 0
	case l.Said, buried:
		return j.def, true, 0
	}
	k := m.known[l.Agent]
	if k == nil {
		k = &known{}
	}
	switch how := j.def.Job.OnDisconnect; {
	case how != crony.DisconnectHold && how != crony.DisconnectStop:
		return j.def, true, 0
	case up:
		wait = backMargin - m.now().Sub(k.came)
	case how == crony.DisconnectHold:
		return j.def, false, 0
	default:
		wait = crony.AgentLease + j.def.Job.Grace() + stopMargin - m.now().Sub(k.gone)
	}
	return j.def, wait <= 0, max(wait, 0)
}

// succeed gives a run the place in its job's lock of another that is lost, or if that had none a place of its own. The reason
// says why it can't have one.
func (t *txn) succeed(j *job, lost crony.RunID, run crony.Lock) (reason string) {
	r := roomOf(j.def)
	if r.slots == 0 {
		return ""
	}
	key := j.lockKey(run.Agent)
	l, _ := t.store.mirror.lock(key)
	next := l.clone()
	switch i := l.at(lost); {
	case i < 0:
		if next, reason = l.enter(run, r); reason != "" {
			return reason
		}
	case l.Runs[i].ReplacedBy != "":
		return "it was to be replaced"
	default:
		run.Waits = l.Runs[i].Waits
		next.Runs[i] = run
		for k := range next.Runs {
			if next.Runs[k].ReplacedBy == lost {
				next.Runs[k].ReplacedBy = run.Run
			}
		}
	}
	t.expect(key, l.rev)
	t.ops = append(t.ops, next.op(key))
	return ""
}
