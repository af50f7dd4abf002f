package runlog

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"crony"
)

// faultOfFact returns what is wrong with f, or "".
func faultOfFact(f *crony.Fact) string {
	switch {
	case f.Seq < 1 || f.Seq > crony.HandledSeq:
		return fmt.Sprintf("its number is outside 1 to %d", crony.HandledSeq)
	case !writable(f.At):
		return "its time is outside the years 0 to 9999"
	case (f.Claimed != nil) != (f.Seq == 1):
		return "the first fact, and no other, says what was claimed"
	case (f.Handled != nil) != (f.Seq == crony.HandledSeq):
		return "the last fact, and no other, says who has handled the result"
	case count(f.Claimed != nil, f.Started != nil, f.Exited != nil, f.Ended != nil, f.Progress != nil, f.Result != nil,
		f.Waiting != nil, f.Handled != nil, f.Moved != nil) != 1:
		return "it must say one thing"
	case f.Claimed != nil:
		return faultOfClaim(f.Claimed)
	case f.Started != nil && !attemptFits(f.Started.Attempt), f.Exited != nil && !attemptFits(f.Exited.Attempt),
		f.Waiting != nil && !attemptFits(f.Waiting.Attempt), f.Moved != nil && !attemptFits(f.Moved.Attempt):
		return "attempts are numbered from 1"
	case f.Exited != nil && (math.IsNaN(f.Exited.CPUSeconds) || math.IsInf(f.Exited.CPUSeconds, 0)):
		return "its CPU time is not a number"
	case f.Moved != nil && (f.Moved.Agent == "" || len(f.Moved.Agent) > maxName || !utf8.ValidString(f.Moved.Agent)):
		return fmt.Sprintf("its agent's name is empty, longer than %d bytes, or not UTF-8", maxName)
	case f.Waiting != nil && !writable(f.Waiting.Until):
		return "the time it waits until is outside the years 0 to 9999"
	case f.Started != nil && !utf8.ValidString(f.Started.Callback), f.Waiting != nil && !utf8.ValidString(f.Waiting.Reason),
		f.Exited != nil && !utf8.ValidString(f.Exited.Signal), f.Exited != nil && !utf8.ValidString(f.Exited.Status),
		f.Ended != nil && !utf8.ValidString(f.Ended.Reason):
		return "its text is not UTF-8"
	case f.Ended != nil && !f.Ended.State.Ended(), f.Ended != nil && !knownState(f.Ended.State):
		return fmt.Sprintf("no run ends in state %.40q", f.Ended.State)
	case f.Progress != nil && (f.Progress.Percent < 0 || f.Progress.Percent > wholePercent):
		return "progress is 0 to 100"
	case f.Progress != nil && !utf8.ValidString(f.Progress.Message):
		return "its text is not UTF-8"
	case f.Result != nil && (!json.Valid(f.Result.Data) || !utf8.Valid(f.Result.Data)):
		return "its result is not JSON"
	case f.Result != nil && f.Result.Attempt != 0 && !attemptFits(f.Result.Attempt):
		return "attempts are numbered from 1"
	case f.Handled != nil && !utf8.ValidString(f.Handled.By+"\x00"+f.Handled.Note+"\x00"+f.Handled.Request):
		return "its text is not UTF-8"
	}
	return ""
}

func faultOfClaim(c *crony.ClaimedFact) string {
	for _, name := range []struct{ what, text string }{{"job", c.Job}, {"agent", c.Agent}} {
		if name.text == "" || len(name.text) > maxName || strings.ContainsRune(name.text, 0) {
			return fmt.Sprintf("its %s's name is empty, longer than %d bytes, or holds a NUL", name.what, maxName)
		}
	}
	if !writable(c.ScheduledAt) {
		return "the time when it was due is outside the years 0 to 9999"
	}
	if c.Doubles != "" {
		if _, err := crony.ParseRunID(string(c.Doubles)); err != nil || !c.Unclaimed {
			return "only a run that was started without a claim doubles another, which has a run's id"
		}
	}
	if c.RerunOf != "" {
		if _, err := crony.ParseRunID(string(c.RerunOf)); err != nil || c.Unclaimed {
			return "only a run that was ordered is in the place of another, which has a run's id"
		}
	}
	for _, text := range [...]string{c.Job, c.JobUID, c.Group, c.Agent, string(c.Trigger), c.By} {
		if !utf8.ValidString(text) {
			return "its text is not UTF-8"
		}
	}
	for _, set := range [...]map[string]string{c.Labels, c.Params} {
		for key, value := range set {
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return "its labels or parameters are not UTF-8"
			}
		}
	}
	return ""
}

// writable says whether a time can be shown: RFC 3339 has four digits for the year.
func writable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

func attemptFits(n int) bool { return n >= 1 && n <= math.MaxInt32 }

func knownState(s crony.RunState) bool { return stateByte(s) != 0 }

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// states returns a run's, each at the number that stands for it. Zero stands for none.
func states() []crony.RunState {
	return []crony.RunState{
		"", crony.Claimed, crony.Running, crony.Succeeded, crony.Failed, crony.TimedOut, crony.Killed, crony.Lost, crony.Skipped,
		crony.Waiting,
	}
}

func stateByte(s crony.RunState) byte { return byteFor(states(), s) }

func stateOf(b byte) crony.RunState { return wordFor(states(), b) }

// byteFor returns the number that stands for a word; 0 if none does.
func byteFor[T ~string](words []T, word T) byte { return byte(max(0, slices.Index(words, word))) }

// wordFor returns the word that a number stands for; "" if it stands for none.
func wordFor[T ~string](words []T, b byte) T {
	if int(b) >= len(words) {
		return ""
	}
	return words[b]
}
