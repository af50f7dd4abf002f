package hub

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"crony"
)

// shift says how many agents of a server are to go to another.
type shift struct {
	from, to string
	agents   int
}

// plan evens out how many agents each server holds. Every server computes the same, and moves its own agents. If no server is
// further than a fiftieth from its fair share there is no plan: moving costs both sides a connection. When the shifts are
// made, there is nothing left to plan.
func plan(held map[string]int) []shift {
	type load struct {
		server string
		over   int // how many agents are too many; less than 0: how many more there is room for
	}
	var loads []load
	total := 0
	for server, n := range held {
		loads = append(loads, load{server, n})
		total += n
	}
	slices.SortFunc(loads, func(a, b load) int { return cmp.Or(b.over-a.over, strings.Compare(a.server, b.server)) })
	worst := 0
	for i := range loads {
		fair := total / len(loads)
		if i < total%len(loads) { // who holds most keeps what can't be divided
			fair++
		}
		loads[i].over -= fair
		worst = max(worst, loads[i].over, -loads[i].over)
	}
	if worst < max(1, total/max(1, len(loads))/50) {
		return nil
	}
	var shifts []shift
	for from, to := 0, len(loads)-1; from < to; {
		switch giver, taker := &loads[from], &loads[to]; {
		case giver.over <= 0:
			from++
		case taker.over >= 0:
			to--
		default:
			n := min(giver.over, -taker.over)
			giver.over -= n
			taker.over += n
			shifts = append(shifts, shift{giver.server, taker.server, n})
		}
	}
	return shifts
}

// The times of moving agents.
const (
	balanceEvery = 2 * time.Second
	// balanceQuiet is how long the same servers must have been up, and their load uneven. A server that is dead is listed
	// until its lease has ended, and holds no agents: none must be sent to it.
	balanceQuiet = 15 * time.Second
	balanceWait  = 10 * time.Second // for an agent to go where it was sent
	balanceShy   = 10 * time.Minute // without moving agents to a server that one of them did not get to
	balanceMost  = 200              // agents that a server moves at once
)

// balancer decides which of a server's agents are to go to which other server, and when.
type balancer struct {
	self    string
	every   time.Duration
	quiet   time.Duration
	servers []string  // as they were when it last looked
	looked  time.Time // when that was
	uneven  time.Time // since when the servers are these and their load is uneven
	sent    map[string]sending
	shy     map[string]time.Time // servers that an agent did not get to
	even    bool                 // when it last looked
}

// sending is an agent that was sent, and is not known to have gone.
type sending struct {
	to string
	at time.Time
}

func newBalancer(self string) balancer {
	return balancer{self: self, every: balanceEvery, quiet: balanceQuiet, sent: map[string]sending{}, shy: map[string]time.Time{}}
}

// due says whether it is time to look.
func (b *balancer) due(now time.Time) bool { return now.Sub(b.looked) >= b.every }

// settled says that there is nothing to do before something changes.
func (b *balancer) settled() bool { return b.even && len(b.sent) == 0 }

// next returns where agents are to go now; servers are those that agents can connect to, sorted.
func (b *balancer) next(now time.Time, servers []string, agents []crony.Agent) map[string]string {
	b.looked = now
	held := make(map[string]int, len(servers))
	for _, s := range servers {
		held[s] = 0
	}
	var own []crony.Agent
	for _, a := range agents {
		if _, ok := held[a.Server]; ok {
			held[a.Server]++
		}
		if a.Server == b.self {
			own = append(own, a)
		}
	}
	b.follow(now, own)
	shifts := plan(held)
	b.even = len(shifts) == 0
	if !slices.Equal(servers, b.servers) {
		b.servers, b.uneven = slices.Clone(servers), now
		clear(b.shy)
	}
	if b.even {
		b.uneven = now
	}
	if now.Sub(b.uneven) < b.quiet {
		return nil
	}
	return b.choose(now, shifts, own)
}

// follow sees what became of the agents that were sent.
func (b *balancer) follow(now time.Time, own []crony.Agent) {
	here := make(map[string]bool, len(own))
	for _, a := range own {
		here[a.ID] = true
	}
	for agent, s := range b.sent {
		switch {
		case !here[agent]:
			delete(b.sent, agent)
		case now.Sub(s.at) >= balanceWait:
			b.shy[s.to] = now
			delete(b.sent, agent)
		}
	}
}

// choose picks agents of this server for the shifts, those that came last first. Those that are on their way count.
func (b *balancer) choose(now time.Time, shifts []shift, own []crony.Agent) map[string]string {
	going := map[string]int{}
	for _, s := range b.sent {
		going[s.to]++
	}
	slices.SortFunc(own, func(x, y crony.Agent) int { return cmp.Or(y.Since.Compare(x.Since), strings.Compare(x.ID, y.ID)) })
	moves := map[string]string{}
	for _, s := range shifts {
		if at, shy := b.shy[s.to]; s.from != b.self || shy && now.Sub(at) < balanceShy {
			continue
		}
		for n := s.agents - going[s.to]; n > 0 && len(own) > 0 && len(moves) < balanceMost; own = own[1:] {
			if _, sent := b.sent[own[0].ID]; sent {
				continue
			}
			moves[own[0].ID] = s.to
			b.sent[own[0].ID] = sending{s.to, now}
			n--
		}
	}
	return moves
}
