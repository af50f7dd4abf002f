package testhosts_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"crony/internal/judge"
	"crony/internal/testhosts"
)

// nemesis does things to a fleet, by a seed: one hand to servers, another to agents, each one thing after the other. What is done,
// to whom, for how long and with what pause is drawn before the first stroke; how the processes bear it is not in its hand, nor
// which server leads at the time.
type nemesis struct {
	fleet *fleet
	stop  time.Time

	mu       sync.Mutex
	troubles []judge.Trouble
}

// stroke is one thing that is done.
type stroke struct {
	what  string
	whom  int           // the number of the server or agent, where the stroke does not choose by itself
	lasts time.Duration // until it is undone
	pause time.Duration // after that
	off   time.Duration // of the clock
}

// strokes draws what a hand will do, more than there can be time for.
func strokes(random *rand.Rand, kinds []string, whoms int, longest time.Duration) []stroke {
	list := make([]stroke, 1000)
	for i := range list {
		list[i] = stroke{what: kinds[random.IntN(len(kinds))], whom: random.IntN(whoms), lasts: time.Duration(random.Int64N(int64(longest))),
			pause: 500*time.Millisecond + time.Duration(random.Int64N(int64(4*time.Second))),
			off:   time.Duration(random.IntN(241)-120) * time.Second}
	}
	return list
}

// What the hands know to do.
var (
	toServers = []string{"kill", "stop", "freeze", "leader alone", "follower alone", "halves", "loss", "slow disk", "clock", "kill all",
		"kill the leader"}
	toOneServer = []string{"kill", "stop", "freeze", "leader alone", "follower alone", "kill the leader"} // and it is but one
	toAgents    = []string{"kill", "stop", "freeze", "alone", "short alone", "power off", "loss", "clock", "no server but one"}
)

func (n *nemesis) tell(format string, args ...any) {
	n.fleet.t.Helper()
	n.fleet.t.Log(time.Now().UTC().Format("15:04:05.000") + " " + fmt.Sprintf(format, args...))
}

// trouble notes that something is done to an agent, or to servers if none is named. The function that it returns notes that it is
// over.
func (n *nemesis) trouble(agent, what string) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := len(n.troubles)
	n.troubles = append(n.troubles, judge.Trouble{Agent: agent, What: what, From: time.Now(), To: time.Now().Add(time.Hour),
		Alone: strings.HasSuffix(what, "alone"), Dark: what == "power off"})
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.troubles[i].To = time.Now()
	}
}

// againstServers strikes at servers until the time is over. If one only is to fail at a time, it waits until all are well again.
func (n *nemesis) againstServers(list []stroke, one bool) {
	for _, s := range list {
		if !n.during(s.pause) {
			return
		}
		n.strikeServer(s)
		if one {
			n.fleet.Wait(time.Minute, "the cluster to be whole again", n.fleet.whole)
		}
	}
}

func (n *nemesis) againstAgents(list []stroke) {
	for _, s := range list {
		if !n.during(s.pause) {
			return
		}
		n.strikeAgent(n.fleet.agents[s.whom], s)
	}
}

// during waits, and says whether there is still time.
func (n *nemesis) during(d time.Duration) bool {
	time.Sleep(min(d, time.Until(n.stop)))
	return time.Now().Before(n.stop)
}

func (n *nemesis) strikeServer(k stroke) {
	f := n.fleet
	s := f.servers[k.whom]
	if strings.Contains(k.what, "leader") || strings.Contains(k.what, "follower") {
		leader, ok := f.observer.leader()
		if !ok {
			return // there is none to be struck
		}
		if s = leader; strings.Contains(k.what, "follower") {
			s = f.servers[(index(f.servers, leader)+1+k.whom%2)%len(f.servers)]
		}
	}
	n.tell("server %s: %s for %s", s.Name, k.what, k.lasts.Round(time.Millisecond))
	over := n.trouble("", s.Name+" "+k.what)
	undo := n.hurtServer(s, k)
	n.during(k.lasts)
	undo()
	for _, x := range f.servers {
		f.revive(x)
	}
	over()
	n.tell("server %s: %s is over", s.Name, k.what)
}

