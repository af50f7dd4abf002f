package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"crony"
)

// process is a started attempt: the leader of a session and process group of its own, whose output goes into files.
type process struct {
	run     crony.RunID
	job     string // its name
	attempt int
	pid     int
	birth   birth
	began   time.Time
	terms   terms
	outputs []*output
	child   *spawned // nil for a process of an earlier life
	script  string   // file to remove at the end; "" if there is none
	timer   *time.Timer
	told    bool // the servers were told of it, on this stream; guarded by the runner

	mu      sync.Mutex
	gone    bool            // the leader has ended
	ending  crony.EndedFact // why it was killed, if it was
	cleared <-chan struct{} // closed when the group of a process that was killed is gone, or was sent KILL
}

// birth is when a process began. With its pid it names the process for ever.
type birth struct {
	Boot  string `json:"boot"`  // the host's boot
	Ticks uint64 `json:"ticks"` // since then, in the kernel's clock ticks
}

// startProcess starts an attempt, whose output files are there. The error says in plain words why it can't be started.
func startProcess(
	dir, boot string, a *attempt, files []*output, now func() time.Time, may func(*attempt) bool,
) (*process, error) {
	p := &process{run: a.run, job: a.job.Name, attempt: a.number, terms: termsOf(a.job), outputs: files}
	if a.job.Shell != nil && a.job.Shell.Script != "" {
		p.script = outputPath(dir, a.run, a.number, "script")
	}
	if err := p.start(dir, a, now, may); err != nil {
		p.removeScript()
		return nil, fmt.Errorf("start the run: %w", err)
	}
	p.pid = p.child.pid
	ticks, _ := startTicks(p.pid) // 0 if it has ended already
	p.birth = birth{Boot: boot, Ticks: ticks}
	return p, nil
}

func (p *process) start(dir string, a *attempt, now func() time.Time, may func(*attempt) bool) error {
	cmd, err := newCommand(dir, p.script, a)
	if err != nil {
		return err
	}
	files := []int{cmd.stdin}
	defer func() { // the process has its own by then
		for _, fd := range append(files, cmd.more...) {
			unix.Close(fd) //nolint:errcheck // nothing was written through it
		}
	}()
	for _, o := range p.outputs {
		fd, err := o.open()
		if err != nil {
			return err
		}
		files = append(files, fd)
	}
	p.began = now().UTC()
	if err := p.outputs[0].markBegun(files[1]); err != nil {
		return err
	}
	if !may(a) {
		return errLeaseOver
	}
	p.child, err = cmd.start(append(files, cmd.more...))
	return err
}

func termsOf(j *crony.Job) terms {
	return terms{Limit: j.OutputLimit(), Timeout: j.Timeout, Grace: crony.Duration(j.Grace()),
		Stop: j.OnDisconnect == crony.DisconnectStop}
}

// adoptProcess makes the process of a run that an earlier life of the agent started.
func adoptProcess(dir, boot string, started *crony.Fact, rec *record) *process {
	number := started.Started.Attempt
	p := &process{run: started.Run, job: rec.jobName(), attempt: number, pid: started.Started.PID, birth: rec.birth,
		began: started.At, terms: rec.terms, outputs: outputs(dir, started.Run, number, rec.terms.Limit),
		script: outputPath(dir, started.Run, number, "script")}
	if p.birth.Boot != boot {
		p.birth.Ticks = 0 // whoever has its pid now is somebody else
	}
	return p
}

func (p *process) removeScript() {
	if p.script != "" {
		os.Remove(p.script) //nolint:errcheck // the next start of the agent removes what is left
	}
}

// ownPeak returns the most memory that the agent has had, in KiB. A child begins as its parent's image, so that a peak no
// higher than this says nothing of what the child had itself.
func ownPeak() int64 {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	return own.Maxrss
}

// wait waits for a child of this agent. The files are not waited for: what the process left behind may hold them for ever.
func (p *process) wait() crony.ExitedFact {
	status, usage := p.child.wait()
	p.leave()
	fact := crony.ExitedFact{CPUSeconds: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()}
	if usage.Maxrss > ownPeak() {
		fact.MaxRSS = usage.Maxrss << 10
	}
	if status.Signaled() {
		fact.Signal = unix.SignalName(status.Signal())
		return fact
	}
	code := status.ExitStatus()
	fact.ExitCode = &code
	return fact
}

