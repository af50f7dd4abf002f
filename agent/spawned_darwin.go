package agent

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rssUnit is of what getrusage(2) counts the most memory in, in bytes.
const rssUnit = 1

// fork starts the process. Nothing but a thread can tell of its end.
//
// A umask is the whole process's here, and so the agent's: a shell sets that of the run, and then becomes its program.
func (c *command) fork(attr *syscall.ProcAttr, _ *cgroup) (pid int, end *os.File, err error) {
	program, argv := c.program, c.argv
	if c.umask >= 0 {
		if err := unix.Access(program, unix.X_OK); err != nil {
			return 0, nil, c.explain(err)
		}
		argv = append([]string{"sh", "-c", fmt.Sprintf(`umask %03o; exec "$0" "$@"`, c.umask), program}, argv[1:]...)
		program = "/bin/sh"
	}
	if pid, err = syscall.ForkExec(program, argv, attr); err != nil {
		return 0, nil, c.explain(err)
	}
	return pid, nil, nil
}

// openPID returns nil: nothing but a thread can tell of a process's end.
func openPID(int) *os.File { return nil }

// hasEnded says whether a child has ended, without taking note of it. The error is ECHILD if there is no such child.
func hasEnded(pid, options int) (bool, error) {
	const (
		byPID  = 1    // P_PID
		exited = 0x4  // WEXITED
		noWait = 0x20 // WNOWAIT, see sys/wait.h
	)
	for {
		var info struct { // siginfo_t
			signo, errno, code, pid int32
			_                       [88]byte
		}
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			uintptr(exited|noWait|options), 0, 0)
		switch {
		case errno == 0:
			return info.pid == int32(pid) || options&unix.WNOHANG == 0, nil
		case !errors.Is(errno, unix.EINTR):
			return false, errno
		}
	}
}
