package placement

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"crony"
)

// maxNamed is how many jobs a line of the log names.
const maxNamed = 20

// named returns the first names of a list.
func named(list []string) string {
	if len(list) <= maxNamed {
		return strings.Join(list, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNamed], " "), len(list)-maxNamed)
}

// tell counts and logs which jobs were moved.
func (t *term) tell(made []string, d *Decision) {
	moved := map[Departure][]string{}
	for _, job := range made {
		if from, left := d.Left[job]; left {
			moved[from] = append(moved[from], job)
		}
	}
	if len(made) > 0 {
		t.log.Info("jobs placed", "jobs", len(made))
	}
	for from, jobs := range moved {
		t.metrics.moved.WithLabelValues(from.Why).Add(float64(len(jobs)))
		t.log.Info("jobs moved", "agent", t.name(from.Agent), "why", from.Why, "moved", len(jobs), "jobs", named(jobs))
	}
}

// tellKept logs which jobs stay with an agent that is down or drained, if that is not what was said last.
func (t *term) tellKept(ctx context.Context, agent string, kept *Kept) {
	counts := [...]int{len(kept.Stuck), len(kept.Waiting), len(kept.Busy)}
	if t.told[agent] == counts {
		return
	}
	t.told[agent] = counts
	why, level := byDrain, slog.LevelInfo
	if _, down := t.down[agent]; down {
		why, level = byFailover, slog.LevelWarn
	}
	t.log.Log(ctx, level, "jobs stay", "agent", t.name(agent), "why", why, "stuck", len(kept.Stuck), "stuck_jobs", named(kept.Stuck),
		"waiting", len(kept.Waiting), "waiting_jobs", named(kept.Waiting), "busy", len(kept.Busy), "busy_jobs", named(kept.Busy))
}

// name returns what people call an agent.
func (t *term) name(id string) string {
	i, found := slices.BinarySearchFunc(t.agents, id, func(a crony.AgentStatus, id string) int { return strings.Compare(a.ID, id) })
	if !found {
		return id
	}
	return nameOf(id, &t.agents[i])
}
