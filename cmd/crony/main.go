// Command crony is the command line of crony: what people and scripts do with jobs, runs and agents, by the REST API.
//
// The one thing to know: a command is a thin layer of words around one or two calls of the sdk. What is refused, and why, is
// said by the server, the same here as anywhere; this program adds the file's name, the form (`-o table|json|yaml`) and an
// exit code that a script can act on, which the root command's help lists.
//
// It holds no state but the client.yaml that says which server to call, never takes a token from its arguments (which every
// user of the host can read), and writes no colours of its own but the mark of what a run wrote to stderr.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // a host need not have the zones, and all hosts should have the same

	"crony/agent"
)

func main() {
	if agent.Launch(os.Args) { // for runs of crony dev
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the process's exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{
		stdin: stdin, stdout: stdout, stderr: stderr, env: os.Getenv, now: time.Now,
		terminal: isTerminal(stdin), shown: isTerminal(stdout), watched: isTerminal(stderr),
		poll: 250 * time.Millisecond, patience: time.Minute,
	}
	return c.run(ctx, args)
}

// cli is what the commands share: the process's surroundings, and the global flags.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	now            func() time.Time
	terminal       bool          // a person can answer on stdin
	shown          bool          // a person sees stdout as it comes
	watched        bool          // a person sees stderr as it comes
	poll           time.Duration // between two looks at what is not there yet
	patience       time.Duration // how long a server that was there may be away

	format format
	config string // the client's configuration file; "" if none is named
}
