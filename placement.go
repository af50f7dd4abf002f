package crony

import (
	"fmt"
	"slices"
	"strings"

	"crony/internal/selector"
)

// Terms are a job's conditions on the agents that may have it, read once to be held against many.
type Terms struct {
	agent    string // id or name; "" for any
	selector selector.Selector
	text     string   // of the selector; "" if there is none
	exclude  []string // ids and names, sorted
	unread   bool     // the selector is not readable: no agent meets it
	chooses  bool     // among agents, so that one that is full is not meant
	asks     string   // what not every platform has: see [Job.Asks]
}

// Terms returns the job's conditions on agents.
func (j *Job) Terms() Terms {
	p := j.Placement
	if p == nil {
		return Terms{chooses: true, asks: j.Asks()}
	}
	t := Terms{asks: j.Asks(), agent: p.Agent, text: p.Selector, exclude: slices.Sorted(slices.Values(p.Exclude)),
		chooses: j.Mode() == PlaceOne && p.Agent == ""}
	var err error
	if t.selector, err = selector.Parse(p.Selector); err != nil {
		t.unread = true // whoever defined the job was told; it was read by another version
		return t
	}
	t.text = t.selector.String()
	return t
}

// Asks returns what the job asks of its host that not every platform has, in words; "" for nothing.
func (j *Job) Asks() string {
	var list []string
	if j.Shell != nil && j.Shell.User != "" {
		list = append(list, "user")
	}
	if j.Shell != nil && j.Shell.Umask != "" {
		list = append(list, "umask")
	}
	if j.Shell != nil && j.Shell.Rlimits != nil {
		list = append(list, rlimitsWord)
	}
	return strings.Join(list, " and ")
}

// Agent returns the id or the name of the agent that alone may have the job; "" if it is not pinned.
func (t *Terms) Agent() string { return t.agent }

// hurdle is a condition that an agent does not meet, the first of them in this order.
type hurdle int

const (
	atPin hurdle = iota
	atSelector
	atExclusion
	atPlatform
	atCordon
	atConnection
	atRoom
	cleared // it meets them all
	hurdles
)

func (t *Terms) hurdle(a *AgentStatus) hurdle {
	named := func(name string) bool { return name == a.ID || name == a.Name }
	switch {
	case t.agent != "" && !named(t.agent):
		return atPin
	case t.unread || !t.selector.Match(a.Labels):
		return atSelector
	case slices.ContainsFunc(t.exclude, named):
		return atExclusion
	case t.lacked(a.OS):
		return atPlatform
	case a.Cordon != nil:
		return atCordon
	case !a.Up:
		return atConnection
	case t.chooses && a.Full():
		return atRoom
	}
	return cleared
}

const rlimitsWord = "rlimits"

// lacked says whether a platform has not all that the job asks for: macOS has no rlimits of runs yet, and Windows nothing of it.
func (t *Terms) lacked(platform string) bool {
	switch platform {
	case "windows":
		return t.asks != ""
	case "darwin":
		return strings.Contains(t.asks, rlimitsWord)
	}
	return false
}

// Match says whether an agent is one that the job wants, whether or not it takes jobs now.
func (t *Terms) Match(a *AgentStatus) bool { return t.hurdle(a) > atPlatform }

// Admit says whether an agent is one that the job wants, and takes jobs now: it is connected, and not cordoned. Whether it has
// room for one more is not asked.
func (t *Terms) Admit(a *AgentStatus) bool { return t.hurdle(a) > atConnection }

// String says whom the job wants, after "agents"; "" if it takes any.
func (t *Terms) String() string {
	var parts []string
	if t.agent != "" {
		parts = append(parts, "called "+t.agent)
	}
	if t.text != "" {
		parts = append(parts, "that match "+t.text)
	}
	if len(t.exclude) > 0 {
		parts = append(parts, "other than "+strings.Join(t.exclude, ", "))
	}
	return strings.Join(parts, " ")
}

