package crony

import (
	"encoding/json"
	"maps"
	"time"
)

// Job is a job's definition as a person wrote it: the manifest's form, and the API's. A zero field was not given; what it
// then means is said by the field's comment and by the method of its name, never by a value filled in here, so that a
// definition that is shown is the definition that was applied.
type Job struct {
	Name   string            `json:"name"`             // the identity: [a-z0-9][a-z0-9._-]*, at most 63
	Title  string            `json:"title,omitempty"`  // for people; any language
	Group  string            `json:"group,omitempty"`  // the namespace for people and permissions; "default" if empty
	Labels map[string]string `json:"labels,omitempty"` // for selection by people
	Owner  string            `json:"owner,omitempty"`
	Note   string            `json:"note,omitempty"`
	Paused bool              `json:"paused,omitempty"` // a paused job keeps its history and starts nothing by schedule

	Schedule  string          `json:"schedule,omitempty"`  // short for one entry of Schedules
	Schedules []ScheduleEntry `json:"schedules,omitempty"` // none: the job runs only when told to
	Calendars []CalendarUse   `json:"calendars,omitempty"`
	Misfire   *Misfire        `json:"misfire,omitempty"`

	Placement    *Placement   `json:"placement,omitempty"`
	Overlap      Overlap      `json:"overlap,omitempty"`
	MaxParallel  int          `json:"max_parallel,omitempty"`
	OnDisconnect OnDisconnect `json:"on_disconnect,omitempty"`
	OnLost       OnLost       `json:"on_lost,omitempty"`

	Timeout    Duration `json:"timeout,omitempty"`     // of one attempt; 0: none
	RunTimeout Duration `json:"run_timeout,omitempty"` // of all attempts and the waits between them; 0: none
	KillGrace  Duration `json:"kill_grace,omitempty"`  // from TERM to KILL; 10s if 0
	Retry      *Retry   `json:"retry,omitempty"`       // nil: there is one attempt
	Scripts    []string `json:"scripts,omitempty"`     // names of preset scripts that prepare the host

	// HandleResults has each run that ends with a result wait, as to be handled, until somebody marks it: see [Runs].
	HandleResults bool `json:"handle_results,omitempty"`

	Shell *Shell `json:"shell,omitempty"` // exactly one of Shell, HTTP and GRPC is set
	HTTP  *HTTP  `json:"http,omitempty"`
	GRPC  *GRPC  `json:"grpc,omitempty"`

	Notify    *Notify    `json:"notify,omitempty"`
	Retention *Retention `json:"retention,omitempty"`
}

// ScheduleEntry is one way in which a job comes due; exactly one of Cron, Every and At is set.
type ScheduleEntry struct {
	Cron     string      `json:"cron,omitempty"`
	Every    Duration    `json:"every,omitempty"`
	At       []time.Time `json:"at,omitempty"`
	Timezone string      `json:"timezone,omitempty"` // IANA name; UTC if empty
	Jitter   Duration    `json:"jitter,omitempty"`
	StartsAt time.Time   `json:"starts_at,omitzero"`
	EndsAt   time.Time   `json:"ends_at,omitzero"`
}

// CalendarUse says what a calendar's days off do to a job's occurrences.
type CalendarUse struct {
	Name string     `json:"name"`
	On   CalendarOn `json:"on"`
}

// Misfire says what becomes of occurrences that could not be decided in time.
type Misfire struct {
	Policy   MisfirePolicy `json:"policy,omitempty"`
	Deadline Duration      `json:"deadline,omitempty"`
	Limit    int           `json:"limit,omitempty"`
}

// Placement says where a job runs.
type Placement struct {
	Mode     PlacementMode `json:"mode,omitempty"`
	Agent    string        `json:"agent,omitempty"`    // id or name: the only agent that may have the job
	Selector string        `json:"selector,omitempty"` // of labels; see internal/selector
	Exclude  []string      `json:"exclude,omitempty"`  // ids or names of agents that may not
	Strategy Strategy      `json:"strategy,omitempty"`
	Failover *bool         `json:"failover,omitempty"` // whether a shell job moves from an agent that is down; see [Job.Movable]
}

