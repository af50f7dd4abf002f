package crony

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"crony/internal/selector"
)

// Agents is the fleet as the servers know it. Every method is safe for concurrent use. An agent is named by its id, or by its
// name where only one has it: see [FindAgent].
type Agents interface {
	// ListAgents returns all agents that are known, connected or not, in the order of their names.
	ListAgents(ctx context.Context) ([]AgentStatus, error)
	// Agent returns one agent; NotFound if there is none, Conflict if several have the name.
	Agent(ctx context.Context, idOrName string) (AgentStatus, error)
	// ChangeAgent changes what people set for an agent, connected or not, all of it or nothing, and returns what the agent is
	// then. Errors are as of Agent, and Invalid for a change that has faults.
	ChangeAgent(ctx context.Context, idOrName string, change AgentChange) (AgentStatus, error)
	// AgentFigures returns how the agent's host is. It has the agent look, for as long as it is called again within seconds; the
	// first call waits a few seconds for an answer. Errors are as of Agent, and Unavailable if the agent is not connected or does
	// not answer.
	AgentFigures(ctx context.Context, idOrName string) (HostFigures, error)
	// RebalanceAgents has the leader spread the jobs that may be moved over the agents that take them, with as few moves as lead
	// there, and returns when that is done. Unavailable if no leader has taken it up in half a minute.
	RebalanceAgents(ctx context.Context) (Rebalanced, error)
}

// Rebalanced says what a rebalance did.
type Rebalanced struct {
	Moved int `json:"moved"` // jobs that another agent has now
	Busy  int `json:"busy"`  // jobs that had to stay, as runs of them went on or were about to
}

// AgentStatus is what is known of an agent, whether or not it is connected. Its labels and its weight are those that count:
// what people set wins over what the agent says.
type AgentStatus struct {
	Agent
	Up bool `json:"up"` // it is connected

	// SeenAt is when it was last known to be connected, for one that is not; zero if that is not known. An agent whose server
	// died with it, or that fell silent, was noticed up to ten seconds late.
	SeenAt time.Time   `json:"seen_at,omitzero"`
	Cordon *Cordon     `json:"cordon,omitempty"` // nil: it takes jobs
	Said   AgentTraits `json:"said"`             // what the agent says of itself
	Set    AgentTraits `json:"set"`              // what people set over it

	Jobs    int `json:"jobs"`    // assigned to it
	Running int `json:"running"` // runs of it that go on
}

// Full says whether the agent has as many jobs as it is to have.
func (a *AgentStatus) Full() bool { return a.MaxJobs > 0 && a.Jobs >= a.MaxJobs }

// AgentTraits is what decides which jobs an agent gets, and how many.
type AgentTraits struct {
	Labels map[string]string `json:"labels,omitempty"`
	Weight int               `json:"weight,omitempty"` // 0: not set
	// MaxJobs is how many jobs the agent may have for it to be given one more: one that is for one agent, and for which agents
	// are chosen from. What it has, it keeps. 0: not set, or any number.
	MaxJobs int `json:"max_jobs,omitempty"`
}

// Over returns what counts where t is set over what the agent says.
func (t AgentTraits) Over(said AgentTraits) AgentTraits {
	if len(t.Labels) > 0 {
		labels := maps.Clone(said.Labels)
		if labels == nil {
			labels = make(map[string]string, len(t.Labels))
		}
		maps.Copy(labels, t.Labels)
		said.Labels = labels
	}
	if t.Weight != 0 {
		said.Weight = t.Weight
	}
	said.Weight = max(said.Weight, 1)
	if t.MaxJobs != 0 {
		said.MaxJobs = t.MaxJobs
	}
	return said
}

// Cordon says that an agent gets no more jobs. Those that it has stay, unless it is drained.
type Cordon struct {
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	Drain  bool      `json:"drain"` // jobs that may run elsewhere are moved away, each as its runs end
}

// AgentChange is what a person wants changed; what is nil stays.
type AgentChange struct {
	// Labels are set over what the agent says of itself; nil takes away what was set before, so that the agent's own label of
	// that key, if it has one, shows again. A label that the agent says itself can be set to another value, and not removed.
	Labels map[string]*string `json:"labels,omitempty"`
	Weight *int               `json:"weight,omitempty"` // 1 to [MaxWeight]; 0: what the agent says counts again
	// MaxJobs is 1 to [MaxMaxJobs]; 0: what the agent says counts again.
	MaxJobs *int          `json:"max_jobs,omitempty"`
	Cordon  *CordonChange `json:"cordon,omitempty"`
}

