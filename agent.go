package crony

import "time"

// Agent is a host's part of the fleet, as it registered.
type Agent struct {
	ID       string            `json:"id"` // in its certificate; survives restarts and renaming
	Name     string            `json:"name"`
	Hostname string            `json:"hostname"`
	Version  string            `json:"version"`
	OS       string            `json:"os"`              // GOOS
	Arch     string            `json:"arch"`            // GOARCH
	Lacks    []string          `json:"lacks,omitempty"` // what its platform has not of what jobs may ask for, in plain words
	Labels   map[string]string `json:"labels,omitempty"`
	Weight   int               `json:"weight"`             // of 1 or more: its share of the jobs
	MaxJobs  int               `json:"max_jobs,omitempty"` // see [AgentTraits]
	Since    time.Time         `json:"since,omitzero"`     // when it connected; zero if it is not connected
	Server   string            `json:"server"`             // the server that holds its stream; "" if it is not connected

	// Authority is the fingerprint of the authority that signed its certificate.
	Authority string `json:"authority,omitempty"`
}

// Assignment says that an agent has a job. Its epoch is the store's revision at which it was written: it grows with every
// change of the job or of its place, anywhere, so that of two agents that both believe they have a job, the store can tell
// which is right.
type Assignment struct {
	Job        string    `json:"job"`
	Agent      string    `json:"agent"`
	Generation int64     `json:"generation"`
	Epoch      int64     `json:"epoch"` // not stored: the revision of the record itself
	Since      time.Time `json:"since"`
	Reason     string    `json:"reason"` // why this agent, in plain words
}

// Claim is the last occurrence of a job that was decided: nobody may start an occurrence at or before it. A job of mode each
// has one for every agent that has it, of that agent's own occurrences.
type Claim struct {
	At         time.Time `json:"at"`
	Run        RunID     `json:"run,omitempty"`   // of the occurrence at At, if that was claimed; "" if it was passed over
	Agent      string    `json:"agent,omitempty"` // who claimed it, or passed it over
	Epoch      int64     `json:"epoch,omitempty"`
	Generation int64     `json:"generation"` // of the definition by which it was decided
}

// Definition is a job as it stands in the store.
type Definition struct {
	Job        Job       `json:"job"`
	UID        string    `json:"uid"`        // made with the job; a job made again under the same name has another
	Generation int64     `json:"generation"` // from 1; one more with each change
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	UpdatedBy  string    `json:"updated_by,omitempty"`
	// PlanSince is since when the job comes due as it does: when its schedules, its calendars or its being paused last
	// changed. Occurrences up to it are not this definition's.
	PlanSince time.Time `json:"plan_since"`
	// Calendars are those that the job keeps, as they are now, so that a definition alone says when the job is due. When one
	// changes, the job has a new generation.
	Calendars []Calendar `json:"calendars,omitempty"`
	// Scripts are those that the job names, in its order, as they are now. When one changes, the job has a new generation.
	Scripts []Script `json:"scripts,omitempty"`
}

// PauseReason says why occurrences of a paused job do not run.
func (d *Definition) PauseReason() string {
	return "the job was paused at " + d.PlanSince.UTC().Format(time.RFC3339)
}

// JobStatus is a job with what is known of it now.
type JobStatus struct {
	Definition
	// Assignments are those of the agents that have the job, by their ids: all of them, but in a list of jobs no more than
	// [ListedAssignments].
	Assignments []Assignment `json:"assignments,omitempty"`
	Assigned    int          `json:"assigned"`          // how many agents have it
	Waiting     string       `json:"waiting,omitempty"` // why no agent has it, if none does
	NextAt      time.Time    `json:"next_at,omitzero"`  // its next occurrence, unless it is paused or has none
	LastRun     *Run         `json:"last_run,omitempty"`
	// Locks are the runs that hold the job, the earliest first, and after them those that wait for one of them to end. Only of
	// jobs that have so many runs at once, and not in a list.
	Locks []Lock `json:"locks,omitempty"`
	// Orders are runs that were asked for and that no agent has taken yet, at most [MaxOrders]; the earliest first.
	Orders []StartRequest `json:"orders,omitempty"`
}

// Bounds on how many agents have a job.
const (
	MaxAssigned       = 4000 // at once: a change of the job is a change for all of them, in one transaction
	ListedAssignments = 3    // of a job in a list
)
