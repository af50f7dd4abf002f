package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"crony/appliance"
)

// defaultConfig is where packages put a server's configuration.
const defaultConfig = "/etc/crony/crony.yaml"

func (c *cli) serverCmd() *cobra.Command {
	var file string
	var check, verbose bool
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a server",
		Long: `Server runs a server of a cluster. What there is in its data directory it goes on with; it never makes one:

  crony cluster init     makes a new cluster, with this host as its first server
  crony cluster join     makes this host one more server of a cluster
  crony restore          brings a cluster back from a backup

It runs until a signal comes.`,
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			config, err := appliance.ReadConfig(file)
			if err != nil || check {
				return err
			}
			return appliance.Run(ctx, config, c.log(verbose))
		}),
	}
	serverConfig(cmd, &file)
	cmd.Flags().BoolVar(&check, "check", false, "only check the configuration")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log everything")
	return cmd
}

// serverConfig is the flag that names a server's configuration.
func serverConfig(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "server-config", "c", defaultConfig, "the server's configuration `FILE`; \"\" for the defaults")
}

// log writes for a person, or for the journal when systemd runs the server.
func (c *cli) log(verbose bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		opts.Level = slog.LevelDebug
	}
	if c.env("JOURNAL_STREAM") != "" {
		return slog.New(slog.NewJSONHandler(c.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(c.stderr, opts))
}

// quiet logs what somebody should know of a command that does its work and ends.
func (c *cli) quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
