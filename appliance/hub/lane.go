package hub

import (
	"context"
	"sync"
)

// lane is a queue of work that is done in order, by a goroutine that is there only while there is some.
type lane[T any] struct {
	stream *stream
	do     func(*stream, context.Context, T) error // an error ends the stream

	mu    sync.Mutex
	queue chan T // nil before the first push
	busy  bool   // there is a goroutine, or there was an error
}

// queued is how much work of one kind waits on the server's side. Whoever brings more waits, and with it, through the
// transport's flow control, the agent.
const queued = 16

// push brings work, and waits until it is in the queue. The error says why the stream has ended. It is called by the stream's
// own goroutines.
func (l *lane[T]) push(ctx context.Context, item T) error {
	select {
	case l.open() <- item:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.busy {
		l.busy = true
		l.stream.work.Go(func() { l.run(ctx) })
	}
	return nil
}

func (l *lane[T]) open() chan<- T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue == nil {
		l.queue = make(chan T, queued)
	}
	return l.queue
}

func (l *lane[T]) run(ctx context.Context) {
	for {
		select {
		case item := <-l.queue:
			if err := l.do(l.stream, ctx, item); err != nil {
				l.stream.end(err)
				return
			}
			continue
		default:
		}
		if l.rest() {
			return
		}
	}
}

// rest says that there is nothing to do; the next push starts anew.
func (l *lane[T]) rest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = len(l.queue) > 0
	return !l.busy
}
