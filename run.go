package crony

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// RunState is where a run stands.
type RunState string

// The states. A run that is not [RunState.Ended] goes on.
const (
	Claimed   RunState = "claimed"   // its occurrence is claimed; nothing has started
	Running   RunState = "running"   // an attempt is under way
	Waiting   RunState = "waiting"   // for the answer of whom it has called, or for its next attempt
	Succeeded RunState = "succeeded" // exit code 0
	Failed    RunState = "failed"    // another exit code, a signal, or it could not be started
	TimedOut  RunState = "timed_out" // ended by its timeout
	Killed    RunState = "killed"    // ended by a person, or by its agent stopping
	Lost      RunState = "lost"      // its agent can't say how it ended
	Skipped   RunState = "skipped"   // never started, on purpose
)

// Allowed lists the run states.
func (RunState) Allowed() []string {
	return []string{"claimed", "running", "waiting", "succeeded", "failed", "timed_out", "killed", "lost", "skipped"}
}

// Ended says whether nothing more is expected of a run in this state. A lost run has ended, and may yet be corrected.
func (s RunState) Ended() bool { return s != Claimed && s != Running && s != Waiting }

// Trigger says why a run exists.
type Trigger string

// The triggers.
const (
	BySchedule Trigger = "schedule"
	ByHand     Trigger = "manual"
	ByReboot   Trigger = "reboot"  // its host has booted
	ByPrepare  Trigger = "prepare" // it is no run of the job's own work but of a script that the job names
)

// Allowed lists the triggers.
func (Trigger) Allowed() []string { return []string{"schedule", "manual", "reboot", "prepare"} }

// Run is what an occurrence or a person's request became: the fold of its facts.
type Run struct {
	ID          RunID             `json:"id"`
	Job         string            `json:"job"`
	JobUID      string            `json:"job_uid"` // a job deleted and made again under its name has another
	Generation  int64             `json:"generation"`
	Group       string            `json:"group"`
	Labels      map[string]string `json:"labels,omitempty"` // the job's, when the run was claimed
	Agent       string            `json:"agent"`            // its id
	Trigger     Trigger           `json:"trigger"`
	By          string            `json:"by,omitempty"` // who triggered it, if a person did; the script, if it is of one
	ScheduledAt time.Time         `json:"scheduled_at"`
	CatchUp     bool              `json:"catch_up,omitempty"`  // it makes up for an occurrence that was missed
	Unclaimed   bool              `json:"unclaimed,omitempty"` // its agent was cut off and started it without a claim
	Doubles     RunID             `json:"doubles,omitempty"`   // the run of the same occurrence that others decided on meanwhile
	RerunOf     RunID             `json:"rerun_of,omitempty"`  // the run of the same occurrence, which was lost, that it replaces
	Params      map[string]string `json:"params,omitempty"`    // that a person gave it
	Epoch       int64             `json:"epoch"`
	State       RunState          `json:"state"`
	Reason      string            `json:"reason,omitempty"` // why it ended so, waits, or has not started, in plain words
	Until       time.Time         `json:"until,omitzero"`   // while it waits: for an answer at most, or for its next try
	StartedAt   time.Time         `json:"started_at,omitzero"`
	EndedAt     time.Time         `json:"ended_at,omitzero"`
	Attempts    []Attempt         `json:"attempts,omitempty"`
	Progress    *Progress         `json:"progress,omitempty"` // the last that was told
	Result      json.RawMessage   `json:"result,omitempty"`   // of its last attempt; see [ResultFact]

	HandleResult bool     `json:"handle_result,omitempty"` // its job asks that somebody handles what it gives back
	ToHandle     bool     `json:"to_handle,omitempty"`     // it has ended with a result, which nobody has handled yet
	Handled      *Handled `json:"handled,omitempty"`

	// Callback is the SHA-256, in hex, of the token by which whom the last attempt has called may tell of the run.
	Callback string `json:"-"`

	// Former are the agents that had the run before its agent, the first of them first, and again if they had it again.
	Former []string `json:"-"`
}

