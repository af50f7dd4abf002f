package crony

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
)

// Rlimits are limits of setrlimit(2), by their names there, in small letters and without RLIMIT_. Each is both the soft limit
// and the hard one, and is set before the run's program begins. Unlike [Limits] they hold for each process of the run by itself,
// but for nproc, sigpending and msgqueue, which count all that its user has. What is not given is as the agent's own.
type Rlimits struct {
	AS         Rlimit `json:"as,omitempty"`         // bytes of addresses
	Core       Rlimit `json:"core,omitempty"`       // bytes of a core dump
	CPU        Rlimit `json:"cpu,omitempty"`        // seconds of the CPU; then KILL
	Data       Rlimit `json:"data,omitempty"`       // bytes of data
	FSize      Rlimit `json:"fsize,omitempty"`      // bytes of a file that it writes; its stdout and stderr are files too
	Memlock    Rlimit `json:"memlock,omitempty"`    // bytes that it may lock in memory
	MsgQueue   Rlimit `json:"msgqueue,omitempty"`   // bytes of POSIX message queues
	Nice       Rlimit `json:"nice,omitempty"`       // 20 less the lowest nice value that it may give itself
	NoFile     Rlimit `json:"nofile,omitempty"`     // open files
	NProc      Rlimit `json:"nproc,omitempty"`      // processes and threads of its user; root has no bound
	RTPrio     Rlimit `json:"rtprio,omitempty"`     // the highest real-time priority
	RTTime     Rlimit `json:"rttime,omitempty"`     // microseconds of real-time scheduling without a pause
	SigPending Rlimit `json:"sigpending,omitempty"` // signals that wait
	Stack      Rlimit `json:"stack,omitempty"`      // bytes of the stack
}

// Rlimit is one of them as a person writes it: a whole number, of bytes also a size as "64MiB", or "unlimited". "" is none. In
// JSON a number is one.
type Rlimit string

// Unlimited is no limit, whatever the agent has.
const Unlimited Rlimit = "unlimited"

// maxRlimit is the largest number of one: what every reader of JSON can hold.
const maxRlimit = 1 << 53

// Value returns the limit as the kernel takes it. Unlimited is [math.MaxUint64].
func (r Rlimit) Value() (uint64, error) {
	if r == Unlimited {
		return math.MaxUint64, nil
	}
	n, plain := r.number()
	if !plain {
		size, err := ParseSize(string(r))
		if err != nil {
			return 0, fmt.Errorf("%q is no limit", string(r))
		}
		n = uint64(size)
	}
	if n > maxRlimit {
		return 0, fmt.Errorf("%s is more than any limit; write unlimited", string(r))
	}
	return n, nil
}

// number returns the limit if it is a plain number, without a digit too many.
func (r Rlimit) number() (uint64, bool) {
	n, err := strconv.ParseUint(string(r), 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == string(r)
}

// MarshalJSON implements [json.Marshaler].
func (r Rlimit) MarshalJSON() ([]byte, error) {
	if _, plain := r.number(); plain {
		return []byte(r), nil
	}
	return json.Marshal(string(r))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *Rlimit) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, (*string)(r))
	}
	return json.Unmarshal(data, (*json.Number)(r))
}

// UnmarshalText implements [encoding.TextUnmarshaler]. What the text means is for [Rlimit.Value] to say.
func (r *Rlimit) UnmarshalText(text []byte) error {
	*r = Rlimit(text)
	return nil
}

// rlimitKind is what one of them may be.
type rlimitKind struct {
	name        string
	bytes       bool
	least, most uint64
	bounded     bool // the kernel knows no unlimited one
	value       Rlimit
}

// kinds lists them all, given or not, by name.
func (l *Rlimits) kinds() []rlimitKind {
	return []rlimitKind{
		{name: "as", bytes: true, least: uint64(MiB), most: maxRlimit, value: l.AS},
		{name: "core", bytes: true, most: maxRlimit, value: l.Core},
		{name: "cpu", least: 1, most: maxRlimit, value: l.CPU},
		{name: "data", bytes: true, most: maxRlimit, value: l.Data},
		{name: "fsize", bytes: true, most: maxRlimit, value: l.FSize},
		{name: "memlock", bytes: true, most: maxRlimit, value: l.Memlock},
		{name: "msgqueue", bytes: true, most: maxRlimit, value: l.MsgQueue},
		{name: "nice", most: 40, value: l.Nice},
		{name: "nofile", least: 4, most: 1 << 30, bounded: true, value: l.NoFile},
		{name: "nproc", most: maxRlimit, value: l.NProc},
		{name: "rtprio", most: 99, value: l.RTPrio},
		{name: "rttime", most: maxRlimit, value: l.RTTime},
		{name: "sigpending", most: maxRlimit, value: l.SigPending},
		{name: "stack", bytes: true, least: uint64(64 * KiB), most: maxRlimit, value: l.Stack},
	}
}

// All yields those that are given, by name.
func (l *Rlimits) All() iter.Seq2[string, Rlimit] {
	return func(yield func(string, Rlimit) bool) {
		if l == nil {
			return
		}
		for _, k := range l.kinds() {
			if k.value != "" && !yield(k.name, k.value) {
				return
			}
		}
	}
}

func (c *checker) rlimits(at string, l *Rlimits) {
	if l == nil {
		return
	}
	for _, k := range l.kinds() {
		if k.value == "" {
			continue
		}
		n, err := k.value.Value()
		size := strings.HasSuffix(string(k.value), "B")
		switch {
		case strings.HasPrefix(string(k.value), "-"):
			c.fault(at+k.name, k.hint(), "%s is less than nothing", k.value)
		case err != nil, size && !k.bytes:
			c.fault(at+k.name, k.hint(), "%.40q is no limit", string(k.value))
		case k.value == Unlimited && k.bounded:
			c.fault(at+k.name, k.hint(), "it can't be unlimited")
		case k.value != Unlimited && (n < k.least || n > k.most):
			c.fault(at+k.name, k.hint(), "%s is out of range", k.value)
		}
	}
}

// hint says what one may be.
func (k *rlimitKind) hint() string {
	least, most := strconv.FormatUint(k.least, 10), strconv.FormatUint(k.most, 10)
	if k.bytes {
		least, most = Size(k.least).String(), Size(k.most).String()
	}
	said := least + " to " + most
	switch {
	case k.bytes && k.least > 0:
		said = "bytes, or a size as 64MiB, of at least " + least
	case k.bytes:
		said = "bytes, or a size as 64MiB"
	case k.most == maxRlimit:
		said = "a whole number, of at least " + least
	}
	if k.bounded {
		return said
	}
	return said + ", or unlimited"
}
