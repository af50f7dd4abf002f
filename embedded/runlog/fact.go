package runlog

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

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
//	         of one that was started without a claim, reference: the run that it doubles; reference: params, if there are any;
//	         reference: the lost run in whose place it is, if there is one; of the kind claimed-more, a byte of which the lowest
//	         bit says whether its result is to be handled
//	started  attempt, pid; reference: the callback's hash, if there is one
//	exited   attempt, exit code if it has one, reference: signal, CPU microseconds or float64, max rss, stdout, stderr bytes;
//	         bytes read and written, if there are any; a byte that says whether it wanted too much memory and reference: status,
//	         if either is there
//	ended    state byte, reference: reason
//	progress percent, reference: message
//	result   reference: JSON; attempt, if it is said
//	waiting  attempt, until, reference: reason
//	handled  references: by, note, request
//	moved    attempt, reference: agent
//
// Spelled out, this is what servers compare and hash, whatever their version: it may be added to, never changed.
const (
	kindClaimed     = 1
	kindStarted     = 2
	kindExited      = 3
	kindEnded       = 4
	kindProgress    = 5
	kindResult      = 6
	kindWaiting     = 7
	kindHandled     = 8
	kindClaimedMore = 9 // one of whose flags has no room among those of the kind
	kindMoved       = 10
	kindMask        = 0x0f

	claimedCatchUp   = 0x10
	claimedUnclaimed = 0x20
	claimedParams    = 0x40
	claimedRerun     = 0x80
	startedCallback  = 0x10
	exitedCode       = 0x10
	exitedFloat      = 0x20 // the CPU time is no whole number of microseconds
	exitedIO         = 0x40
	exitedMore       = 0x80
	resultAttempt    = 0x10

	claimedHandle = 0x01 // in the byte at the end
)

func appendFact(b []byte, base int64, t texts, f *crony.Fact) []byte {
	b = binary.AppendUvarint(b, uint64(f.Seq))
	kind := len(b)
	b = append(b, 0)
	b = appendTime(b, base, f.At)
	switch {
	case f.Claimed != nil:
		b[kind] = kindClaimed
		if f.Claimed.Handle {
			b[kind] = kindClaimedMore
		}
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
		if f.Claimed.RerunOf != "" {
			b[kind] |= claimedRerun
			b = t.appendRef(b, string(f.Claimed.RerunOf), false)
		}
		if f.Claimed.Handle {
			b = append(b, claimedHandle)
		}
		return b
	case f.Started != nil:
		b[kind] = kindStarted
		b = binary.AppendVarint(binary.AppendUvarint(b, uint64(f.Started.Attempt)), int64(f.Started.PID))
		if f.Started.Callback != "" {
			b[kind] |= startedCallback
			b = t.appendRef(b, f.Started.Callback, false)
		}
		return b
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
		b = t.appendRef(b, string(f.Result.Data), false)
		if f.Result.Attempt != 0 {
			b[kind] |= resultAttempt
			b = binary.AppendUvarint(b, uint64(f.Result.Attempt))
		}
		return b
	case f.Handled != nil:
		b[kind] = kindHandled
		return t.appendRef(t.appendRef(t.appendRef(b, f.Handled.By, false), f.Handled.Note, false), f.Handled.Request, false)
	case f.Moved != nil:
		b[kind] = kindMoved
		return t.appendRef(binary.AppendUvarint(b, uint64(f.Moved.Attempt)), f.Moved.Agent, false)
	case f.Waiting != nil:
		b[kind] = kindWaiting
		b = appendTime(binary.AppendUvarint(b, uint64(f.Waiting.Attempt)), base, f.Waiting.Until)
		return t.appendRef(b, f.Waiting.Reason, false)
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
	b = binary.AppendVarint(binary.AppendVarint(b, x.StdoutBytes), x.StderrBytes)
	if x.ReadBytes != 0 || x.WriteBytes != 0 {
		flags |= exitedIO
		b = binary.AppendVarint(binary.AppendVarint(b, x.ReadBytes), x.WriteBytes)
	}
	if x.OOM || x.Status != "" {
		flags |= exitedMore
		oom := byte(0)
		if x.OOM {
			oom = 1
		}
		b = t.appendRef(append(b, oom), x.Status, false)
	}
	return b, flags
}

// fact reads what appendFact has written.
func (u *unpacker) fact(id crony.RunID, base int64, t texts) (f crony.Fact) {
	f.Run, f.Seq = id, u.number(crony.HandledSeq)
	kind := u.byte()
	f.At = u.time(base)
	switch kind & kindMask {
	case kindClaimed, kindClaimedMore:
		f.Claimed = u.claim(base, t)
		f.Claimed.CatchUp = kind&claimedCatchUp != 0
		if f.Claimed.Unclaimed = kind&claimedUnclaimed != 0; f.Claimed.Unclaimed {
			f.Claimed.Doubles = crony.RunID(t.text(u))
		}
		if kind&claimedParams != 0 {
			f.Claimed.Params = u.labels(t.text(u))
		}
		if kind&claimedRerun != 0 {
			f.Claimed.RerunOf = crony.RunID(t.text(u))
		}
		if kind&kindMask == kindClaimedMore {
			f.Claimed.Handle = u.byte()&claimedHandle != 0
		}
	case kindStarted:
		f.Started = &crony.StartedFact{Attempt: u.number(math.MaxInt32), PID: int(u.varint())}
		if kind&startedCallback != 0 {
			f.Started.Callback = t.text(u)
		}
	case kindExited:
		f.Exited = u.exit(kind, t)
	case kindEnded:
		f.Ended = &crony.EndedFact{State: stateOf(u.byte()), Reason: t.text(u)}
	case kindProgress:
		f.Progress = &crony.ProgressFact{Percent: u.number(wholePercent), Message: t.text(u)}
	case kindResult:
		f.Result = &crony.ResultFact{Data: []byte(t.text(u))}
		if kind&resultAttempt != 0 {
			f.Result.Attempt = u.number(math.MaxInt32)
		}
	case kindHandled:
		f.Handled = &crony.HandledFact{By: t.text(u), Note: t.text(u), Request: t.text(u)}
	case kindWaiting:
		f.Waiting = &crony.WaitingFact{Attempt: u.number(math.MaxInt32), Until: u.time(base), Reason: t.text(u)}
	case kindMoved:
		f.Moved = &crony.MovedFact{Attempt: u.number(math.MaxInt32), Agent: t.text(u)}
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
	if kind&exitedIO != 0 {
		x.ReadBytes, x.WriteBytes = u.varint(), u.varint()
	}
	if kind&exitedMore != 0 {
		x.OOM, x.Status = u.byte() == 1, t.text(u)
	}
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

// ownFact returns a copy of f that shares nothing with it, with its times as they come back from the disk.
func ownFact(f *crony.Fact) crony.Fact {
	own := crony.Fact{
		Run: f.Run, Seq: f.Seq, At: stored(f.At),
		Claimed: clone(f.Claimed), Started: clone(f.Started), Exited: clone(f.Exited), Ended: clone(f.Ended),
		Progress: clone(f.Progress), Result: clone(f.Result), Waiting: clone(f.Waiting),
		Handled: clone(f.Handled), Moved: clone(f.Moved),
	}
	if own.Result != nil {
		own.Result.Data = bytes.Clone(own.Result.Data)
	}
	if own.Waiting != nil {
		own.Waiting.Until = stored(own.Waiting.Until)
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
