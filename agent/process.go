package agent

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
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
	attempt int
	pid     int
	ticks   uint64 // when it began, in the kernel's clock ticks: with the pid, it names the process for ever
	began   time.Time
	terms   terms
	files   []*output // stdout, stderr
	cmd     *exec.Cmd // nil for a process of an earlier life
	script  string    // file to remove at the end
	timer   *time.Timer

	mu     sync.Mutex
	ending crony.EndedFact // why it was killed, if it was
	gone   chan struct{}   // closed when the process has ended
}

// startProcess starts an attempt. The error says in plain words why it can't be started.
func startProcess(dir string, a attempt, now func() time.Time) (*process, error) {
	p := &process{run: a.run, attempt: a.number, gone: make(chan struct{}),
		terms: terms{Limit: a.job.OutputLimit(), Timeout: a.job.Timeout, Grace: crony.Duration(a.job.Grace())}}
	if err := p.prepare(dir, a); err != nil {
		p.discard()
		return nil, fmt.Errorf("prepare the run: %w", err)
	}
	p.began = now().UTC()
	if err := p.cmd.Start(); err != nil {
		p.discard()
		return nil, fmt.Errorf("start the run: %w", err)
	}
	if stdin, ok := p.cmd.Stdin.(*os.File); ok {
		stdin.Close() //nolint:errcheck // only read from
	}
	p.pid = p.cmd.Process.Pid
	p.ticks, _ = startTicks(p.pid) // 0 if it has ended already
	return p, nil
}

func (p *process) prepare(dir string, a attempt) (err error) {
	if p.files, err = createOutputs(dir, p.run, p.attempt, p.terms.Limit); err != nil {
		return err
	}
	argv, err := p.argv(dir, a.job.Shell)
	if err != nil {
		return err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = a.job.Shell.Cwd
	cmd.Env = append(baseEnv(), a.job.Shell.Environ()...)
	cmd.Env = append(cmd.Env, a.environ()...)
	cmd.Stdout, cmd.Stderr = p.files[0].file, p.files[1].file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.job.Shell.Stdin != "" {
		if cmd.Stdin, err = unnamedFile(dir, a.job.Shell.Stdin); err != nil {
			return err
		}
	}
	p.cmd = cmd
	return nil
}

// argv returns the command line; a script goes into a file of its own first.
func (p *process) argv(dir string, s *crony.Shell) ([]string, error) {
	interpreter := s.Interpreter
	if interpreter == "" {
		interpreter = crony.DefaultInterpreter
	}
	switch {
	case len(s.Argv) > 0:
		return s.Argv, nil
	case s.Command != "":
		return []string{interpreter, "-c", s.Command}, nil
	}
	p.script = filepath.Join(dir, outputDir, outputName(p.run, p.attempt, "script"))
	if err := os.WriteFile(p.script, []byte(s.Script), 0o700); err != nil {
		return nil, err
	}
	return []string{interpreter, p.script}, nil
}

// environ is what every run is told about itself.
func (a *attempt) environ() []string {
	return []string{
		"CRONY_JOB=" + a.job.Name,
		"CRONY_RUN_ID=" + string(a.run),
		"CRONY_SCHEDULED_AT=" + a.due.UTC().Format(time.RFC3339Nano),
		"CRONY_ATTEMPT=" + strconv.Itoa(a.number),
		"CRONY_EPOCH=" + strconv.FormatInt(a.epoch, 10),
	}
}

// baseEnv is the environment that every run begins with: as in crontab(5) a short one, and nothing of the agent's own.
func baseEnv() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh"}
	if u, err := user.Current(); err == nil {
		env = append(env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	return env
}

// unnamedFile returns a file that holds text and is gone when it is closed. A pipe would need somebody to fill it.
func unnamedFile(dir, text string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(dir, outputDir), "stdin-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if _, err := f.WriteString(text); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, 0)
	return f, err
}

// discard removes what prepare made.
func (p *process) discard() {
	for _, f := range p.files {
		f.remove()
	}
	p.removeScript()
}

func (p *process) removeScript() {
	if p.script != "" {
		os.Remove(p.script) //nolint:errcheck // the next start of the agent removes what is left
	}
}

// wait waits for a child of this agent. The files are not waited for: what the process left behind may hold them for ever.
func (p *process) wait() crony.ExitedFact {
	p.cmd.Wait() //nolint:errcheck // the state says it all
	close(p.gone)
	p.removeScript()
	state := p.cmd.ProcessState
	fact := crony.ExitedFact{CPUSeconds: (state.UserTime() + state.SystemTime()).Seconds()}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		fact.MaxRSS = usage.Maxrss << 10
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		fact.Signal = unix.SignalName(status.Signal())
		return fact
	}
	code := state.ExitCode()
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
	close(p.gone)
	p.removeScript()
}

func (p *process) alive() bool {
	ticks, err := startTicks(p.pid)
	return err == nil && p.ticks != 0 && ticks == p.ticks
}

// kill ends the process and its group: TERM, then after the grace KILL. The first reason counts.
func (p *process) kill(state crony.RunState, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending.State != "" {
		return
	}
	p.ending = crony.EndedFact{State: state, Reason: reason}
	p.signal(syscall.SIGTERM)
	go func() {
		timer := time.NewTimer(p.terms.Grace.Std())
		defer timer.Stop()
		select {
		case <-p.gone:
		case <-timer.C:
		}
		p.signal(syscall.SIGKILL) // in either case: others of the group may be left
	}()
}

func (p *process) signal(sig syscall.Signal) {
	syscall.Kill(-p.pid, sig) //nolint:errcheck // it fails if nothing of the group is left
}

// verdict says how the run ended.
func (p *process) verdict(exit crony.ExitedFact) (crony.RunState, string) {
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

// adoptProcess makes the process of a run that an earlier life of the agent started.
func adoptProcess(dir string, started crony.Fact, rec record) (*process, error) {
	files, err := openOutputs(dir, started.Run, started.Started.Attempt, rec.terms.Limit)
	if err != nil {
		return nil, fmt.Errorf("adopt the run %s: %w", started.Run, err)
	}
	return &process{run: started.Run, attempt: started.Started.Attempt, pid: started.Started.PID, ticks: rec.ticks,
		began: started.At, terms: rec.terms, files: files, gone: make(chan struct{}),
		script: filepath.Join(dir, outputDir, outputName(started.Run, started.Started.Attempt, "script"))}, nil
}

// startTicks returns when a process began, in clock ticks since the host's boot: field 22 of /proc/PID/stat, see proc(5).
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // the name before it may hold anything
	const start, state = 22 - 3, 0
	if len(fields) <= start || fields[state] == "Z" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[start], 10, 64)
}
