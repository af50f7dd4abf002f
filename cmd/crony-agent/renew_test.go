//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"crony"
	"crony/agent"
	"crony/internal/testcluster"
)

const asProgram = "CRONY_AGENT_TEST_MAIN"

func TestMain(m *testing.M) {
	if agent.Launch(os.Args) {
		os.Exit(2)
	}
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestRenew has the program begin anew under a run, with a configuration that is no good and with one that is: the process is
// the same one, and how the run ended is known. Then it is stopped, and the run goes on.
func TestRenew(t *testing.T) {
	c := testcluster.Start(t, 1)
	c.StopAgent("a1")
	c.Apply(`jobs:
  - name: long
    shell: {command: "while [ ! -e $CRONY_PARAM_UNTIL ]; do sleep 0.05; done; exit 5"}
`)
	dir := t.TempDir()
	file := filepath.Join(dir, "agent.yaml")
	configure := func(more string) {
		text := fmt.Sprintf("dir: %s\nname: a1\nservers: [%q]\nmetrics: {listen: ''}\n%s",
			filepath.Join(c.Dir, "a1"), c.Address, more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	program := startProgram(t, file)
	run := func(until string) crony.RunID {
		var id crony.RunID
		c.Wait("the agent to take the job", func() bool {
			ids, err := c.StartJob(t.Context(), "long", crony.StartOptions{Params: map[string]string{"until": filepath.Join(dir, until)}})
			if err == nil {
				id = ids[0]
			}
			return err == nil
		})
		c.Wait("it to run", func() bool { r, err := c.Run(t.Context(), id); return err == nil && r.State == crony.Running })
		return id
	}
	let := func(until string) {
		if err := os.WriteFile(filepath.Join(dir, until), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	first := run("first")
	configure("weight: many\n")
	program.hup(t)
	c.Wait("the bad configuration to be refused", func() bool { return program.said("goes on as it was") && program.said("line 5: weight") })
	configure("labels: {tier: gold}\n")
	program.hup(t)
	c.Wait("the agent to have its new label", func() bool {
		agents, err := c.ListAgents(t.Context())
		return err == nil && len(testcluster.Up(agents)) == 1 && agents[0].Labels["tier"] == "gold"
	})
	if !program.said("run adopted") {
		t.Error("the run was not taken up")
	}
	let("first")
	c.Wait("the run's end", func() bool { r, err := c.Run(t.Context(), first); return err == nil && r.State.Ended() })
	if r, err := c.Run(t.Context(), first); err != nil || r.State != crony.Failed || r.Reason != "exit code 5" {
		t.Errorf("%+v, %v", r, err)
	}

	second := run("second")
	if err := program.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.cmd.Wait(); err != nil {
		t.Error(err)
	}
	program = startProgram(t, file)
	c.Wait("the run to be taken up", func() bool { return program.said("run adopted") })
	if r, err := c.Run(t.Context(), second); err != nil || r.State != crony.Running {
		t.Errorf("%+v, %v", r, err)
	}
	let("second")
	c.Wait("the run's end", func() bool { r, err := c.Run(t.Context(), second); return err == nil && r.State.Ended() })
}

// program is this program, started as such.
type program struct {
	cmd *exec.Cmd
	log string
}

func startProgram(t *testing.T, file string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: exec.Command(self, "run", "-c", file), log: filepath.Join(t.TempDir(), "log")}
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stderr = out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(p.log)
			t.Logf("the agent's log:\n%s", text)
		}
	})
	return p
}

func (p *program) hup(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func (p *program) said(what string) bool {
	text, err := os.ReadFile(p.log)
	return err == nil && strings.Contains(string(text), what)
}
