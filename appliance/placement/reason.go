package placement

import (
	"cmp"
	"fmt"

	"crony"
)

// nameOf returns what people call an agent.
func nameOf(id string, a *crony.AgentStatus) string {
	if a == nil {
		return id
	}
	return cmp.Or(a.Name, id)
}

// oneReason says why an agent has a job that one is to have.
func oneReason(g *group) string {
	terms := g.terms.String()
	switch n := len(g.takers); {
	case g.terms.Agent() != "":
		return "the job is pinned to it"
	case n == 1 && terms == "":
		return "the only connected agent"
	case n == 1:
		return "the only connected agent of those " + terms
	case g.strategy == crony.LeastJobs:
		return fmt.Sprintf("the fewest jobs of %d connected agents%s", n, after(terms))
	default:
		return fmt.Sprintf("its turn by weight among %d connected agents%s", n, after(terms))
	}
}

// wideReason says why each of several agents has a job.
func wideReason(j *crony.Job, terms *crony.Terms) string {
	who := "all agents" + after(terms.String())
	if j.Mode() == crony.PlaceRace {
		return who + " race for it"
	}
	return who + " run it"
}

func after(terms string) string {
	if terms == "" {
		return ""
	}
	return " " + terms
}
