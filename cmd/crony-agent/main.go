// Command crony-agent runs the jobs of a host: it connects to a crony server, holds the schedules of the jobs that are
// assigned to it, and runs them.
//
// The one thing to know: its certificate is its identity. The file that --config names says where that is, and which server
// to connect to.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // a host need not have the zones, and all hosts should have the same

	"github.com/spf13/cobra"

	"crony"
	"crony/agent"
	"crony/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code: 1 for a failure, 2 for what a person must mend.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{Use: "crony-agent", Short: "Run the jobs of this host", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(runCmd(stderr), versionCmd(stdout))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case crony.CodeOf(err) == crony.Invalid:
		fmt.Fprintln(stderr, "crony-agent: "+err.Error())
		return 2
	}
	fmt.Fprintln(stderr, "crony-agent: "+err.Error())
	return 1
}

func runCmd(stderr io.Writer) *cobra.Command {
	var file string
	var check bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run until a signal comes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := agent.ReadConfig(file)
			if err != nil {
				return err
			}
			opts, err := config.Options(version.Read().Version, newLog(stderr))
			if err != nil || check {
				return err
			}
			a, err := agent.New(opts)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "/etc/crony/agent.yaml", "the configuration `FILE`")
	cmd.Flags().BoolVar(&check, "check", false, "only check the configuration")
	return cmd
}

// newLog writes for a person, or for the journal when systemd runs the agent.
func newLog(w io.Writer) *slog.Logger {
	if os.Getenv("JOURNAL_STREAM") != "" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func versionCmd(stdout io.Writer) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print what this program was built from", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, version.Read())
			return err
		}}
}
