package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"crony"
	"crony/appliance"
	"crony/internal/durable"
)

func (c *cli) clusterInitCmd() *cobra.Command {
	var file, keyFile string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new cluster, with this host as its first server",
		Long: `Init makes a new cluster in the empty data directory that the server's configuration names, and with it the cluster's own
certificate authority. The server is not started: "crony server" does that.

The data directory of "crony dev" can be given as well: it becomes the first server of a cluster, as it is.

It prints a link that signs in once, and the recovery key: whoever has it can open the cluster's backups, and without it
nobody can. It is kept nowhere.`,
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			config, err := appliance.ReadConfig(file)
			if err != nil {
				return err
			}
			made, err := appliance.Found(ctx, appliance.FoundOptions{Dir: config.Dir, Name: config.Name, People: config.PeopleURL(),
				Log: c.quiet()})
			if err != nil {
				return err
			}
			return c.founded(config, made, keyFile)
		}),
	}
	serverConfig(cmd, &file)
	cmd.Flags().StringVar(&keyFile, "recovery-key", "", "write the recovery key to `FILE` instead of printing it")
	return cmd
}

func (c *cli) founded(config appliance.Config, made appliance.Founded, keyFile string) error {
	key := made.Key
	if keyFile != "" {
		if err := durable.WriteFile(keyFile, []byte(made.Key+"\n"), 0o600); err != nil {
			// The cluster is made, and this key is nowhere else.
			fmt.Fprintf(c.stdout, "recovery key  %s\n", made.Key)
			return fmt.Errorf("write the recovery key, which is printed instead: %w", err)
		}
		key = "in " + keyFile
	}
	what := "A new cluster is in " + config.Dir + "."
	if made.Adopted {
		what = "What crony dev has made in " + config.Dir + " is a cluster now; its jobs, runs and people are there."
	}
	agent := ""
	if made.Agent != "" {
		agent = fmt.Sprintf("\n  its agent      crony-agent run, with dir: %s and servers: [%s] in its configuration",
			made.Agent, config.Agents.Advertise)
	}
	_, err := fmt.Fprintf(c.stdout, `%s
  start it       crony server%s
  sign in once   %s
  command line   export CRONY_CONFIG=%s
  recovery key   %s
Keep the recovery key where no server is: it opens backups, and nothing else does.
`, what, agent, made.Link, made.ClientFile, key)
	return err
}

func (c *cli) clusterJoinCmd() *cobra.Command {
	var file, token, tokenFile, replace string
	cmd := &cobra.Command{
		Use:   "join URL",
		Short: "Make this host one more server of a cluster",
		Long: `Join makes this host a server of the cluster that is at URL, the address of any of its servers
(https://HOST:8470). The join token comes from "crony token create --for server" there; it also says by which
certificate this host knows the cluster.

The server is not started: "crony server" does that. It is admitted then, copies the store, and gets its vote by itself.

The place of a server that is dead is taken with --replace: that one is removed, and this one is admitted in its place.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			config, err := appliance.ReadConfig(file)
			if err != nil {
				return err
			}
			secret, err := c.secret(token, tokenFile)
			if err != nil {
				return err
			}
			cluster, err := appliance.Join(ctx, appliance.JoinOptions{Dir: config.Dir, Name: config.Name, Address: args[0],
				Token: secret, Replace: replace})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.stdout, "This host is server %s of cluster %s.\n  start it  crony server\n", config.Name, cluster)
			return err
		}),
	}
	serverConfig(cmd, &file)
	cmd.Flags().StringVar(&token, "token", "",
		"the join `TOKEN`, which others on this host can see; without it, it is read from stdin")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "the `FILE` that holds the join token")
	cmd.Flags().StringVar(&replace, "replace", "", "the name or id of a dead `SERVER` whose place this host takes")
	return cmd
}

// secret returns what a flag, a file or stdin holds. Stdin is read if nothing else is said, unless a person sits there.
func (c *cli) secret(text, file string) (string, error) {
	switch {
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			return "", &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
		}
		return strings.TrimSpace(string(data)), nil
	case text == fromStdin, text == "" && !c.terminal:
		line, err := bufio.NewReader(c.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the join token: %w", err)
		}
		text = strings.TrimSpace(line)
	}
	if text == "" {
		return "", crony.Errorf(crony.Invalid, "no join token is given").
			WithHint("by the standard input, --token-file FILE or --token TOKEN")
	}
	return text, nil
}
