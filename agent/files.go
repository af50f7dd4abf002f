package agent

import (
	"sync"

	"golang.org/x/sys/unix"

	"crony"
)

// files are the outputs of a claimed run's first attempt. They are made by whichever starter has nothing to start, in the
// second before the run is due: to make files can take a file system longer than to start a process.
type files struct {
	outputs []*output
	once    sync.Once
	made    bool
}

func newFiles(dir string, run crony.RunID, limit int64) *files {
	return &files{outputs: outputs(dir, run, 1, limit)}
}

// prepare makes the files, unless it has been tried or they are not wanted any more. What fails is tried again at the start.
func (f *files) prepare() { f.once.Do(func() { f.made = createAll(f.outputs) == nil }) }

// take makes the files if they are not there. Whoever calls it has them for good. Where there is no room it has none, and the
// error says so.
func (f *files) take(room bool) ([]*output, error) {
	f.once.Do(func() {}) // it is over, or will not be
	if !room {
		if f.made {
			removeAll(f.outputs)
		}
		return f.outputs, unix.ENOSPC
	}
	if f.made {
		return f.outputs, nil
	}
	return f.outputs, createAll(f.outputs)
}

// drop removes the files: nothing will start.
func (f *files) drop() {
	f.once.Do(func() {})
	if f.made {
		removeAll(f.outputs)
	}
}
