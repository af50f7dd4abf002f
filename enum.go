package crony

// The words that a definition chooses among. Each type lists its own in Allowed, which the decoder holds the input against.

// PlacementMode says how many of the matching agents have the job.
type PlacementMode string

// The placement modes; one if empty.
const (
	PlaceOne  PlacementMode = "one"  // one agent has the job, another takes over
	PlaceEach PlacementMode = "each" // every matching agent runs every occurrence
	PlaceRace PlacementMode = "race" // every matching agent holds the schedule, the first to claim runs
)

// Allowed lists the placement modes.
func (PlacementMode) Allowed() []string { return []string{"one", "each", "race"} }

// Strategy says which of the matching agents gets a job of mode one.
type Strategy string

// The strategies; weighted round-robin if empty.
const (
	WeightedRoundRobin Strategy = "weighted_round_robin"
	LeastJobs          Strategy = "least_jobs"
)

// Allowed lists the strategies.
func (Strategy) Allowed() []string { return []string{"weighted_round_robin", "least_jobs"} }

// Overlap says what happens to an occurrence that comes due while as many runs of the job go on as may; see [Job.Slots].
type Overlap string

// The overlap policies; allow if empty.
const (
	OverlapAllow   Overlap = "allow"   // it runs beside them; with max_parallel, only up to that, and else it is skipped
	OverlapForbid  Overlap = "forbid"  // it is skipped
	OverlapQueue   Overlap = "queue"   // it runs after them
	OverlapReplace Overlap = "replace" // it runs in their place: they are ended
)

// Allowed lists the overlap policies.
func (Overlap) Allowed() []string { return []string{"allow", "forbid", "queue", "replace"} }

// OnDisconnect says what a cut-off agent does with the job.
type OnDisconnect string

// The disconnect policies; run if empty.
const (
	DisconnectRun  OnDisconnect = "run"
	DisconnectHold OnDisconnect = "hold"
	DisconnectStop OnDisconnect = "stop"
)

// Allowed lists the disconnect policies.
func (OnDisconnect) Allowed() []string { return []string{"run", "hold", "stop"} }

// OnLost says what happens when the agent of a run is gone.
type OnLost string

// The lost policies; fail if empty.
const (
	LostFail  OnLost = "fail"
	LostRerun OnLost = "rerun"
)

// Allowed lists the lost policies.
func (OnLost) Allowed() []string { return []string{"fail", "rerun"} }

// MisfirePolicy says which of the occurrences that were not decided in time are run late.
type MisfirePolicy string

// The misfire policies; once if empty.
const (
	MisfireSkip MisfirePolicy = "skip"
	MisfireOnce MisfirePolicy = "once" // the latest of them
	MisfireAll  MisfirePolicy = "all"
)

// Allowed lists the misfire policies.
func (MisfirePolicy) Allowed() []string { return []string{"skip", "once", "all"} }

// CalendarOn says what a day off does to an occurrence.
type CalendarOn string

// What a day off does.
const (
	CalendarSkip CalendarOn = "skip"
	CalendarNext CalendarOn = "next-working-day"
)

// Allowed lists what a day off may do.
func (CalendarOn) Allowed() []string { return []string{"skip", "next-working-day"} }

// Backoff says how the wait between attempts grows.
type Backoff string

// The backoffs; fixed if empty.
const (
	BackoffFixed       Backoff = "fixed"
	BackoffExponential Backoff = "exponential"
)

// Allowed lists the backoffs.
func (Backoff) Allowed() []string { return []string{"fixed", "exponential"} }

// RetryOn is an outcome of an attempt after which there is another. Each is also the [RunState] of a run that ends so.
type RetryOn string

// The outcomes that can be retried. What a person, or the stop of the agent, has killed is not.
const (
	RetryFailed   RetryOn = "failed"
	RetryTimedOut RetryOn = "timed_out" // by the timeout of one attempt
	RetryLost     RetryOn = "lost"      // the agent itself says so: it was restarted, and can't know how the attempt ended
)

// Allowed lists the outcomes that can be retried.
func (RetryOn) Allowed() []string { return []string{"failed", "timed_out", "lost"} }

// NotifyOn is an end, or a change, that people are told of.
type NotifyOn string

// Allowed lists what people can be told of.
func (NotifyOn) Allowed() []string {
	return []string{"failed", "lost", "missed", "skipped", "slow", "recovered", "succeeded"}
}

// Weekday is a day's short English name.
type Weekday string

// Allowed lists the weekdays.
func (Weekday) Allowed() []string { return []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"} }
