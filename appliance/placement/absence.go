package placement

import (
	"time"

	"crony"
	"crony/embedded/state"
)

// Patience is how long agents that are gone have to come back before they are down.
const (
	// DefaultGrace is for an agent whose connection broke while its server is there.
	DefaultGrace = 3 * time.Second
	// returning is for agents of which nobody can say since when they are gone, or whose server has just gone or come: at the
	// start of a term, when a server was stopped or started, and when the leader itself was out of touch.
	returning = 10 * time.Second
)

// absences is what the leader of a term knows of agents that are not connected. A presence that ends together with its
// server's lease is one that nobody has renewed for ten seconds: that agent is down at once, for one that can connect would
// have gone to another server by then.
type absences struct {
	self    string // the leader's own server
	grace   time.Duration
	looked  bool
	at      map[string]string    // the agents that are connected, each with its server
	gone    map[string]absence   // those that are not
	servers map[string]time.Time // those that are up, and since when; zero: since before the term
}

type absence struct{ since, until time.Time }

func newAbsences(self string, grace time.Duration) *absences {
	return &absences{self: self, grace: grace, at: map[string]string{}, gone: map[string]absence{}, servers: map[string]time.Time{}}
}

// look takes in who is connected now. Strays are agents of which nothing is known but that they have jobs.
func (a *absences) look(agents []crony.AgentStatus, strays []string, servers []state.Server, now time.Time) {
	up := make(map[string]time.Time, len(servers))
	for _, s := range servers {
		if !s.Up {
			continue
		}
		since, was := a.servers[s.ID]
		if !was && a.looked {
			since = now
		}
		up[s.ID] = since
	}
	at, gone := make(map[string]string, len(agents)), map[string]absence{}
	miss := func(id string) {
		since, was := a.gone[id]
		if !was {
			since = absence{now, now.Add(a.patience(a.at[id], up, now))}
		}
		gone[id] = since
	}
	for i := range agents {
		if agents[i].Up {
			at[agents[i].ID] = agents[i].Server
		} else {
			miss(agents[i].ID)
		}
	}
	for _, id := range strays {
		miss(id)
	}
	a.looked, a.at, a.gone, a.servers = true, at, gone, up
}

// patience returns how long an agent that is newly missed is waited for; server is where it was, "" if it was nowhere.
func (a *absences) patience(server string, up map[string]time.Time, now time.Time) time.Duration {
	since, there := up[server]
	_, was := a.servers[server]
	switch {
	case !a.looked:
		return returning
	case server == "":
		return a.grace
	case there:
		return max(a.grace, since.Add(returning).Sub(now))
	case was && server != a.self:
		return 0
	}
	return returning
}

// down returns the agents that are down, and since when they are not connected; and when the next will be, zero for never.
func (a *absences) down(now time.Time) (down map[string]time.Time, next time.Time) {
	down = map[string]time.Time{}
	for id, absence := range a.gone {
		switch {
		case !now.Before(absence.until):
			down[id] = absence.since
		case next.IsZero() || absence.until.Before(next):
			next = absence.until
		}
	}
	return down, next
}
