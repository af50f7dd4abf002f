package runlog

import (
	"encoding/binary"
	"math"
	"time"

	"crony"
)

// A run is stored as one value: a version byte, its header, its facts in the order of their numbers, and a checksum. The
// header is what lists select by, so that they decode only what they return:
//
//	state byte, zero as long as the first fact is missing; flags byte;
//	when its first attempt started, if one has; how many nanoseconds it took from there to its end, if it has ended;
//	CPU microseconds of all attempts
//
// What else they select by is the beginning of the first fact, which is the claim, and is not stored twice.
const (
	headerStarted = 1
	headerTook    = 2
	headerHandle  = 4 // its result is to be handled
)

// header is what is known of a run without decoding its facts. The zero header is that of a run whose claim is missing.
type header struct {
	state   crony.RunState // "" without the claim
	started time.Time      // zero if it has not
	took    time.Duration  // from the start of its first attempt to its end; -1 if it has not started or not ended
	cpu     int64          // microseconds
	handle  bool           // its result is to be handled

	job, agent, group, labels, trigger uint32 // names
	due                                time.Time
}

func (h *header) claimed() bool { return h.state != "" }
func (h *header) ended() bool   { return h.claimed() && h.state.Ended() }

// appendRun appends a run's value. Known is false if its claim is missing, and run is then empty.
func appendRun(b []byte, k runKey, n *names, facts []crony.Fact, run *crony.Run, known bool) []byte {
	base, start := k.millis(), len(b)
	b = append(b, valueVersion, 0, 0)
	if known {
		b[len(b)-2] = stateByte(run.State)
		b = appendFigures(b, base, run)
	} else {
		b = append(b, 0)
	}
	for i := range facts {
		b = appendFact(b, base, n, &facts[i])
	}
	return seal(b, start, k[:])
}

// appendFigures sets the flags, which are the last byte of b, and appends what they tell of.
func appendFigures(b []byte, base int64, run *crony.Run) []byte {
	flags := len(b) - 1
	if run.ToHandle {
		b[flags] |= headerHandle
	}
	if !run.StartedAt.IsZero() {
		b[flags] |= headerStarted
		b = appendTime(b, base, run.StartedAt)
		if run.State.Ended() {
			b[flags] |= headerTook
			b = binary.AppendUvarint(b, uint64(max(0, run.EndedAt.Sub(run.StartedAt))))
		}
	}
	var cpu float64
	for i := range run.Attempts {
		cpu += run.Attempts[i].CPUSeconds
	}
	return binary.AppendUvarint(b, uint64(max(0, min(math.Round(cpu*1e6), 1<<50))))
}

// headerOf reads the header of a run's value, and how many bytes of the value it takes.
func headerOf(k runKey, value []byte) (h header, size int, err error) {
	value, ok := unseal(k[:], value)
	if !ok {
		return header{}, 0, unreadable(k, errUnknownRecord)
	}
	return readHeader(k, value)
}

func readHeader(k runKey, value []byte) (h header, size int, err error) {
	u := unpacker{b: value}
	base := k.millis()
	version := u.byte()
	h.state, h.took = stateOf(u.byte()), -1
	flags := u.byte()
	if flags&headerStarted != 0 {
		h.started = u.time(base)
	}
	if flags&headerTook != 0 {
		h.took = time.Duration(u.number(math.MaxInt64))
	}
	h.cpu = int64(u.number(math.MaxInt64))
	h.handle = flags&headerHandle != 0
	if h.claimed() {
		u.uvarint() // the first fact's number, kind and time
		u.byte()
		u.time(base)
		h.job, h.agent, h.group = u.name(), u.name(), u.name()
		h.labels, h.trigger = u.name(), u.name()
		h.due = u.time(base)
	}
	if u.failed || version != valueVersion {
		return header{}, 0, unreadable(k, errUnknownRecord)
	}
	return h, len(value) - len(u.b), nil
}

// name reads a reference that was written to be compared.
func (u *unpacker) name() uint32 {
	ref := u.uvarint()
	if ref&1 == 1 || ref>>1 > math.MaxUint32 {
		u.fail()
		return 0
	}
	return uint32(ref >> 1)
}

// factsOf reads the facts of a run's value.
func factsOf(k runKey, value []byte, t texts) ([]crony.Fact, error) {
	value, ok := unseal(k[:], value)
	if !ok {
		return nil, unreadable(k, errUnknownRecord)
	}
	u := unpacker{b: value}
	base := k.millis()
	_, _, flags := u.byte(), u.byte(), u.byte()
	if flags&headerStarted != 0 {
		u.time(base)
	}
	if flags&headerTook != 0 {
		u.uvarint()
	}
	u.uvarint()
	facts := make([]crony.Fact, 0, 4)
	for id := k.id(); len(u.b) > 0; {
		facts = append(facts, u.fact(id, base, t))
	}
	if u.failed {
		return nil, unreadable(k, errUnknownRecord)
	}
	return facts, nil
}
