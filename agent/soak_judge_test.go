//go:build linux

package agent

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"crony"
	"crony/appliance/ledger"
)

// judge returns all that is wrong in the end.
func (s *soak) judge(t *testing.T) []string {
	s.runs.ready()
	faults := append(s.runs.strange, s.log.lines...)
	runs, stretches := s.sorted()
	end := s.now()
	for _, c := range s.book {
		r := records{runs: runs[c.now().UID], stretches: stretches[c.now().UID]}
		if c.removed.IsZero() {
			h, err := s.server.store.History(t.Context(), c.now().Job.Name)
			if err != nil {
				return append(faults, err.Error())
			}
			r.cursor = h.Claim.At
		}
		found := c.check(r, end)
		faults = append(faults, found...)
		if len(found) == 0 {
			faults = append(faults, s.sabotage(c, r, end)...)
		}
		s.counts["runs"] += len(r.runs)
		s.counts["stretches"] += len(r.stretches)
		for i := range r.stretches {
			s.counts["passed over"] += int(r.stretches[i].Count)
		}
	}
	if s.counts["sabotaged"] == 0 && s.seed == suiteSeed { // another short story may have no job that is simple enough
		faults = append(faults, "no check was put to the test")
	}
	faults = append(faults, s.startFaults()...)
	return append(faults, s.verify(t)...)
}

// sorted returns the records by the jobs' uids.
func (s *soak) sorted() (map[string][]crony.Run, map[string][]crony.Stretch) {
	runs, stretches := map[string][]crony.Run{}, map[string][]crony.Stretch{}
	for _, list := range s.runs.byJob {
		for _, r := range list {
			runs[r.JobUID] = append(runs[r.JobUID], r.Run)
		}
	}
	for _, list := range s.runs.stretches {
		for _, one := range list {
			stretches[one.JobUID] = append(stretches[one.JobUID], one)
		}
	}
	return runs, stretches
}

// startFaults returns which runs were started twice, or before anybody was told that they would be; and orders that nobody
// carried out.
func (s *soak) startFaults() []string {
	var faults []string
	doubles := map[crony.RunID]bool{}
	for _, r := range s.runs.runs {
		if r.Doubles != "" {
			doubles[r.Doubles] = true
			s.counts["doubles"]++
		} else if r.Unclaimed {
			s.counts["unclaimed"]++
		}
	}
	for run, n := range s.starts {
		if n > 1 || s.runs.runs[run] == nil && !doubles[run] || s.runs.runs[run] != nil && doubles[run] {
			faults = append(faults, fmt.Sprintf("the run %s was started %d times, and the log has it: %t", run, n,
				s.runs.runs[run] != nil))
		}
	}
	there := map[string]bool{}
	for _, c := range s.chapters {
		there[c.now().UID] = true
	}
	for run, uid := range s.orders {
		if s.runs.runs[run] == nil && there[uid] {
			faults = append(faults, fmt.Sprintf("the order for the run %s was not carried out", run))
		}
	}
	slices.Sort(faults)
	return faults
}

// verify has crony's own verification look at each job.
func (s *soak) verify(t *testing.T) []string {
	l, err := ledger.New(ledger.Options{Jobs: s.server.store, Runs: s.runs, Now: s.now})
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(s.chapters)) {
		q := crony.VerifyQuery{Job: name, From: s.chapters[name].defs[0].CreatedAt, To: s.now()}
		for {
			v, err := l.VerifyLedger(t.Context(), q)
			if err != nil {
				faults = append(faults, fmt.Sprintf("%s: %v", name, err))
				break
			}
			s.counts["verified"] += int(v.Expected)
			for _, f := range v.Faults {
				faults = append(faults, fmt.Sprintf("verification of %s: %s %s: %s", name, clockOf(f.At), f.Kind, f.Text))
			}
			if v.Complete {
				break
			}
			q.From = v.To.Add(1)
		}
	}
	return faults
}

// sabotage takes a record away and has the check find exactly that.
func (s *soak) sabotage(c *chapter, r records, end time.Time) []string {
	lost := slices.ContainsFunc(r.stretches, func(x crony.Stretch) bool { return x.End == crony.EndLost })
	if lost || len(c.defs) > 1 || len(r.runs) == 0 || !c.removed.IsZero() {
		return nil
	}
	s.counts["sabotaged"]++
	less := r
	less.runs = slices.Clone(r.runs[1:])
	if found := c.check(less, end); len(found) != 1 {
		return []string{fmt.Sprintf("without one run the check finds %q", found)}
	}
	less = r
	if len(r.stretches) == 0 {
		return nil
	}
	less.stretches = slices.Clone(r.stretches[1:])
	if found := c.check(less, end); len(found) != int(r.stretches[0].Count) {
		return []string{fmt.Sprintf("without one stretch of %d the check finds %q", r.stretches[0].Count, found)}
	}
	return nil
}
