package runlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"crony"
)

// The bounds of one record, in bytes.
const (
	MaxFact  = 64 << 10 // of a fact as it travels
	MaxChunk = 1 << 20  // of a chunk's data
	maxName  = 255      // of a job's name and an agent's id

	wholePercent = 100
)

// factRecord is a fact that was checked. It is never changed, and shares nothing with who gave it.
type factRecord struct {
	run   runKey
	fact  crony.Fact
	plain []byte // the fact as it travels and is compared: with its texts spelled out
	hash  uint64 // of the run's key and plain
}

// A fact is: its number; a byte of which the lowest bits are its kind and the others say what there is of it; when it was;
// and then, by its kind,
//
//	claimed  references: job, agent, group, labels, trigger; when it was due; references: job's uid, by; generation, epoch;
//	         of one that was started without a claim, reference: the run that it doubles; reference: params, if there are any
//	started  attempt, pid
//	exited   attempt, exit code if it has one, reference: signal, CPU microseconds or float64, max rss, stdout, stderr bytes
//	ended    state byte, reference: reason
//	progress percent, reference: message
//	result   reference: JSON
//
// Spelled out, this is what servers compare and hash, whatever their version: it may be added to, never changed.
const (
	kindClaimed  = 1
	kindStarted  = 2
	kindExited   = 3
	kindEnded    = 4
	kindProgress = 5
	kindResult   = 6
	kindMask     = 0x0f

	claimedCatchUp   = 0x10
	claimedUnclaimed = 0x20
	claimedParams    = 0x40
	exitedCode       = 0x10
	exitedFloat      = 0x20 // the CPU time is no whole number of microseconds
)

func appendFact(b []byte, base int64, t texts, f *crony.Fact) []byte {
	b = binary.AppendUvarint(b, uint64(f.Seq))
	kind := len(b)
	b = append(b, 0)
	b = appendTime(b, base, f.At)
	switch {
	case f.Claimed != nil:
		b[kind] = kindClaimed
		if f.Claimed.CatchUp {
			b[kind] |= claimedCatchUp
		}
		if f.Claimed.Unclaimed {
			b[kind] |= claimedUnclaimed
		}
		b = appendClaim(b, base, t, f.Claimed)
		if len(f.Claimed.Params) > 0 {
			b[kind] |= claimedParams
			b = t.appendRef(b, labelsText(f.Claimed.Params), false)
		}
		return b
	case f.Started != nil:
		b[kind] = kindStarted
		b = binary.AppendUvarint(b, uint64(f.Started.Attempt))
		return binary.AppendVarint(b, int64(f.Started.PID))
	case f.Exited != nil:
		var flags byte
		b, flags = appendExit(b, t, f.Exited)
		b[kind] = kindExited | flags
		return b
	case f.Progress != nil:
		b[kind] = kindProgress
		return t.appendRef(binary.AppendUvarint(b, uint64(f.Progress.Percent)), f.Progress.Message, false)
	case f.Result != nil:
		b[kind] = kindResult
		return t.appendRef(b, string(f.Result.Data), false)
	default:
		b[kind] = kindEnded
		return t.appendRef(append(b, stateByte(f.Ended.State)), f.Ended.Reason, false)
	}
}

func appendClaim(b []byte, base int64, t texts, c *crony.ClaimedFact) []byte {
	b = t.appendRef(b, c.Job, true)
	b = t.appendRef(b, c.Agent, true)
	b = t.appendRef(b, c.Group, true)
	b = t.appendRef(b, labelsText(c.Labels), true)
	b = t.appendRef(b, string(c.Trigger), true)
	b = appendTime(b, base, c.ScheduledAt)
	b = t.appendRef(b, c.JobUID, false)
	b = t.appendRef(b, c.By, false)
	b = binary.AppendVarint(b, c.Generation)
	b = binary.AppendVarint(b, c.Epoch)
	if c.Unclaimed {
		b = t.appendRef(b, string(c.Doubles), false)
	}
	return b
}

