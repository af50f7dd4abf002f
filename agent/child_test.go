//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// childEnv makes the test binary do one thing and nothing else, so that a test can kill it.
const childEnv = "CRONY_AGENT_TEST_CHILD"

func TestMain(m *testing.M) {
	if Launch(os.Args) {
		os.Exit(2)
	}
	switch do, arg, _ := strings.Cut(os.Getenv(childEnv), " "); do {
	case "":
		os.Exit(m.Run())
	case "agent":
		os.Exit(child(runAgent(arg)))
	case "journal":
		os.Exit(child(fillJournal(arg)))
	}
}

// child turns a child's error into its exit code.
func child(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startChild runs the test binary as a child that does something. It is killed at the end of the test, at the latest.
func startChild(t *testing.T, stdout *os.File, do, arg string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Stdout = stdout
	cmd.Env = append(os.Environ(), childEnv+"="+do+" "+arg)
	cmd.Stderr = testLog{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// runAgent is the agent's main.
func runAgent(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config, err := ReadConfig(file)
	if err != nil {
		return err
	}
	opts := config.Options("test", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	opts.Launches = true
	a, err := New(opts)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
