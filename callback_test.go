package crony_test

import (
	"strings"
	"testing"
	"time"

	"crony"
)

// TestCalleeNumber: no two events of any two attempts have one number, and none an agent's or a verdict's.
func TestCalleeNumber(t *testing.T) {
	last := crony.CalleeSeq
	for attempt := 1; attempt <= 512; attempt++ {
		for _, seq := range []int{1, 2, 1<<20 - 1} {
			n := crony.CalleeNumber(attempt, seq)
			if n <= last || n >= crony.VerdictSeq {
				t.Fatalf("event %d of attempt %d has the number %d, after %d", seq, attempt, n, last)
			}
			last = n
		}
	}
}

func TestCalleeReportCheck(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	progress := func(percent int, message string) crony.CalleeEvent {
		return crony.CalleeEvent{Seq: 1, At: at, Progress: &crony.ProgressFact{Percent: percent, Message: message}}
	}
	result := func(state crony.RunState, reason, data string) crony.CalleeEvent {
		return crony.CalleeEvent{Seq: 1, At: at, Result: &crony.CalleeResult{State: state, Reason: reason, Data: []byte(data)}}
	}
	logs := func(offset int64, text string) crony.CalleeEvent {
		return crony.CalleeEvent{Seq: 1, At: at, Log: &crony.CalleeLog{Offset: offset, Text: text}}
	}
	for name, c := range map[string]struct {
		attempt int
		events  []crony.CalleeEvent
		want    string // "" if nothing is wrong
	}{
		"progress":           {1, []crony.CalleeEvent{progress(100, "done")}, ""},
		"a log":              {512, []crony.CalleeEvent{logs(0, "x")}, ""},
		"a result":           {1, []crony.CalleeEvent{result(crony.Failed, "no", `{"rows":[1]}`)}, ""},
		"no attempt":         {0, []crony.CalleeEvent{logs(0, "x")}, "attempt: is out of range"},
		"too many attempts":  {513, []crony.CalleeEvent{logs(0, "x")}, "attempt: is out of range"},
		"nothing":            {1, nil, "events: are 0"},
		"too much":           {1, make([]crony.CalleeEvent, 1001), "events: are 1001"},
		"no number":          {1, []crony.CalleeEvent{{At: at, Log: &crony.CalleeLog{Text: "x"}}}, "events[0].seq: is out of range"},
		"a number too large": {1, []crony.CalleeEvent{{Seq: 1 << 20, At: at, Log: &crony.CalleeLog{Text: "x"}}}, "events[0].seq: is out of range"},
		"a number twice":     {1, []crony.CalleeEvent{logs(0, "x"), logs(1, "y")}, "events[1].seq: is another event's"},
		"no thing":           {1, []crony.CalleeEvent{{Seq: 1, At: at}}, "events[0]: must say one thing"},
		"two things": {1, []crony.CalleeEvent{{Seq: 1, At: at, Log: &crony.CalleeLog{Text: "x"}, Progress: &crony.ProgressFact{}}},
			"events[0]: must say one thing"},
		"no time":        {1, []crony.CalleeEvent{{Seq: 1, Log: &crony.CalleeLog{Text: "x"}}}, "events[0].at: is missing"},
		"over 100":       {1, []crony.CalleeEvent{progress(101, "")}, "events[0].progress.percent: is out of range"},
		"a long message": {1, []crony.CalleeEvent{progress(1, strings.Repeat("x", 501))}, "events[0].progress.message: is too long"},
		"no text":        {1, []crony.CalleeEvent{progress(1, "\xff")}, "events[0].progress.message: is too long, or no text"},
		"an empty log":   {1, []crony.CalleeEvent{logs(0, "")}, "events[0].log.text: is empty"},
		"before a log":   {1, []crony.CalleeEvent{logs(-1, "x")}, "events[0].log.offset: is out of range"},
		"a state":        {1, []crony.CalleeEvent{result(crony.Lost, "", "1")}, `events[0].result.state: is "lost"`},
		"no JSON":        {1, []crony.CalleeEvent{result(crony.Failed, "", "{")}, "events[0].result.data: is not JSON"},
		"a long reason":  {1, []crony.CalleeEvent{result(crony.Failed, strings.Repeat("x", 501), "1")}, "events[0].result.reason"},
		"much data":      {1, []crony.CalleeEvent{result(crony.Failed, "", `"`+strings.Repeat("x", 48<<10)+`"`)}, "events[0].result.data: has"},
	} {
		err := (&crony.CalleeReport{Attempt: c.attempt, Events: c.events}).Check()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