func appendExit(b []byte, t texts, x *crony.ExitedFact) (_ []byte, flags byte) {
	b = binary.AppendUvarint(b, uint64(x.Attempt))
	if x.ExitCode != nil {
		flags |= exitedCode
		b = binary.AppendVarint(b, int64(*x.ExitCode))
	}
	b = t.appendRef(b, x.Signal, false)
	if micros := int64(math.Round(x.CPUSeconds * 1e6)); x.CPUSeconds >= 0 && x.CPUSeconds < 1e12 &&
		math.Float64bits(float64(micros)/1e6) == math.Float64bits(x.CPUSeconds) {
		b = binary.AppendUvarint(b, uint64(micros))
	} else {
		flags |= exitedFloat
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(x.CPUSeconds))
	}
	b = binary.AppendVarint(b, x.MaxRSS)
	b = binary.AppendVarint(b, x.StdoutBytes)
	return binary.AppendVarint(b, x.StderrBytes), flags
}

// fact reads what appendFact has written.
func (u *unpacker) fact(id crony.RunID, base int64, t texts) (f crony.Fact) {
	f.Run, f.Seq = id, u.number(crony.VerdictSeq)
	kind := u.byte()
	f.At = u.time(base)
	switch kind & kindMask {
	case kindClaimed:
		f.Claimed = u.claim(base, t)
		f.Claimed.CatchUp = kind&claimedCatchUp != 0
		if f.Claimed.Unclaimed = kind&claimedUnclaimed != 0; f.Claimed.Unclaimed {
			f.Claimed.Doubles = crony.RunID(t.text(u))
		}
		if kind&claimedParams != 0 {
			f.Claimed.Params = u.labels(t.text(u))
		}
	case kindStarted:
		f.Started = &crony.StartedFact{Attempt: u.number(math.MaxInt32), PID: int(u.varint())}
	case kindExited:
		f.Exited = u.exit(kind, t)
	case kindEnded:
		f.Ended = &crony.EndedFact{State: stateOf(u.byte()), Reason: t.text(u)}
	case kindProgress:
		f.Progress = &crony.ProgressFact{Percent: u.number(wholePercent), Message: t.text(u)}
	case kindResult:
		f.Result = &crony.ResultFact{Data: []byte(t.text(u))}
	default:
		u.fail()
	}
	return f
}

func (u *unpacker) claim(base int64, t texts) *crony.ClaimedFact {
	c := &crony.ClaimedFact{Job: t.text(u), Agent: t.text(u), Group: t.text(u)}
	c.Labels = u.labels(t.text(u))
	c.Trigger = crony.Trigger(t.text(u))
	c.ScheduledAt = u.time(base)
	c.JobUID, c.By = t.text(u), t.text(u)
	c.Generation, c.Epoch = u.varint(), u.varint()
	return c
}

func (u *unpacker) exit(kind byte, t texts) *crony.ExitedFact {
	x := &crony.ExitedFact{Attempt: u.number(math.MaxInt32)}
	if kind&exitedCode != 0 {
		code := int(u.varint())
		x.ExitCode = &code
	}
	x.Signal = t.text(u)
	if kind&exitedFloat == 0 {
		x.CPUSeconds = float64(u.uvarint()) / 1e6
	} else if bits := u.bytes(8); bits != nil {
		x.CPUSeconds = math.Float64frombits(binary.BigEndian.Uint64(bits))
	}
	x.MaxRSS, x.StdoutBytes, x.StderrBytes = u.varint(), u.varint(), u.varint()
	return x
}

// labelsText makes one text of a set of labels: the same for the same set.
func labelsText(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		b = appendText(appendText(b, key), labels[key])
	}
	return string(b)
}

// labels makes a set of labelsText's text.
func (u *unpacker) labels(text string) map[string]string {
	if text == "" {
		return nil
	}
	inner := unpacker{b: []byte(text)}
	labels := map[string]string{}
	for len(inner.b) > 0 {
		key, value := string(inner.text()), string(inner.text())
		labels[key] = value
	}
	if inner.failed {
		u.fail()
	}
	return labels
}

// stateByte returns the number that stands for a state. Zero stands for none.
func stateByte(s crony.RunState) byte {
	switch s {
	case crony.Claimed:
		return 1
	case crony.Running:
		return 2
	case crony.Succeeded:
		return 3
	case crony.Failed:
		return 4
	case crony.TimedOut:
		return 5
	case crony.Killed:
		return 6
	case crony.Lost:
		return 7
	case crony.Skipped:
		return 8
	}
	return 0
}

func stateOf(b byte) crony.RunState {
	states := [...]crony.RunState{
		"", crony.Claimed, crony.Running, crony.Succeeded, crony.Failed, crony.TimedOut, crony.Killed, crony.Lost, crony.Skipped,
	}
	if int(b) >= len(states) {
		return ""
	}
	return states[b]
}

