package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"crony"
	"crony/embedded/state"
)

// explainEach explains an occurrence that each agent has of its own: the one agent's that is asked for, or in short all of
// them.
func (l *Ledger) explainEach(
	ctx context.Context, q crony.ExplainQuery, h *state.History, x crony.Explanation,
) (crony.Explanation, error) {
	now := l.now().UTC()
	w, err := l.window(ctx, q.Job, h, instantly(x.At), portion)
	if err != nil {
		return crony.Explanation{}, err
	}
	x.Agent = q.Agent
	for _, whose := range w.whose(h, q.Agent) {
		line := timelineOf(*h, whose, now)
		told, err := line.toldOf(w.records(whose), x.At)
		if err != nil {
			return crony.Explanation{}, err
		}
		if told == nil && line.owes(x.At) {
			told = line.toCome(x.At)
		}
		switch {
		case q.Agent != "" && told == nil:
			x.Words = fmt.Sprintf("%s was due at %s, and not on agent %s: it did not have the job then.", x.Job, clock(x.At), whose)
		case q.Agent != "":
			x = line.explained(x, told)
		case told != nil:
			entry := told.entry
			if entry.Agent == "" {
				entry.Agent = whose
			}
			x.Agents = append(x.Agents, entry)
		}
	}
	if q.Agent == "" {
		x.Words = wordsOfEach(&x)
	}
	return x, nil
}

// owes says whether an instant is an occurrence of the timeline's own.
func (l *timeline) owes(at time.Time) bool {
	_, named := l.instant(at)
	return named
}

// wordsOfEach says in short what became of an occurrence on all agents.
func wordsOfEach(x *crony.Explanation) string {
	ends := map[crony.End]int{}
	for i := range x.Agents {
		ends[x.Agents[i].End]++
	}
	var parts []string
	for _, end := range crony.End("").Allowed() {
		if n := ends[crony.End(end)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s on %d", end, n))
		}
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s was due at %s on each agent that had it, and none had it.", x.Job, clock(x.At))
	}
	return fmt.Sprintf("%s was due at %s on each of its %d agents: %s.", x.Job, clock(x.At), len(x.Agents),
		strings.Join(parts, ", "))
}
