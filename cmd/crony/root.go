package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"crony"
)

const rootHelp = `crony is cron for a fleet: jobs are defined once, and run on the agents.

The server to call is read from a file, client.yaml:

  address: http://127.0.0.1:8470
  token: ...
  ca_file: ca.pem    # if the server's certificate is signed by the cluster's own CA; beside this file, or absolute

It is the file that --config or CRONY_CONFIG names, else ~/.config/crony/client.yaml. CRONY_ADDRESS and CRONY_TOKEN, if set,
come before what it says.

Exit codes:

  0    done
  1    not done: the server could not be reached, or it refused
  2    the command line, the manifest or a configuration file is wrong; mend it
  3    there is no such job, run, calendar, script, server, agent or token
  130  interrupted

"crony run start --wait" has the job's own, and a few more: see its help. "crony verify" is not done if it finds a fault, nor
"crony run search" if it finds nothing.`

// The exit codes that are not a job's.
const (
	exitFailed      = 1
	exitWrong       = 2
	exitNotFound    = 3
	exitInterrupted = 130
)

// jobExit is the exit code of a command that ends as its run did; all is said already.
type jobExit int

func (e jobExit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// failure is an error of a command's own work. Any other that cobra returns is about how the command was called.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// fileError is an error about a document that was read from a file.
type fileError struct {
	file string
	err  error
}

func (e *fileError) Error() string { return e.file + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// work makes a function that does a command's work into what cobra calls.
func work(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd.Context(), args); err != nil {
			return failure{err}
		}
		return nil
	}
}

func (c *cli) rootCmd() *cobra.Command {
	root := noun("crony", "Cron for a fleet", rootHelp,
		c.devCmd(),
		c.serverCmd(),
		c.jobCmd(),
		c.runCmd(),
		c.explainCmd(),
		c.verifyCmd(),
		c.calendarCmd(),
		c.scriptCmd(),
		c.agentCmd(),
		c.clusterCmd(),
		c.tokenCmd(),
		c.backupCmd(),
		c.restoreCmd(),
		c.scheduleCmd(),
		c.versionCmd(ui()),
	)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if number := negative.FindString(err.Error()); number != "" {
			return fmt.Errorf("%s is taken for a flag, and no number here is negative", number)
		}
		return err
	})
	flags := root.PersistentFlags()
	c.format = asTable
	flags.VarP(&c.format, "output", "o", "the form of what is printed: table, json or yaml")
	flags.StringVar(&c.config, "config", "",
		"the client's configuration `FILE` (default: $CRONY_CONFIG, or ~/.config/crony/client.yaml)")
	complete(root, "output", c.format.Allowed())
	return root
}

// negative finds a number below zero in the complaint of a flag that is none.
var negative = regexp.MustCompile(`-[0-9]+$`)

// noun makes a command that only holds others.
func noun(use, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(verbs...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		near := cmd.SuggestionsFor(args[0])
		if len(near) == 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return fmt.Errorf("unknown command %q for %q; did you mean %q?", args[0], cmd.CommandPath(), near[0])
	}
	return cmd
}

// complete offers words as a flag's values to the shell.
func complete(cmd *cobra.Command, flag string, words []string) {
	// It fails for a flag that is not defined or is completed twice, which every test of a command would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func (c *cli) run(ctx context.Context, args []string) int {
	root := c.rootCmd()
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	return c.fail(ctx, cmd, err)
}

// fail says on stderr what went wrong and returns the exit code for it.
func (c *cli) fail(ctx context.Context, cmd *cobra.Command, err error) int {
	if code, ok := errors.AsType[jobExit](err); ok {
		return int(code)
	}
	if _, ok := errors.AsType[failure](err); !ok {
		c.complain(err.Error(), fmt.Sprintf("see `%s --help`", cmd.CommandPath()))
		return exitWrong
	}
	if ctx.Err() != nil {
		c.complain("interrupted", "")
		return exitInterrupted
	}
	c.explain(err)
	switch crony.CodeOf(err) {
	case crony.Invalid, crony.TooLarge:
		return exitWrong
	case crony.NotFound:
		return exitNotFound
	}
	return exitFailed
}

// explain prints an error: one line per fault if it has faults, else its message and its hint.
func (c *cli) explain(err error) {
	file := ""
	if f, ok := errors.AsType[*fileError](err); ok {
		file = f.file
	}
	e, ok := errors.AsType[*crony.Error](err)
	if !ok {
		c.complain(err.Error(), "")
		return
	}
	for _, fault := range e.Faults {
		printFault(c.stderr, file, fault)
	}
	switch {
	case len(e.Faults) > 0:
	case e.Code == crony.Invalid && file != "":
		printFault(c.stderr, file, crony.Fault{Message: e.Message, Hint: e.Hint})
	default:
		c.complain(e.Message, e.Hint)
	}
}

func (c *cli) complain(message, hint string) {
	fmt.Fprintf(c.stderr, "crony: %s\n", clean(message))
	if hint != "" {
		fmt.Fprintf(c.stderr, "hint: %s\n", clean(hint))
	}
}

// printFault writes a fault in the form that editors and compilers agree on: FILE:LINE: PATH: message (hint).
func printFault(w io.Writer, file string, f crony.Fault) {
	var place string
	switch {
	case f.Line > 0 && file != "":
		place = fmt.Sprintf("%s:%d: ", file, f.Line)
	case file != "":
		place = file + ": "
	case f.Line > 0:
		place = fmt.Sprintf("line %d: ", f.Line)
	}
	f.Line = 0
	fmt.Fprintln(w, clean(strings.TrimSpace(place+f.String())))
}
