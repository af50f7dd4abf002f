package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"crony/appliance"
)

func (c *cli) clusterRecoverCmd() *cobra.Command {
	var file string
	var yes bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make the server of this host the only one, when most of the others are lost for good",
		Long: `Recover gets a cluster going again that has lost its quorum for good. It is run on a server that is left,
and that was stopped; of several, the one whose log goes furthest. Without --yes it only says what it would do, and
what may be lost.

The server keeps its jobs, its runs and its agents. The other servers are no more: they can't come back with the data that they
have, and join anew. The store as it was is kept beside the new one.

If the other servers will be back, there is nothing to recover: with most of them up the cluster goes on by itself.`,
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			config, err := appliance.ReadConfig(file)
			if err != nil {
				return err
			}
			if !yes {
				return c.previewRecovery(config)
			}
			done, err := appliance.Recover(ctx, config.Dir, c.quiet())
			if err != nil {
				return err
			}
			if c.format != asTable {
				return c.document(done)
			}
			_, err = fmt.Fprintf(c.stdout, `%s is the only server of cluster %s now.
  start it         crony server
  then             let two more join: crony token create --for server
  as it was        %s (remove it when all is well)
`, done.Server, done.Cluster, done.Kept)
			return err
		}),
	}
	serverConfig(cmd, &file)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (c *cli) previewRecovery(config appliance.Config) error {
	p, err := appliance.PreviewRecovery(config.Dir)
	if err != nil {
		return err
	}
	if c.format != asTable {
		return c.document(p)
	}
	s := newSheet(c.stdout)
	s.line("Cluster", p.Cluster)
	s.line("Server", p.Server)
	s.line("Revision", fmt.Sprintf("%d, with %d keys", p.Revision, p.Keys))
	s.line("Log", fmt.Sprintf("up to entry %d of term %d", p.Entry, p.Term))
	s.line("Given up", strings.Join(p.Others, ", "))
	if err := s.flush(); err != nil {
		return err
	}
	doubt := ""
	if p.Doubtful > 0 {
		doubt = fmt.Sprintf("\nIts last %d entries may not have been decided yet. They are kept: nobody was told that they were not.\n",
			p.Doubtful)
	}
	_, err = fmt.Fprintf(c.stdout, `%s
What the others had decided without this server is lost. Look at each server that is left, and
recover the one whose log goes furthest: the highest term, and of the same term the highest entry.

Nothing was changed. To do it: crony cluster recover --yes
`, doubt)
	return err
}
