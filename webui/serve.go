package webui

import (
	"context"
	"fmt"
	"net"
	"sync"

	"crony"
)

// Serve answers requests on ln until ctx is done, and returns once everything that it started has ended. Then event streams
// end first, each told why; requests under way may finish; those that take longer than 10 seconds are cancelled, and their
// connections closed. The listener is closed in any case. The error is nil after such an end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.assets.built {
		s.opts.Log.Warn("this binary was built without its web app; the api is served")
	}
	tracked := newListener(ln)
	served := make(chan error, 1)
	go func() { served <- s.app.Listener(tracked) }()
	select {
	case err := <-served:
		s.drain(tracked) //nolint:contextcheck // ctx may be done: stopping has time of its own
		if err == nil {
			err = net.ErrClosed
		}
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	s.drain(tracked) //nolint:contextcheck // ctx is done: stopping has time of its own
	<-served         //nolint:errcheck // the end that was asked for
	return nil
}

// drain ends what is open. The framework's own shutdown returns at once when serving has not begun, so the listener is
// closed here too; and it waits for connections that never sent anything, so those are closed first.
func (s *Server) drain(ln *listener) {
	stopping := crony.Errorf(crony.Unavailable, "this server is stopping").WithHint("try again, or ask another server")
	s.streams.end(stopping)
	ln.stop()
	deadline, cancel := context.WithTimeout(context.Background(), s.grace)
	defer cancel()
	if err := s.app.ShutdownWithContext(deadline); err != nil {
		s.opts.Log.Warn("requests did not end in time", "err", err)
	}
	s.requests.end(stopping)
	ln.closeAll()
	s.streams.wait()
	s.requests.wait()
}

// scopes are the contexts of work that is under way, so that all of it can be cancelled and waited for. The zero value is
// ready for use.
type scopes struct {
	mu    sync.Mutex
	wg    sync.WaitGroup
	open  map[int64]context.CancelCauseFunc
	last  int64
	ended error
}

// enter returns a context for a piece of work, and what must be called when it is done. Once the scopes have ended, the
// context is done from the start.
func (s *scopes) enter(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		cancel(s.ended)
		return ctx, func() {}
	}
	if s.open == nil {
		s.open = make(map[int64]context.CancelCauseFunc)
	}
	s.last++
	id := s.last
	s.open[id] = cancel
	s.wg.Add(1)
	return ctx, func() {
		s.mu.Lock()
		delete(s.open, id)
		s.mu.Unlock()
		cancel(nil)
		s.wg.Done()
	}
}

// end cancels all work, that of the future too.
func (s *scopes) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = cause
	for _, cancel := range s.open {
		cancel(cause)
	}
}

// wait returns when no work is under way; call it after end.
func (s *scopes) wait() { s.wg.Wait() }
