//go:build linux

package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/appliance/ledger"
)

// simOnTime is how late a process may start when all is well: the longest that messages are on their way, some of them.
const simOnTime = 1500 * time.Millisecond

// judge returns all that is wrong in the end.
func (s *sim) judge(t *testing.T) []string {
	s.runs.ready()
	faults := append(slices.Clone(s.runs.strange), s.log.lines...)
	end := time.Now()
	for i := range s.jobs {
		faults = append(faults, s.doubles(&s.jobs[i])...)
		faults = append(faults, s.told(&s.jobs[i])...)
		faults = append(faults, s.accounted(t, &s.jobs[i], end)...)
		faults = append(faults, s.live(&s.jobs[i], end)...)
		faults = append(faults, s.retried(&s.jobs[i], end)...)
	}
	open := int(ahead/time.Second) + 2 // of a job that is due each second: what is claimed ahead, and one that goes on
	for _, h := range s.hosts {
		if n := len(s.runs.Unfinished(h.id)); n > open*len(s.jobs) {
			faults = append(faults, fmt.Sprintf("%d runs of %s are open", n, h.id))
		}
	}
	slices.Sort(faults)
	return faults
}

// doubles returns which attempts of a job's occurrences were started more than once, but for those that the ledger shows to be doubles: what
// an agent that was cut off started by itself, where the job is to run all the same.
func (s *sim) doubles(j *crony.Job) []string {
	var faults []string
	type try struct {
		run    crony.RunID
		number int
	}
	first := map[try]simStart{}
	for _, a := range s.starts {
		if a.job != j.Name {
			continue
		}
		before, again := first[try{a.run, a.attempt}]
		if again && (s.doubled(a) || s.doubled(before)) && runsAlone(j) {
			continue
		}
		if again {
			faults = append(faults, fmt.Sprintf("%s of %s was started by %s at %s, and by %s at %s: %s", j.Name, s.at(a.due), before.agent,
				s.at(before.at), a.agent, s.at(a.at), s.words(j, a.due)))
			continue
		}
		first[try{a.run, a.attempt}] = a
	}
	return faults
}

// told returns what was started and is not on record as what it is: as the occurrence's run, or as a double of another that there was.
func (s *sim) told(j *crony.Job) []string {
	var faults []string
	for _, a := range s.starts {
		if r := s.runs.runs[a.run]; a.job == j.Name && (r == nil || r.madeBy(a.attempt) != a.agent) && !s.doubled(a) {
			faults = append(faults, fmt.Sprintf("%s of %s, that %s started, is not on record:%s", j.Name, s.at(a.due), a.agent,
				s.words(j, a.due)))
		}
	}
	for _, r := range s.runs.byJob[j.Name] {
		if r.Doubles != "" && s.runs.runs[r.Doubles] == nil && !slices.ContainsFunc(s.runs.stretches[j.Name], func(x crony.Stretch) bool {
			return x.End == crony.EndLost && !x.From.After(r.ScheduledAt) && !x.To.Before(r.ScheduledAt)
		}) {
			faults = append(faults, fmt.Sprintf("%s of %s doubles what never was:%s", j.Name, s.at(r.ScheduledAt), s.words(j, r.ScheduledAt)))
		}
	}
	return faults
}

// madeBy returns the agent that made an attempt of a run, as it is on record.
func (r *soakRun) madeBy(attempt int) string {
	for i := range r.Attempts {
		if a := &r.Attempts[i]; a.Number == attempt && a.Agent != "" {
			return a.Agent
		}
	}
	return r.Agent
}

