package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"crony"
)

// command makes the command of an attempt, whose output goes to files, and returns what it needs closed once it is started.
// The script, if it needs one, is written to the path.
func command(dir, script string, a *attempt) (*exec.Cmd, *os.File, error) {
	shell := a.job.Shell
	if shell == nil {
		return nil, nil, fmt.Errorf("this version of the agent can't run a job of kind %s", a.job.Kind())
	}
	env := environ(a)
	argv, err := argvOf(shell, script)
	if err != nil {
		return nil, nil, err
	}
	program, err := find(argv[0], env)
	if err != nil {
		return nil, nil, err
	}
	if err := isDir(shell.Cwd); err != nil {
		return nil, nil, fmt.Errorf("the working directory: %w", err)
	}
	cmd := &exec.Cmd{Path: program, Args: argv, Env: env, Dir: shell.Cwd, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if shell.Stdin == "" {
		return cmd, nil, nil
	}
	stdin, err := unnamedFile(filepath.Join(dir, outputDir), shell.Stdin)
	if err != nil {
		return nil, nil, fmt.Errorf("write its stdin: %w", err)
	}
	cmd.Stdin = stdin
	return cmd, stdin, nil
}

// argvOf returns the command line; a script is written into its file first.
func argvOf(s *crony.Shell, script string) ([]string, error) {
	interpreter := cmp.Or(s.Interpreter, crony.DefaultInterpreter)
	switch {
	case len(s.Argv) > 0:
		return s.Argv, nil
	case s.Command != "":
		return []string{interpreter, "-c", s.Command}, nil
	}
	if err := os.WriteFile(script, []byte(s.Script), 0o700); err != nil {
		return nil, err
	}
	return []string{interpreter, script}, nil
}

// environ is the environment of a run: as in crontab(5) a short one, with nothing of the agent's own; then the job's, and
// what every run is told about itself. Of two values for a name the last counts.
func environ(a *attempt) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh"}
	if u, err := user.Current(); err == nil {
		env = append(env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	}
	env = append(env, a.job.Shell.Environ()...)
	return append(env,
		"CRONY_JOB="+a.job.Name,
		runEnv+string(a.run),
		"CRONY_SCHEDULED_AT="+a.due.UTC().Format(time.RFC3339Nano),
		"CRONY_ATTEMPT="+strconv.Itoa(a.number),
		"CRONY_EPOCH="+strconv.FormatInt(a.epoch, 10),
	)
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

// unnamedFile returns a file that holds text and is gone when it is closed. A pipe would need somebody to fill it.
func unnamedFile(dir, text string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "stdin-")
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, os.Remove(f.Name())); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
