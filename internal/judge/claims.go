package judge

import (
	"encoding/json"
	"strings"
	"time"
)

// Change is one change of a key in the store, as its own history has it. The order of revisions is the order of the changes,
// for all keys, so that a history needs no search for an order in which it would be right: it is read once, from its beginning.
type Change struct {
	Revision int64
	Key      string // below /crony/
	Value    string // "" if the key was removed
}

// claim is the value of a claim's key.
type claim struct {
	At    time.Time `json:"at"`
	Run   string    `json:"run"`
	Agent string    `json:"agent"` // id
	Epoch int64     `json:"epoch"`

	job    string
	thread string // the agent's id in mode each
}

func (c Change) claim() (v claim, ok bool) {
	rest, ok := strings.CutPrefix(c.Key, "claim/")
	if !ok || c.Value == "" || json.Unmarshal([]byte(c.Value), &v) != nil {
		return claim{}, false
	}
	v.job, v.thread, _ = strings.Cut(rest, "/")
	return v, true
}

// claimed: a claim's key only goes forward, and moves by the agent that has the job, at the epoch by which it has it; and each
// run that an agent did not start by itself has won its claim, at its epoch.
func (c *court) claimed() (found []Violation) {
	if len(c.Claims) == 0 {
		return nil
	}
	cursor := map[string]claim{}   // by thread
	assigned := map[string]int64{} // epoch, by agent id
	won := map[string]int64{}      // epoch, by run
	for _, change := range c.Claims {
		if agent, job, ok := change.assignment(); ok && job == c.job.Name {
			delete(assigned, agent)
			if change.Value != "" {
				assigned[agent] = change.Revision
			}
			continue
		}
		v, ok := change.claim()
		if !ok || v.job != c.job.Name {
			continue
		}
		if last, ok := cursor[v.thread]; ok && v.At.Before(last.At) {
			found = append(found, c.fault(Claimed, "", v.At, "revision %d takes its cursor back from %s", change.Revision, clock(last.At)))
		} else if ok && v.At.Equal(last.At) && v.Run != last.Run && v.Run != "" { // without a run: its last one is on record
			found = append(found, c.fault(Claimed, "", v.At, "revision %d gives it to run %s, and it was that of %q",
				change.Revision, v.Run, last.Run))
		}
		cursor[v.thread] = v
		if v.Run == "" {
			continue
		}
		if epoch := assigned[v.Agent]; epoch != v.Epoch {
			found = append(found, c.fault(Claimed, "", v.At, "revision %d grants it at epoch %d, and its agent's is %d",
				change.Revision, v.Epoch, epoch))
		}
		won[v.Run] = v.Epoch
	}
	return append(found, c.winners(won)...)
}

func (c Change) assignment() (agent, job string, ok bool) {
	rest, ok := strings.CutPrefix(c.Key, "job/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

func (c *court) winners(won map[string]int64) (found []Violation) {
	alone := map[string]bool{}
	for _, r := range c.Runs[c.job.Name] {
		if r.Unclaimed || r.Doubles != "" {
			alone[r.ID], alone[r.Doubles] = true, true
		}
		if r.RerunOf != "" { // it was ordered
			alone[r.ID] = true
		}
	}
	for _, l := range c.starts {
		epoch, ok := won[l.Run]
		switch {
		case alone[l.Run]:
		case !ok:
			found = append(found, c.fault(Claimed, l.Agent, l.Due, "run %s started on %s, and no claim was granted for it",
				l.Run, l.Agent))
		case epoch != l.Epoch:
			found = append(found, c.fault(Claimed, l.Agent, l.Due, "run %s started on %s at epoch %d, and its claim's is %d",
				l.Run, l.Agent, l.Epoch, epoch))
		}
	}
	return found
}
