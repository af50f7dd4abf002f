package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/internal/selector"
)

func (c *cli) agentCmd() *cobra.Command {
	return noun("agent", "Look at the fleet, and say which agents take jobs", "",
		c.agentListCmd(), c.agentShowCmd(), c.agentCordonCmd(), c.agentUncordonCmd(), c.agentDrainCmd(), c.agentLabelCmd(),
		c.agentWeightCmd(), c.agentMaxJobsCmd(), c.agentRebalanceCmd(), c.agentRemoveCmd())
}

func (c *cli) agentListCmd() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all agents, those that are down too",
		Long: `List shows all agents that are known, connected or not. STATE is "up" or "down", and "cordoned" of one that gets no
more jobs, or "draining" if its jobs are to go elsewhere as well. SINCE is when one that is up connected, and when one that is
down was last known to be connected.

A selector is a list of conditions on labels, all of which must hold: role=batch, role!=batch, gpu, !gpu, zone in (a,b).`,
		Example: "  crony agent list --selector 'role=batch,!gpu'",
		Args:    cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			return c.agentList(ctx, text)
		}),
	}
	cmd.Flags().StringVarP(&text, "selector", "l", "", "only agents whose labels meet this `SELECTOR`")
	return cmd
}

func (c *cli) agentList(ctx context.Context, text string) error {
	wanted, err := selector.Parse(text)
	if err != nil {
		return &crony.Error{Code: crony.Invalid, Message: "--selector: " + err.Error(), Err: err}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	agents, err := client.ListAgents(ctx)
	if err != nil {
		return err
	}
	agents = slices.DeleteFunc(agents, func(a crony.AgentStatus) bool { return !wanted.Match(a.Labels) })
	now := c.now()
	return list(c, []column[crony.AgentStatus]{
		{"NAME", func(a crony.AgentStatus) string { return a.Name }},
		{"ID", func(a crony.AgentStatus) string { return a.ID }},
		{"STATE", func(a crony.AgentStatus) string { return agentState(&a) }},
		{"SINCE", func(a crony.AgentStatus) string { return ago(now, agentSince(&a)) }},
		{"HOST", func(a crony.AgentStatus) string { return a.Hostname }},
		{"PLATFORM", func(a crony.AgentStatus) string { return a.OS + "/" + a.Arch }},
		{"VERSION", func(a crony.AgentStatus) string { return a.Version }},
		{"JOBS", func(a crony.AgentStatus) string { return jobsOfAgent(&a) }},
		{"RUNNING", func(a crony.AgentStatus) string { return strconv.Itoa(a.Running) }},
		{"LABELS", func(a crony.AgentStatus) string { return pairs(a.Labels) }},
	}, each(agents))
}

// agentState says in a word or two how an agent is.
func agentState(a *crony.AgentStatus) string {
	state := "down"
	if a.Up {
		state = "up"
	}
	switch {
	case a.Cordon == nil:
		return state
	case a.Cordon.Drain:
		return state + ", draining"
	}
	return state + ", cordoned"
}

// agentSince says since when an agent is up, or down.
func agentSince(a *crony.AgentStatus) time.Time {
	if a.Up {
		return a.Since
	}
	return a.SeenAt
}

func (c *cli) agentRebalanceCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "rebalance",
		Short: "Spread jobs anew over the agents that take them",
		Long: `Rebalance moves jobs so that agents have as many as their weights say or, of jobs whose strategy is least_jobs, equal
numbers, with as few moves as lead there. Agents that are cordoned or not connected take none. Jobs that may not be moved
stay, and so do those with a run that goes on. Nothing else gives an agent back what it had before it was down.`,
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
from then on, its connection ends, its jobs are placed anew, and nothing that was set for it is kept. Runs that go on there end
unseen. To bring the host back, join it anew.

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
