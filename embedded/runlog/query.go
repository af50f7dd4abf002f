package runlog

import (
	"context"
	"fmt"
	"math"

	"go.etcd.io/bbolt"

	"crony"
)

// Run returns one run; NotFound if there is none, Invalid if id has not the form of a run's id.
func (l *Log) Run(ctx context.Context, id crony.RunID) (crony.Run, error) {
	if err := l.alive(ctx); err != nil {
		return crony.Run{}, err
	}
	k, err := parseID(id)
	if err != nil {
		return crony.Run{}, err
	}
	var run crony.Run
	found := false
	err = l.days.view(k.day(), func(tx *bbolt.Tx) (err error) {
		if run, found, err = runIn(tx, k); err == nil && found {
			l.measureLogged(tx, k, &run)
		}
		return err
	})
	switch {
	case err != nil:
		return crony.Run{}, fmt.Errorf("read run %s: %w", id, err)
	case !found:
		return crony.Run{}, noRun(id)
	}
	return run, nil
}

// measureLogged has the attempts of a run that calls a service tell how much that has logged: their agent did not see it. Of an
// attempt whose last chunk can't be read, that is not told.
func (l *Log) measureLogged(tx *bbolt.Tx, k runKey, run *crony.Run) {
	if run.Callback == "" {
		return
	}
	c := tx.Bucket([]byte(bucketChunks)).Cursor()
	for i := range run.Attempts {
		a := &run.Attempts[i]
		of := chunkRef{attempt: uint32(a.Number), stream: 1, offset: math.MaxInt64}
		var key, value []byte
		if after, _ := c.Seek(chunkKey(k, of)); after == nil {
			key, value = c.Last()
		} else {
			key, value = c.Prev()
		}
		whose, last, ok := refOf(key)
		if !ok || whose != k || last.attempt != of.attempt || last.stream != of.stream {
			continue
		}
		h, err := chunkHeaderOf(key, value)
		if err != nil {
			l.log.Warn("a chunk of output can't be read", "run", k.id(), "offset", last.offset, "err", err)
			continue
		}
		a.StdoutBytes = max(a.StdoutBytes, int64(last.offset)+int64(h.size))
	}
}

// Facts returns what is known of a run, in the order of the facts' numbers; NotFound if its first fact is not.
func (l *Log) Facts(ctx context.Context, id crony.RunID) ([]crony.Fact, error) {
	if err := l.alive(ctx); err != nil {
		return nil, err
	}
	k, err := parseID(id)
	if err != nil {
		return nil, err
	}
	var facts []crony.Fact
	err = l.days.view(k.day(), func(tx *bbolt.Tx) (err error) {
		if value := tx.Bucket([]byte(bucketRuns)).Get(k[:]); value != nil {
			facts, err = factsOf(k, value, namesOf(tx))
		}
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read run %s: %w", id, err)
	case len(facts) == 0 || facts[0].Claimed == nil:
		return nil, noRun(id)
	}
	return facts, nil
}

func noRun(id crony.RunID) error {
	return crony.Errorf(crony.NotFound, "there is no run %s", id).
		WithHint("it may be too old to be kept; `crony run list` shows the runs there are")
}

func (l *Log) load(k runKey) (run crony.Run, found bool, err error) {
	err = l.days.view(k.day(), func(tx *bbolt.Tx) (err error) {
		run, found, err = runIn(tx, k)
		return err
	})
	if err != nil {
		return run, false, fmt.Errorf("read run %s: %w", k.id(), err)
	}
	return run, found, nil
}

func runIn(tx *bbolt.Tx, k runKey) (crony.Run, bool, error) {
	value := tx.Bucket([]byte(bucketRuns)).Get(k[:])
	if value == nil {
		return crony.Run{}, false, nil
	}
	return foldOf(k, value, namesOf(tx))
}

// foldOf makes a run of its value; false if its first fact is missing.
func foldOf(k runKey, value []byte, n *names) (crony.Run, bool, error) {
	facts, err := factsOf(k, value, n)
	if err != nil {
		return crony.Run{}, false, err
	}
	run, ok := crony.Fold(facts)
	return run, ok, nil
}

func unreadable(k runKey, err error) error {
	return &crony.Error{
		Code: crony.Internal, Message: fmt.Sprintf("what is stored of run %s can't be read", k.id()), Err: err,
	}
}

// LastRun returns a job's newest run, and false if it has none or the log is closed. A run that prepared a host for the job
// does not count. The first call for a job looks into each
// day file, from the newest on, until a run is found; after that it is known. A file that can't be read is logged, and counts
// as one without runs for this call.
func (l *Log) LastRun(job string) (crony.Run, bool) {
	if l.closed() || job == "" {
		return crony.Run{}, false
	}
	for range 2 {
		n := l.mem.newestOf(job)
		if !n.sure {
			n = l.findNewest(job)
		}
		if !n.any {
			break
		}
		run, found, err := l.load(n.run)
		if err != nil {
			l.log.Error("a job's last run can't be read", "job", job, "run", n.run.id(), "err", err)
		}
		if found && err == nil {
			return run, true
		}
		l.mem.forgetNewest(job) // the log has let go of it since it was found
	}
	return crony.Run{}, false
}

func (l *Log) findNewest(job string) newest {
	found := newest{sure: true}
	for _, day := range l.days.newestFirst() {
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			s, err := newSelection(crony.RunQuery{Job: job}, l.now())
			if err != nil {
				return err
			}
			if w, ok := s.on(tx, day, s.high); ok {
				found.run, found.any, err = nextOwn(w)
			}
			return err
		})
		if err != nil {
			l.log.Error("a job's last run can't be looked for", "job", job, "day", day.String(), "err", err)
			found.sure = false
		}
		if found.any {
			break
		}
	}
	return l.mem.learnNewest(job, found)
}

// nextOwn returns the next run that did a job's own work, and whether there is one.
func nextOwn(w *walk) (runKey, bool, error) {
	prepare, known := w.names.find(string(crony.ByPrepare))
	for {
		k, value, ok, err := w.next(unbounded())
		if !ok || err != nil || !known {
			return k, ok, err
		}
		if h, _, err := headerOf(k, value); err != nil || h.trigger != prepare {
			return k, true, err
		}
	}
}
