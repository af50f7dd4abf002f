package webui

import (
	"net/netip"
	"sync"
	"time"
)

// throttle slows down who tries tokens: each network has a bucket of failures that leaks.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[netip.Prefix]bucket
}

type bucket struct {
	failures float64
	at       time.Time // when failures were counted
}

const (
	freeFailures = 10
	failureTime  = 6 * time.Second // after which one failure is forgotten
	maxBuckets   = 4096
)

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, buckets: make(map[netip.Prefix]bucket)}
}

// take counts a failure in advance, so that attempts at the same time can't pass together, and returns 0; or how long to
// wait before the next attempt. Call giveBack if the attempt did not fail.
func (t *throttle) take(addr netip.Addr) time.Duration {
	network := networkOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	b := t.buckets[network].leaked(now)
	if over := b.failures + 1 - freeFailures; over > 0 {
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
	fewest := float64(freeFailures + 1)
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
