// Package lifecycle starts and ends the parts of a process in order. A part is a resource, which is opened and closed, or a
// service, which runs until it is told to stop. They are pushed on a [Stack] as they come up and go down in reverse, one at
// a time, so that nothing outlives what it stands on.
//
// The one thing to know: the end of a service has two stages. First it is told to take no more work; when its time to finish
// is over, it is told to drop what it still does. Each part has its own time, whatever the parts above it used up.
//
// The package does not handle signals, does not log and does not restart a service that has ended: that ends the process.
package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The causes with which the contexts of parts end.
var (
	ErrStop    = errors.New("told to stop")           // take no more work
	ErrOverdue = errors.New("the time to stop is up") // drop the work that is left
)

// DefaultBound is the time that a part has to stop if none is given.
const DefaultBound = 10 * time.Second

// lastMoment is how long a part is waited for after its contexts have ended. Then it is left to itself: it is broken, and
// must not keep the parts below it from closing.
const lastMoment = 2 * time.Second

// Stack holds the parts of a process. It is used by one goroutine; only the services run on others.
type Stack struct {
	parts []part
	ended chan error // of a service that ended by itself, until somebody is told
}

type part struct {
	name  string
	bound time.Duration
	stop  func(ctx context.Context) error
}

// New returns an empty stack.
func New() *Stack { return &Stack{ended: make(chan error, 1)} }

// Push adds a resource that is open. Its context for closing ends after bound, [DefaultBound] if 0.
func (s *Stack) Push(name string, bound time.Duration, stop func(ctx context.Context) error) {
	s.parts = append(s.parts, part{name: name, bound: cmp.Or(bound, DefaultBound), stop: stop})
}

// Go starts a service that has nothing to finish: it returns soon after its context has ended. Bound is as for
// [Stack.Work].
func (s *Stack) Go(name string, bound time.Duration, run func(ctx context.Context) error) {
	s.Work(name, bound, func(taking, _ context.Context) error { return run(taking) })
}

// Work starts a service with work to finish. When taking ends, it takes no more. It then has the time bound, [DefaultBound]
// if 0, until working ends as well: it must drop what it still does and return. A service that returns before taking has
// ended, with an error or without, ends [Stack.Wait].
func (s *Stack) Work(name string, bound time.Duration, run func(taking, working context.Context) error) {
	taking, stopTaking := context.WithCancelCause(context.Background())
	working, stopWorking := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() {
		err := run(taking, working)
		if taking.Err() == nil {
			err = s.end(name, err)
		}
		done <- err
	}()
	s.Push(name, bound, func(ctx context.Context) error {
		stopTaking(ErrStop)
		defer stopWorking(ErrStop)
		select {
		case err := <-done:
			return unlessStopped(err)
		case <-ctx.Done():
		}
		stopWorking(ErrOverdue)
		return errors.Join(fmt.Errorf("work was cut off: %w", context.Cause(ctx)), unlessStopped(<-done))
	})
}

// Wait returns nil when ctx is done, or why a service ended before that. It stops nothing: Close does.
func (s *Stack) Wait(ctx context.Context) error {
	select {
	case err := <-s.ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Close stops and closes every part, the last one first, and joins what went wrong, each error under its part's name. When
// ctx is done, no part is given more time, but each is still told to stop. A part that doesn't return even then is left
// behind and named. Close is to be called however far the start came; the stack is empty after it.
func (s *Stack) Close(ctx context.Context) error {
	var errs []error
	for _, p := range slices.Backward(s.parts) {
		if err := p.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, err))
		}
	}
	s.parts = nil
	select {
	case err := <-s.ended:
		errs = append(errs, err)
	default:
	}
	return errors.Join(errs...)
}

func (p part) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.bound, ErrOverdue)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(lastMoment):
		return fmt.Errorf("it is left behind, as it does not return: %w", context.Cause(ctx))
	}
}

// end tells Wait, or else Close, that a service has ended by itself. If another one was quicker, the error is given back, to
// be told when the service would have been stopped.
func (s *Stack) end(name string, err error) error {
	if err == nil {
		err = errors.New("it returned though nobody had stopped it")
	}
	select {
	case s.ended <- fmt.Errorf("run %s: %w", name, err):
		return nil
	default:
		//nolint:errorlint // not %w: a stray context.Canceled would be taken for obedience
		return fmt.Errorf("it had ended before: %v", err)
	}
}

// unlessStopped drops the errors by which a service says that it was told to stop.
func unlessStopped(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrStop) || errors.Is(err, ErrOverdue) {
		return nil
	}
	return err
}
