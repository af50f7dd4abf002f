package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/appliance"
)

func (c *cli) restoreCmd() *cobra.Command {
	var file, keyFile string
	cmd := &cobra.Command{
		Use:   "restore FILE --key-file FILE",
		Short: "Bring a cluster back from a backup, with this host as its first server",
		Long: `Restore makes, of a backup, the data of a server in the empty data directory that the server's configuration
names. It is the same cluster, with the same authority: agents come back by themselves, if they reach the server under
an address that they know. Other servers join anew. The server is not started: "crony server" does that.

Everything is as it was when the backup was made. What was removed since then is back; what ran since then is not in the
run log. Sessions, links and join tokens are not restored.

Do it only when the servers of before are gone for good: they must not be started again.`,
		Example: "  crony restore crony-20270301.backup --key-file recovery.key",
		Args:    cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			config, err := appliance.ReadConfig(file)
			if err != nil {
				return err
			}
			key, err := c.recoveryKey(keyFile)
			if err != nil {
				return err
			}
			return c.restore(ctx, config, args[0], key)
		}),
	}
	serverConfig(cmd, &file)
	cmd.Flags().StringVar(&keyFile, "key-file", "", "the `FILE` that holds the recovery key")
	_ = cmd.MarkFlagRequired("key-file") // it fails for a flag that is not defined
	return cmd
}

func (c *cli) restore(ctx context.Context, config appliance.Config, archive, key string) error {
	f, err := os.Open(archive)
	if err != nil {
		return &crony.Error{Code: crony.NotFound, Message: err.Error(), Err: err}
	}
	defer f.Close()
	defer c.progress("")
	made, err := appliance.Restore(ctx, appliance.RestoreOptions{Key: key, Dir: config.Dir, Name: config.Name,
		People: config.PeopleURL(), Log: c.quiet(), Archive: &counted{Reader: f, say: func(n int64) {
			c.progress(fmt.Sprintf("reading %s: %s", archive, bytesText(n)))
		}}})
	if err != nil {
		return inFile(archive, err)
	}
	c.progress("")
	if c.format != asTable {
		return c.document(made.Manifest)
	}
	_, err = fmt.Fprintf(c.stdout, `Cluster %s is in %s, as it was at %s.
  start it       crony server
  sign in once   %s
  command line   export CRONY_CONFIG=%s
  then           let two more join: crony token create --for server
`, made.Cluster, config.Dir, made.CreatedAt.Format(time.RFC3339), made.Link, made.ClientFile)
	return err
}
