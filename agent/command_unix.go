//go:build unix

package agent

import (
	"os"
	"strings"

	"crony"
)

// Where an agent's data and its configuration are if nothing else is said.
const (
	DefaultDir    = "/var/lib/crony-agent"
	DefaultConfig = "/etc/crony/agent.yaml"
)

const (
	defaultInterpreter = crony.DefaultInterpreter
	hasUmask           = true
)

// commandArgs is what an interpreter is started with to run a command line, before that.
func commandArgs(interpreter string) []string { return []string{interpreter, "-c"} }

// scriptArgs is what an interpreter is started with to run a script, before its file.
func scriptArgs(interpreter string) []string { return []string{interpreter} }

// scriptPath returns the file for the script of an attempt.
func scriptPath(dir string, run crony.RunID, attempt int, _ string) string {
	return outputPath(dir, run, attempt, "script")
}

// baseEnviron is the environment of a run that says nothing of its own.
func baseEnviron(as *account) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SHELL=/bin/sh"}
	if as.name != "" {
		env = append(env, "HOME="+as.home, "USER="+as.name, "LOGNAME="+as.name)
	}
	return env
}

// envName returns what is the same for all ways to write the name of a variable.
func envName(name string) string { return name }

// namesPlace says whether a program's name says where it is.
func namesPlace(name string) bool { return strings.Contains(name, "/") }

// programOf returns the program that a path means, and whether it is one.
func programOf(path string) (string, bool) {
	info, err := os.Stat(path)
	return path, err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}
