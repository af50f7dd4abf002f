package callback

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// times are how long the parts of a call took. Of a call that was redirected they are of its last request, but for the whole.
type times struct {
	began time.Time

	mu     sync.Mutex
	asked  time.Time // when the last request was begun
	starts [3]time.Time
	spans  [3]time.Duration
	first  time.Duration
	reused bool
}

const (
	dnsPart = iota
	connectPart
	tlsPart
)

func newTimes() *times { return &times{began: time.Now()} }

func (t *times) start(part int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.starts[part].IsZero() { // of several addresses that are tried at once, the first
		t.starts[part] = time.Now()
	}
}

func (t *times) end(part int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[part] = time.Since(t.starts[part])
}

// follow returns a context in which a request is followed.
func (t *times) follow(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.asked, t.starts, t.spans, t.first, t.reused = time.Now(), [3]time.Time{}, [3]time.Duration{}, 0, false
		},
		DNSStart:          func(httptrace.DNSStartInfo) { t.start(dnsPart) },
		DNSDone:           func(httptrace.DNSDoneInfo) { t.end(dnsPart) },
		ConnectStart:      func(_, _ string) { t.start(connectPart) },
		ConnectDone:       func(_, _ string, _ error) { t.end(connectPart) },
		TLSHandshakeStart: func() { t.start(tlsPart) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { t.end(tlsPart) },
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.reused = info.Reused
		},
		GotFirstResponseByte: func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.first = time.Since(t.asked)
		},
	})
}

// String returns "dns 1ms, connect 1ms, tls 3ms, first byte 9ms, whole 10ms", without what there was not.
func (t *times) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	if t.reused {
		b.WriteString("connection reused, ")
	} else {
		for part, name := range []string{"dns", "connect", "tls"} {
			if !t.starts[part].IsZero() {
				fmt.Fprintf(&b, "%s %s, ", name, short(t.spans[part]))
			}
		}
	}
	if t.first > 0 {
		fmt.Fprintf(&b, "first byte %s, ", short(t.first))
	}
	fmt.Fprintf(&b, "whole %s", short(time.Since(t.began)))
	return b.String()
}

func short(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