// retried returns which runs of a job that is tried again elsewhere lack an attempt, or have not come to an end.
func (s *sim) retried(j *crony.Job, end time.Time) []string {
	if j.Retry == nil || !j.Retry.Elsewhere {
		return nil
	}
	var faults []string
	for _, r := range s.runs.byJob[j.Name] {
		for i := range r.Attempts {
			if r.Attempts[i].Number != i+1 {
				faults = append(faults, fmt.Sprintf("%s of %s has an attempt %d after %d others", r.ID, j.Name, r.Attempts[i].Number, i))
			}
			if i > 0 && r.Attempts[i].Agent != "" && r.Attempts[i].Agent != r.Attempts[i-1].Agent {
				s.moved++
			}
		}
		if !r.State.Ended() && r.ScheduledAt.Before(end.Add(-simMostOpen)) {
			faults = append(faults, fmt.Sprintf("%s of %s of %s, %s, has not ended: %s", r.ID, r.Agent, j.Name, s.at(r.ScheduledAt), r.State))
		}
	}
	return faults
}

// simMostOpen is how long a run may last that is tried again, when all is well.
const simMostOpen = 30 * time.Second

// doubled says whether the run log has a run as a double.
func (s *sim) doubled(a simStart) bool {
	return slices.ContainsFunc(s.runs.byJob[a.job], func(r *soakRun) bool { return r.Doubles == a.run && r.Agent == a.agent })
}

// runsAlone says whether a job runs on agents that are cut off.
func runsAlone(j *crony.Job) bool {
	return j.Mode() != crony.PlaceRace && (j.OnDisconnect == "" || j.OnDisconnect == crony.DisconnectRun)
}

// mayHaveEnded says whether a run that is made up for may come out to have succeeded: its agent was cut off, or stood still, before
// anybody heard of it.
func mayHaveEnded(j *crony.Job) bool {
	return j.OnDisconnect != crony.DisconnectHold && j.OnLost == crony.LostRerun
}

// at writes a time as those of the events.
func (s *sim) at(t time.Time) string { return fmt.Sprintf("%.3f", t.Sub(s.began).Seconds()) }

// owner is whose occurrences are counted apart: an agent, of jobs that each has; else nobody.
type owner string

// ownersOf returns who owes what came due of a job, and since when.
func (s *sim) ownersOf(t *testing.T, j *crony.Job) (map[owner]time.Time, error) {
	st, err := s.servers[0].store.Job(t.Context(), j.Name)
	if err != nil || j.Mode() != crony.PlaceEach {
		return map[owner]time.Time{"": st.CreatedAt}, err
	}
	owners := map[owner]time.Time{}
	for _, a := range st.Assignments {
		owners[owner(a.Agent)] = a.Since
	}
	if len(owners) != len(s.hosts) {
		return nil, fmt.Errorf("%d agents have %s", len(owners), j.Name)
	}
	return owners, nil
}

// accounted returns of which occurrences of a job nothing, or too much, is recorded: by counting here, and by crony's own
// verification.
func (s *sim) accounted(t *testing.T, j *crony.Job, end time.Time) []string {
	owners, err := s.ownersOf(t, j)
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for whose, since := range owners {
		records := s.records(j, whose)
		for at := s.next(j, since); at.Before(end.Add(-3 * time.Second)); at = s.next(j, at) {
			if n := records[at]; n != 1 {
				faults = append(faults, fmt.Sprintf("of %s %s at %s there are %d records: %s", j.Name, whose, s.at(at), n, s.words(j, at)))
			}
		}
	}
	l, err := ledger.New(ledger.Options{Jobs: s.servers[0].store, Runs: s.runs, Now: time.Now})
	if err != nil {
		return append(faults, err.Error())
	}
	v, err := l.VerifyLedger(t.Context(), crony.VerifyQuery{Job: j.Name, From: s.began, To: end.Add(-3 * time.Second)})
	if err != nil {
		return append(faults, err.Error())
	}
	for _, f := range v.Faults {
		if f.Kind == crony.FaultDouble && (runsAlone(j) || mayHaveEnded(j)) {
			continue
		}
		faults = append(faults, fmt.Sprintf("verification of %s %s at %s: %s: %s", j.Name, f.Agent, s.at(f.At), f.Kind, f.Text))
	}
	return faults
}

