package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
)

// devProcess is a `crony dev` in a process of its own, as a user starts it.
type devProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	url  string
	link string // the token of the one-time link
	out  bytes.Buffer
}

// startDev starts crony dev and waits until it says that it is ready.
func startDev(t *testing.T, dir, listen string, flags ...string) *devProcess {
	t.Helper()
	d := &devProcess{t: t, dir: dir}
	d.cmd = exec.Command("crony", append([]string{"dev", "--data-dir", dir, "--listen", listen}, flags...)...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.cmd.Stderr = &d.out
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if link, ok := strings.CutPrefix(line, "sign in once"); ok {
			d.url, d.link, _ = strings.Cut(strings.TrimSpace(link), "/login#")
		}
		if strings.HasPrefix(line, "command line") {
			go io.Copy(io.Discard, stdout)
			return d
		}
	}
	d.cmd.Wait()
	t.Fatalf("crony dev did not become ready:\n%s", d.out.String())
	return nil
}

// kill ends it as a power cut of the process would; a second call does nothing.
func (d *devProcess) kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// interrupt ends it as Ctrl-C does, and returns its exit code.
func (d *devProcess) interrupt() int {
	d.t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		d.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		d.t.Fatalf("crony dev did not stop:\n%s", d.out.String())
	}
	return d.cmd.ProcessState.ExitCode()
}

// crony runs the command line against it.
func (d *devProcess) crony(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	cmd := exec.Command("crony", args...)
	cmd.Env = append(os.Environ(), "CRONY_CONFIG="+filepath.Join(d.dir, "client.yaml"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		d.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is crony for what has to go well.
func (d *devProcess) must(args ...string) string {
	d.t.Helper()
	out, errs, code := d.crony(args...)
	if code != 0 {
		d.t.Fatalf("crony %s: exit code %d\n%s%s\nserver:\n%s", strings.Join(args, " "), code, out, errs, d.out.String())
	}
	return out
}

// listedRun is a run as `crony run list --with-output -o json` prints it.
type listedRun struct {
	crony.Run
	Output string `json:"output"`
}

func (d *devProcess) runs(job string) []listedRun {
	d.t.Helper()
	var runs []listedRun
	out := d.must("run", "list", "--job", job, "--limit", "0", "--with-output", "-o", "json")
	if err := json.Unmarshal([]byte(out), &runs); err != nil {
		d.t.Fatalf("%v in:\n%s", err, out)
	}
	return runs
}

// until polls a condition.
func (d *devProcess) until(what string, met func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); !met(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited a minute for %s; server:\n%s\n%s", what, d.out.String(), d.must("run", "list"))
		}
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tenJobs is a manifest of ten jobs that come due every two seconds.
func tenJobs() string {
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  - name: job-%d\n    schedule: \"*/2 * * * * *\"\n", i)
		fmt.Fprintf(&b, "    shell: {command: 'echo \"%d $CRONY_JOB $CRONY_RUN_ID $CRONY_SCHEDULED_AT\"'}\n", i)
	}
	return b.String()
}

// checkRuns holds a job's runs against what its schedule says: every even second once, all succeeded, each with its output.
func checkRuns(t *testing.T, job string, runs []listedRun) {
	t.Helper()
	seen := map[time.Time]bool{}
	for _, r := range runs {
		switch {
		case seen[r.ScheduledAt]:
			t.Errorf("%s: %s ran twice", job, r.ScheduledAt)
		case r.ScheduledAt.Second()%2 != 0 || r.ScheduledAt.Nanosecond() != 0:
			t.Errorf("%s: %s is not on its schedule", job, r.ScheduledAt)
		case !r.State.Ended():
			continue // it goes on, or waits for its time
		case r.State != crony.Succeeded:
			t.Errorf("%s: run %s is %s: %s", job, r.ID, r.State, r.Reason)
		case !strings.Contains(r.Output, fmt.Sprintf("%s %s", job, r.ID)):
			t.Errorf("%s: run %s has the output %q", job, r.ID, r.Output)
		}
		seen[r.ScheduledAt] = true
	}
}

func ended(runs []listedRun) int {
	n := 0
	for _, r := range runs {
		if r.State.Ended() {
			n++
		}
	}
	return n
}

func TestDevRunsJobsAndSurvivesBeingKilled(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, dir, "127.0.0.1:0")
	file := writeFile(t, "jobs.yaml", tenJobs())
	d.must("job", "apply", "-f", file)
	d.until("three runs of the last job", func() bool { return ended(d.runs("job-9")) >= 3 })

	before := map[string][]listedRun{}
	for i := range 10 {
		job := fmt.Sprintf("job-%d", i)
		before[job] = d.runs(job)
		checkRuns(t, job, before[job])
		if len(before[job]) < 3 {
			t.Errorf("%s has %d runs", job, len(before[job]))
		}
	}
	d.kill()
	d = startDev(t, dir, "127.0.0.1:0")
	d.until("the schedule to go on", func() bool { return ended(d.runs("job-9")) >= ended(before["job-9"])+3 })
	for job, old := range before {
		now := d.runs(job)
		checkRuns(t, job, now)
		kept := map[crony.RunID]string{}
		for _, r := range now {
			kept[r.ID] = r.Output
		}
		for _, r := range old {
			if output, ok := kept[r.ID]; !ok || r.State.Ended() && output != r.Output {
				t.Errorf("%s: run %s (%s) was there before the kill, and is now %v %q", job, r.ID, r.State, ok, output)
			}
		}
	}
	if applied := d.must("job", "apply", "-f", file); !strings.Contains(applied, "unchanged") {
		t.Errorf("applying the same file again: %s", applied)
	}
	if code := d.interrupt(); code != 0 {
		t.Errorf("interrupted, crony dev exits with %d:\n%s", code, d.out.String())
	}
}