// foreignPoll is how often a process that is not a child is looked at.
const foreignPoll = 250 * time.Millisecond

// waitForeign waits for a process of an earlier life of the agent.
func (p *process) waitForeign() {
	for p.alive() {
		time.Sleep(foreignPoll)
	}
	p.leave()
}

func (p *process) alive() bool {
	ticks, err := startTicks(p.pid)
	return err == nil && p.birth.Ticks != 0 && ticks == p.birth.Ticks
}

// leave notes that the leader has ended. If the process was killed, it waits until its whole group is.
func (p *process) leave() {
	p.mu.Lock()
	p.gone = true
	cleared := p.cleared
	p.mu.Unlock()
	p.removeScript()
	if cleared != nil {
		<-cleared
	}
}

// kill ends the process and its group: TERM, then after the grace KILL for what is left. The first reason counts, and none
// does once the leader has ended by itself.
func (p *process) kill(state crony.RunState, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.ending.State != "" || p.child == nil && !p.alive() {
		return
	}
	p.ending = crony.EndedFact{State: state, Reason: reason}
	cleared := make(chan struct{})
	p.cleared = cleared
	p.signal(syscall.SIGTERM) //nolint:errcheck // it fails if nothing of the group is left
	go func() {
		defer close(cleared)
		p.clear()
	}()
}

// groupPoll is how often a group that was sent TERM is looked at.
const groupPoll = 20 * time.Millisecond

// clear waits until nothing of the group is left, but no longer than the grace, and then kills it.
func (p *process) clear() {
	grace := time.NewTimer(p.terms.Grace.Std())
	defer grace.Stop()
	poll := time.NewTicker(groupPoll)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
			if errors.Is(p.signal(0), syscall.ESRCH) {
				return
			}
		case <-grace.C:
			p.signal(syscall.SIGKILL) //nolint:errcheck // as above
			return
		}
	}
}

func (p *process) signal(sig syscall.Signal) error { return syscall.Kill(-p.pid, sig) }

// verdict says how the run ended.
func (p *process) verdict(exit *crony.ExitedFact) (crony.RunState, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ending.State != "":
		return p.ending.State, p.ending.Reason
	case exit.Signal != "":
		return crony.Failed, "ended by " + exit.Signal
	case exit.ExitCode == nil:
		return crony.Lost, "its agent was restarted while it ran: how it ended can't be known"
	case *exit.ExitCode != 0:
		return crony.Failed, "exit code " + strconv.Itoa(*exit.ExitCode)
	}
	return crony.Succeeded, ""
}

// bootID returns the name of the host's boot, see random(4).
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// startTicks returns when a process began, in clock ticks since the host's boot: field 22 of /proc/PID/stat, see proc(5).
func startTicks(pid int) (uint64, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields[statStart], 10, 64)
}

// Fields of /proc/PID/stat, counted from 0 at the one after the name, which proc(5) numbers 3.
const (
	statState   = 0
	statSession = 3
	statStart   = 19
)

// stat returns those fields; [os.ErrProcessDone] if the process has ended and only waits to be reaped.
func stat(pid int) ([]string, error) {
	fd, err := openFD("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)       //nolint:errcheck // nothing was written through it
	data := make([]byte, 2048) // it is 52 numbers and a name of 64 bytes at most
	n, err := unix.Read(fd, data)
	if err != nil {
		return nil, err // the process was reaped in between
	}
	data = data[:n]
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // the name before it may hold anything
	if len(fields) <= statStart || fields[statState] == "Z" {
		return nil, os.ErrProcessDone
	}
	return fields, nil
}

// findLeader returns the process that leads the session of an attempt of which only the environment is known; 0 if there is
// none.
func findLeader(run crony.RunID, attempt int) int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // its only error is for a bad pattern
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		vars := strings.Split(string(env), "\x00")
		if !slices.Contains(vars, runEnv+string(run)) || !slices.Contains(vars, "CRONY_ATTEMPT="+strconv.Itoa(attempt)) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if fields, err := stat(pid); err == nil && fields[statSession] == strconv.Itoa(pid) {
			return pid
		}
	}
	return 0
}