// newFactRecord checks a fact of the run k and makes its record, in room that it appends to.
func newFactRecord(room []byte, k runKey, f *crony.Fact) ([]byte, factRecord, error) {
	if wrong := faultOfFact(f); wrong != "" {
		return room, factRecord{}, crony.Errorf(crony.Invalid, "fact %d of run %s: %s", f.Seq, f.Run, wrong)
	}
	own := ownFact(f)
	start := len(room)
	room = appendFact(append(room, k[:]...), k.millis(), (*spelled)(nil), &own)
	whole := room[start:len(room):len(room)]
	if len(whole) > MaxFact {
		return room, factRecord{}, crony.Errorf(crony.Invalid, "fact %d of run %s has %d bytes", f.Seq, f.Run, len(whole)).
			WithHint("at most %d", MaxFact)
	}
	return room, factRecord{run: k, fact: own, plain: whole[len(k):], hash: xxhash.Sum64(whole)}, nil
}

// outweighs says whether of two different facts with one number f is the one to keep: on every server the same.
func (f *factRecord) outweighs(other *factRecord) bool {
	if !f.fact.At.Equal(other.fact.At) {
		return f.fact.At.Before(other.fact.At)
	}
	return bytes.Compare(f.plain, other.plain) < 0
}

// faultOfFact returns what is wrong with f, or "".
func faultOfFact(f *crony.Fact) string {
	switch {
	case f.Seq < 1 || f.Seq > crony.VerdictSeq:
		return fmt.Sprintf("its number is outside 1 to %d", crony.VerdictSeq)
	case !writable(f.At):
		return "its time is outside the years 0 to 9999"
	case (f.Claimed != nil) != (f.Seq == 1):
		return "the first fact, and no other, says what was claimed"
	case count(f.Claimed != nil, f.Started != nil, f.Exited != nil, f.Ended != nil, f.Progress != nil, f.Result != nil) != 1:
		return "it must say one thing"
	case f.Claimed != nil:
		return faultOfClaim(f.Claimed)
	case f.Started != nil && !attemptFits(f.Started.Attempt), f.Exited != nil && !attemptFits(f.Exited.Attempt):
		return "attempts are numbered from 1"
	case f.Exited != nil && (math.IsNaN(f.Exited.CPUSeconds) || math.IsInf(f.Exited.CPUSeconds, 0)):
		return "its CPU time is not a number"
	case f.Exited != nil && !utf8.ValidString(f.Exited.Signal), f.Ended != nil && !utf8.ValidString(f.Ended.Reason):
		return "its text is not UTF-8"
	case f.Ended != nil && !f.Ended.State.Ended(), f.Ended != nil && !knownState(f.Ended.State):
		return fmt.Sprintf("no run ends in state %.40q", f.Ended.State)
	case f.Progress != nil && (f.Progress.Percent < 0 || f.Progress.Percent > wholePercent):
		return "progress is 0 to 100"
	case f.Progress != nil && !utf8.ValidString(f.Progress.Message):
		return "its text is not UTF-8"
	case f.Result != nil && (!json.Valid(f.Result.Data) || !utf8.Valid(f.Result.Data)):
		return "its result is not JSON"
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

// ownFact returns a copy of f that shares nothing with it, with its times as they come back from the disk.
func ownFact(f *crony.Fact) crony.Fact {
	own := crony.Fact{
		Run: f.Run, Seq: f.Seq, At: stored(f.At),
		Claimed: clone(f.Claimed), Started: clone(f.Started), Exited: clone(f.Exited), Ended: clone(f.Ended),
		Progress: clone(f.Progress), Result: clone(f.Result),
	}
	if own.Result != nil {
		own.Result.Data = bytes.Clone(own.Result.Data)
	}
	if own.Claimed != nil {
		own.Claimed.ScheduledAt = stored(own.Claimed.ScheduledAt)
		own.Claimed.Labels, own.Claimed.Params = ownSet(own.Claimed.Labels), ownSet(own.Claimed.Params)
	}
	if own.Exited != nil {
		own.Exited.ExitCode = clone(own.Exited.ExitCode)
	}
	return own
}

func ownSet(set map[string]string) map[string]string {
	if len(set) == 0 {
		return nil
	}
	return maps.Clone(set)
}

func stored(t time.Time) time.Time { return t.UTC().Round(0) }

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
