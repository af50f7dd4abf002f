package crony

import (
	"context"
	"iter"
	"time"
)

// Jobs is where jobs are defined. Every method is safe for concurrent use; every error is an [Error] or wraps one when a
// person can do something about it. After a write returns, a read through the same store sees it.
type Jobs interface {
	// Define defines all that the manifest holds or, if any can't be, nothing, and says of each what was done: calendars
	// first, then scripts, then jobs, each in their order. Defining what stands already changes nothing. The manifest must
	// have no faults (see [Manifest.Faults]). Conflict if a precondition of opts does not hold; Invalid if a job names a
	// calendar or a script that there is not.
	Define(ctx context.Context, m Manifest, opts ApplyOptions) ([]Applied, error)
	// Job returns one job; NotFound if there is none.
	Job(ctx context.Context, name string) (JobStatus, error)
	// ListJobs returns jobs in the order of their names.
	ListJobs(ctx context.Context, q JobQuery) (JobPage, error)
	// PauseJob stops, or with paused false resumes, the job's schedule; NotFound if there is no such job. Occurrences of the
	// time in between are not made up for.
	PauseJob(ctx context.Context, name string, paused bool) (JobStatus, error)
	// DeleteJob removes the definition and takes it from its agent; its runs stay. NotFound if there is none.
	DeleteJob(ctx context.Context, name string) error
	// StartJob has a job run now, and returns the ids that the runs will have once the order for them is stored: one, or with
	// All as many as agents have the job, in the order of their ids. An order that no agent has taken is of the job's agent,
	// whoever that is by then, or of the one that was named. NotFound without the job or the agent, Unavailable if no agent has
	// the job or the one that is named is not connected, Conflict if a thousand orders of the job wait, or if the request was
	// one for something else.
	StartJob(ctx context.Context, name string, opts StartOptions) ([]RunID, error)
}

// Calendars is where calendars are looked up. They are defined by [Jobs.Define]. Every method is safe for concurrent use.
type Calendars interface {
	// Calendar returns one calendar; NotFound if there is none.
	Calendar(ctx context.Context, name string) (CalendarStatus, error)
	// ListCalendars returns all calendars, in the order of their names.
	ListCalendars(ctx context.Context) ([]CalendarStatus, error)
	// DeleteCalendar removes a calendar; NotFound if there is none, Conflict while jobs keep it.
	DeleteCalendar(ctx context.Context, name string) error
}

// CalendarStatus is a calendar as it stands in the store.
type CalendarStatus struct {
	Calendar  Calendar  `json:"calendar"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
	Jobs      []string  `json:"jobs"` // the names of those that keep it, sorted
}

// Scripts is where preset scripts are looked up. They are defined by [Jobs.Define]. Every method is safe for concurrent use.
type Scripts interface {
	// Script returns one script; NotFound if there is none.
	Script(ctx context.Context, name string) (ScriptStatus, error)
	// ListScripts returns all scripts, in the order of their names.
	ListScripts(ctx context.Context) ([]ScriptStatus, error)
	// DeleteScript removes a script; NotFound if there is none, Conflict while jobs name it.
	DeleteScript(ctx context.Context, name string) error
}

// ScriptStatus is a script as it stands in the store.
type ScriptStatus struct {
	Script    Script    `json:"script"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
	Jobs      []string  `json:"jobs"` // the names of those that name it, sorted
}

// Runs is what is known of runs, and how a person ends one. Every method is safe for concurrent use.
type Runs interface {
	RunRecords
	// KillRun has a run ended, in the name of the context's actor, and returns when the order for that is stored. It is carried
	// out when the run's agent hears of it, and stays until then. A run that was ordered and not begun never begins. The first
	// order counts: another for the same run changes nothing. NotFound without the run; Conflict, saying how it ended, if it
	// has ended.
	KillRun(ctx context.Context, id RunID, reason string) error
	// HandleRun marks the result of a run as handled, in the name of the context's actor, and returns when that is on record.
	// It is done once: of however many who ask for it, of whichever servers, one has no error. Conflict says who has done it
	// and when, or that there is nothing to handle: the run goes on, has no result, or its job did not ask. NotFound without
	// the run. After Unavailable it may be done or not: ask again, by the same name for the request.
	HandleRun(ctx context.Context, id RunID, opts HandleOptions) (Handled, error)
}

