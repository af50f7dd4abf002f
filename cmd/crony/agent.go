package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) agentCmd() *cobra.Command {
	return noun("agent", "Look at the fleet", "", c.agentListCmd())
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
