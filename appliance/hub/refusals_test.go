package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusals keeps the log short: the same is said of a host once in a while, and there is a bound on all. Nothing goes
// uncounted.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text, count := &logText{}, 0
		r := newRefusals(slog.New(slog.NewTextHandler(text, nil)), func() { count++ })
		from := func(host, port int) net.Addr {
			return &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(host)), Port: port}
		}
		lines := func() int { return strings.Count(text.String(), "what=no ") }
		expired := func(i int) error { return fmt.Errorf("expired: it is 2026-11-21T08:24:%02dZ", i) }

		for i := range 1000 {
			r.add(from(1, i), "no", expired(i))
		}
		if lines() != 1 {
			t.Errorf("the same is said %d times", lines())
		}
		r.add(from(1, 1), "no", errors.New("unknown"))
		r.add(from(2, 1), "no", expired(1))
		r.add(from(2, 1), "no", expired(1), "agent", "a1")
		r.add(from(2, 1), "no", expired(1), "agent", "a2")
		r.add(nil, "no", expired(1))
		if lines() != 6 {
			t.Errorf("%d lines, want 6:\n%s", lines(), text)
		}
		time.Sleep(while)
		r.add(from(1, 1), "no", expired(1))
		if lines() != 7 || !strings.Contains(text.String(), "count=999") {
			t.Errorf("%d lines, want 7 and how many are not there:\n%s", lines(), text)
		}
		for i := range 10_000 {
			r.add(from(i%200, 1), "no", fmt.Errorf("reason %s", strings.Repeat("x", i%300)))
		}
		if lines() != 6+maxLines {
			t.Errorf("%d lines", lines())
		}
		if count != 11_006 {
			t.Errorf("%d are counted", count)
		}
	})
}