// words says what is recorded of an occurrence, for people.
func (s *sim) words(j *crony.Job, at time.Time) string {
	var b strings.Builder
	for _, r := range s.runs.byJob[j.Name] {
		if r.ScheduledAt.Equal(at) {
			fmt.Fprintf(&b, "\n\trun %s of %s, %s %s, unclaimed %t, doubles %q, rerun of %q", r.ID, r.Agent, r.State, r.Reason,
				r.Unclaimed, r.Doubles, r.RerunOf)
		}
	}
	for _, x := range s.runs.stretches[j.Name] {
		if !x.From.After(at) && !x.To.Before(at) {
			fmt.Fprintf(&b, "\n\t%s of %q from %s to %s by %q: %s", x.End, x.Of, s.at(x.From), s.at(x.To), x.Agent, x.Reason)
		}
	}
	return b.String()
}

// records counts what is recorded of a job's occurrences.
func (s *sim) records(j *crony.Job, whose owner) map[time.Time]int {
	records := map[time.Time]int{}
	for _, r := range s.runs.byJob[j.Name] {
		if r.Doubles == "" && r.RerunOf == "" && (whose == "" || r.Agent == string(whose)) {
			records[r.ScheduledAt]++
		}
	}
	for _, r := range s.runs.byJob[j.Name] { // one in the place of a lost one is beside it, or outweighs the record that it is lost
		if r.RerunOf != "" && records[r.ScheduledAt] == 0 && (whose == "" || r.Agent == string(whose)) {
			records[r.ScheduledAt]++
		}
	}
	for _, x := range s.runs.stretches[j.Name] {
		for at := s.next(j, x.From.Add(-1)); x.Of == string(whose) && !at.After(x.To); at = s.next(j, at) {
			if records[at] > 0 && (x.End == crony.EndLost || s.ranAlone(j, at)) {
				continue // its run was reported after all
			}
			records[at]++
		}
	}
	return records
}

// ranAlone says whether an agent that was cut off has run an occurrence that was passed over meanwhile, and nobody else has.
func (s *sim) ranAlone(j *crony.Job, at time.Time) bool {
	return slices.ContainsFunc(s.runs.byJob[j.Name], func(r *soakRun) bool {
		return r.ScheduledAt.Equal(at) && r.Unclaimed && r.Doubles == ""
	})
}

// next returns the first occurrence of a job after a time, by arithmetic of its own: the schedules are of every so many seconds of a
// minute.
func (s *sim) next(j *crony.Job, after time.Time) time.Time {
	var every int64
	fmt.Sscanf(j.Schedule, "*/%d", &every)
	return time.Unix((after.Unix()/every+1)*every, 0).UTC()
}

// live returns which occurrences of the quiet time did not run, or not on time.
func (s *sim) live(j *crony.Job, end time.Time) []string {
	owners := []owner{""}
	if j.Mode() == crony.PlaceEach {
		owners = nil
		for _, h := range s.hosts {
			owners = append(owners, owner(h.id))
		}
	}
	var faults []string
	for at := s.next(j, end.Add(-simQuiet)); at.Before(end.Add(-3 * time.Second)); at = s.next(j, at) {
		for _, whose := range owners {
			i := slices.IndexFunc(s.starts, func(a simStart) bool {
				return a.job == j.Name && a.due.Equal(at) && (whose == "" || a.agent == string(whose))
			})
			switch {
			case i < 0:
				faults = append(faults, fmt.Sprintf("%s %s of %s did not run though all was well", j.Name, whose, s.at(at)))
			case s.starts[i].at.Sub(at) > simOnTime:
				faults = append(faults, fmt.Sprintf("%s %s of %s ran %s late though all was well", j.Name, whose, s.at(at),
					s.starts[i].at.Sub(at)))
			}
		}
	}
	return faults
}