// Progress is how far a run says that it is.
type Progress struct {
	Percent int       `json:"percent"` // 0 to 100
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
}

// Attempt is one try of a run.
type Attempt struct {
	Number      int       `json:"number"`          // from 1
	Agent       string    `json:"agent,omitempty"` // that made it, if several agents have had the run; else the run's
	PID         int       `json:"pid,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	ExitCode    *int      `json:"exit_code,omitempty"` // absent if it has none: still running, killed, not started, unknown
	Signal      string    `json:"signal,omitempty"`    // SIGKILL, if a signal ended it
	OOM         bool      `json:"oom,omitempty"`       // it was killed as it wanted more memory than it may have
	Status      string    `json:"status,omitempty"`    // what a callback was answered: "HTTP 503", "UNAVAILABLE"
	CPUSeconds  float64   `json:"cpu_seconds,omitempty"`
	MaxRSS      int64     `json:"max_rss_bytes,omitempty"`
	ReadBytes   int64     `json:"read_bytes,omitempty"`    // from disks
	WriteBytes  int64     `json:"written_bytes,omitempty"` // to disks
	StdoutBytes int64     `json:"stdout_bytes"`            // by the process, or logged by whom it calls; kept is up to a limit
	StderrBytes int64     `json:"stderr_bytes"`
}

// ExitCode returns the exit code of the run's last attempt, and whether it has one.
func (r *Run) ExitCode() (int, bool) {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].ExitCode != nil {
		return *r.Attempts[n-1].ExitCode, true
	}
	return 0, false
}

// Called says whether the run waits for the answer of whom its last attempt has called, and not for its next attempt.
func (r *Run) Called() bool {
	n := len(r.Attempts)
	return r.State == Waiting && r.Callback != "" && n > 0 && r.Attempts[n-1].EndedAt.IsZero()
}

// Fact is one thing that happened to a run. Facts never change; the pair of Run and Seq identifies one, and the same fact
// may be stored twice without effect. Exactly one of the pointers is set.
type Fact struct {
	Run RunID     `json:"run"`
	Seq int       `json:"seq"` // from 1 by the run's agent; from [CalleeSeq] by whom it called; [VerdictSeq] and up by a server
	At  time.Time `json:"at"`

	Claimed  *ClaimedFact  `json:"claimed,omitempty"`
	Started  *StartedFact  `json:"started,omitempty"`
	Exited   *ExitedFact   `json:"exited,omitempty"`
	Waiting  *WaitingFact  `json:"waiting,omitempty"`
	Ended    *EndedFact    `json:"ended,omitempty"`
	Progress *ProgressFact `json:"progress,omitempty"`
	Result   *ResultFact   `json:"result,omitempty"`
	Handled  *HandledFact  `json:"handled,omitempty"`
	Moved    *MovedFact    `json:"moved,omitempty"`
}

// CalleeSeq is the first sequence number of what is told of a run by a service that its agent has called, to whichever
// server: the service numbers what it tells, so that what arrives twice, at two servers, is one fact.
const CalleeSeq = 1 << 29

// VerdictSeq is the sequence number of the fact with which a server ends a run that its agent will say no more of. A fact
// of the agent's own, even a later one, outweighs it.
const VerdictSeq = 1 << 30

// HandledSeq is the sequence number of the fact that somebody has handled the run's result. There is no greater one.
const HandledSeq = VerdictSeq + 1

// ClaimedFact is a run's first fact: what it is a run of.
type ClaimedFact struct {
	Job         string            `json:"job"`
	JobUID      string            `json:"job_uid"`
	Generation  int64             `json:"generation"`
	Group       string            `json:"group"`
	Labels      map[string]string `json:"labels,omitempty"`
	Agent       string            `json:"agent"`
	Trigger     Trigger           `json:"trigger"`
	By          string            `json:"by,omitempty"`
	ScheduledAt time.Time         `json:"scheduled_at"`
	CatchUp     bool              `json:"catch_up,omitempty"`
	Params      map[string]string `json:"params,omitempty"`
	Unclaimed   bool              `json:"unclaimed,omitempty"`
	Doubles     RunID             `json:"doubles,omitempty"`
	RerunOf     RunID             `json:"rerun_of,omitempty"`
	Epoch       int64             `json:"epoch"`
	Handle      bool              `json:"handle,omitempty"` // see [Job.HandleResults]
}

// Ordered says whether the agent was told to start the run, and has not claimed it: by a person, or as another was lost.
func (c *ClaimedFact) Ordered() bool { return c.Trigger == ByHand || c.RerunOf != "" }

// StartedFact says that an attempt's process exists, or that its call is about to be made.
type StartedFact struct {
	Attempt  int    `json:"attempt"`
	PID      int    `json:"pid,omitempty"`
	Callback string `json:"callback,omitempty"` // see [Run]
}

// WaitingFact says that no attempt is under way, and what the run waits for: the answer of whom it has called, which has accepted
// the call, or its next attempt.
type WaitingFact struct {
	Attempt int       `json:"attempt"` // the last that was made
	Until   time.Time `json:"until"`
	Reason  string    `json:"reason"` // in plain words
}

// ExitedFact says how an attempt's process ended.
type ExitedFact struct {
	Attempt     int     `json:"attempt"`
	ExitCode    *int    `json:"exit_code,omitempty"`
	Signal      string  `json:"signal,omitempty"`
	OOM         bool    `json:"oom,omitempty"`
	Status      string  `json:"status,omitempty"`
	CPUSeconds  float64 `json:"cpu_seconds,omitempty"`
	MaxRSS      int64   `json:"max_rss_bytes,omitempty"`
	ReadBytes   int64   `json:"read_bytes,omitempty"`
	WriteBytes  int64   `json:"written_bytes,omitempty"`
	StdoutBytes int64   `json:"stdout_bytes"`
	StderrBytes int64   `json:"stderr_bytes"`
}

// MovedFact says that the run goes on with another agent, which makes the attempts from one on. A server says so, with the number
// that follows those of the facts of the agent before.
type MovedFact struct {
	Agent   string `json:"agent"`
	Attempt int    `json:"attempt"`
}

// EndedFact says how the run ended.
type EndedFact struct {
	State  RunState `json:"state"`
	Reason string   `json:"reason,omitempty"`
}

// ProgressFact says how far the run is.
type ProgressFact struct {
	Percent int    `json:"percent"` // 0 to 100
	Message string `json:"message,omitempty"`
}

// Fold makes a run of its facts, in whatever order and however often they are given. It reports false if the first fact is
// missing, for then nothing says what the run is a run of.
func Fold(facts []Fact) (Run, bool) {
	for i := 1; i < len(facts); i++ {
		if facts[i-1].Seq >= facts[i].Seq {
			facts = inOrder(facts)
			break
		}
	}
	var r Run
	for i := range facts {
		r.apply(&facts[i])
	}
	r.ToHandle = r.HandleResult && r.Result != nil && r.State.Ended() && r.Handled == nil
	return r, r.Job != ""
}

// inOrder returns the facts in the order of their numbers, the first of each.
func inOrder(facts []Fact) []Fact {
	facts = slices.Clone(facts)
	slices.SortStableFunc(facts, func(a, b Fact) int { return cmp.Compare(a.Seq, b.Seq) })
	return slices.CompactFunc(facts, func(a, b Fact) bool { return a.Seq == b.Seq })
}

func (r *Run) apply(f *Fact) {
	switch {
	case f.Claimed != nil:
		c := f.Claimed
		r.ID, r.Job, r.JobUID, r.Generation, r.Group = f.Run, c.Job, c.JobUID, c.Generation, c.Group
		r.Agent, r.Trigger, r.By, r.ScheduledAt, r.Epoch = c.Agent, c.Trigger, c.By, c.ScheduledAt, c.Epoch
		r.CatchUp, r.Labels, r.Params = c.CatchUp, c.Labels, c.Params
		r.Unclaimed, r.Doubles, r.RerunOf = c.Unclaimed, c.Doubles, c.RerunOf
		r.HandleResult = c.Handle
		r.State = Claimed
	case f.Started != nil:
		a := Attempt{Number: f.Started.Attempt, PID: f.Started.PID, StartedAt: f.At}
		if len(r.Former) > 0 {
			a.Agent = r.Agent
		}
		r.Attempts = append(r.Attempts, a)
		r.State, r.Reason, r.Until, r.Callback = Running, "", time.Time{}, f.Started.Callback
		r.Result = nil // what an attempt of before has given, which is tried again
		if r.StartedAt.IsZero() {
			r.StartedAt = f.At
		}
	case f.Exited != nil:
		r.exited(f)
	case f.Waiting != nil:
		r.State, r.Reason, r.Until = Waiting, f.Waiting.Reason, f.Waiting.Until
	case f.Ended != nil && !(f.Seq == VerdictSeq && r.State.Ended()):
		r.State, r.Reason, r.EndedAt, r.Until = f.Ended.State, f.Ended.Reason, f.At, time.Time{}
	case f.Progress != nil:
		r.Progress = &Progress{Percent: f.Progress.Percent, Message: f.Progress.Message, At: f.At}
	case f.Result != nil && r.Result == nil && r.ofLast(f.Result):
		r.Result = f.Result.Data
	case f.Moved != nil:
		r.moved(f.Moved.Agent)
	case f.Handled != nil:
		r.Handled = &Handled{By: f.Handled.By, At: f.At, Note: f.Handled.Note, Request: f.Handled.Request}
	}
}

func (r *Run) moved(to string) {
	for i := range r.Attempts {
		if r.Attempts[i].Agent == "" {
			r.Attempts[i].Agent = r.Agent
		}
	}
	r.Former = append(r.Former, r.Agent)
	r.Agent = to
}

// Claim returns the run's first fact.
func (r *Run) Claim() ClaimedFact {
	return ClaimedFact{Job: r.Job, JobUID: r.JobUID, Generation: r.Generation, Group: r.Group, Labels: r.Labels,
		Agent: r.FirstAgent(), Trigger: r.Trigger, By: r.By, ScheduledAt: r.ScheduledAt, CatchUp: r.CatchUp, Params: r.Params,
		Unclaimed: r.Unclaimed, Doubles: r.Doubles, RerunOf: r.RerunOf, Epoch: r.Epoch, Handle: r.HandleResult}
}

// FirstAgent returns the agent that claimed the run.
func (r *Run) FirstAgent() string {
	if len(r.Former) > 0 {
		return r.Former[0]
	}
	return r.Agent
}

func (r *Run) exited(f *Fact) {
	for i := range r.Attempts {
		if a := &r.Attempts[i]; a.Number == f.Exited.Attempt {
			x := f.Exited
			a.EndedAt, a.ExitCode, a.Signal, a.OOM, a.Status = f.At, x.ExitCode, x.Signal, x.OOM, x.Status
			a.CPUSeconds, a.MaxRSS, a.ReadBytes, a.WriteBytes = x.CPUSeconds, x.MaxRSS, x.ReadBytes, x.WriteBytes
			a.StdoutBytes, a.StderrBytes = x.StdoutBytes, x.StderrBytes
		}
	}
}

// Stream names one of an attempt's two outputs.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Chunk is a piece of a run's output. A piece may arrive twice, or overlap another that holds the same bytes: Run, Attempt,
// Stream and Offset say where its bytes stand, and the same place always holds the same bytes.
type Chunk struct {
	Run     RunID     `json:"run"`
	Attempt int       `json:"attempt"`
	Stream  Stream    `json:"stream"`
	Offset  int64     `json:"offset"` // of Data's first byte in all that the process wrote to the stream
	At      time.Time `json:"at"`     // when it was read
	Data    []byte    `json:"data"`
}

// End returns the offset after the chunk's last byte.
func (c *Chunk) End() int64 { return c.Offset + int64(len(c.Data)) }
