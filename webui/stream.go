package webui

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"crony"

	"github.com/gofiber/fiber/v2"
)

// streamed is the answer of an operation that sends events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// The framework runs serve on a goroutine of its own after the handler has returned, when the request's *fiber.Ctx may be
// another's already; so all that serve needs was taken out of it before.
type streamed struct{ serve func(w *bufio.Writer) }

// newStream prepares a stream in the name of ctx's caller; it outlives ctx, and ends when the server does.
func (s *Server) newStream(ctx context.Context, serve func(ctx context.Context, w *bufio.Writer)) streamed {
	ctx = context.WithoutCancel(ctx)
	return streamed{func(w *bufio.Writer) {
		defer func() {
			if r := recover(); r != nil {
				s.opts.Log.Error("stream broken off", "err", fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
			}
		}()
		ctx, leave := s.streams.enter(ctx)
		defer leave()
		s.metrics.streams.Inc()
		defer s.metrics.streams.Dec()
		serve(ctx, w)
	}}
}

// VisitGetRunOutputResponse begins the stream.
func (a streamed) VisitGetRunOutputResponse(c *fiber.Ctx) error { return a.begin(c) }

// VisitStreamEventsResponse begins the stream.
func (a streamed) VisitStreamEventsResponse(c *fiber.Ctx) error { return a.begin(c) }

func (a streamed) begin(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set("X-Accel-Buffering", "no") // or nginx holds events back
	if c.Method() != fiber.MethodHead {
		c.Context().SetBodyStreamWriter(a.serve)
	}
	return nil
}

var (
	errGone  = errors.New("the client is gone")
	errEnded = errors.New("the stream has ended")
)

func isGone(err error) bool { return errors.Is(err, errGone) }

// pump hands what comes from in to f, which sends it, until in is closed or f returns an error, and shows signs of life in
// between. They are also when a client that left is noticed, and a caller who was shut out. It returns nil if the stream
// came to its end, errGone without a client, and the reason if it was broken off.
func pump[T any](ctx context.Context, w *bufio.Writer, every time.Duration, in <-chan T, f func(T) error) error {
	beat := time.NewTicker(every)
	defer beat.Stop()
	err := comment(w, "open") // the client learns at once that it is connected
	for err == nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case item, ok := <-in:
			if !ok {
				return context.Cause(ctx)
			}
			err = f(item)
		case <-beat.C:
			if err = stillAllowed(ctx, every); err == nil {
				err = comment(w, "alive")
			}
		}
	}
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// stillAllowed asks again who the caller is. A store that can't say now shuts nobody out.
func stillAllowed(ctx context.Context, limit time.Duration) error {
	who, ok := callerFrom(ctx)
	if !ok {
		return crony.Errorf(crony.Unauthorized, "you are not signed in")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := who.verify(ctx); crony.CodeOf(err) == crony.Unauthorized {
		return err
	}
	return nil
}

// send writes an event and sees to it that it leaves.
func send(w *bufio.Writer, event string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s event: %w", event, err)
	}
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text)
	return flush(w)
}

// sendLast is send for an event that nothing follows.
func sendLast(w *bufio.Writer, event string, data any) error {
	if err := send(w, event, data); err != nil {
		return err
	}
	return errEnded
}

func comment(w *bufio.Writer, text string) error {
	fmt.Fprintf(w, ": %s\n\n", text)
	return flush(w)
}

func flush(w *bufio.Writer) error {
	if err := w.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}
