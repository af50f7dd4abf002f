package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) agentCmd() *cobra.Command {
	return noun("agent", "Look at the fleet, and take agents out of it", "", c.agentListCmd(), c.agentRebalanceCmd(), c.agentRemoveCmd())
}

func (c *cli) agentListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the agents that are connected",
		Args:  cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			agents, err := client.ListAgents(ctx)
			if err != nil {
				return err
			}
			now := c.now()
			return list(c, []column[crony.AgentStatus]{
				{"NAME", func(a crony.AgentStatus) string { return a.Name }},
				{"ID", func(a crony.AgentStatus) string { return a.ID }},
				{"HOST", func(a crony.AgentStatus) string { return a.Hostname }},
				{"PLATFORM", func(a crony.AgentStatus) string { return a.OS + "/" + a.Arch }},
				{"VERSION", func(a crony.AgentStatus) string { return a.Version }},
				{"JOBS", func(a crony.AgentStatus) string { return strconv.Itoa(a.Jobs) }},
				{"RUNNING", func(a crony.AgentStatus) string { return strconv.Itoa(a.Running) }},
				{"CONNECTED", func(a crony.AgentStatus) string { return ago(now, a.Since) }},
				{"LABELS", func(a crony.AgentStatus) string { return pairs(a.Labels) }},
			}, each(agents))
		}),
	}
}

func (c *cli) agentRebalanceCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "rebalance",
		Short: "Spread jobs anew over the agents that take them",
		Long: `Rebalance moves jobs so that agents have as many as their weights say or, of jobs whose strategy is least_jobs, equal
numbers, with as few moves as lead there. Agents that are cordoned or not connected take none. Jobs that may not be moved stay, and
so do those with a run that goes on. Nothing else gives an agent back what it had before it was down.`,
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			done, err := client.RebalanceAgents(ctx)
			if err != nil {
				return err
			}
			return list(c, []column[crony.Rebalanced]{
				{"MOVED", func(r crony.Rebalanced) string { return strconv.Itoa(r.Moved) }},
				{"BUSY", func(r crony.Rebalanced) string { return strconv.Itoa(r.Busy) }},
			}, each([]crony.Rebalanced{done}))
		}),
	}
}

func (c *cli) agentRemoveCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove AGENT",
		Short: "Take an agent out of the fleet for good",
		Long: `Remove takes an agent out of the fleet, by its name or, if several have that, its id. Its certificate is worth nothing
from then on, its connection ends, and its jobs are placed anew. Runs that go on there end unseen. To bring the host back, join
it anew.

On a terminal it asks first. Without one it does nothing unless --yes is given.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := c.confirm(ctx, "Take the agent "+args[0]+" out of the fleet for good?", yes); err != nil {
				return err
			}
			return c.acted(args[0], "removed", client.RemoveAgent(ctx, args[0]))
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}