// Shortage says which of the conditions no agent is left after, of all that are known; "" if one meets them all.
func (t *Terms) Shortage(agents []AgentStatus) string {
	var stopped [hurdles]int
	for i := range agents {
		stopped[t.hurdle(&agents[i])]++
	}
	switch {
	case stopped[cleared] > 0:
		return ""
	case stopped[atConnection] == len(agents): // none at all, too
		return "no agent is connected"
	}
	text, left := fmt.Sprintf("no agent matches: of %s, ", count(len(agents), "agent")), len(agents)
	these := ""
	for at, what := range [...]string{"have the id or the name " + t.agent, "match selector " + t.text, "are not excluded",
		"are on a platform that has the job's " + t.asks,
		"are not cordoned", "are connected", "have fewer jobs than they may have"} {
		if stopped[at] == 0 {
			continue
		}
		left -= stopped[at]
		if text += fmt.Sprintf("%d %s%s", left, these, what); left == 0 {
			break
		}
		text, these = text+", ", "of these "
	}
	return text
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Movable says whether the job may be moved from an agent that is down or drained to another. What an agent does over HTTP or
// gRPC any other can do as well; of shell jobs their definition says, or the servers' default. A pinned job has nowhere to
// go, and jobs of the other modes are on all agents already.
func (j *Job) Movable(byDefault bool) bool {
	p := j.Placement
	switch {
	case j.Mode() != PlaceOne || p != nil && p.Agent != "":
		return false
	case j.Kind() != "shell":
		return true
	case p != nil && p.Failover != nil:
		return *p.Failover
	}
	return byDefault
}

const maxAgentName = 253 // a host's name has no more

// placement checks where a job is to run.
func (c *checker) placement(at string, j *Job) {
	p := j.Placement
	if p == nil {
		return
	}
	c.length(at+"agent", p.Agent, maxAgentName)
	if _, err := selector.Parse(p.Selector); err != nil {
		c.fault(at+"selector", "as role=batch,zone!=z3,gpu", "%v", err)
	}
	c.exclude(at+"exclude", p.Exclude)
	if p.Agent != "" {
		const why, mend = "the job is pinned to an agent by `agent`", "leave one of the two out"
		c.senseless(at+"mode", j.Mode() != PlaceOne, why, mend)
		c.senseless(at+"selector", p.Selector != "", why, mend)
		c.senseless(at+"exclude", len(p.Exclude) > 0, why, mend)
		c.senseless(at+"strategy", p.Strategy != "", why, mend)
		c.senseless(at+"failover", p.Failover != nil && *p.Failover, why, mend)
		return
	}
	if j.Mode() != PlaceOne {
		why := "a job of mode " + string(j.Mode()) + " is on all agents that match"
		c.senseless(at+"strategy", p.Strategy != "", why, "leave it out")
		c.senseless(at+"failover", p.Failover != nil, why, "leave it out")
		return
	}
	c.senseless(at+"failover", p.Failover != nil && !*p.Failover && j.Kind() != "shell",
		"what calls over "+j.Kind()+" can run on any agent, and always moves", "leave it out, or pin the job by `agent`")
}

func (c *checker) senseless(path string, given bool, why, mend string) {
	if given {
		c.fault(path, mend, "has no meaning: %s", why)
	}
}

func (c *checker) exclude(at string, list []string) {
	if len(list) > maxEach {
		c.fault(at, "a selector on a label says it better", "%d agents; at most %d", len(list), maxEach)
	}
	for i, name := range list {
		path := fmt.Sprintf("%s[%d]", at, i)
		c.length(path, name, maxAgentName)
		switch {
		case name == "":
			c.fault(path, "the id or the name of an agent", "must be given")
		case slices.Index(list, name) < i:
			c.fault(path, "leave one of them out", "%s is excluded already", name)
		}
	}
}
