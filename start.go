package crony

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// StartOptions says how a job is run now. The zero options run it once, on an agent that has it.
type StartOptions struct {
	// Agent is the id or the name of the agent that is to run it, which need not have the job; "": one that has it.
	Agent string `json:"agent,omitempty"`
	// All has it run once on each agent that has it, connected or not, and on each other that its placement means and that
	// takes jobs now, being connected and not cordoned: on those that would have it if its mode were each.
	All    bool              `json:"all,omitempty"`
	Params map[string]string `json:"params,omitempty"` // for the command: see [ParamEnv]
	// Request is the caller's own name for what it asks for: the same again, by way of whichever server, starts nothing more
	// and gives the same runs, for ten minutes at the least after they were taken. "": this can't be asked for again.
	Request string `json:"request,omitempty"`
}

// The bounds of what a person may ask for.
const (
	MaxParams     = 64       // parameters of a run
	maxParamName  = 64       // bytes
	maxParamBytes = 16 << 10 // of all of them
	MaxReason     = 500      // bytes of the reason for ending a run
	MaxOrders     = 10       // that a job's status lists
)

// ParamEnv returns the name by which a command finds a parameter in its environment: CRONY_PARAM_ and its own, in capitals.
func ParamEnv(name string) string { return "CRONY_PARAM_" + strings.ToUpper(name) }

var requestForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// Check returns what is wrong with the options, an error of code Invalid with each fault; nil if nothing is.
func (o *StartOptions) Check() error {
	var faults []Fault
	fault := func(path, message, hint string) {
		faults = append(faults, Fault{Path: path, Message: message, Hint: hint})
	}
	if o.All && o.Agent != "" {
		fault("agent", "an agent is named, and all are asked for", "give one of the two")
	}
	if o.Request != "" && !requestForm.MatchString(o.Request) {
		fault("request", "is no name for a request", "1 to 64 of letters, digits, and _ . - inside")
	}
	if len(o.Params) > MaxParams {
		fault("params", "are too many", "at most 64")
	}
	size, seen := 0, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(o.Params)) {
		path, value := "params."+name, o.Params[name]
		size += len(name) + len(value)
		switch {
		case len(name) > maxParamName || !envForm.MatchString(name):
			fault("params", fmt.Sprintf("one has the name %.40q", name), "letters, digits and _, not a digit first, at most 64")
		case seen[ParamEnv(name)]:
			fault(path, "differs from another by capitals only", "both would be "+ParamEnv(name))
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			fault(path, "can't be in an environment", "text in UTF-8, without a NUL")
		}
		seen[ParamEnv(name)] = true
	}
	if size > maxParamBytes {
		fault("params", "are too large", "at most 16 KiB in all")
	}
	return invalid("this can't be run", faults)
}

// Continuation is how a run goes on, as the agent is told of it that another has handed it to.
type Continuation struct {
	Claimed ClaimedFact `json:"claimed"` // its first fact
	Seq     int         `json:"seq"`     // of the fact that says that it has moved: those of the agent follow
	Attempt int         `json:"attempt"` // the next
	Until   time.Time   `json:"until"`   // when that is due
	Began   time.Time   `json:"began"`   // when the first attempt began, or was to
}

// StartRequest is an order to run a job now, as one agent gets it: a person's, or one that a lost run be made up for.
type StartRequest struct {
	Run    RunID             `json:"run"` // the id that the run will have
	Job    string            `json:"job"`
	Agent  string            `json:"agent"` // who is to run it, or would be if it were given now
	By     string            `json:"by,omitempty"`
	At     time.Time         `json:"at"` // when it was ordered; with RerunOf, when that run was due
	Params map[string]string `json:"params,omitempty"`
	// RerunOf, if set, is the run that was lost, and in whose place this one is. Nobody has asked for it.
	RerunOf RunID `json:"rerun_of,omitempty"`
}

// KillOrder says that a run is to be ended.
type KillOrder struct {
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// ReplacedBy, if set, is the run in favour of which it is to be ended. Nobody has asked for that.
	ReplacedBy RunID `json:"replaced_by,omitempty"`
}

// Words says who ends a run, and why, as its reason: "killed by alice: stuck".
func (k *KillOrder) Words() string { return k.words("killed") }

// WordsUnstarted are the words for a run that never began.
func (k *KillOrder) WordsUnstarted() string { return k.words("killed before it started") }

func (k *KillOrder) words(what string) string {
	if k.ReplacedBy != "" {
		return "replaced by run " + string(k.ReplacedBy)
	}
	by := k.By
	if by == "" {
		by = "somebody with access to the keyspace"
	}
	what += " by " + by
	if k.Reason == "" {
		return what
	}
	return what + ": " + k.Reason
}

// CheckReason returns what is wrong with the reason for ending a run, an error of code Invalid; nil if nothing is.
func CheckReason(reason string) error {
	if len(reason) > MaxReason || !utf8.ValidString(reason) {
		return Errorf(Invalid, "the reason is too long, or no text").WithHint("at most %d bytes of UTF-8", MaxReason)
	}
	return nil
}
