package webui

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// making is the body of an answer that is made while it is sent. The framework reads it and closes it.
type making struct {
	*io.PipeReader
	in    *io.PipeWriter
	log   *slog.Logger
	every time.Duration // between two questions whether the caller is still allowed

	cancel context.CancelCauseFunc
	begun  chan struct{} // closed: something is written
	done   chan struct{} // closed: err is what the maker returned
	err    error
}

// body returns what f writes, once the first of it is there; or f's error if that comes before. An error after it is the
// body's: the framework then breaks the connection off before the body's end, so that nobody takes the part for the whole.
//
// f goes on in the name of ctx's caller when ctx has ended, until it is done, the client is gone, the caller is shut out, or
// the server stops. A client that left is noticed by the next write.
func (s *Server) body(ctx context.Context, f func(context.Context, io.Writer) error) (io.ReadCloser, error) {
	m := &making{log: s.opts.Log, every: s.beat, begun: make(chan struct{}), done: make(chan struct{})}
	m.PipeReader, m.in = io.Pipe()
	ctx, leave := s.streams.enter(context.WithoutCancel(ctx))
	ctx, m.cancel = context.WithCancelCause(ctx)
	go func() {
		defer leave()
		defer m.cancel(nil)
		m.run(ctx, f)
	}()
	select {
	case <-m.begun:
		return m, nil
	case <-m.done:
		return m, m.err
	}
}

func (m *making) run(ctx context.Context, f func(context.Context, io.Writer) error) {
	defer close(m.done)
	stop := context.AfterFunc(ctx, func() { m.in.CloseWithError(context.Cause(ctx)) })
	defer stop()
	m.err = withoutPanic(func() error { return f(ctx, m.writer(ctx)) })
	if cause := context.Cause(ctx); m.err != nil && cause != nil {
		m.err = cause
	}
	m.in.CloseWithError(m.err)
}

// writer returns what the maker writes to.
func (m *making) writer(ctx context.Context) io.Writer {
	begin := sync.OnceFunc(func() { close(m.begun) })
	asked := time.Now()
	return writerFunc(func(p []byte) (int, error) {
		if len(p) == 0 {
			return 0, nil
		}
		begin()
		if time.Since(asked) >= m.every {
			if err := stillAllowed(ctx, m.every); err != nil {
				m.cancel(err)
				return 0, err
			}
			asked = time.Now()
		}
		return m.in.Write(p)
	})
}

// Close implements [io.Closer]: it ends the making, and waits for its end.
func (m *making) Close() error {
	m.cancel(errGone)
	<-m.done
	if m.err != nil && !isGone(m.err) {
		m.log.Error("answer broken off", "err", causeOf(m.err))
	}
	return nil
}

type writerFunc func(p []byte) (int, error)

// Write implements [io.Writer].
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
