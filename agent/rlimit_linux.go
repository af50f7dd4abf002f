package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// beyond says what limit of its own a process went beyond that a signal has ended, if that is what the signal is for.
func (p *process) beyond(signal string) string {
	if p.rlimits == nil {
		return ""
	}
	switch l := p.rlimits; {
	case signal == "SIGXFSZ" && l.FSize != "":
		return fmt.Sprintf(": it wrote more into a file than its rlimit fsize of %s", l.FSize)
	case signal == "SIGXCPU" && l.CPU != "", signal == "SIGKILL" && p.usedUp():
		return fmt.Sprintf(": it had %.2f s of the CPU, and its rlimit cpu is %s", p.used, l.CPU)
	}
	return ""
}

// usedUp says whether the leader may have had all that it may have of the CPU. The kernel counts towards the limit by whole
// ticks, of which another process may have had a part, and tells in the end what it was.
func (p *process) usedUp() bool {
	n, err := p.rlimits.CPU.Value()
	return err == nil && p.used >= float64(n)/2
}

// beyondBelow is beyond for a process that the leader has waited for, if it tells of it as shells do: by 128 and the signal.
func (p *process) beyondBelow(code int) string {
	signal := unix.SignalName(unix.Signal(code - 128))
	why := p.beyond(signal)
	if code <= 128 || why == "" {
		return ""
	}
	return ", as after " + signal + why
}
