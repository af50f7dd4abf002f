package webui

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"crony"

	"github.com/gofiber/fiber/v2"
)

// throttle slows down who tries tokens: each network has a bucket of failures that leaks.
type throttle struct{ buckets[netip.Prefix] }

// buckets are filled by what is bounded, each by that of one source, and leak.
type buckets[K comparable] struct {
	now    func() time.Time
	free   float64       // how much each holds
	forget time.Duration // after which one drop has leaked

	mu   sync.Mutex
	each map[K]bucket
}

type bucket struct {
	failures float64
	at       time.Time // when failures were counted
}

const (
	freeSignIns = 10
	freeJoins   = 100             // many hosts behind one address may join at once
	failureTime = 6 * time.Second // after which one failure is forgotten
	maxBuckets  = 4096
)

func newThrottle(now func() time.Time, free float64, forget time.Duration) *throttle {
	return &throttle{buckets[netip.Prefix]{now: now, free: free, forget: forget, each: map[netip.Prefix]bucket{}}}
}

// slow makes an attempt unless too many of the same network have failed; the error of one that fails is Unauthorized.
func (t *throttle) slow(c *fiber.Ctx, what string, attempt func() error) error {
	from, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	network := networkOf(from)
	if wait := t.take(network); wait > 0 {
		return tooFast(c, wait, crony.Errorf(crony.Unavailable, "too many attempts to %s have failed", what).WithHint("wait a minute"))
	}
	err := attempt()
	if crony.CodeOf(err) != crony.Unauthorized {
		t.giveBack(network)
	}
	return err
}

// tooFast refuses what comes before its time.
func tooFast(c *fiber.Ctx, wait time.Duration, err error) error {
	c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	return withStatus(http.StatusTooManyRequests, err)
}

// take puts a drop into a bucket in advance, so that attempts at the same time can't pass together, and returns 0; or how long
// to wait before the next attempt. Call giveBack if it does not count.
func (t *buckets[K]) take(source K) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	b := t.leaked(t.each[source], now)
	if over := b.failures + 1 - t.free; over > 0 {
		return max(time.Duration(over*float64(t.forget)), min(time.Second, t.forget))
	}
	t.makeRoom(now)
	b.failures++
	t.each[source] = b
	return 0
}

// giveBack takes out a drop that does not count.
func (t *buckets[K]) giveBack(source K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.each[source]
	if b.failures--; b.failures > 0 {
		t.each[source] = b
		return
	}
	delete(t.each, source)
}

func (t *buckets[K]) leaked(b bucket, now time.Time) bucket {
	leak := float64(now.Sub(b.at)) / float64(t.forget)
	return bucket{failures: max(0, b.failures-leak), at: now}
}

// makeRoom keeps the number of buckets bounded: those that are empty go first, then the one that has least in it.
func (t *buckets[K]) makeRoom(now time.Time) {
	if len(t.each) < maxBuckets {
		return
	}
	var least K
	fewest := t.free + 1
	for source, b := range t.each {
		switch failures := t.leaked(b, now).failures; {
		case failures == 0:
			delete(t.each, source)
		case failures < fewest:
			least, fewest = source, failures
		}
	}
	if len(t.each) >= maxBuckets {
		delete(t.each, least)
	}
}

// networkOf is what one attacker has at least: an address, or with IPv6 a network of 64 bits.
func networkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all such share a bucket
	}
	return network
}
