//go:build linux

package agent

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// simFuse ends a process between two of its steps: what it writes, sends and gets. A process that is dead does none: whatever its
// code goes on to do reaches neither a disk nor a wire. The nil fuse never burns.
type simFuse struct {
	left  atomic.Int64 // steps until it is dead; 0: it is not lit
	dead  atomic.Bool
	burnt chan struct{}
}

func newSimFuse() *simFuse { return &simFuse{burnt: make(chan struct{})} }

// step says whether the process lives to do a step.
func (f *simFuse) step() bool {
	if f == nil {
		return true
	}
	if f.left.Load() > 0 && f.left.Add(-1) == 0 {
		f.blow()
	}
	return !f.dead.Load()
}

func (f *simFuse) blow() {
	if f != nil && f.dead.CompareAndSwap(false, true) {
		close(f.burnt)
	}
}

// burn has the process be dead before its so-many-th step from now on, or after a time if it does not do so many.
func (f *simFuse) burn(steps int64) {
	f.left.Store(steps)
	late := time.NewTimer(5 * time.Second)
	defer late.Stop()
	select {
	case <-f.burnt:
	case <-late.C:
		f.blow()
	}
}

// simFile is an agent's journal on a disk. Of what is being written when the agent dies, a part is there.
type simFile struct {
	journalFile
	fuse *simFuse
	rng  *rand.Rand
}

// WriteAt implements io.WriterAt.
func (f *simFile) WriteAt(data []byte, off int64) (int, error) {
	before := f.fuse.dead.Load()
	if f.fuse.step() {
		return f.journalFile.WriteAt(data, off)
	}
	if !before {
		f.journalFile.WriteAt(data[:f.rng.IntN(len(data)+1)], off)
	}
	return len(data), nil // nobody is there to be told
}

// Truncate implements journalFile.
func (f *simFile) Truncate(size int64) error {
	if !f.fuse.step() {
		return nil
	}
	return f.journalFile.Truncate(size)
}

// simFreezer has a host stand still, as one that is suspended: nothing goes on there but its clocks.
type simFreezer struct {
	mu     sync.Mutex
	thawed chan struct{} // nil: it is not frozen
}

func (f *simFreezer) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.thawed = make(chan struct{})
}

func (f *simFreezer) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.thawed)
	f.thawed = nil
}

// pass returns when the host does not stand still.
func (f *simFreezer) pass() {
	f.mu.Lock()
	thawed := f.thawed
	f.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
}

// crash ends a life of an agent between any two of its steps.
func (t *simTroubles) crash(h *simHost) error {
	h.fuse.burn(1 + t.lot(40))
	return h.life.kill()
}

// crashServer does so with a server.
func (t *simTroubles) crashServer(v *simServer) error {
	v.fuse.burn(1 + t.lot(60))
	return t.down(v, true)
}

// freeze has a host stand still, and be silent, or ends that.
func (t *simTroubles) freeze(h *simHost, frozen bool) func() error {
	return func() error {
		for _, w := range h.wires {
			w.Cut(frozen)
		}
		if frozen {
			h.still.freeze()
		} else {
			h.still.thaw()
		}
		return nil
	}
}

// lot draws a number below n, by when it is drawn: the story's own numbers are for what is told in one go.
func (t *simTroubles) lot(n int64) int64 {
	return rand.New(rand.NewPCG(t.seed, uint64(time.Since(t.began)))).Int64N(n)
}
