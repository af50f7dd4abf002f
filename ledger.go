package crony

import (
	"context"
	"time"
)

// End is how an occurrence ended: the word for it in the ledger.
type End string

// The ends. The first four are final, but for LOST and MISSED, which a run that is reported later outweighs.
const (
	EndRan        End = "ran"        // it became a run that started
	EndSkipped    End = "skipped"    // it did not run, as was asked for
	EndMissed     End = "missed"     // it should have run, and did not
	EndLost       End = "lost"       // it was claimed; whether or how it ran can't be known
	EndOpen       End = "open"       // not decided yet, or decided and not started yet
	EndUnrecorded End = "unrecorded" // it has passed, and nothing is recorded of it: a gap
)

// Allowed lists the ends.
func (End) Allowed() []string {
	return []string{"ran", "skipped", "missed", "lost", "open", "unrecorded"}
}

// Stretch is a row of a job's occurrences that did not run and ended alike: the ledger's entry for them, whether they are one
// or a million. A stretch never changes; JobUID, Of and From identify it, and the same one may be stored twice without effect.
type Stretch struct {
	Job        string    `json:"job"`
	JobUID     string    `json:"job_uid"`
	Of         string    `json:"of,omitempty"`    // the agent whose occurrences they are, of a job of mode each; else ""
	Generation int64     `json:"generation"`      // of the definition that named them
	Agent      string    `json:"agent,omitempty"` // that decided so; "" if a server did
	From       time.Time `json:"from"`            // the first of the occurrences
	To         time.Time `json:"to"`              // the last of them
	Count      int64     `json:"count"`           // how many they are
	End        End       `json:"end"`             // skipped, missed or lost
	Reason     string    `json:"reason"`          // in plain words
	DecidedAt  time.Time `json:"decided_at"`
}

// Ledger tells what became of each occurrence. Every method is safe for concurrent use; NotFound if a job was never known.
type Ledger interface {
	// ListLedger returns what became of a job's occurrences in a time, the earliest first.
	ListLedger(ctx context.Context, q LedgerQuery) (LedgerPage, error)
	// ExplainOccurrence says what became of the occurrence of a job at an instant, and why.
	ExplainOccurrence(ctx context.Context, job string, at time.Time) (Explanation, error)
	// VerifyLedger computes anew what should have become of a job's occurrences, and returns what does not agree.
	VerifyLedger(ctx context.Context, q VerifyQuery) (Verification, error)
}

// LedgerQuery selects occurrences of a job.
type LedgerQuery struct {
	Job    string
	From   time.Time // at or after it; a day before To if zero
	To     time.Time // at or before it; now if zero
	Limit  int       // at most this many entries; [DefaultLimit] if 0
	Cursor string    // LedgerPage.Next of the page before
}

// LedgerPage is a page of a ledger.
type LedgerPage struct {
	Items []LedgerEntry `json:"items"`
	Next  string        `json:"next,omitempty"` // "" on the last page
}

// LedgerEntry says what became of an occurrence, or of a row of them that ended alike.
type LedgerEntry struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"` // From, if it is one
	Count  int64     `json:"count"`
	End    End       `json:"end"`
	Reason string    `json:"reason,omitempty"`
	Run    RunID     `json:"run,omitempty"`   // of one that was claimed
	State  RunState  `json:"state,omitempty"` // of that run
	Agent  string    `json:"agent,omitempty"` // that claimed it or passed it over
}

// Explanation says why an occurrence ran, or why not.
type Explanation struct {
	Job string    `json:"job"`
	At  time.Time `json:"at"`
	// Occurrence says whether the job's schedule, as it was then, names the instant. If not, Before and After are the
	// nearest that it names, and Entry is absent.
	Occurrence bool         `json:"occurrence"`
	Before     time.Time    `json:"before,omitzero"`
	After      time.Time    `json:"after,omitzero"`
	Entry      *LedgerEntry `json:"entry,omitempty"`
	Words      string       `json:"words"` // the answer, in a sentence or two
	// Generation is that of the definition in force then; 0 if it is not known any more.
	Generation int64 `json:"generation,omitempty"`
	Run        *Run  `json:"run,omitempty"`
}

// VerifyQuery says what to verify.
type VerifyQuery struct {
	Job  string
	From time.Time // a day before To if zero
	To   time.Time // now if zero
}

// Verification is what computing a job's occurrences anew has shown.
type Verification struct {
	Job      string        `json:"job"`
	From     time.Time     `json:"from"`     // later than asked for if the definitions of before are not kept
	To       time.Time     `json:"to"`       // the last instant looked at; earlier than asked for if there was too much
	Expected int64         `json:"expected"` // occurrences that the schedule names
	Ends     map[End]int64 `json:"ends"`     // how many of them ended how
	Faults   []LedgerFault `json:"faults"`   // the first of them, at most [MaxFaults]
	Faulty   int64         `json:"faulty"`   // how many there are
	Complete bool          `json:"complete"` // To is what was asked for
}

// MaxFaults is how many faults a verification lists.
const MaxFaults = 100

// LedgerFault is a disagreement between what should have been and what is recorded.
type LedgerFault struct {
	At   time.Time `json:"at"`
	Kind FaultKind `json:"kind"`
	Text string    `json:"text"` // in plain words
}

// FaultKind says what is wrong with the ledger at an instant.
type FaultKind string

// The kinds.
const (
	FaultGap    FaultKind = "gap"    // an occurrence of which nothing is recorded
	FaultDouble FaultKind = "double" // an occurrence that has two runs
	FaultStray  FaultKind = "stray"  // a run or a stretch of occurrences that no schedule named
)

// Allowed lists the kinds.
func (FaultKind) Allowed() []string { return []string{"gap", "double", "stray"} }