// RunRecords is what is known of runs. Every method is safe for concurrent use.
type RunRecords interface {
	// Run returns one run; NotFound if there is none.
	Run(ctx context.Context, id RunID) (Run, error)
	// ListRuns returns runs, the newest first.
	ListRuns(ctx context.Context, q RunQuery) (RunPage, error)
	// Output yields what is kept of the run's output: attempt by attempt, each stream in the order of its offsets, without
	// overlaps; a gap shows by the offsets. With follow it goes on as output arrives, in the order of arrival, until the run
	// has ended or ctx is done. The last pair holds the error if there was one; NotFound without the run.
	Output(ctx context.Context, id RunID, follow bool) iter.Seq2[Chunk, error]
}

// ApplyOptions says how jobs are applied.
type ApplyOptions struct {
	DryRun bool // only say what would be done
	// IfGeneration, if set, is the generation that the job must have now; 0: there must be no such job. For a single job.
	IfGeneration *int64
}

// Applied says what defining something did, or would do.
type Applied struct {
	Kind       Kind   `json:"kind"`
	Name       string `json:"name"`
	Action     Action `json:"action"`
	Generation int64  `json:"generation"` // after it
}

// Kind is what a manifest can define.
type Kind string

// The kinds.
const (
	KindJob      Kind = "job"
	KindCalendar Kind = "calendar"
	KindScript   Kind = "script"
)

// Allowed lists the kinds.
func (Kind) Allowed() []string { return []string{"job", "calendar", "script"} }

// Action is what happened to a definition.
type Action string

// The actions.
const (
	Created   Action = "created"
	Updated   Action = "updated"
	Unchanged Action = "unchanged"
)

// JobQuery selects jobs. The zero query selects all.
type JobQuery struct {
	Search string // part of the name or the title, in any case
	Group  string
	Agent  string // its id: only jobs that it has
	Limit  int    // at most this many; [DefaultLimit] if 0
	Cursor string // JobPage.Next of the page before
}

// JobPage is a page of jobs.
type JobPage struct {
	Items []JobStatus `json:"items"`
	Next  string      `json:"next,omitempty"` // "" on the last page
}

// RunQuery selects runs: those that meet all of its conditions. The zero query selects all.
type RunQuery struct {
	Job     string
	Agent   string // its id
	State   RunState
	Group   string
	Trigger Trigger
	Labels  map[string]string // the job's, when the run was claimed: each of these

	From, To time.Time     // due at or after From and before To; either may be zero
	Longer   time.Duration // took at least this long, from its first start to its end, or till now if it goes on
	Shorter  time.Duration // ended, and took less than this
	ToHandle bool          // ended with a result that is to be handled, and is not yet
	Count    bool          // count all that is selected, too
	Limit    int           // at most this many; [DefaultLimit] if 0
	Cursor   string        // RunPage.Next of the page before
}

// RunPage is a page of runs.
type RunPage struct {
	Items []Run     `json:"items"`
	Next  string    `json:"next,omitempty"`  // "" on the last page
	Count *RunCount `json:"count,omitempty"` // if it was asked for
}

// RunCount is how many runs a query selects, on all pages.
type RunCount struct {
	Runs int64 `json:"runs"`
	More bool  `json:"more"` // there may be more: counting stopped at what it may cost
}

// The number of items on a page.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// PageLimit returns the number of items that a query's limit asks for: the default for 0, Invalid outside 1 to [MaxLimit].
func PageLimit(limit int) (int, error) {
	switch {
	case limit == 0:
		return DefaultLimit, nil
	case limit < 0 || limit > MaxLimit:
		return 0, Errorf(Invalid, "limit %d is out of range", limit).WithHint("1 to %d", MaxLimit)
	}
	return limit, nil
}

type actorKey struct{}

// WithActor returns a context whose changes are made in the name of actor.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorFrom returns the actor of ctx; "" if there is none.
func ActorFrom(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}
