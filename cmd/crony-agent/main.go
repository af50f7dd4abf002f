// Command crony-agent runs the jobs of a host: it connects to a crony server, holds the schedules of the jobs that are
// assigned to it, and runs them.
//
// The one thing to know: a host becomes an agent once, by "crony-agent join" with a token that a server has made; what it
// is given then, its certificate above all, is in its data directory.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // a host need not have the zones, and all hosts should have the same

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"crony"
	"crony/agent"
	"crony/internal/version"
)

func main() {
	if agent.Launch(os.Args) {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code: 1 for a failure, 2 for what a person must mend.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{Use: "crony-agent", Short: "Run the jobs of this host", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(joinCmd(os.Stdin, stdout), runCmd(stderr), versionCmd(stdout))
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
		Long:  longRun,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := agent.ReadConfig(file)
			if err != nil {
				return err
			}
			log := newLog(stderr)
			opts := config.Options(version.Read().Version, log)
			opts.Launches = true
			a, err := agent.New(opts)
			if err != nil || check {
				return err
			}
			return runOn(cmd.Context(), a, file, log)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&check, "check", false, "only check the configuration, and that this host has joined")
	return cmd
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", agent.DefaultConfig, "the configuration `FILE`")
}

func joinCmd(stdin *os.File, stdout io.Writer) *cobra.Command {
	var file, token, tokenFile, dir string
	var labels []string
	var config agent.Config
	cmd := &cobra.Command{
		Use:   "join URL",
		Short: "Make this host an agent of a cluster",
		Long: `Join makes this host an agent of the cluster that is at URL, the address of any of its servers
(https://HOST:8470). The join token comes from "crony token create --for agent" there; it also says by which
certificate this host knows the cluster.

What the flags say goes into the configuration file, which must not be there then. Without flags a file that is there is used.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := secretOf(stdin, token, tokenFile)
			if err != nil {
				return err
			}
			config.Dir, config.Labels = dir, labelsOf(labels)
			isNew, err := configure(cmd, file, &config)
			if err != nil {
				return err
			}
			cluster, err := agent.Join(cmd.Context(), agent.JoinOptions{
				Dir: config.Dir, Name: config.Name, Address: args[0], Token: secret})
			if err == nil && isNew {
				err = config.Write(file)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdout, "This host is an agent of cluster %s.\n  start it  crony-agent run -c %s\n", cluster, file)
			return err
		},
	}
	configFlag(cmd, &file)
	flags := cmd.Flags()
	flags.StringVar(&token, "token", "", "the join `TOKEN`, which others on this host can see; without it, it is read from stdin")
	flags.StringVar(&tokenFile, "token-file", "", "the `FILE` that holds the join token")
	flags.StringVar(&dir, "dir", agent.DefaultDir, "the `DIR` of the agent's data")
	flags.StringVar(&config.Name, "name", "", "the agent's `NAME` for people (default: the host's)")
	flags.StringSliceVar(&labels, "label", nil, "a `KEY=VALUE`, or KEY alone, by which jobs choose agents; may be given again")
	flags.IntVar(&config.Weight, "weight", 0, "the agent's share of the jobs `N` (default 1)")
	flags.IntVar(&config.MaxJobs, "max-jobs", 0, "how many jobs `N` it may have to be given one more (default: any number)")
	return cmd
}

// labelsOf returns the labels that flags name: each KEY=VALUE, or a KEY whose value is empty.
func labelsOf(flags []string) map[string]string {
	labels := make(map[string]string, len(flags))
	for _, text := range flags {
		key, value, _ := strings.Cut(text, "=")
		labels[key] = value
	}
	return labels
}

// configure reads the configuration file, if it is there; then no flag may say otherwise. It reports whether the file is to
// be written from the flags.
func configure(cmd *cobra.Command, file string, config *agent.Config) (isNew bool, err error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		faults := crony.TraitFaults(crony.AgentTraits{Labels: config.Labels, Weight: config.Weight, MaxJobs: config.MaxJobs})
		if len(faults) > 0 {
			return true, &crony.Error{Code: crony.Invalid, Message: "the flags are wrong", Faults: faults}
		}
		return true, nil
	}
	for _, flag := range []string{"dir", "name", "label", "weight"} {
		if cmd.Flags().Changed(flag) {
			return false, crony.Errorf(crony.Conflict, "%s is there, and --%s can't change it", file, flag).
				WithHint("write it into the file, and leave the flag out")
		}
	}
	*config, err = agent.ReadConfig(file)
	return false, err
}

// secretOf returns what a flag, a file or stdin holds. Stdin is read if nothing else is said, unless a person sits there.
func secretOf(stdin *os.File, text, file string) (string, error) {
	var data []byte
	var err error
	switch {
	case file != "":
		data, err = os.ReadFile(file)
	case text == "-", text == "" && !term.IsTerminal(int(stdin.Fd())):
		data, err = io.ReadAll(io.LimitReader(stdin, 4<<10))
	default:
		data = []byte(text)
	}
	secret := strings.TrimSpace(string(data))
	switch {
	case err != nil:
		return "", &crony.Error{Code: crony.Invalid, Message: "read the join token: " + err.Error(), Err: err}
	case secret == "":
		return "", crony.Errorf(crony.Invalid, "no join token is given").
			WithHint("by the standard input, --token-file FILE or --token TOKEN")
	}
	return secret, nil
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
