package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"

	"crony"
)

// Where an agent's data and its configuration are if nothing else is said.
const (
	DefaultDir    = `C:\ProgramData\crony-agent`
	DefaultConfig = `C:\ProgramData\crony\agent.yaml`
)

const (
	defaultInterpreter = "cmd.exe"
	hasUmask           = false
)

// commandArgs is what an interpreter is started with to run a command line, before that.
func commandArgs(interpreter string) []string {
	if isCmd(interpreter) {
		return []string{interpreter, "/D", "/S", "/C"}
	}
	return []string{interpreter, "-c"} // of PowerShell, that is -Command
}

// commandLine is what the program is started with, in one text. That of an interpreter that is cmd.exe has the whole of the
// command in one pair of quotes, which cmd.exe takes away, and nothing else: see cmd /?. All others read their arguments as C
// programs do.
func (c *command) commandLine() (string, error) {
	ext := strings.ToLower(filepath.Ext(c.program))
	switch {
	case ext == ".bat" || ext == ".cmd":
		return "", errors.New("it is for cmd.exe, and to be started by a command line")
	case !c.interpreted || !isCmd(c.program):
		return windows.ComposeCommandLine(c.argv), nil
	}
	last := len(c.argv) - 1
	text := strings.TrimRight(c.argv[last], "\r\n")
	if strings.ContainsAny(text, "\r\n") {
		return "", errors.New("cmd.exe takes a command of one line: what has more is to be a script")
	}
	if c.script {
		text = `"` + text + `"`
	}
	return windows.ComposeCommandLine(c.argv[:last]) + ` "` + text + `"`, nil
}

// scriptArgs is what an interpreter is started with to run a script, before its file.
func scriptArgs(interpreter string) []string {
	switch {
	case isCmd(interpreter):
		return []string{interpreter, "/D", "/S", "/C"}
	case isPowerShell(interpreter):
		return []string{interpreter, "-NoProfile", "-ExecutionPolicy", "Bypass", "-File"}
	}
	return []string{interpreter}
}

// scriptPath returns the file for the script of an attempt: by what its name ends with, interpreters judge what it is.
func scriptPath(dir string, run crony.RunID, attempt int, interpreter string) string {
	kind := "script"
	switch {
	case interpreter == "", isCmd(interpreter):
		kind += ".cmd"
	case isPowerShell(interpreter):
		kind += ".ps1"
	}
	return outputPath(dir, run, attempt, kind)
}

func isCmd(interpreter string) bool { return programName(interpreter) == "cmd" }

func isPowerShell(interpreter string) bool {
	name := programName(interpreter)
	return name == "powershell" || name == "pwsh"
}

func programName(path string) string {
	return strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".exe")
}

// baseEnviron is the environment of a run that says nothing of its own: where the system is, and whose run it is.
func baseEnviron(as *account) (env []string) {
	for _, name := range []string{"ALLUSERSPROFILE", "CommonProgramFiles", "CommonProgramFiles(x86)", "COMPUTERNAME", "ComSpec", "NUMBER_OF_PROCESSORS",
		"OS", "PATHEXT", "PROCESSOR_ARCHITECTURE", "ProgramData", "ProgramFiles", "ProgramFiles(x86)", "ProgramW6432",
		"PUBLIC", "SystemDrive", "SystemRoot", "TEMP", "TMP", "windir"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	root := os.Getenv("SystemRoot")
	env = append(env, "PATH="+strings.Join([]string{filepath.Join(root, "System32"), root, filepath.Join(root, "System32", "Wbem"),
		filepath.Join(root, "System32", "WindowsPowerShell", "v1.0")}, ";"))
	if as.name != "" {
		env = append(env, "USERPROFILE="+as.home, "USERNAME="+as.name[strings.LastIndexByte(as.name, '\\')+1:])
	}
	return env
}

// envName returns what is the same for all ways to write the name of a variable.
func envName(name string) string { return strings.ToUpper(name) }

// namesPlace says whether a program's name says where it is.
func namesPlace(name string) bool { return strings.ContainsAny(name, `/\:`) }

// programOf returns the program that a path means, and whether it is one. Files for cmd.exe are none: what they are given they
// read in their own way, so that they are to be started by a command line.
func programOf(path string) (string, bool) {
	names := []string{path + ".exe", path + ".com"}
	if ext := strings.ToLower(filepath.Ext(path)); ext == ".exe" || ext == ".com" {
		names = []string{path}
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && !info.IsDir() {
			return name, true
		}
	}
	return "", false
}
