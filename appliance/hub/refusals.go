package hub

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// refusals says in the log who was turned away, and why. Whoever is turned away may come back at once, or send thousands: the
// same is said of a host once in a while, and of all hosts together no more than can be read.
type refusals struct {
	log   *slog.Logger
	count func()

	mu    sync.Mutex
	since time.Time       // the beginning of the while
	said  map[string]bool // in it
	muted int             // in it
}

const (
	while    = 5 * time.Second
	maxLines = 50 // in a while
)

func newRefusals(log *slog.Logger, count func()) *refusals {
	return &refusals{log: log, count: count, said: map[string]bool{}}
}

// add logs what is refused, with further attributes as [slog.Logger.Warn] takes them, unless enough is said.
func (r *refusals) add(from net.Addr, what string, why error, attrs ...any) {
	r.count()
	host, text := "unknown", "unknown"
	if from != nil {
		text = from.String()
		host = text
		if h, _, err := net.SplitHostPort(text); err == nil {
			host = h
		}
	}
	reason := status.Convert(why).Message()
	if r.enough(fmt.Sprint(host, what, withoutDigits(reason), attrs)) {
		return
	}
	r.log.Warn("refused", append([]any{"what", what, "from", text, "err", reason}, attrs...)...)
}

// enough says that a line is not to be logged. What was not is told, as a number, when the next while begins.
func (r *refusals) enough(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.since) >= while {
		if r.muted > 0 {
			r.log.Warn("refusals were not logged: too many, or said before", "count", r.muted)
		}
		r.since, r.muted = now, 0
		clear(r.said)
	}
	if r.said[line] || len(r.said) >= maxLines {
		r.muted++
		return true
	}
	r.said[line] = true
	return false
}

// withoutDigits makes texts alike that differ in a time, a port or a count.
func withoutDigits(text string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, text)
}