// CordonChange cordons an agent, or takes the cordon away. Cordoning one that is cordoned replaces who, when and why, unless
// it says the same, or gives no reason: then who was first stays.
type CordonChange struct {
	On     bool   `json:"on"`
	Drain  bool   `json:"drain,omitempty"`  // only with On
	Reason string `json:"reason,omitempty"` // only with On; at most 1,000 bytes
}

// The bounds of what people, and agents, say of an agent.
const (
	MaxWeight       = 1000
	MaxMaxJobs      = 1_000_000
	MaxLabels       = 64
	maxCordonReason = 1000
)

// Faults returns what is wrong with the change, by the paths of its keys.
func (c AgentChange) Faults() []Fault {
	var faults []Fault
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		value := ""
		if c.Labels[key] != nil {
			value = *c.Labels[key]
		}
		if err := selector.ValidLabel(key, value); err != nil {
			faults = append(faults, Fault{Path: "labels." + key, Message: err.Error()})
		}
	}
	if len(c.Labels) > MaxLabels {
		faults = append(faults, Fault{Path: "labels", Message: fmt.Sprintf("%d labels; at most %d", len(c.Labels), MaxLabels)})
	}
	if c.Weight != nil && (*c.Weight < 0 || *c.Weight > MaxWeight) {
		faults = append(faults, Fault{Path: "weight", Message: fmt.Sprintf("%d is out of range", *c.Weight),
			Hint: fmt.Sprintf("1 to %d; 0 has the agent's own count", MaxWeight)})
	}
	if c.MaxJobs != nil && (*c.MaxJobs < 0 || *c.MaxJobs > MaxMaxJobs) {
		faults = append(faults, Fault{Path: "max_jobs", Message: fmt.Sprintf("%d is out of range", *c.MaxJobs),
			Hint: fmt.Sprintf("1 to %d; 0 has the agent's own count", MaxMaxJobs)})
	}
	if c.Cordon != nil {
		faults = append(faults, c.Cordon.faults()...)
	}
	return faults
}

func (c CordonChange) faults() []Fault {
	var faults []Fault
	if c.Drain && !c.On {
		faults = append(faults, Fault{Path: "cordon.drain", Message: "an agent is not drained without being cordoned",
			Hint: "with on: true"})
	}
	if c.Reason != "" && !c.On {
		faults = append(faults, Fault{Path: "cordon.reason", Message: "only a cordon has a reason", Hint: "with on: true"})
	}
	if len(c.Reason) > maxCordonReason {
		faults = append(faults, Fault{Path: "cordon.reason",
			Message: fmt.Sprintf("has %d bytes; at most %d", len(c.Reason), maxCordonReason)})
	}
	return faults
}

// Role is the role that the change takes: an operator cordons, an editor says what an agent is.
func (c AgentChange) Role() Role {
	if len(c.Labels) > 0 || c.Weight != nil || c.MaxJobs != nil {
		return Editor
	}
	return Operator
}

// TraitFaults returns what is wrong with what an agent says of itself.
func TraitFaults(t AgentTraits) []Fault {
	change := AgentChange{Labels: make(map[string]*string, len(t.Labels)), Weight: &t.Weight, MaxJobs: &t.MaxJobs}
	for key, value := range t.Labels {
		change.Labels[key] = &value
	}
	return change.Faults()
}

// FindAgent returns the agent of a list that has an id or, if none has, the only one that has it as its name: NotFound if
// there is none, Conflict, which names the ids, if there are several.
func FindAgent(agents []AgentStatus, idOrName string) (AgentStatus, error) {
	var found []AgentStatus
	for _, a := range agents {
		if a.ID == idOrName {
			return a, nil
		}
		if a.Name == idOrName {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return AgentStatus{}, Errorf(NotFound, "there is no agent %s", idOrName).WithHint("`crony agent list` shows all")
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, a := range found {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return AgentStatus{}, Errorf(Conflict, "several agents are called %s", idOrName).
		WithHint("name one by its id: %s", strings.Join(ids, ", "))
}
