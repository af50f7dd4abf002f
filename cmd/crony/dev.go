package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"crony/appliance"
	"crony/webui"
)

func (c *cli) devCmd() *cobra.Command {
	opts := appliance.DevOptions{Out: c.stdout, Launches: true}
	var verbose bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a server and an agent in one process, on this host alone",
		Long: `Dev runs a whole crony in one process: a server with its store and its run log, and an agent that runs the jobs here,
as the user who started it. It listens on loopback only. What it keeps, it keeps under --data-dir; started again, it goes on.

At each start it prints a link that signs in once, and writes DIR/client.yaml for the command line:

  export CRONY_CONFIG=data/client.yaml

An interrupt lets runs end, for 10 seconds, before it stops; a second one stops it at once, and then the runs that go on are
found again by the next start.`,
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			opts.Log = slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: level}))
			return appliance.Dev(ctx, opts)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Dir, "data-dir", "data", "the `DIR` of all data, made if need be")
	flags.StringVar(&opts.Listen, "listen", "127.0.0.1:8470", "the `ADDRESS` of the web app and the API, on loopback")
	flags.BoolVar(&opts.Demo, "demo", false, "define three small jobs, unless they are there")
	flags.BoolVarP(&verbose, "verbose", "v", false, "log everything")
	return cmd
}

// ui says whether the web app is part of this binary.
func ui() string {
	if webui.Built() {
		return "built"
	}
	return "absent"
}