// A run that goes on when the process is killed goes on, is found again, and is not taken for a success.
func TestDevFindsRunsAgain(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, dir, "127.0.0.1:0")
	d.must("job", "apply", "-f", writeFile(t, "jobs.yaml", `jobs:
  - name: long
    shell: {command: 'echo before; until [ -e `+dir+`/go ]; do sleep 0.1; done; echo after'}
`))
	id := crony.RunID("")
	d.until("the job to be placed", func() bool {
		out, _, code := d.crony("run", "start", "long")
		id = crony.RunID(strings.TrimSpace(out))
		return code == 0
	})
	d.until("its first line", func() bool { out, _, _ := d.crony("run", "logs", string(id)); return out == "before\n" })
	d.kill()
	d = startDev(t, dir, "127.0.0.1:0")
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var run crony.Run
	d.until("the run to end", func() bool {
		if err := json.Unmarshal([]byte(d.must("run", "show", string(id), "-o", "json")), &run); err != nil {
			t.Fatal(err)
		}
		return run.State.Ended()
	})
	if run.State != crony.Lost {
		t.Errorf("the run is %s, want lost: nobody saw how it ended", run.State)
	}
	if out := d.must("run", "logs", string(id)); out != "before\nafter\n" {
		t.Errorf("its output is %q", out)
	}
}

// TestDevRetries has a command fail twice: who waits for the run waits for the third attempt, and is shown all of them.
func TestDevRetries(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, dir, "127.0.0.1:0")
	file := filepath.Join(dir, "jobs.yaml")
	manifest := "jobs:\n- name: again\n  run_timeout: 1m\n  retry: {attempts: 3, backoff: exponential, interval: 200ms}\n" +
		"  shell: {command: 'echo attempt $CRONY_ATTEMPT; test $CRONY_ATTEMPT = 3'}\n"
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must("job", "apply", "-f", file)
	if out := d.must("run", "start", "again", "--wait"); out != "attempt 1\nattempt 2\nattempt 3\n" {
		t.Errorf("it printed %q", out)
	}
	runs := d.runs("again")
	if len(runs) != 1 || runs[0].State != crony.Succeeded || len(runs[0].Attempts) != 3 || runs[0].Reason != "" {
		t.Fatalf("%+v", runs)
	}
	first, second, third := runs[0].Attempts[0], runs[0].Attempts[1], runs[0].Attempts[2]
	if a, b := second.StartedAt.Sub(first.EndedAt), third.StartedAt.Sub(second.EndedAt); a < 180*time.Millisecond || b < 360*time.Millisecond {
		t.Errorf("it waited for %s, and then for %s", a, b)
	}
	sheet := d.must("run", "show", string(runs[0].ID))
	for _, want := range []string{"succeeded", "\n1        1 ", "\n2        1 ", "\n3        0 "} {
		if !strings.Contains(sheet, want) {
			t.Errorf("no %q in\n%s", want, sheet)
		}
	}
}

func TestDevRefusesWrongInput(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, dir, "127.0.0.1:0")
	tests := []struct{ name, text, want string }{
		{"minute.yaml", "jobs:\n  - name: a\n    schedule: \"61 * * * *\"\n    shell: {command: x}\n", "minute.yaml:3: jobs[0].schedule: "},
		{"key.yaml", "jobs:\n  - name: a\n    shell:\n      comand: x\n", `key.yaml:4: jobs[0].shell.comand: unknown key "comand" (did you mean "command"?)`},
		{"name.yaml", "jobs:\n  - name: a b\n    shell: {command: x}\n", "name.yaml:2: jobs[0].name: "},
		{"later.yaml", "jobs:\n  - name: a\n    notify: {on: [failed]}\n    shell: {command: x}\n", "later.yaml:3: jobs[0].notify: not supported yet: notify"},
		{"junk.yaml", strings.Repeat("junk [{\x01 ", 10<<20/9), "junk.yaml: "},
	}
	for _, tt := range tests {
		good := "  - name: good\n    shell: {command: x}\n"
		if strings.HasPrefix(tt.text, "jobs:") {
			tt.text += good
		}
		_, errs, code := d.crony("job", "apply", "-f", writeFile(t, tt.name, tt.text))
		lines := strings.Split(strings.TrimSpace(errs), "\n")
		if code != 2 || len(lines) != 1 || !strings.Contains(lines[0], tt.want) {
			t.Errorf("%s: exit code %d, want 2, and one line with %q:\n%s", tt.name, code, tt.want, errs)
		}
	}
	if out := d.must("job", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("a refused manifest left jobs behind: %s", out)
	}
	other := exec.Command("crony", "dev", "--data-dir", dir, "--listen", "127.0.0.1:0")
	if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), "uses") && !strings.Contains(string(out), "use") {
		t.Errorf("a second crony on the same directory: %v\n%s", err, out)
	}
}

func TestDevListensOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:8470", ":8470", "[::]:8470", "example.org:80", "8470"} {
		out, err := exec.Command("crony", "dev", "--data-dir", t.TempDir(), "--listen", address).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "127.0.0.1:8470") {
			t.Errorf("--listen %s: %v\n%s", address, err, out)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	out, err := exec.Command("crony", "dev", "--data-dir", t.TempDir(), "--listen", taken.Addr().String()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--listen") {
		t.Errorf("an address that is taken: %v\n%s", err, out)
	}
}