// Shell runs a process. Exactly one of Command, Script and Argv is set.
type Shell struct {
	Interpreter string            `json:"interpreter,omitempty"` // for Command and Script; /bin/sh if empty, cmd.exe on Windows
	Command     string            `json:"command,omitempty"`     // given to the interpreter with -c; to cmd.exe with /C
	Script      string            `json:"script,omitempty"`      // given to the interpreter as a file
	Argv        []string          `json:"argv,omitempty"`        // run as it is, no interpreter
	User        string            `json:"user,omitempty"`
	Cwd         string            `json:"cwd,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Secrets     map[string]string `json:"secrets,omitempty"` // env name: secret
	Stdin       string            `json:"stdin,omitempty"`
	Umask       string            `json:"umask,omitempty"`
	Limits      *Limits           `json:"limits,omitempty"`
	Rlimits     *Rlimits          `json:"rlimits,omitempty"`
}

// Limits bounds what one attempt may use; zero is no limit, but for Output, which is then [DefaultOutputLimit].
type Limits struct {
	Memory Size    `json:"memory,omitempty"`
	CPU    float64 `json:"cpu,omitempty"` // cores
	Pids   int     `json:"pids,omitempty"`
	Output Size    `json:"output,omitempty"` // kept of stdout and stderr, each; the middle goes first
}

// HTTP calls a URL.
type HTTP struct {
	Method  string            `json:"method,omitempty"`  // POST with a body, else GET, if empty
	URL     string            `json:"url"`               // it, the headers' values and the body are templates; see [CallFacts]
	Headers map[string]string `json:"headers,omitempty"` // not carried along to where another host redirects
	Body    string            `json:"body,omitempty"`
	Expect  *HTTPExpect       `json:"expect,omitempty"`
	TLS     *TLS              `json:"tls,omitempty"`
	Async   bool              `json:"async,omitempty"` // 202 means accepted: how it ends is told later
}

// HTTPExpect says which answers are a success.
type HTTPExpect struct {
	Status []string `json:"status,omitempty"` // "204" or "200-299"; the latter if empty
	Body   string   `json:"body,omitempty"`   // RE2, to be found in the first MiB
}

// GRPC calls a unary method.
type GRPC struct {
	Target   string            `json:"target"`            // HOST:PORT or dns:///HOST:PORT; of several addresses, each in turn
	Method   string            `json:"method"`            // package.Service/Method
	Request  json.RawMessage   `json:"request,omitempty"` // JSON of the method's message; {} if empty
	Metadata map[string]string `json:"metadata,omitempty"`
	TLS      *TLS              `json:"tls,omitempty"`   // none: the call is not encrypted
	Async    bool              `json:"async,omitempty"` // OK means accepted: how it ends is told later

	// DescriptorSet is a FileDescriptorSet with all imports, in base64. Without it the target is asked by reflection.
	DescriptorSet string `json:"descriptor_set,omitempty"`
}

// TLS says whom a callback trusts and as whom it speaks. The files are on the agent, which reads them for each call.
type TLS struct {
	CAFile     string `json:"ca_file,omitempty"` // PEM; those that the host trusts if empty
	CertFile   string `json:"cert_file,omitempty"`
	KeyFile    string `json:"key_file,omitempty"`
	ServerName string `json:"server_name,omitempty"` // in the certificate of whom is called; the host's if empty
}

// Notify says which ends of a run are told, and to which channels.
type Notify struct {
	On       []NotifyOn `json:"on,omitempty"`
	Channels []string   `json:"channels,omitempty"`
}

// Retention bounds how much of a job's history is kept: its runs, with their output. The servers keep no job's history for
// longer than their own configuration says.
type Retention struct {
	Age  Duration `json:"age,omitempty"`  // since a run was due; 0: no bound
	Runs int      `json:"runs,omitempty"` // the newest; 0: no bound
}

// Defaults that more than one part must agree on.
const (
	DefaultGroup       = "default"
	DefaultInterpreter = "/bin/sh"
	DefaultKillGrace   = Duration(10 * time.Second)
	DefaultOutputLimit = 16 * MiB
	DefaultAnswerTime  = Duration(24 * time.Hour)

	MinRetention  = Duration(time.Minute) // the shortest [Retention] by age
	MaxRetainRuns = 1_000_000             // the largest by runs
)

// InGroup returns the job's group.
func (j *Job) InGroup() string { return or(j.Group, DefaultGroup) }

// Grace returns the time from TERM to KILL.
func (j *Job) Grace() time.Duration { return or(j.KillGrace, DefaultKillGrace).Std() }

// AnswerTime returns how long after its start an attempt that was accepted may be answered.
func (j *Job) AnswerTime() time.Duration { return or(j.Timeout, DefaultAnswerTime).Std() }

// Slots returns how many runs of the job may go on at once; 0: there is no bound.
func (j *Job) Slots() int {
	if or(j.Overlap, OverlapAllow) == OverlapAllow {
		return j.MaxParallel
	}
	return max(j.MaxParallel, 1)
}

// OutputLimit returns how much of each of an attempt's streams is kept, in bytes.
func (j *Job) OutputLimit() int64 {
	if j.Shell != nil && j.Shell.Limits != nil && j.Shell.Limits.Output > 0 {
		return int64(j.Shell.Limits.Output)
	}
	return int64(DefaultOutputLimit)
}

// Entries returns the job's schedule entries, the short form's among them.
func (j *Job) Entries() []ScheduleEntry {
	if j.Schedule == "" {
		return j.Schedules
	}
	return append([]ScheduleEntry{{Cron: j.Schedule}}, j.Schedules...)
}

// Mode returns how many of the matching agents have the job.
func (j *Job) Mode() PlacementMode {
	if j.Placement == nil {
		return PlaceOne
	}
	return or(j.Placement.Mode, PlaceOne)
}

// Kind returns "shell", "http" or "grpc".
func (j *Job) Kind() string {
	switch {
	case j.HTTP != nil:
		return "http"
	case j.GRPC != nil:
		return "grpc"
	default:
		return "shell"
	}
}

// Async says whether whom the job calls tells later how it ends.
func (j *Job) Async() bool { return j.HTTP != nil && j.HTTP.Async || j.GRPC != nil && j.GRPC.Async }

// Environ returns the job's own environment as KEY=VALUE, in no order.
func (s *Shell) Environ() []string {
	env := make([]string, 0, len(s.Env))
	for k := range maps.Keys(s.Env) {
		env = append(env, k+"="+s.Env[k])
	}
	return env
}

// or returns v, or def where v is the zero value.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
