// Package judge holds what a fleet has done against what crony promises. It is told what the jobs themselves wrote to disk when
// they ran, what the ledger says of them, in which order the store granted claims, and what was done to the fleet meanwhile; it
// answers with what must not have been.
//
// The one thing to know: it shares no code with what it judges. When a job is due it computes by itself, for the few schedules
// it knows; the ledger and the claims it reads as JSON, by structs of its own. It imports the standard library alone, and
// starts, opens and asks nothing: a [History] goes in, and [Violation]s come out.
package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// History is all that is known of a fleet's time.
type History struct {
	From, To time.Time // the occurrences that are judged: after From, up to To
	Jobs     []Job
	Lines    []Line             // what the jobs wrote, in any order
	Ledger   map[string][]Entry // by job
	Runs     map[string][]Run   // by job: at least those that are a second run of an occurrence, or were killed
	Claims   []Change           // of the keys of claims and assignments, in the store's order; none: they are not judged
	Troubles []Trouble
}

// Job is a job as far as it matters here.
type Job struct {
	Name         string
	Mode         string        // one, each or race
	OnDisconnect string        // run, hold or stop
	Overlap      string        // allow, forbid, queue or replace
	Again        bool          // an occurrence whose run is lost is to run once more
	Every        time.Duration // it is due at each multiple of it since the Unix epoch, and Offset later
	Offset       time.Duration
	Agents       []string // names: those that have it, in mode each
}

// Line is what a job's process writes down itself, as a line of JSON: when it starts, and when it ends.
type Line struct {
	Kind  string    `json:"kind"` // start or end
	Job   string    `json:"job"`
	Run   string    `json:"run"`
	Due   time.Time `json:"due"`
	Agent string    `json:"agent"` // the host's name
	Epoch int64     `json:"epoch"`
	Wall  time.Time `json:"wall"`  // the machine's clock, which nobody steps
	Since int64     `json:"since"` // ns since the machine was started
	PID   int       `json:"pid"`
	How   string    `json:"how,omitempty"` // of an end: by itself if "", or the signal
}

// The kinds of lines.
const (
	Start  = "start"
	Finish = "end"
)

// Entry is an entry of the ledger, as the API gives it, but for the agent's name, which stands in the place of its id.
type Entry struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Count  int64     `json:"count"`
	End    string    `json:"end"`
	Reason string    `json:"reason"`
	Run    string    `json:"run"`
	State  string    `json:"state"`
	Agent  string    `json:"agent"`
}

// Run is a run, as the API gives it, but for the agent's name.
type Run struct {
	ID          string    `json:"id"`
	Agent       string    `json:"agent"`
	State       string    `json:"state"`
	Trigger     string    `json:"trigger"`
	ScheduledAt time.Time `json:"scheduled_at"`
	Unclaimed   bool      `json:"unclaimed"` // started by an agent that was cut off
	Doubles     string    `json:"doubles"`   // the run of the same occurrence that another agent has
	RerunOf     string    `json:"rerun_of"`  // the run of the same occurrence that was lost
	Started     time.Time `json:"started_at"`
	Ended       time.Time `json:"ended_at"`
}

// Trouble is a time in which something was done to an agent, or to servers.
type Trouble struct {
	Agent    string // its name; "": of servers
	What     string
	From, To time.Time // from when it was begun until all was whole again
	Alone    bool      // no packet reached it, or left it
	Dark     bool      // its host lost power: what ran there is gone, and may not have written its last line
}

// Violation is what must not have been.
type Violation struct {
	Rule  string // which promise it breaks
	Job   string
	Agent string    // "" if it is nobody's in particular
	At    time.Time // the occurrence
	Text  string    // in plain words
}

// String says all of it in a line.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s at %s: %s", v.Rule, v.Job, v.At.UTC().Format("15:04:05"), v.Text)
}

// The rules.
const (
	Accounted = "accounted" // every occurrence is in the ledger, once, with its end and the reason
	Truthful  = "truthful"  // the ledger's word agrees with the disk
	Once      = "once"      // no occurrence ran twice but where the ledger shows that it did
	Never     = "never"     // ... nor at all, of jobs that ask rather not to run
	Lonely    = "lonely"    // hold and stop: nothing starts, or goes on, without the servers' leave
	Apart     = "apart"     // any overlap but allow: two runs do not go on at once
	Claimed   = "claimed"   // the cursor goes forward, each occurrence has one winner, and what ran had won
	Exactly   = "exactly"   // with agents whole: every occurrence ran
)

// Judge returns what must not have been, in the order of the occurrences.
func Judge(h *History) []Violation {
	var found []Violation
	for i := range h.Jobs {
		c := h.open(&h.Jobs[i])
		found = append(found, c.accounted()...)
		found = append(found, c.truthful()...)
		found = append(found, c.once()...)
		found = append(found, c.lonely()...)
		found = append(found, c.apart()...)
		found = append(found, c.claimed()...)
	}
	sortByTime(found)
	return found
}

func sortByTime(found []Violation) {
	slices.SortStableFunc(found, func(a, b Violation) int { return a.At.Compare(b.At) })
}

// About returns all that is known of a violation's occurrence, for people: lines, entries, claims, and troubles near it.
func (h *History) About(v Violation) string {
	var b strings.Builder
	for _, l := range h.Lines {
		if l.Job == v.Job && l.Due.Equal(v.At) {
			fmt.Fprintf(&b, "  disk: %s %s on %s, run %s, epoch %d, pid %d %s\n", clock(l.Wall), l.Kind,
				l.Agent, l.Run, l.Epoch, l.PID, l.How)
		}
	}
	for _, e := range h.Ledger[v.Job] {
		if !v.At.Before(e.From) && !v.At.After(e.To) {
			fmt.Fprintf(&b, "  ledger: %s to %s, %d: %s %s %q run %s, agent %s\n", clock(e.From), clock(e.To),
				e.Count, e.End, e.State, e.Reason, e.Run, e.Agent)
		}
	}
	for _, r := range h.Runs[v.Job] {
		if r.ScheduledAt.Equal(v.At) {
			fmt.Fprintf(&b, "  runs: %+v\n", r)
		}
	}
	for _, c := range h.Claims {
		if claim, ok := c.claim(); ok && claim.job == v.Job && near(claim.At, v.At) {
			fmt.Fprintf(&b, "  store: revision %d: %s = %s\n", c.Revision, c.Key, c.Value)
		}
	}
	for _, t := range h.Troubles {
		if t.From.Before(v.At.Add(time.Minute)) && t.To.After(v.At.Add(-time.Minute)) {
			fmt.Fprintf(&b, "  trouble: %s to %s: %s %s\n", clock(t.From), clock(t.To), t.Agent, t.What)
		}
	}
	return b.String()
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 2*time.Second }

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
