// Package runlog keeps what runs were and what they wrote, in one bbolt file per UTC day (`runs-2026-11-21.db`). It is a
// [crony.RunRecords] and a [crony.Figures] that can also be appended to.
//
// The one thing to know: of a run, only facts and chunks are stored. A fact is identified by its run and sequence number, a
// chunk by its run, attempt, stream and offset, and neither ever changes, so that merging is a union: the same records in any
// order, any number of times, from any number of senders, make the same log. The [crony.Run] is folded from its facts when it
// is read. A short header before them, made in the transaction that stores them, is what lists select by, so that they decode
// only what they return. Index and counters are derived too, and follow some thousand runs behind; who reads them takes in
// what they do not have yet, so that nothing is ever seen late.
//
// What did not run has no facts: a [crony.Stretch] is stored as it is, never changes either, and nothing is derived from it.
// Whether a run outweighs it is for the reader to say.
//
// A run belongs to the day of the instant in its id, whenever its records arrive, and a stretch to that of its last
// occurrence. [Log.Append] and its kin return when their records are on the disk: one goroutine writes, and merges what
// arrives while it waits for the disk into one transaction per day. Readers hold a transaction for a bounded step only, never
// while their caller thinks, because a file can't reuse pages that a reader may still see.
//
// Of other servers it knows nothing, but has what they need to become alike: a [Batch] is records in a form that travels,
// [Log.Merge] makes the union of two logs, where they differ in one record too, and [Log.Days] says by sums where they differ.
//
// A day file that is damaged is set aside, and its day has none then: see damage.go. What the log no longer holds is said by
// its bounds, which only grow: see retention.go.
//
// It does not replicate: appliance/replica does, by Batch, Merge and the sums.
package runlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"crony"
	"crony/internal/durable"
)

// Options says where a log is and how it behaves.
type Options struct {
	Dir      string           // of the day files; required. Its parent must exist: a lost disk is not a new one
	OpenDays int              // day files kept open at once; 32 if 0. An open file costs one descriptor and one mapping
	Log      *slog.Logger     // nothing is logged if nil
	Now      func() time.Time // the wall clock; time.Now if nil

	settle int // runs that are settled at once; settleRuns if 0
}

func (o *Options) validate() error {
	if o.Dir == "" {
		return crony.Errorf(crony.Invalid, "the run log has no directory")
	}
	if o.OpenDays < 0 {
		return crony.Errorf(crony.Invalid, "the run log can't keep %d day files open", o.OpenDays)
	}
	if o.OpenDays == 0 {
		o.OpenDays = 32
	}
	if o.settle == 0 {
		o.settle = settleRuns
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Log is a run log. Every method is safe for concurrent use; after [Log.Close] those that return an error return
// Unavailable.
type Log struct {
	log   *slog.Logger
	lock  *os.File
	days  *days
	codec *codec
	mem   *memory
	now   func() time.Time

	bounds   atomic.Pointer[bounds]
	setAside setAside
	space    space

	mended  chan struct{}      // of one: files were set aside
	raised  chan struct{}      // of one: marks were raised, or a day adopted
	tasks   chan func(*writer) // for the writer to do between transactions
	queue   chan *request      // unbuffered: a request is with its sender or with the writer, never lost between them
	closing chan struct{}
	shut    func() error
	writer  sync.WaitGroup
}

// Open opens the log in o.Dir and makes the directory if it is missing. It answers Conflict while another process has the
// log open. A day file that is damaged, or was written by a newer crony, is set aside, which is logged; the log opens
// without it.
func Open(o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	l, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("open run log: %w", err)
	}
	l.log.Info("run log opened",
		"dir", o.Dir, "days", len(l.days.newestFirst()), "running", l.Running(), "took", time.Since(start))
	l.writer.Go(func() { l.write(o.settle) })
	return l, nil
}

func open(o Options) (_ *Log, err error) {
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &Log{
		log:  o.Log.With("part", "runlog"),
		lock: lock, mem: newMemory(), now: o.Now,
		mended: make(chan struct{}, 1), raised: make(chan struct{}, 1),
		tasks: make(chan func(*writer)), queue: make(chan *request), closing: make(chan struct{}),
	}
	l.shut = sync.OnceValue(l.release)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.shut())
		}
	}()
	if l.codec, err = newCodec(); err != nil {
		return nil, err
	}
	if l.days, err = openDays(o.Dir, o.OpenDays, l.log); err != nil {
		return nil, err
	}
	if err := l.recover(); err != nil {
		return nil, err
	}
	return l, nil
}

// recover reads what goes on. A file that can't be used is set aside.
func (l *Log) recover() error {
	if err := l.readBounds(); err != nil {
		return err
	}
	if err := l.dropDays(); err != nil {
		return err
	}
	for _, day := range l.days.newestFirst() {
		err := l.days.view(day, func(tx *bbolt.Tx) error { return l.mem.learn(day, tx) })
		if err != nil && !l.days.isCondemned(day) {
			return err
		}
	}
	l.mend()
	return nil
}

// Close ends subscriptions and followers, waits for the appends that the writer has taken, and closes the files. Calling it
// again does nothing.
func (l *Log) Close() error { return l.shut() }

func (l *Log) release() error {
	close(l.closing)
	l.writer.Wait()
	l.mem.closeSubscriptions()
	var errs []error
	if l.days != nil {
		errs = append(errs, l.days.close())
	}
	if l.codec != nil {
		l.codec.close()
	}
	errs = append(errs, l.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close run log: %w", err)
	}
	return nil
}

// Unfinished returns the runs of an agent that have not ended, in no order. The runs are shared: they must not be changed.
func (l *Log) Unfinished(agent string) []crony.Run { return l.mem.unfinished(agent) }

// Busy returns the agents that have runs which have not ended, in no order.
func (l *Log) Busy() []string { return l.mem.busy() }

// Running returns how many runs have not ended.
func (l *Log) Running() int { return l.mem.running() }

// RunningOn returns how many runs of an agent have not ended.
func (l *Log) RunningOn(agent string) int { return l.mem.runningOn(agent) }

// lockDir makes dir if it is missing and takes its lock, which the kernel lets go of when the process ends, however it ends.
// The day files have locks of their own, but only those that are open: they could not keep two logs apart.
func lockDir(dir string) (*os.File, error) {
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, &crony.Error{
			Code: crony.Conflict, Message: fmt.Sprintf("the run log in %s is open in another process", dir),
			Hint: "stop the other server, or give this one a directory of its own", Err: errors.Join(err, f.Close()),
		}
	}
	return f, nil
}

func errClosed() error { return crony.Errorf(crony.Unavailable, "the run log is closed") }

func (l *Log) closed() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// signal notes that there is something to do.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// exclusively has the writer do something between its transactions, and waits for it.
func (l *Log) exclusively(ctx context.Context, fn func(*writer) error) error {
	done := make(chan error, 1)
	select {
	case l.tasks <- func(w *writer) { done <- fn(w) }:
		return <-done
	case <-l.closing:
		return errClosed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// alive returns the reason not to go on: the log is closed, or ctx is done.
func (l *Log) alive(ctx context.Context) error {
	if l.closed() {
		return errClosed()
	}
	return context.Cause(ctx)
}
