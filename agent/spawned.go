package agent

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawned is a process that the agent has started. Unlike [os.Process] it takes no thread while it is waited for: as many
// runs as an agent may have would be more threads than Go allows.
type spawned struct {
	pid int
	fd  *os.File // its pidfd, see pidfd_open(2); nil if the kernel has none
}

// start starts the command with these descriptors as its stdin, stdout, stderr, and more.
func (c *command) start(files []int) (*spawned, error) {
	fd := -1
	attr := syscall.ProcAttr{Dir: c.dir, Env: c.env, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &fd}}
	for _, f := range files {
		attr.Files = append(attr.Files, uintptr(f))
	}
	pid, err := syscall.ForkExec(c.program, c.argv, &attr)
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: c.program, Err: err}
	}
	started := &spawned{pid: pid}
	if fd >= 0 && syscall.SetNonblock(fd, true) == nil { // so that Go's poller takes it
		started.fd = os.NewFile(uintptr(fd), fmt.Sprintf("process %d", pid))
	}
	return started, nil
}

// wait waits until the process has ended and returns how, and what it used. It is called once.
func (c *spawned) wait() (syscall.WaitStatus, syscall.Rusage) {
	var status syscall.WaitStatus
	var usage syscall.Rusage
	ended := func(options int) bool {
		for {
			pid, err := syscall.Wait4(c.pid, &status, options, &usage)
			if !errors.Is(err, syscall.EINTR) {
				return pid == c.pid || err != nil
			}
		}
	}
	if c.fd != nil {
		defer c.fd.Close() //nolint:errcheck // nothing is written through it
		if conn, err := c.fd.SyscallConn(); err == nil && conn.Read(func(uintptr) bool { return ended(syscall.WNOHANG) }) == nil {
			return status, usage
		}
	}
	ended(0)
	return status, usage
}

// openFD opens a file that is there, and returns its descriptor. Unlike an [os.File] it tells Go's poller nothing, which is
// half of the work for a file that is closed again at once.
func openFD(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}
