package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bootID returns the name of the host's boot.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

// firstProcess is the host's first process.
const firstProcess = 1

// boottime returns how long ago the host has booted, by a clock that goes on while it is asleep, and that nobody sets; see
// clock_gettime(3).
func boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &t); err != nil {
		panic(fmt.Sprintf("agent: ask for CLOCK_MONOTONIC_RAW: %v", err)) // macOS has it since 10.12
	}
	return time.Duration(t.Nano())
}

// hasLoad says that the host has load averages.
const hasLoad = true

// zombie is the state of a process that has ended and waits to be taken note of, see sys/proc.h.
const zombie = 5

// startTicks returns when a process began, in microseconds; [os.ErrProcessDone] if it has ended.
func startTicks(pid int) (uint64, error) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(p.Proc.P_pid) != pid || p.Proc.P_stat == zombie {
		return 0, errors.Join(os.ErrProcessDone, err)
	}
	return uint64(p.Proc.P_starttime.Nano() / int64(time.Microsecond)), nil
}

// readProcs returns the processes of the host, but for those that have ended.
func readProcs() (list []proc) {
	table, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil
	}
	for i := range table {
		k := &table[i]
		if k.Proc.P_stat == zombie || k.Proc.P_pid <= 0 {
			continue
		}
		p := proc{pid: int(k.Proc.P_pid), parent: int(k.Eproc.Ppid), group: int(k.Eproc.Pgid)}
		p.session, _ = unix.Getsid(p.pid) // 0 if it has ended meanwhile
		p.environ = environOf(p.pid)
		list = append(list, p)
	}
	return list
}

// environOf returns the environment that a process began with, as far as the kernel shows it: not that of another user's process,
// nor of every program of the system.
func environOf(pid int) []byte {
	data, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return nil
	}
	return environIn(data)
}

// environIn finds the environment in what kern.procargs2 tells: the number of arguments, the program's path, NULs, the
// arguments, and then the environment, each ended by a NUL.
func environIn(data []byte) []byte {
	if len(data) < 4 {
		return nil
	}
	args := int(binary.NativeEndian.Uint32(data))
	data = data[4:]
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		return nil
	}
	data = bytes.TrimLeft(data[end:], "\x00")
	for range args {
		end := bytes.IndexByte(data, 0)
		if end < 0 {
			return nil
		}
		data = data[end+1:]
	}
	return data
}

// adoptOrphans fails: macOS gives orphans to the host's first process.
func adoptOrphans() error { return errors.New("macOS gives orphans to its first process") }

// reap has nothing to do: there are no adopted children.
func (*children) reap(context.Context) error { return nil }
