package testhosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that goes on in a host.
type Process struct {
	host *Host
	name string
	file string // of its log
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts a program in the host. What it logs goes to a file of its name; it is killed when the test ends.
func (h *Host) Start(log string, name string, args ...string) *Process {
	h.lab.t.Helper()
	p := &Process{host: h, name: log, file: filepath.Join(h.Dir, log+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.lab.t.Fatal(err)
	}
	defer out.Close()
	p.cmd = h.command(context.Background(), name, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := p.cmd.Start(); err != nil {
		h.lab.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.procs = append(h.procs, p)
	return p
}

// Weigh says what share of the machine's processors the program is to have beside others, as nice(1) does. Where the kernel
// shares them out between sessions first (autogroup, see sched(7)), that is how a session weighs.
func (p *Process) Weigh(nice int) {
	p.host.lab.t.Helper()
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", p.Pid()), []byte(strconv.Itoa(nice)), 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = syscall.Setpriority(syscall.PRIO_PROCESS, p.Pid(), nice)
	}
	if err != nil {
		p.host.lab.t.Errorf("weigh %s on %s: %v", p.name, p.host.Name, err)
	}
}

// Kill kills the process, as the loss of its host's power would, and waits until it is gone.
func (p *Process) Kill() {
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGKILL)
	<-p.done
}

// PowerOff kills all that runs in the host, its jobs too, as the loss of its power would.
func (h *Host) PowerOff() {
	h.lab.t.Helper()
	if err := h.killAll(); err != nil {
		h.lab.t.Fatal(err)
	}
}

func (h *Host) killAll() error {
	for range 1000 {
		out, err := exec.Command("ip", "netns", "pids", h.ns).Output()
		if err != nil {
			return fmt.Errorf("list what runs in %s: %w", h.Name, err)
		}
		pids := strings.Fields(string(out))
		if len(pids) == 0 {
			return nil
		}
		for _, text := range pids {
			// The test itself is there for a moment when it dials.
			if pid, err := strconv.Atoi(text); err == nil && pid != os.Getpid() {
				syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may have ended by itself
			}
		}
		time.Sleep(time.Millisecond) // until they are gone
	}
	return fmt.Errorf("what runs in %s is not to be killed", h.Name)
}

// Freeze stops the process where it stands; Thaw lets it go on.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Stop asks the process to end, and returns how it did; it is killed if it takes longer than d.
func (p *Process) Stop(d time.Duration) error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(d):
		p.host.lab.t.Errorf("%s on %s did not stop within %s\n%s", p.name, p.host.Name, d, p.tail())
		p.Kill()
	}
	return p.err
}

// Ended returns what is closed when the process has ended, and Err how.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Err returns how the process has ended; nil for a success.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// signal sends a signal. nsenter has become the program, so that its process is the program's.
func (p *Process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && s != syscall.SIGKILL && s != syscall.SIGCONT {
		p.host.lab.t.Logf("signal %s on %s: %v", p.name, p.host.Name, err)
	}
}

// Logged says whether the process, or one of its name before it, has logged a text.
func (p *Process) Logged(text string) bool { return strings.Contains(p.Log(), text) }

// Log returns all that was logged.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.file)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

const tailBytes = 4000

func (p *Process) tail() string {
	data := []byte(p.Log())
	if len(data) > tailBytes {
		data = data[len(data)-tailBytes:]
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	return string(data)
}

// Fault has the kernel answer a process's system calls otherwise, by strace: as "fsync,fdatasync:error=EIO", or
// "fsync,fdatasync:delay_enter=500000". It returns what ends that.
func (p *Process) Fault(inject string) func() {
	p.host.lab.t.Helper()
	calls, _, _ := strings.Cut(inject, ":")
	cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-p", strconv.Itoa(p.Pid()),
		"-e", "trace="+calls, "-e", "inject="+inject)
	if err := cmd.Start(); err != nil {
		p.host.lab.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // it is ended by a signal
		close(ended)
	}()
	end := func() {
		cmd.Process.Signal(syscall.SIGINT) //nolint:errcheck // it may have ended with the process
		<-ended
	}
	var once sync.Once
	p.host.lab.t.Cleanup(func() { once.Do(end) })
	return func() { once.Do(end) }
}
