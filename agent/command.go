package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"crony"
)

// command is what is started for an attempt.
type command struct {
	program string // its file
	argv    []string
	env     []string
	dir     string // "": the agent's
	stdin   int    // a descriptor, to be closed once it is started
	more    []int  // descriptors after stderr, likewise
	account *account
	umask   int // -1: the agent's
	rlimits []rlimit
	input   bool // stdin is a file of its own

	interpreted bool // argv is an interpreter's, and a command line or the file of a script
	script      bool // it is the file of a script
}

// newCommand makes the command of a shell job's attempt, if it is allowed. The script, if it needs one, is written to the path.
func newCommand(dir, script string, a *attempt, allow *Allow) (*command, error) {
	shell := a.job.Shell
	c := &command{dir: shell.Cwd, umask: -1}
	if shell.Umask != "" {
		mask, err := strconv.ParseUint(shell.Umask, 8, 9)
		if err != nil {
			return nil, fmt.Errorf("its umask: %w", err)
		}
		c.umask = int(mask)
		if !hasUmask {
			return nil, errors.New("its umask: there is none on this platform")
		}
	}
	var err error
	if c.account, err = accountOf(shell.User); err != nil {
		return nil, err
	}
	c.env = environ(a, c.account)
	if err = c.setArgv(shell); err != nil {
		return nil, err
	}
	if err = allow.refusal(c, c.interpreted); err != nil {
		return nil, err
	}
	err = c.complete(dir, script, shell)
	if err == nil {
		err = c.setResult(resultPath(dir, a.run, a.number))
	}
	if err != nil {
		for _, fd := range c.more {
			closeFD(fd)
		}
		return nil, err
	}
	return c, nil
}

// setResult tells the command of the file for its result. Another user, who can't go into the agent's directory, gets it opened.
func (c *command) setResult(path string) error {
	if c.account.switches != nil {
		fd, err := openFD(path, os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) { // the disk is full
			return nil
		}
		if err != nil {
			return fmt.Errorf("open the file for its result: %w", err)
		}
		path = ownFD(firstMore + len(c.more))
		c.more = append(c.more, fd)
		if err := c.account.own(fd); err != nil {
			return fmt.Errorf("give user %s the file for its result: %w", c.account.name, err)
		}
	}
	c.env = append(c.env, crony.ResultEnv+"="+path)
	return nil
}

// firstMore is the descriptor after stderr.
const firstMore = 3

// setArgv sets the command line, but for the file of a script, and finds its program.
func (c *command) setArgv(s *crony.Shell) (err error) {
	interpreter := cmp.Or(s.Interpreter, defaultInterpreter)
	c.interpreted, c.script = len(s.Argv) == 0, s.Script != ""
	switch {
	case len(s.Argv) > 0:
		c.argv = s.Argv
	case s.Command != "":
		c.argv = append(commandArgs(interpreter), s.Command)
	default:
		c.argv = scriptArgs(interpreter)
	}
	c.program, err = c.find(c.argv[0])
	return err
}

// complete makes the files that the command reads.
func (c *command) complete(dir, script string, shell *crony.Shell) (err error) {
	if err := c.addScript(shell, script); err != nil {
		return err
	}
	if err := isDir(shell.Cwd); err != nil {
		return fmt.Errorf("the working directory: %w", err)
	}
	if shell.Stdin == "" {
		c.stdin, err = openFD(os.DevNull, os.O_RDONLY)
	} else {
		c.stdin, err = unnamedFile(filepath.Join(dir, outputDir), shell.Stdin)
		c.input = true
	}
	if err != nil {
		return fmt.Errorf("make its stdin: %w", err)
	}
	return nil
}

// addScript writes the script into its file. If the disk has no room for it, or the run is another user's, who can't look into
// the agent's directory, the process gets it as a file in memory.
func (c *command) addScript(s *crony.Shell, file string) error {
	if s.Script == "" {
		return nil
	}
	err := error(syscall.ENOSPC)
	if c.account.switches == nil {
		err = os.WriteFile(file, []byte(s.Script), 0o700)
	}
	if diskFull(err) {
		var fd int
		if fd, err = inMemory(s.Script); err == nil {
			c.more, file = []int{fd}, ownFD(firstMore)
		}
	}
	c.argv = append(c.argv, file)
	return err
}

// environ is the environment of a run: as in crontab(5) a short one, with nothing of the agent's own; then the job's, and
// what every run is told about itself. Of two values for a name the last counts.
func environ(a *attempt, as *account) []string {
	env := append(baseEnviron(as), a.job.Shell.Environ()...)
	for name, value := range a.params {
		env = append(env, crony.ParamEnv(name)+"="+value)
	}
	return lastOfEach(append(env,
		"CRONY_JOB="+a.job.Name,
		runEnv+string(a.run),
		agentEnv+a.agent,
		"CRONY_SCHEDULED_AT="+a.due.UTC().Format(time.RFC3339Nano),
		"CRONY_ATTEMPT="+strconv.Itoa(a.number),
		"CRONY_EPOCH="+strconv.FormatInt(a.epoch, 10),
	))
}

// lastOfEach drops from a list of NAME=value what a later one of the same name replaces: of two, a program may take the
// first.
func lastOfEach(env []string) []string {
	seen := make(map[string]bool, len(env))
	kept := len(env)
	for _, v := range slices.Backward(env) {
		name, _, _ := strings.Cut(v, "=")
		if name = envName(name); !seen[name] {
			seen[name] = true
			kept--
			env[kept] = v
		}
	}
	return env[kept:]
}

// These lead a run's id, and its agent's, in the environment of its processes.
const (
	runEnv   = "CRONY_RUN_ID="
	agentEnv = "CRONY_AGENT="
)

// find returns the program of a name: as a shell does, by the PATH of the run, and not by the agent's. One that is named by its
// place in the working directory is named by its whole path.
func (c *command) find(name string) (string, error) {
	switch {
	case filepath.IsAbs(name), namesPlace(name) && c.dir == "":
		return filepath.Clean(name), nil
	case namesPlace(name):
		return filepath.Join(c.dir, name), nil
	}
	path := ""
	for _, v := range c.env {
		if key, value, _ := strings.Cut(v, "="); envName(key) == "PATH" {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if file := filepath.Join(dir, name); filepath.IsAbs(file) {
			if program, ok := programOf(file); ok {
				return program, nil
			}
		}
	}
	return "", fmt.Errorf("there is no program %q in its PATH, %s", name, path)
}

// isDir says why path is no directory. The kernel's own answer, when the process is started, would name the program.
func isDir(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "chdir", Path: path, Err: syscall.ENOTDIR}
	}
	return nil
}
