package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// diary is what happened, in order, with the seconds since its first use.
type diary struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func newDiary() *diary { return &diary{start: time.Now()} }

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%g %s", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...)))
}

func (d *diary) check(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(want, d.lines); diff != "" {
		t.Errorf("diary (-want +got):\n%s", diff)
	}
}

func (d *diary) resource(name string, takes time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(takes):
			d.add("closed %s", name)
			return err
		case <-ctx.Done():
			d.add("gave up on %s", name)
			return context.Cause(ctx)
		}
	}
}

// Every test runs in a bubble: time is virtual, and the bubble's end fails the test if a goroutine is left.

func TestPartsGoDownInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newDiary(), New()
		s.Push("store", 0, d.resource("store", time.Second, nil))
		s.Go("leader", 0, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(2 * time.Second)
			d.add("leader ended: %v", context.Cause(ctx))
			return ctx.Err()
		})
		s.Push("listener", 0, d.resource("listener", 0, nil))

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Wait(ctx); err != nil {
			t.Errorf("Wait: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		d.check(t, "5 closed listener", "7 leader ended: told to stop", "8 closed store")
	})
}

func TestServiceThatEndsByItself(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"with an error":      {broken, "run hub: broken"},
		"without":            {nil, "run hub: it returned though nobody had stopped it"},
		"by another context": {context.Canceled, "run hub: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s := newDiary(), New()
				s.Push("store", 0, d.resource("store", 0, nil))
				s.Go("hub", 0, func(context.Context) error {
					time.Sleep(3 * time.Second)
					return c.err
				})
				err := s.Wait(t.Context())
				if err == nil || err.Error() != c.want || (c.err != nil && !errors.Is(err, c.err)) {
					t.Errorf("Wait: %v, want %q", err, c.want)
				}
				if err := s.Close(t.Context()); err != nil {
					t.Errorf("Close tells it again: %v", err)
				}
				d.check(t, "3 closed store")
			})
		})
	}
}

func TestEveryServiceThatEndsIsToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		for i := range 4 {
			s.Go(fmt.Sprintf("s%d", i), 0, func(context.Context) error {
				time.Sleep(time.Duration(i) * time.Second)
				return fmt.Errorf("err%d", i)
			})
		}
		first := s.Wait(t.Context())
		time.Sleep(time.Minute)
		text := errors.Join(first, s.Close(t.Context())).Error()
		for i := range 4 {
			if strings.Count(text, fmt.Sprintf("err%d", i)) != 1 {
				t.Errorf("err%d is not told once:\n%s", i, text)
			}
		}
		if !strings.HasPrefix(text, "run s0: err0\n") {
			t.Errorf("the first to end is not the first told:\n%s", text)
		}
	})
}

func TestWorkIsFinishedWithinItsBound(t *testing.T) {
	for name, c := range map[string]struct {
		work  time.Duration
		diary []string
		want  error
	}{
		"in time":  {20 * time.Second, []string{"1 takes no more", "21 finished"}, nil},
		"too long": {time.Hour, []string{"1 takes no more", "31 dropped: the time to stop is up"}, ErrOverdue},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s := newDiary(), New()
				s.Work("runs", 30*time.Second, func(taking, working context.Context) error {
					<-taking.Done()
					d.add("takes no more")
					select {
					case <-time.After(c.work):
						d.add("finished")
						return nil
					case <-working.Done():
						d.add("dropped: %v", context.Cause(working))
						return working.Err()
					}
				})
				time.Sleep(time.Second)
				if err := s.Close(t.Context()); !errors.Is(err, c.want) {
					t.Errorf("Close: %v, want %v", err, c.want)
				}
				d.check(t, c.diary...)
			})
		})
	}
}

func TestEachPartHasItsOwnBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newDiary(), New()
		s.Push("quick", 0, d.resource("quick", 9*time.Second, nil))
		s.Push("stuck", 5*time.Second, d.resource("stuck", time.Hour, nil))
		s.Push("slow", 0, d.resource("slow", time.Hour, nil))
		err := s.Close(t.Context())
		for _, want := range []string{"stop slow: the time", "stop stuck: the time"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Close: %v, want %q", err, want)
			}
		}
		d.check(t, "10 gave up on slow", "15 gave up on stuck", "24 closed quick")
	})
}

func TestErrorsOfAllPartsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newDiary(), New()
		full, gone := errors.New("disk full"), errors.New("gone")
		s.Push("log", 0, d.resource("log", 0, full))
		s.Go("hub", 0, func(ctx context.Context) error {
			<-ctx.Done()
			return gone
		})
		err := s.Close(t.Context())
		if !errors.Is(err, full) || !errors.Is(err, gone) || err.Error() != "stop hub: gone\nstop log: disk full" {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestASecondSignalHurriesButSkipsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newDiary(), New()
		s.Push("store", 0, func(context.Context) error {
			d.add("closed store")
			return nil
		})
		s.Work("runs", time.Hour, func(_, working context.Context) error {
			<-working.Done()
			d.add("dropped")
			return nil
		})
		again := errors.New("second signal")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(again) })
		if err := s.Close(ctx); !errors.Is(err, again) {
			t.Errorf("Close: %v, want %v", err, again)
		}
		d.check(t, "3 dropped", "3 closed store")
	})
}

func TestAPartThatNeverReturnsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release) // or the bubble would find the goroutine that is left
		d, s := newDiary(), New()
		s.Push("store", 0, d.resource("store", 0, nil))
		s.Go("deaf", 0, func(context.Context) error {
			<-release
			return nil
		})
		err := s.Close(t.Context())
		if err == nil || !strings.Contains(err.Error(), "stop deaf: it is left behind") || !errors.Is(err, ErrOverdue) {
			t.Errorf("Close: %v", err)
		}
		d.check(t, "12 closed store")
	})
}

func TestNothingOfOneServiceOverlapsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := newDiary(), New()
		for _, name := range []string{"a", "b", "c"} {
			s.Go(name, 0, func(ctx context.Context) error {
				<-ctx.Done()
				d.add("%s told", name)
				time.Sleep(time.Second)
				d.add("%s ended", name)
				return nil
			})
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		d.check(t, "0 c told", "1 c ended", "1 b told", "2 b ended", "2 a told", "3 a ended")
	})
}
