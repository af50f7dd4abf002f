package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"crony"
	"crony/sdk"
)

// The exit codes of `run start --wait` for a run that has no exit code of its own.
const (
	exitKilled   = 122
	exitNotBegun = 123
	exitTimedOut = 124 // as of timeout(1)
	exitUnknown  = 125
	exitSignal   = 128 // and the signal's number, as in a shell
)

func (c *cli) runLogsCmd() *cobra.Command {
	var follow, stdout, stderr bool
	cmd := &cobra.Command{
		Use:   "logs ID",
		Short: "Print a run's output",
		Long: `Logs prints what is kept of a run's output: what the run wrote to its stdout on stdout, and what it wrote to its stderr
on stderr. Where output was not kept, a line on stderr says how much.

Without -f the streams come one after the other, attempt by attempt; with it, in the order in which they arrive from then on.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.runLogs(ctx, args[0], follow, only(stdout, stderr))
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run has ended")
	cmd.Flags().BoolVar(&stdout, "stdout", false, "only stdout")
	cmd.Flags().BoolVar(&stderr, "stderr", false, "only stderr")
	cmd.MarkFlagsMutuallyExclusive("stdout", "stderr")
	return cmd
}

func only(stdout, stderr bool) crony.Stream {
	switch {
	case stdout:
		return crony.Stdout
	case stderr:
		return crony.Stderr
	}
	return ""
}

func (c *cli) runLogs(ctx context.Context, arg string, follow bool, only crony.Stream) error {
	if err := c.tableOnly("output"); err != nil {
		return err
	}
	id, err := crony.ParseRunID(arg)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	run, err := client.Run(ctx, id) // first, so that what is missing of it then is missing for good
	if err != nil {
		return err
	}
	t := newTail(c, only)
	defer t.rest()
	if follow && !run.State.Ended() {
		_, err := c.follow(ctx, client, id, t, false)
		return err
	}
	if _, err := t.drain(client.Output(ctx, id, false)); err != nil {
		return err
	}
	t.finish(&run)
	return nil
}

// runStart is what `run start` is told.
type runStart struct {
	crony.StartOptions

	params []string
	wait   bool
}

func (c *cli) runStartCmd() *cobra.Command {
	var s runStart
	cmd := &cobra.Command{
		Use:   "start JOB",
		Short: "Run a job now",
		Long: `Start orders a run of a job now and prints the run's id: on the agent that has the job or, with --agent, on another
that is connected. With --all it orders one run on each agent that has the job, connected or not, and on each other that the
job's placement means and that takes jobs now, being connected and not cordoned. A parameter, NAME=VALUE, is in the command's
environment as CRONY_PARAM_NAME, with the name in capitals, and is kept with the run.

An order that no agent takes within an hour comes to nothing, and the run's record says so.

With --wait it prints the id on stderr, then the run's output as "crony run logs -f" does, and exits as the run did:

  0 to 255  the job's own exit code
  122       it was killed
  123       it never started: it was skipped, or could not be started
  124       it ran into its timeout
  125       nobody knows: the run is lost, or the servers could not be reached for a minute
  128+N     signal N ended it

Of several runs each line begins with the agent's name, and the exit code is the highest. Interrupting crony does not end
a run; "crony run kill" does.`,
		Example: "  crony run start nightly-report --wait\n  crony run start fetch --agent db-1 -p date=2027-01-31 -p force=yes",
		Args:    cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.runStart(ctx, args[0], s)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&s.Agent, "agent", "", "on the agent of this `NAME` or id, which need not have the job")
	flags.BoolVar(&s.All, "all", false, "on every agent that has the job, or that its placement means")
	flags.StringArrayVarP(&s.params, "param", "p", nil, "a parameter, `NAME=VALUE`; may be given several times")
	flags.BoolVar(&s.wait, "wait", false, "print the run's output and exit with its exit code")
	cmd.MarkFlagsMutuallyExclusive("agent", "all")
	c.completeNames(cmd, false, jobNames)
	return cmd
}

// read takes the parameters apart.
func (s *runStart) read() error {
	for _, text := range s.params {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := s.Params[name]; !ok || twice {
			return crony.Errorf(crony.Invalid, "the parameter %.80q has no value, or is given twice", text).
				WithHint("write it as NAME=VALUE")
		}
		if s.Params == nil {
			s.Params = map[string]string{}
		}
		s.Params[name] = value
	}
	return nil
}

func (c *cli) runStart(ctx context.Context, job string, s runStart) error {
	if s.wait {
		if err := c.tableOnly("a run's output"); err != nil {
			return err
		}
	}
	if err := s.read(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	ids, err := client.StartJob(ctx, job, s.StartOptions)
	switch {
	case err != nil:
		return err
	case s.wait && len(ids) == 1:
		return c.waitForRun(ctx, client, job, ids[0])
	case s.wait:
		return c.waitForRuns(ctx, client, ids)
	case c.format != asTable:
		return c.document(map[string][]crony.RunID{"runs": ids})
	}
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(string(id) + "\n")
	}
	return c.write([]byte(text.String()))
}

func (c *cli) waitForRun(ctx context.Context, client *sdk.Client, job string, id crony.RunID) error {
	fmt.Fprintf(c.stderr, "crony: run %s\n", id)
	t := newTail(c, "")
	run, err := c.follow(ctx, client, id, t, true)
	t.rest()
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintf(c.stderr, "crony: the run goes on; `crony run logs -f %s` prints its output\n", id)
		return err
	case crony.CodeOf(err) == crony.NotFound:
		c.complain("the run has not begun: its agent has not taken the order", fmt.Sprintf("look with `crony job show %s`", job))
		return jobExit(exitUnknown)
	case err != nil:
		c.explain(err)
		return jobExit(exitUnknown)
	}
	return c.exitAs(&run)
}

// exitAs says how a run ended, unless it went well or has an exit code that says it, and returns it as an exit code.
func (c *cli) exitAs(run *crony.Run) error {
	code, words := exitOf(run)
	if words != "" {
		c.complain("the run "+words, "")
	}
	if code == 0 {
		return nil
	}
	return jobExit(code)
}

// exitOf returns the exit code that stands for how a run ended, with words if the run has none of its own.
func exitOf(run *crony.Run) (code int, words string) {
	code, exited := run.ExitCode()
	if exited && (run.State == crony.Succeeded || run.State == crony.Failed) {
		return code, ""
	}
	words = fmt.Sprintf("ended %s", run.State)
	if run.Reason != "" {
		words += ": " + run.Reason
	}
	return endCode(run), words
}

// endCode returns the exit code for a run that has none of its own.
func endCode(run *crony.Run) int {
	switch run.State {
	case crony.Killed:
		return exitKilled
	case crony.TimedOut:
		return exitTimedOut
	case crony.Skipped:
		return exitNotBegun
	case crony.Failed:
		if n := len(run.Attempts); n > 0 && run.Attempts[n-1].Signal != "" {
			return exitSignal + int(unix.SignalNum(run.Attempts[n-1].Signal))
		}
		return exitNotBegun
	}
	return exitUnknown
}
