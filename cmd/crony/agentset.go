package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) agentCordonCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cordon AGENT",
		Short: "Give an agent no more jobs",
		Long: `Cordon has an agent get no more jobs; those that it has stay, and run. It lasts until "crony agent uncordon", also when
the agent is restarted. An agent that is being drained keeps from then on the jobs that it still has.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			_, err := c.changeAgent(ctx, args[0], crony.AgentChange{Cordon: &crony.CordonChange{On: true, Reason: reason}})
			return c.acted(args[0], "cordoned", err)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few `WORDS`, for those who look at the agent later")
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

func (c *cli) agentUncordonCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uncordon AGENT",
		Short: "Have an agent get jobs again",
		Args:  cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			_, err := c.changeAgent(ctx, args[0], crony.AgentChange{Cordon: &crony.CordonChange{}})
			return c.acted(args[0], "uncordoned", err)
		}),
	}
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

func (c *cli) agentLabelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "label AGENT KEY=VALUE|KEY|KEY- ...",
		Short: "Set labels of an agent, or take away what was set",
		Long: `Label sets labels over what the agent says of itself: KEY=VALUE, or KEY for one whose value is empty, which makes the
agent one of a group. KEY- takes away what was set: if the agent says a label of that key itself, that one shows again. To remove
a label that the agent says itself, change the agent's configuration.`,
		Example: "  crony agent label web-1 zone=north gpu old-",
		Args:    cobra.MinimumNArgs(2),
		RunE: work(func(ctx context.Context, args []string) error {
			change := crony.AgentChange{Labels: map[string]*string{}}
			for _, text := range args[1:] {
				if key, ok := strings.CutSuffix(text, "-"); ok && !strings.Contains(text, "=") {
					change.Labels[key] = nil
					continue
				}
				key, value, _ := strings.Cut(text, "=")
				change.Labels[key] = &value
			}
			_, err := c.changeAgent(ctx, args[0], change)
			return c.acted(args[0], "labelled", err)
		}),
	}
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

func (c *cli) agentWeightCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "weight AGENT N",
		Short: "Set an agent's share of the jobs",
		Long: fmt.Sprintf(`Weight sets an agent's share of the jobs over what the agent says of itself: one of weight 4 gets twice
the jobs of one of weight 2. It is from 1 to %d; with 0, what the agent says counts again. Jobs that are placed stay where
they are.`, crony.MaxWeight),
		Args: cobra.ExactArgs(2),
		RunE: work(func(ctx context.Context, args []string) error {
			weight, err := strconv.Atoi(args[1])
			if err != nil {
				return crony.Errorf(crony.Invalid, "the weight %q is no number", args[1]).WithHint("1 to %d, or 0", crony.MaxWeight)
			}
			_, err = c.changeAgent(ctx, args[0], crony.AgentChange{Weight: &weight})
			return c.acted(args[0], "weighted", err)
		}),
	}
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

func (c *cli) agentMaxJobsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "max-jobs AGENT N",
		Short: "Bound how many jobs an agent is given",
		Long: `Max-jobs bounds how many jobs an agent may have for it to be given one more, over what the agent says of itself. It is
for jobs that one agent is chosen to have; those that are pinned to it, or that every agent has, come all the same. With 0, what
the agent says counts again. Jobs that are placed stay where they are.`,
		Args: cobra.ExactArgs(2),
		RunE: work(func(ctx context.Context, args []string) error {
			most, err := strconv.Atoi(args[1])
			if err != nil {
				return crony.Errorf(crony.Invalid, "the bound %q is no number", args[1]).WithHint("1 or more, or 0")
			}
			_, err = c.changeAgent(ctx, args[0], crony.AgentChange{MaxJobs: &most})
			return c.acted(args[0], "bounded", err)
		}),
	}
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

// changeAgent refuses what is wrong before anybody is asked.
func (c *cli) changeAgent(ctx context.Context, agent string, change crony.AgentChange) (crony.AgentStatus, error) {
	if faults := change.Faults(); len(faults) > 0 {
		return crony.AgentStatus{}, &crony.Error{Code: crony.Invalid, Message: "the change can't be made", Faults: faults}
	}
	client, err := c.client()
	if err != nil {
		return crony.AgentStatus{}, err
	}
	return client.ChangeAgent(ctx, agent, change)
}
