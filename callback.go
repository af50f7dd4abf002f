package crony

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// CalleeReport is what a service that an agent has called tells of the run. It may be told again, to any server, as a whole or
// in other pieces: an event counts once.
type CalleeReport struct {
	Attempt int           `json:"attempt"` // that called it
	Events  []CalleeEvent `json:"events"`
}

// CalleeEvent is one thing that a service tells. Exactly one of the pointers is set.
type CalleeEvent struct {
	Seq int       `json:"seq"` // from 1, chosen by the service; it identifies the event within its attempt
	At  time.Time `json:"at"`

	Progress *ProgressFact `json:"progress,omitempty"`
	Log      *CalleeLog    `json:"log,omitempty"`
	Result   *CalleeResult `json:"result,omitempty"`
}

// CalleeLog is a piece of a service's log of the run.
type CalleeLog struct {
	Offset int64  `json:"offset"` // of the text's first byte in all that the attempt logs
	Text   string `json:"text"`
}

// CalleeResult is how the service's work has ended.
type CalleeResult struct {
	State  RunState        `json:"state"`            // succeeded or failed
	Reason string          `json:"reason,omitempty"` // in plain words
	Data   json.RawMessage `json:"data,omitempty"`   // what the run gives back: any JSON
}

// CalleeAnswer is what a service is told in return.
type CalleeAnswer struct {
	Stop string `json:"stop,omitempty"` // why the service is to give up, if it is; what it has told is on record all the same
}

// Answer says how a run ends that waits for whom it has called.
type Answer struct {
	Attempt int       `json:"attempt"` // that was answered
	State   RunState  `json:"state"`   // succeeded or failed
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// The bounds of what a service tells.
const (
	MaxCalleeEvents = 1000      // in a report
	MaxCalleeText   = 500       // bytes of a progress message, and of a result's reason
	MaxCalleeData   = 48 << 10  // bytes of a result's data
	maxCalleeSeq    = 1<<20 - 1 // of an event
	maxCalleeTry    = 1 << 9    // attempts that can be told of: so the numbers of all of them fit below VerdictSeq
)

// CalleeNumber returns the number of the fact that an event of a service becomes.
func CalleeNumber(attempt, seq int) int { return CalleeSeq + (attempt-1)*(maxCalleeSeq+1) + seq }

// Check returns what is wrong with a report, an error of code Invalid with each fault; nil if nothing is.
func (r *CalleeReport) Check() error {
	var faults []Fault
	fault := func(path, message, hint string) {
		faults = append(faults, Fault{Path: path, Message: message, Hint: hint})
	}
	if r.Attempt < 1 || r.Attempt > maxCalleeTry {
		fault("attempt", "is out of range", "the Crony-Attempt of the call")
	}
	if len(r.Events) == 0 || len(r.Events) > MaxCalleeEvents {
		fault("events", fmt.Sprintf("are %d", len(r.Events)), fmt.Sprintf("1 to %d; tell more in several reports", MaxCalleeEvents))
		return invalid("the report", faults)
	}
	seen := map[int]bool{}
	for i := range r.Events {
		e, path := &r.Events[i], fmt.Sprintf("events[%d]", i)
		if e.Seq < 1 || e.Seq > maxCalleeSeq {
			fault(path+".seq", "is out of range", fmt.Sprintf("1 to %d", maxCalleeSeq))
		} else if seen[e.Seq] {
			fault(path+".seq", "is another event's of this report", "each event of an attempt has its own")
		}
		seen[e.Seq] = true
		e.check(path, fault)
	}
	return invalid("the report", faults)
}

func (e *CalleeEvent) check(path string, fault func(path, message, hint string)) {
	given := 0
	for _, is := range []bool{e.Progress != nil, e.Log != nil, e.Result != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		fault(path, "must say one thing", "progress, log or result")
		return
	}
	if e.At.IsZero() {
		fault(path+".at", "is missing", "RFC 3339, as 2026-12-24T18:00:00Z")
	}
	long := fmt.Sprintf("UTF-8, at most %d bytes", MaxCalleeText)
	bad := func(text string) bool { return len(text) > MaxCalleeText || !utf8.ValidString(text) }
	switch p, l, r := e.Progress, e.Log, e.Result; {
	case p != nil:
		if p.Percent < 0 || p.Percent > 100 {
			fault(path+".progress.percent", "is out of range", "0 to 100")
		}
		if bad(p.Message) {
			fault(path+".progress.message", "is too long, or no text", long)
		}
	case l != nil:
		if l.Text == "" {
			fault(path+".log.text", "is empty", "leave the event out")
		}
		if l.Offset < 0 || l.Offset > maxCalleeOffset {
			fault(path+".log.offset", "is out of range", "how many bytes of text the attempt has logged before")
		}
	default:
		if r.State != Succeeded && r.State != Failed {
			fault(path+".result.state", fmt.Sprintf("is %.40q", r.State), "succeeded or failed")
		}
		if bad(r.Reason) {
			fault(path+".result.reason", "is too long, or no text", long)
		}
		switch {
		case len(r.Data) > MaxCalleeData:
			fault(path+".result.data", fmt.Sprintf("has %d bytes", len(r.Data)),
				fmt.Sprintf("at most %d; keep it elsewhere, and say where", MaxCalleeData))
		case len(r.Data) > 0 && (!json.Valid(r.Data) || !utf8.Valid(r.Data)):
			fault(path+".result.data", "is not JSON", "any JSON value in UTF-8")
		}
	}
}

const maxCalleeOffset = 1 << 50 // bytes: far beyond what is kept
