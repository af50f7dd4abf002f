package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) clusterRotateCmd() *cobra.Command {
	var finish, force bool
	cmd := &cobra.Command{
		Use:   "rotate-ca",
		Short: "Replace the certificate authority of the cluster",
		Long: `Rotate-ca replaces the authority that signs the certificates of servers and agents, in two steps.

The first makes a new authority. From then on it signs, both are trusted, and servers and agents that are connected renew their
certificates by themselves. A server's store takes note of the new authority when the server starts, so each has to be
restarted once, one after the other. Both steps print how many depend on which authority; "crony cluster status" names them too.

The second, with --finish, ends the trust in the old one. It is refused while servers or connected agents depend on it; with
--force it is not, and those are shut out, and must join anew. So must agents that were away during all of it.`,
		Example: "  crony cluster rotate-ca\n  crony cluster status\n  crony cluster rotate-ca --finish",
		Args:    cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			return c.rotateAuthority(ctx, finish, force)
		}),
	}
	cmd.Flags().BoolVar(&finish, "finish", false, "trust the old authority no more")
	cmd.Flags().BoolVar(&force, "force", false, "finish even if that shuts out servers or agents")
	return cmd
}

func (c *cli) rotateAuthority(ctx context.Context, finish, force bool) error {
	step := crony.RotateStart
	switch {
	case finish:
		step = crony.RotateFinish
	case force:
		return crony.Errorf(crony.Invalid, "--force is for the last step").WithHint("give --finish too, or leave it out")
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := client.RotateAuthority(ctx, step, force); err != nil {
		return err
	}
	status, err := client.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	now := c.now()
	if err := list(c, []column[crony.AuthorityStatus]{
		{"AUTHORITY", func(a crony.AuthorityStatus) string { return short(a.Fingerprint, 17) }},
		{"STATE", authorityState},
		{"ENDS", func(a crony.AuthorityStatus) string { return ago(now, a.EndsAt) }},
		{"SERVERS", func(a crony.AuthorityStatus) string { return strconv.Itoa(a.Servers) }},
		{"AGENTS", func(a crony.AuthorityStatus) string { return strconv.Itoa(a.Agents) }},
	}, each(status.Authorities)); err != nil {
		return err
	}
	c.nextStep(step, &status)
	return nil
}

// nextStep says what follows a step.
func (c *cli) nextStep(step crony.RotateStep, status *crony.ClusterStatus) {
	if step == crony.RotateFinish {
		c.complain("the old authority is trusted no more", "who still shows its certificate must join anew")
		return
	}
	c.complain("a new authority signs from now on; servers and agents renew their certificates by themselves", "")
	if names := unaware(status); len(names) > 0 {
		c.complain("to be restarted, one after the other: "+strings.Join(names, ", "), "")
	}
	c.complain("`crony cluster status` shows who depends on which", "when none needs the old one: crony cluster rotate-ca --finish")
}

// unaware names the servers whose store does not trust the authority that signs, because it started before that was made.
func unaware(status *crony.ClusterStatus) []string {
	var names []string
	for _, a := range status.Authorities {
		for _, s := range status.Servers {
			if a.Current && !slices.Contains(s.Trusts, a.Fingerprint) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}
