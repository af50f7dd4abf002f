package agent

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony/internal/wire"
)

// A server has many reasons to let an agent wait: there is no leader yet, its disk is slow. To go to another is of no use then,
// and all agents would do so at once. But one that is frozen, or can't be reached any more, is to be left before what was asked
// of it is due. So while something has no answer the agent asks whether the server is there at all, which it says whatever it
// waits for.
const (
	doubtTime  = 200 * time.Millisecond // without an answer, before the agent asks
	doubtAgain = 500 * time.Millisecond // after which it asks again
	aliveTime  = 500 * time.Millisecond // for the answer
	aliveTrips = 4                      // or so many times as long as it took before, if that is longer
)

// watch ends the stream if the server is not there any more. Before it has answered for the first time, how long the way is is
// known by how long it took to connect.
func (l *link) watch(ctx context.Context, end context.CancelCauseFunc, client wire.LinkClient, way time.Duration) {
	patience := min(max(aliveTime, aliveTrips*way), welcomeTime)
	for {
		asked := time.Now()
		if !there(ctx, client, patience) {
			end(fmt.Errorf("%w: not even that it is there, for %s", errSilent, patience))
			return
		}
		patience = min(max(aliveTime, aliveTrips*time.Since(asked)), welcomeTime)
		if l.doubt(ctx, asked.Add(doubtAgain)) != nil {
			return
		}
	}
}

// doubt waits until something that was sent has had no answer for so long that the server may not be there, and until a time at
// least.
func (l *link) doubt(ctx context.Context, earliest time.Time) error {
	timer := time.NewTimer(time.Until(earliest))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		since := l.oldest()
		if since.IsZero() {
			continue
		}
		wait := max(doubtTime-time.Since(since), time.Until(earliest))
		if wait <= 0 {
			return nil
		}
		timer.Reset(wait)
	}
}

// oldest returns since when something that was sent has no answer; the zero time if nothing has.
func (l *link) oldest() (since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range []map[uint64]time.Time{l.asked, l.told} {
		for _, at := range list {
			if since.IsZero() || at.Before(since) {
				since = at
			}
		}
	}
	return since
}

// there asks a server whether it is there. One that refuses the question, as it is older than that, is.
func there(ctx context.Context, client wire.LinkClient, patience time.Duration) bool {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := client.Alive(asking, &wire.AliveRequest{})
	return status.Code(err) != codes.DeadlineExceeded || ctx.Err() != nil
}

// unanswered says what the server leaves without an answer for too long; "" if there is nothing.
func (l *link) unanswered(now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.asked {
		if now.Sub(at) > claimTime {
			return "a claim"
		}
	}
	for _, at := range l.told {
		if now.Sub(at) > reportTime {
			return "a report"
		}
	}
	return ""
}
