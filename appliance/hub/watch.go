package hub

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
)

const (
	beat        = 250 * time.Millisecond // between looks at what nobody tells of
	quorumGrace = 500 * time.Millisecond // without a quorum, before agents are sent away: most elections are over by then
	drainPace   = 200 * time.Millisecond // in which all agents are asked to go
	drainSteps  = 20
	drainWait   = time.Second // for them to have gone
)

// watch does what concerns all streams, until ctx is done: it has news told, ends the streams of agents that were removed, or
// all of them while the server reaches no quorum, and has agents move where there are fewer.
func (h *Hub) watch(ctx context.Context) {
	feed := h.opts.State.Changes("")
	defer feed.Close()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var out time.Time // since when the server is not ready
	restless := true  // agents or servers have changed since they were last counted
	stirred := true   // agents have, since their records were last looked at
	for {
		select {
		case <-feed.Ready():
			changes := feed.Take()
			if changes.Cluster || changes.Reset {
				h.refresh()
				h.expel()
			}
			restless = restless || changes.Cluster || changes.Reset || len(changes.Agents) > 0
			stirred = stirred || changes.Reset || len(changes.Agents) > 0
		case now := <-ticker.C:
			h.refresh()
			out = h.attend(now, out)
			restless = h.balance(ctx, now, restless)
			if stirred {
				stirred = false
				h.endUnrecorded()
			}
		case <-ctx.Done():
			return
		}
	}
}

var errUnrecorded = status.Error(codes.Unavailable, "it is not on record any more that the agent is connected here")

// endUnrecorded ends the streams of agents of which the store says that they are connected elsewhere, or nowhere. The server that
// an agent has just left, and that has not noticed, may be the one that writes last; when it notices, its record goes, and to all
// others the agent would be gone, while it works on here. When it connects again that is put right.
func (h *Hub) endUnrecorded() {
	for _, s := range h.all() {
		if s.onRecord.Load() && !h.opts.State.ConnectedTo(s.agent.ID, h.opts.Server) {
			s.end(errUnrecorded)
		}
	}
}

// expel ends the streams of agents that may not stay.
func (h *Hub) expel() {
	for _, s := range h.all() {
		if err := h.mayStay(s.agent.ID); err != nil {
			s.end(err)
		}
	}
}

// attend asks whether the server reaches a quorum. Out is since when it does not, and so is the answer.
func (h *Hub) attend(now, out time.Time) time.Time {
	if h.opts.Ready == nil {
		return time.Time{}
	}
	err := h.opts.Ready()
	if err == nil {
		if h.noQuorum.Swap(false) {
			h.log.Info("agents are welcome again")
		}
		return time.Time{}
	}
	if out.IsZero() {
		out = now
	}
	if now.Sub(out) > quorumGrace && !h.noQuorum.Swap(true) {
		h.log.Warn("agents sent away: this server reaches no quorum", "agents", h.connected(), "err", err)
		h.expel()
	}
	return out
}

// balance moves agents to servers that hold fewer, if it is time to. It says whether to look again though nothing changes.
func (h *Hub) balance(ctx context.Context, now time.Time, restless bool) bool {
	if !restless || h.noQuorum.Load() || !h.balancer.due(now) {
		return restless
	}
	list, err := h.opts.State.ListAgents(ctx)
	if err != nil {
		return true
	}
	agents := make([]crony.Agent, 0, len(list))
	for i := range list {
		if list[i].Up {
			agents = append(agents, list[i].Agent)
		}
	}
	var servers []string
	for _, s := range h.reachable() {
		servers = append(servers, s.ID)
	}
	moved := 0
	for agent, to := range h.balancer.next(now, servers, agents) {
		if s := h.of(agent); s != nil {
			s.move(to)
			moved++
		}
	}
	if moved > 0 {
		h.metrics.moved.Add(float64(moved))
		h.log.Info("agents asked to go to servers that hold fewer", "agents", moved)
	}
	return !h.balancer.settled()
}

// drain asks all agents to go elsewhere, one after the other, and waits a moment for them to have gone.
func (h *Hub) drain() {
	h.stopping.Store(true)
	streams := h.all()
	if len(streams) == 0 {
		return
	}
	h.log.Info("agents asked to go to other servers: this one is stopping", "agents", len(streams))
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	ticker := time.NewTicker(drainPace / drainSteps)
	defer ticker.Stop()
	for batch := range slices.Chunk(streams, len(streams)/drainSteps+1) {
		for _, s := range batch {
			s.move("")
		}
		<-ticker.C
	}
	for _, s := range streams {
		select {
		case <-s.ctx.Done():
		case <-timer.C:
			return
		}
	}
}
