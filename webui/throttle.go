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
type throttle struct {
	now  func() time.Time
	free float64 // failures before it slows down

	mu      sync.Mutex
	buckets map[netip.Prefix]bucket
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

func newThrottle(now func() time.Time, free float64) *throttle {
	return &throttle{now: now, free: free, buckets: make(map[netip.Prefix]bucket)}
}

// slow makes an attempt unless too many of the same network have failed; the error of one that fails is Unauthorized.
func (t *throttle) slow(c *fiber.Ctx, what string, attempt func() error) error {
	from, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	if wait := t.take(from); wait > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		return withStatus(http.StatusTooManyRequests,
			crony.Errorf(crony.Unavailable, "too many attempts to %s have failed", what).WithHint("wait a minute"))
	}
	err := attempt()
	if crony.CodeOf(err) != crony.Unauthorized {
		t.giveBack(from)
	}
	return err
}

// take counts a failure in advance, so that attempts at the same time can't pass together, and returns 0; or how long to
// wait before the next attempt. Call giveBack if the attempt did not fail.
func (t *throttle) take(addr netip.Addr) time.Duration {
	network := networkOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	b := t.buckets[network].leaked(now)
	if over := b.failures + 1 - t.free; over > 0 {
		return max(time.Duration(over*float64(failureTime)), time.Second)
	}
	t.makeRoom(now)
	b.failures++
	t.buckets[network] = b
	return 0
}

// giveBack uncounts a failure that was none.
func (t *throttle) giveBack(addr netip.Addr) {
	network := networkOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buckets[network]
	if b.failures--; b.failures > 0 {
		t.buckets[network] = b
		return
	}
	delete(t.buckets, network)
}

func (b bucket) leaked(now time.Time) bucket {
	leak := float64(now.Sub(b.at)) / float64(failureTime)
	return bucket{failures: max(0, b.failures-leak), at: now}
}

// makeRoom keeps the number of buckets bounded: those that are empty go first, then the one that has least in it.
func (t *throttle) makeRoom(now time.Time) {
	if len(t.buckets) < maxBuckets {
		return
	}
	var least netip.Prefix
	fewest := t.free + 1
	for network, b := range t.buckets {
		switch failures := b.leaked(now).failures; {
		case failures == 0:
			delete(t.buckets, network)
		case failures < fewest:
			least, fewest = network, failures
		}
	}
	if len(t.buckets) >= maxBuckets {
		delete(t.buckets, least)
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
