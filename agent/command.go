package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
}

// newCommand makes the command of an attempt. The script, if it needs one, is written to the path.
func newCommand(dir, script string, a *attempt) (*command, error) {
	shell := a.job.Shell
	if shell == nil {
		return nil, fmt.Errorf("this version of the agent can't run a job of kind %s", a.job.Kind())
	}
	c := &command{env: environ(a), dir: shell.Cwd}
	var err error
	if err = c.setArgv(shell, script); err != nil {
		return nil, err
	}
	if err = c.complete(dir, shell); err != nil {
		for _, fd := range c.more {
			unix.Close(fd) //nolint:errcheck // nothing is written through it any more
		}
		return nil, err
	}
	return c, nil
}

// complete finds the program of the command line, and makes its stdin.
func (c *command) complete(dir string, shell *crony.Shell) (err error) {
	if c.program, err = find(c.argv[0], c.env); err != nil {
		return err
	}
	if err := isDir(shell.Cwd); err != nil {
		return fmt.Errorf("the working directory: %w", err)
	}
	if shell.Stdin == "" {
		c.stdin, err = openFD(os.DevNull, unix.O_RDONLY)
	} else {
		c.stdin, err = unnamedFile(filepath.Join(dir, outputDir), shell.Stdin)
	}
	if err != nil {
		return fmt.Errorf("make its stdin: %w", err)
	}
	return nil
}

// setArgv sets the command line; a script is written into its file first. If the disk has no room for it, the process gets it
// as a file in memory.
func (c *command) setArgv(s *crony.Shell, script string) error {
	interpreter := cmp.Or(s.Interpreter, crony.DefaultInterpreter)
	switch {
	case len(s.Argv) > 0:
		c.argv = s.Argv
		return nil
	case s.Command != "":
		c.argv = []string{interpreter, "-c", s.Command}
		return nil
	}
	err := os.WriteFile(script, []byte(s.Script), 0o700)
	if diskFull(err) {
		var fd int
		if fd, err = inMemory(s.Script); err == nil {
			c.more, script = []int{fd}, "/proc/self/fd/3"
		}
	}
	c.argv = []string{interpreter, script}
	return err
}

// environ is the environment of a run: as in crontab(5) a short one, with nothing of the agent's own; then the job's, and
// what every run is told about itself. Of two values for a name the last counts.
func environ(a *attempt) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh"}
	if u, err := user.Current(); err == nil {
		env = append(env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	env = append(env, a.job.Shell.Environ()...)
	for name, value := range a.params {
		env = append(env, crony.ParamEnv(name)+"="+value)
	}
	return lastOfEach(append(env,
		"CRONY_JOB="+a.job.Name,
		runEnv+string(a.run),
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
		if name, _, _ := strings.Cut(v, "="); !seen[name] {
			seen[name] = true
			kept--
			env[kept] = v
		}
	}
	return env[kept:]
}

// runEnv leads a run's id in the environment of its processes.
const runEnv = "CRONY_RUN_ID="

// find returns the program of a name: as a shell does, by the PATH of the run, and not by the agent's.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := ""
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if file := filepath.Join(dir, name); filepath.IsAbs(file) && isProgram(file) {
			return file, nil
		}
	}
	return "", fmt.Errorf("there is no program %q in its PATH, %s", name, path)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
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

// unnamedFile returns a descriptor to read text from, out of a file that is gone when it is closed. A pipe would need
// somebody to fill it.
func unnamedFile(dir, text string) (int, error) {
	f, err := os.CreateTemp(dir, "stdin-")
	if diskFull(err) {
		return inMemory(text)
	}
	if err != nil {
		return 0, err
	}
	_, err = f.WriteString(text)
	fd := -1
	if err = errors.Join(err, f.Close()); err == nil {
		fd, err = openFD(f.Name(), unix.O_RDONLY)
	}
	removed := os.Remove(f.Name())
	if diskFull(err) {
		return inMemory(text)
	}
	return fd, errors.Join(err, removed)
}

// inMemory is unnamedFile where a disk has no room.
func inMemory(text string) (int, error) {
	fd, err := unix.MemfdCreate("text", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "text")
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return 0, fmt.Errorf("fill a file in memory: %w", err)
	}
	return openFD("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY)
}
