package main

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) tokenCmd() *cobra.Command {
	return noun("token", "Make tokens by which hosts join, look at them, and delete them", "",
		c.tokenCreateCmd(), c.tokenListCmd(), c.tokenDeleteCmd())
}

func (c *cli) tokenCreateCmd() *cobra.Command {
	spec := crony.JoinTokenSpec{TTL: crony.Duration(crony.DefaultJoinTTL)}
	var role, ttl string
	cmd := &cobra.Command{
		Use:   "create --for server|agent",
		Short: "Make a token by which a host joins",
		Long: `Create makes a token and prints it, with the command that uses it on the host that is to join. The token is a secret
until it is used up or has expired; it is told only now. It also names the cluster's authority, so that the host talks to nobody
else.`,
		Example: "  crony token create --for agent\n  crony token create --for agent --uses 50 --ttl 1d\n" +
			"  crony token create --for server",
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			lasts, err := crony.ParseDuration(ttl)
			if err != nil {
				return crony.Errorf(crony.Invalid, "--ttl: %v", err)
			}
			spec.For, spec.TTL = crony.JoinRole(role), lasts
			return c.tokenCreate(ctx, spec)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&role, "for", "", "what the host is to be, the `ROLE`: server or agent")
	flags.StringVar(&ttl, "ttl", crony.Duration(crony.DefaultJoinTTL).String(), "how `LONG` it is good, up to 30d")
	flags.IntVar(&spec.Uses, "uses", 1, "how many hosts may join by it, `N`")
	complete(cmd, "for", crony.JoinRole("").Allowed())
	_ = cmd.MarkFlagRequired("for") // it fails for a flag that is not defined
	return cmd
}

// newToken is a token with the command that uses it.
type newToken struct {
	crony.JoinToken
	Command string `json:"command"`
}

func (c *cli) tokenCreate(ctx context.Context, spec crony.JoinTokenSpec) error {
	if spec.Uses == 0 || spec.TTL == 0 {
		return crony.Errorf(crony.Invalid, "a token that is good for nothing").WithHint("leave out --ttl and --uses")
	}
	if err := spec.Complete(); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	token, err := client.CreateJoinToken(ctx, spec)
	if err != nil {
		return err
	}
	made := newToken{token, joinCommand(&token, "https://"+c.joinAddress(ctx, client))}
	if c.format != asTable {
		return c.document(made)
	}
	s := newSheet(c.stdout)
	s.line("Token", token.Secret)
	s.line("For", string(token.For))
	s.line("Uses", strconv.Itoa(token.Uses))
	s.line("Expires", instant(c.now(), token.ExpiresAt))
	if err := s.flush(); err != nil {
		return err
	}
	return c.write([]byte("\nOn the host that is to join:\n\n  " + made.Command + "\n"))
}

// joinCommand returns what to type on the host that is to join. The secret goes by a pipe: every user of a host can read the
// arguments of its processes.
func joinCommand(token *crony.JoinToken, address string) string {
	command := "crony-agent join "
	if token.For == crony.JoinServer {
		command = "crony cluster join "
	}
	return "echo " + token.Secret + " | sudo " + command + address
}

// joinAddress returns the HOST:PORT at which another host reaches the cluster: what this command calls, unless that is only
// reached from here; then what the server says of itself.
func (c *cli) joinAddress(ctx context.Context, client *sdk.Client) string {
	called := hostPort(client.Address())
	if !isLocal(called) {
		return called
	}
	status, err := client.ClusterStatus(ctx)
	if err != nil {
		return called // the token is made; that is not lost for want of a better name
	}
	for i := range status.Servers {
		if s := &status.Servers[i]; s.ID == status.Server && s.People != "" {
			return hostPort(s.People)
		}
	}
	return called
}

// hostPort returns the host and the port of a URL.
func hostPort(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	ports := map[string]string{"http": "80", "https": "443"}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), ports[u.Scheme]))
}

// isLocal says whether an address means this host wherever it is used.
func isLocal(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (ip.IsLoopback() || ip.IsUnspecified())
}

func (c *cli) tokenListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens that can still be used",
		Args:  cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			tokens, err := client.ListJoinTokens(ctx)
			if err != nil {
				return err
			}
			now := c.now()
			return list(c, []column[crony.JoinToken]{
				{"ID", func(t crony.JoinToken) string { return t.ID }},
				{"FOR", func(t crony.JoinToken) string { return string(t.For) }},
				{"USES LEFT", func(t crony.JoinToken) string { return strconv.Itoa(t.Uses) }},
				{"EXPIRES", func(t crony.JoinToken) string { return ago(now, t.ExpiresAt) }},
				{"MADE", func(t crony.JoinToken) string { return ago(now, t.CreatedAt) }},
				{"BY", func(t crony.JoinToken) string { return t.CreatedBy }},
			}, each(tokens))
		}),
	}
}

func (c *cli) tokenDeleteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete ID...",
		Short: "Make tokens worth nothing",
		Long: `Delete makes tokens worth nothing. Hosts that have joined by them stay. It does not ask: another token is made as
quickly. It stops at the first token that it cannot delete.`,
		Args: cobra.MinimumNArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			return list(c, deletedColumns(), one(args, func(id string) (deleted, error) {
				return deleted{id, "deleted"}, client.DeleteJoinToken(ctx, id)
			}))
		}),
	}
	c.completeNames(cmd, true, tokenIDs)
	return cmd
}
