//go:build unix

package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"crony"
)

// spawned is a process that the agent has started. Unlike [os.Process] it takes no thread while it is waited for, where the
// kernel can do without: as many runs as an agent may have would be more threads than Go allows.
type spawned struct {
	pid      int
	fd       *os.File // its pidfd, see pidfd_open(2); nil if the kernel has none
	children *children
}

// start starts the command in a cgroup, with these descriptors as its stdin, stdout, stderr, and more.
func (c *command) start(files []int, in *cgroup, of *children) (*spawned, error) {
	attr := syscall.ProcAttr{Dir: c.dir, Env: c.env,
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: c.account.switches}}
	for _, f := range files {
		attr.Files = append(attr.Files, uintptr(f))
	}
	done, err := in.enter(attr.Sys)
	if err != nil {
		return nil, fmt.Errorf("enter its cgroup: %w", err)
	}
	defer done()
	pid := 0
	started := of.start()
	defer func() { started(pid) }()
	var fd *os.File
	if pid, fd, err = c.fork(&attr, in); err != nil {
		return nil, err
	}
	return &spawned{pid: pid, fd: fd, children: of}, nil
}

// explain says why the command can't be started. The kernel names neither the user who may not, nor what is too long.
func (c *command) explain(err error) error {
	failed := &os.PathError{Op: "fork/exec", Path: c.program, Err: err}
	switch {
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%w: its %d arguments and its environment are more than this host takes", failed, len(c.argv))
	case errors.Is(err, unix.EACCES) && c.account.switches != nil:
		return fmt.Errorf("%w: user %s may not run it, or not in %s", failed, c.account.name, cmp.Or(c.dir, "the agent's directory"))
	}
	return failed
}

// children knows the processes that the agent has started and waits for: of all other children, those that it has adopted,
// nobody wants to know how they end.
type children struct {
	mu       sync.Mutex
	starting int
	own      map[int]bool
}

func newChildren() *children { return &children{own: map[int]bool{}} }

// start is told before a process is started, and returns what is to be told its pid, 0 if there is none.
func (c *children) start() (started func(pid int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting++
	return func(pid int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.starting--
		if pid != 0 {
			c.own[pid] = true
		}
	}
}

func (c *children) ended(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.own, pid)
}

// adopted says whether a child that was seen before the call is an adopted one for certain.
func (c *children) adopted(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starting == 0 && !c.own[pid]
}

// take returns the process of this id, if it is a child of this process that was not waited for; else nil.
func (c *children) take(pid int, _ uint64) *spawned {
	if _, err := hasEnded(pid, unix.WNOHANG); err != nil {
		return nil
	}
	c.start()(pid)
	return &spawned{pid: pid, fd: openPID(pid), children: c}
}

// waitEnd waits until the process has ended, and leaves it to wait, of whichever life of the agent, to take note of it.
func (c *spawned) waitEnd() {
	c.until(func(options int) bool {
		yes, err := hasEnded(c.pid, options)
		return yes || err != nil
	})
}

// until asks over and over whether the process has ended, as often as there may be news, in a thread of its own only where the
// kernel has no pidfd. Options are those of wait4(2).
func (c *spawned) until(ended func(options int) bool) {
	if c.fd != nil {
		conn, err := c.fd.SyscallConn()
		if err == nil && conn.Read(func(uintptr) bool { return ended(syscall.WNOHANG) }) == nil {
			return
		}
	}
	ended(0)
}

// ownPeak returns the most memory that the agent has had, in units of rssUnit. A child begins as its parent's image, so that a
// peak no higher than this says nothing of what the child had itself.
func ownPeak() int64 {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	return own.Maxrss
}

// wait waits until the process has ended and returns how, what it used, and whether that is known: not if another part of the
// agent's process has waited for it. It is called once.
func (c *spawned) wait() (fact crony.ExitedFact, known bool) {
	var status syscall.WaitStatus
	var usage syscall.Rusage
	defer c.children.ended(c.pid)
	ended := func(options int) bool {
		for {
			pid, err := syscall.Wait4(c.pid, &status, options, &usage)
			if !errors.Is(err, syscall.EINTR) {
				known = pid == c.pid
				return known || err != nil
			}
		}
	}
	if c.fd != nil {
		defer c.fd.Close() //nolint:errcheck // nothing is written through it
	}
	c.until(ended)
	fact = crony.ExitedFact{CPUSeconds: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds(),
		ReadBytes: usage.Inblock * 512, WriteBytes: usage.Oublock * 512} // see getrusage(2)
	if usage.Maxrss > ownPeak() {
		fact.MaxRSS = usage.Maxrss * rssUnit
	}
	if code := status.ExitStatus(); status.Signaled() {
		fact.Signal = unix.SignalName(status.Signal())
	} else {
		fact.ExitCode = &code
	}
	return fact, known
}
