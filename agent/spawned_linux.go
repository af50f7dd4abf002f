package agent

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// rssUnit is of what getrusage(2) counts the most memory in, in bytes.
const rssUnit = 1 << 10

// fork starts the process, and returns what tells of its end, nil if the kernel has no such thing.
func (c *command) fork(attr *syscall.ProcAttr, in *cgroup) (pid int, end *os.File, err error) {
	fd := -1
	attr.Sys.PidFD = &fd
	switch {
	case len(c.rlimits) > 0:
		pid, err = c.launch(attr, in)
	case c.umask < 0:
		pid, err = c.explained(syscall.ForkExec(c.program, c.argv, attr))
	default:
		pid, err = c.explained(forkWithUmask(c.umask, c.program, c.argv, attr))
	}
	switch {
	case fd < 0:
	case err != nil:
		unix.Close(fd) //nolint:errcheck // of a process that is gone
	case syscall.SetNonblock(fd, true) == nil: // so that Go's poller takes it
		end = os.NewFile(uintptr(fd), fmt.Sprintf("process %d", pid))
	}
	return pid, end, err
}

// explained says of an error that there is what it means.
func (c *command) explained(pid int, err error) (int, error) {
	if err != nil {
		return 0, c.explain(err)
	}
	return pid, nil
}

// forkWithUmask starts a process whose umask is its own. A process has its umask of the thread that starts it, and threads
// share theirs: this one is given one of its own, and ends with the goroutine, as it stays locked to it.
func forkWithUmask(mask int, program string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			err = fmt.Errorf("set its umask: %w", err)
			return
		}
		unix.Umask(mask)
		pid, err = syscall.ForkExec(program, argv, attr)
	}()
	<-done
	return pid, err
}

// openPID returns what tells of the end of a process; nil if the kernel has no such thing.
func openPID(pid int) *os.File {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("process %d", pid))
}

// hasEnded says whether a child has ended, without taking note of it. The error is ECHILD if there is no such child.
func hasEnded(pid, options int) (bool, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|options, nil)
		if !errors.Is(err, unix.EINTR) {
			return info.Signo != 0, err
		}
	}
}
