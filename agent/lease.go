package agent

import (
	"sync"
	"time"

	"crony"
)

// lease says how long the servers may take the agent for one that is there: for a time after it last heard from one. What an
// agent does that is cut off depends on it: see [crony.OnDisconnect].
//
// It counts from when something was asked that was answered, not from when the answer was read: an answer may have lain in a
// buffer while the agent, or its host, stood still. And it counts by CLOCK_BOOTTIME, which no setting of the clock changes,
// and which goes on while the host is suspended. Its methods are safe for concurrent use.
type lease struct {
	now func() time.Duration // see [boottime]

	mu    sync.Mutex
	since time.Duration // when that was asked from which on it has not ended
	end   time.Duration
	last  time.Duration // when that was asked that was answered last; [longAgo] if nothing was
}

const (
	leaseTime  = crony.AgentLease // from the last question that was answered
	leaseTick  = 3 * time.Second  // after which something is asked if nothing is to be
	leaseFirst = 5 * time.Second  // for an agent that was restarted to find a server
)

func newLease(now func() time.Duration) *lease {
	began := now()
	return &lease{now: now, since: began, end: began + leaseFirst, last: longAgo}
}

// renew notes that what was asked at a time was answered.
func (l *lease) renew(asked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked >= l.end {
		l.since = asked
	}
	l.end = max(l.end, asked+leaseTime)
	l.last = max(l.last, asked)
}

// answered returns when that was asked that was answered last.
func (l *lease) answered() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// over says whether the servers may have given the agent up.
func (l *lease) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now() >= l.end
}

// left returns how long the lease lasts if it is not renewed.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.end-l.now(), 0)
}

// held says whether the servers can't have given the agent up since it asked for something.
func (l *lease) held(asked time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	return now >= asked && (now < asked+leaseTime || asked >= l.since && now < l.end)
}
