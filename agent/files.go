package agent

import (
	"log/slog"
	"sync"
	"syscall"

	"crony"
)

// files are the outputs of an attempt, the file for its result, and its cgroup. Those of a claimed run's first are made by
// whichever starter has nothing to start, before the run is due: to make files can take a file system longer than to start a
// process.
type files struct {
	outputs []*output
	result  string // its path
	enclose func() *cgroup
	cgroup  *cgroup // nil: it was not made
	log     *slog.Logger
	once    sync.Once
	made    bool
}

func newFiles(dir string, run crony.RunID, attempt int, limit int64) *files {
	return &files{outputs: outputs(dir, run, attempt, limit), result: resultPath(dir, run, attempt)}
}

// prepare makes the files, unless it has been tried or they are not wanted any more. What fails is tried again at the start.
func (f *files) prepare() {
	if !filesAhead {
		return
	}
	f.once.Do(func() {
		f.made = f.create() == nil
		f.cgroup = f.enclose()
	})
}

// take makes the files if they are not there. Whoever calls it has them for good. Where there is no room it has none, and the
// error says so.
func (f *files) take(room bool) ([]*output, error) {
	f.once.Do(func() {}) // it is over, or will not be
	if !room {
		if f.made {
			f.remove()
		}
		return f.outputs, syscall.ENOSPC
	}
	if f.made {
		return f.outputs, nil
	}
	return f.outputs, f.create()
}

// create makes all of the files, or none.
func (f *files) create() error {
	if err := createAll(f.outputs); err != nil {
		return err
	}
	err := createResult(f.result)
	if err != nil {
		removeAll(f.outputs)
	}
	return err
}

// remove removes the files.
func (f *files) remove() {
	removeAll(f.outputs)
	removeResult(f.result)
}

// drop removes the files: nothing will start.
func (f *files) drop() {
	f.once.Do(func() {})
	if f.made {
		f.remove()
	}
	if f.cgroup != nil {
		f.cgroup.remove(f.log)
	}
}

// want has the files made that a claimed run will write to.
func (r *runner) want(run crony.RunID, job *crony.Job) {
	f := newFiles(r.dir, run, 1, job.OutputLimit())
	f.enclose, f.log = func() *cgroup { return r.enclose(run, 1, job) }, r.log
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.reports.full.Load() {
		return
	}
	r.claimed[run] = f
	r.wanted = append(r.wanted, f)
	r.idle.Signal()
}

// dropAll removes the files of runs that had no time to start.
func (r *runner) dropAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.claimed {
		f.drop()
	}
	clear(r.claimed)
}

// filesOf takes over a claimed run's files; nil if none were wanted, as for a run of an earlier life.
func (r *runner) filesOf(run crony.RunID) *files {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.claimed[run]
	delete(r.claimed, run)
	return f
}