// hurtServer does something to a server, and returns what undoes it. Servers that have ended are started again by the caller.
func (n *nemesis) hurtServer(s *server, k stroke) (undo func()) {
	f := n.fleet
	undo = func() {}
	switch k.what {
	case "kill", "kill the leader":
		s.proc.Kill()
	case "stop":
		s.proc.Stop(30 * time.Second) // it may have ended by itself before
	case "kill all":
		undo = n.cutOff(f.agents, "no server is there") // they are from the first on, and a process that waits for its disk dies late
		for _, x := range f.servers {
			x.proc.Kill()
		}
	case "freeze":
		s.proc.Freeze()
		undo = s.proc.Thaw
	case "leader alone", "follower alone":
		s.CutOff()
		undo = s.Heal
	case "halves":
		undo = n.halve(k)
	case "loss":
		s.Lose(30)
		undo = s.Heal
	case "slow disk":
		undo = s.proc.Fault("fsync,fdatasync:delay_enter=200000")
	case "clock":
		f.clocks[s.Name].Set(k.off / 10)
		undo = func() { f.clocks[s.Name].Set(0) }
	}
	return undo
}

// halve parts the fleet: one server and the first agents from the others.
func (n *nemesis) halve(k stroke) (undo func()) {
	f := n.fleet
	here, there := []*testhosts.Host{f.servers[k.whom].Host}, []*testhosts.Host{}
	for i, s := range f.servers {
		if i != k.whom {
			there = append(there, s.Host)
		}
	}
	half := len(f.agents) / 2
	over := n.cutOff(f.agents[:half], "with the smaller half of the servers")
	var few, many []*testhosts.Host // agents of the one half, and of the other
	for i, a := range f.agents {
		if i < half {
			few = append(few, a.Host)
		} else {
			many = append(many, a.Host)
		}
	}
	here[0].CutOff(append(many, there...)...)
	for _, h := range there {
		h.CutOff(append(few, here...)...)
	}
	return func() {
		for _, s := range f.servers {
			s.Heal()
		}
		over()
	}
}

// cutOff notes that agents are cut off from servers that could tell them something.
func (n *nemesis) cutOff(agents []*agent, what string) (over func()) {
	var each []func()
	for _, a := range agents {
		each = append(each, n.trouble(a.Name, what))
	}
	return func() {
		for _, done := range each {
			done()
		}
	}
}

func (n *nemesis) strikeAgent(a *agent, k stroke) {
	f := n.fleet
	if k.what == "alone" {
		k.lasts += 20 * time.Second // longer than a lease
	}
	n.tell("agent %s: %s for %s (clock %s)", a.Name, k.what, k.lasts.Round(time.Millisecond), k.off)
	over := n.trouble(a.Name, k.what)
	undo := n.hurtAgent(a, k)
	n.during(k.lasts)
	undo()
	if ended(a.proc) {
		f.startAgent(a)
	}
	over()
	n.tell("agent %s: %s is over", a.Name, k.what)
}

func (n *nemesis) hurtAgent(a *agent, k stroke) (undo func()) {
	f := n.fleet
	undo = func() {}
	switch k.what {
	case "kill":
		a.proc.Kill()
	case "stop":
		a.proc.Stop(60 * time.Second) // it may wait for its runs
	case "freeze":
		a.proc.Freeze()
		undo = a.proc.Thaw
	case "alone", "short alone":
		a.CutOff()
		undo = a.Heal
	case "power off":
		a.PowerOff()
	case "loss":
		a.Lose(30)
		undo = a.Heal
	case "clock":
		f.clocks[a.Name].Set(k.off)
		undo = func() { f.clocks[a.Name].Set(0) }
	case "no server but one":
		var others []*testhosts.Host
		for i, s := range f.servers {
			if i != k.whom%len(f.servers) {
				others = append(others, s.Host)
			}
		}
		a.CutOff(others...)
		undo = a.Heal
	}
	return undo
}
