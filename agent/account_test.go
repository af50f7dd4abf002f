//go:build linux

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crony"
)

// TestRunAs runs jobs as a user who can't look into the agent's directory.
func TestRunAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root")
	}
	r := newRig(t, t.TempDir()).begin()
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	groups, err := exec.Command("id", "-G", "nobody").Output()
	if err != nil {
		t.Fatal(err)
	}
	who := "id -un; id -gn; id -G; "
	for name, c := range map[string]struct {
		shell  crony.Shell
		state  crony.RunState
		reason string
		stdout string
	}{
		"by name":           {crony.Shell{Command: who, User: "nobody"}, crony.Succeeded, "", "nobody\nnogroup\n" + string(groups)},
		"by number":         {crony.Shell{Command: who, User: "65534"}, crony.Succeeded, "", "nobody\nnogroup\n" + string(groups)},
		"the agent's own":   {crony.Shell{Command: "id -un", User: "root"}, crony.Succeeded, "", "root\n"},
		"environment":       {crony.Shell{Command: "echo $HOME $USER $LOGNAME $SHELL", User: "nobody"}, crony.Succeeded, "", "/nonexistent nobody nobody /bin/sh\n"},
		"script":            {crony.Shell{Script: "id -un; echo $0\n", User: "nobody"}, crony.Succeeded, "", "nobody\n/proc/self/fd/3\n"},
		"own files":         {crony.Shell{Command: "echo out > /dev/stdout; cat /dev/stdin; echo err > /dev/stderr", Stdin: "in", User: "nobody"}, crony.Succeeded, "", ""},
		"no stdin":          {crony.Shell{Command: "cat /dev/stdin", User: "nobody"}, crony.Succeeded, "", ""},
		"cwd":               {crony.Shell{Command: "pwd", Cwd: closed, User: "nobody"}, crony.Failed, "user nobody may not run it, or not in " + closed, ""},
		"nobody knows":      {crony.Shell{Command: "id", User: "who-is-this"}, crony.Failed, `its user: this host has no user "who-is-this"`, ""},
		"no such number":    {crony.Shell{Command: "id", User: "4000000000"}, crony.Failed, `its user: this host has no user "4000000000"`, ""},
		"umask":             {crony.Shell{Command: "umask", Umask: "0027"}, crony.Succeeded, "", "0027\n"},
		"umask and user":    {crony.Shell{Command: "umask; id -un", Umask: "77", User: "nobody"}, crony.Succeeded, "", "0077\nnobody\n"},
		"umask, no program": {crony.Shell{Argv: []string{"/no/such"}, Umask: "0077"}, crony.Failed, "/no/such: no such file", ""},
	} {
		id := r.start(func(j *crony.Job) { j.Shell = &c.shell })
		got := r.ended(id)
		if out := r.desk.text(t, id, crony.Stdout); got.State != c.state || !strings.Contains(got.Reason, c.reason) ||
			c.stdout != "" && out != c.stdout {
			t.Errorf("%s: %s, %q, %q, %q", name, got.State, got.Reason, out, r.desk.text(t, id, crony.Stderr))
		}
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%s was changed: %v, %v", os.DevNull, info, err)
	}
	before := unix.Umask(0o022)
	unix.Umask(before)
	id := r.start(sh("umask"))
	if r.ended(id); r.desk.text(t, id, crony.Stdout) != "0022\n" && before == 0o022 {
		t.Errorf("the umask of one run is another's: %s", r.desk.text(t, id, crony.Stdout))
	}
}

// TestRunAsWithoutRoot asks for users as an agent that is none of them.
func TestRunAsWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root")
	}
	done := make(chan error)
	go func() { // on a thread of its own, which ends with it
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		if own, err := accountOf("nobody"); err != nil || own.switches != nil {
			t.Errorf("its own user: %+v, %v", own, err)
		}
		_, err := accountOf("daemon")
		done <- err
	}()
	if err := <-done; err == nil || err.Error() != "its user: only an agent that runs as root can start what is to run as daemon" {
		t.Error(err)
	}
}

// TestAllow holds runs against what the agent's configuration allows.
func TestAllow(t *testing.T) {
	dir := t.TempDir()
	within := filepath.Join(dir, "within")
	if err := os.Mkdir(within, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr", filepath.Join(within, "out")); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, t.TempDir()).begin()
	sh := crony.Shell{Command: "true"}
	argv := func(list ...string) crony.Shell { return crony.Shell{Argv: list} }
	in := func(dir string) crony.Shell { return crony.Shell{Command: "true", Cwd: dir} }
	for _, c := range []struct {
		allow  Allow
		shell  crony.Shell
		reason string // "": it may
	}{
		{Allow{}, sh, ""},
		{Allow{Users: []string{"nobody"}}, sh, "run as root: see allow.users"},
		{Allow{Users: []string{"root"}}, sh, ""},
		{Allow{Commands: []string{"/bin/echo"}}, argv("/bin/echo"), ""},
		{Allow{Commands: []string{"/bin/*"}}, argv("/bin/true"), ""},
		{Allow{Commands: []string{"/bin/*"}}, argv("/bin/../bin/true"), ""},
		{Allow{Commands: []string{"/usr/*"}}, argv("/usr/../bin/true"), "run /bin/true: see allow.commands"},
		{Allow{Commands: []string{"/bin/ec*"}}, argv("/bin/sh"), "run /bin/sh: see allow.commands"},
		{Allow{Commands: []string{"/usr/bin/true"}}, argv("true"), ""},
		{Allow{Commands: []string{"/usr/bin/true"}}, crony.Shell{Argv: []string{"true"}, Env: map[string]string{"PATH": "/bin"}}, "run /bin/true: see"},
		{Allow{Commands: []string{"/bin/echo"}}, argv("./echo"), "run echo: see allow.commands"},
		{Allow{Commands: []string{"/bin/echo"}}, crony.Shell{Argv: []string{"./echo"}, Cwd: "/bin"}, ""},
		{Allow{Commands: []string{"/bin/echo"}}, sh, "run /bin/sh: see allow.interpreters"},
		{Allow{Interpreters: []string{"/bin/sh"}}, sh, ""},
		{Allow{Interpreters: []string{"/bin/bash"}}, crony.Shell{Script: "true"}, "run /bin/sh: see allow.interpreters"},
		{Allow{Interpreters: []string{"/bin/sh"}}, argv("/bin/sh", "-c", "true"), "run /bin/sh: see allow.commands"},
		{Allow{Paths: []string{dir}}, in(within), ""},
		{Allow{Paths: []string{within}}, in(within), ""},
		{Allow{Paths: []string{within}}, in(dir), "begin in " + dir + ": see allow.paths"},
		{Allow{Paths: []string{within}}, in(within + "/../within/out"), "begin in /usr: see allow.paths"},
		{Allow{Paths: []string{within[:len(within)-1]}}, in(within), "see allow.paths"},
		{Allow{Paths: []string{within}}, sh, "see allow.paths"},
		{Allow{Paths: []string{"/"}}, sh, ""},
		{Allow{Paths: []string{"/"}}, in("/no/such"), "the working directory"},
	} {
		r.runner.allow = c.allow
		got := r.ended(r.start(func(j *crony.Job) { j.Shell = &c.shell }))
		if c.reason == "" && got.State != crony.Succeeded ||
			c.reason != "" && (got.State != crony.Failed || !strings.Contains(got.Reason, c.reason) || len(got.Attempts) > 0) {
			t.Errorf("%+v of %+v: %s, %q", c.shell, c.allow, got.State, got.Reason)
		}
	}
}
