package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) agentDrainCmd() *cobra.Command {
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:   "drain AGENT",
		Short: "Move an agent's jobs away, and give it no more",
		Long: `Drain cordons an agent and has its jobs go elsewhere, each as its runs there end. Jobs that may run nowhere else stay, and
go on running. It lasts until "crony agent uncordon".

With --wait it says what is left until no run goes on and no more jobs go, and then names the jobs that stay. To be interrupted
ends the waiting, and not the draining.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			a, err := c.changeAgent(ctx, args[0], crony.AgentChange{
				Cordon: &crony.CordonChange{On: true, Drain: true, Reason: reason}})
			if err != nil || !wait {
				return c.acted(args[0], "draining", err)
			}
			return c.agentDrained(ctx, a.ID)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few `WORDS`, for those who look at the agent later")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is done, and say what is left meanwhile")
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

// stillLooks is how many looks one after the other must show no run and the same jobs before those count as jobs that stay: the
// leader moves a job soon after its last run has ended, but not at once.
const stillLooks = 25

// agentDrained waits until an agent has no run and gives away no more jobs.
func (c *cli) agentDrained(ctx context.Context, id string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	said, still, jobs, heard := "", 0, -1, c.now()
	for {
		a, err := client.Agent(ctx, id)
		switch {
		case crony.CodeOf(err) == crony.Unavailable && c.now().Sub(heard) < c.patience: // a server that is restarted, say
		case err != nil:
			return err
		case a.Cordon == nil || !a.Cordon.Drain:
			return crony.Errorf(crony.Conflict, "somebody has ended the draining of %s", a.Name)
		case a.Running > 0 || a.Jobs != jobs:
			still, jobs = 0, a.Jobs
		default:
			still++
		}
		if err == nil {
			heard = c.now()
			if text := left(&a); text != said {
				said = text
				fmt.Fprintf(c.stderr, "crony: %s: %s\n", clean(a.Name), text)
			}
			if a.Running == 0 && (jobs == 0 || still >= stillLooks) {
				return c.sayDrained(ctx, client, &a)
			}
		}
		if err := pause(ctx, c.poll); err != nil {
			return err
		}
	}
}

// left says what an agent that is drained still has.
func left(a *crony.AgentStatus) string {
	text := count(a.Running, "run") + " going on, " + count(a.Jobs, "job") + " left"
	if !a.Up {
		text += "; it is not connected"
	}
	return text
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// namesShown is how many jobs, or runs, are named where there may be many.
const namesShown = 20

// sayDrained says that an agent is drained, and names the jobs that stay.
func (c *cli) sayDrained(ctx context.Context, client *sdk.Client, a *crony.AgentStatus) error {
	if a.Jobs > 0 {
		names, err := jobNamesOf(ctx, client, a)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stderr, "crony: %s: %s may run nowhere else now: %s\n", clean(a.Name), count(a.Jobs, "job"),
			clean(strings.Join(names, ", ")))
	}
	return c.acted(a.Name, "drained", nil)
}

// jobNamesOf returns the names of the first jobs that an agent has, and how many more there are.
func jobNamesOf(ctx context.Context, client *sdk.Client, a *crony.AgentStatus) ([]string, error) {
	page, err := client.ListJobs(ctx, crony.JobQuery{Agent: a.ID, Limit: namesShown})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range page.Items {
		names = append(names, page.Items[i].Job.Name)
	}
	if more := a.Jobs - len(names); more > 0 && page.Next != "" {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return names, nil
}
