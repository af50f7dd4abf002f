package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) runKillCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "kill ID",
		Short: "End a run",
		Long: `Kill ends a run: its processes are sent TERM, and KILL after the job's kill_grace. One that has not begun never does;
an order that no agent has taken is withdrawn. Who ended it, and why, is in the run's reason.

If the run's agent is not connected, it is told when it is back.`,
		Example: "  crony run kill 01KAZ3XHM0T6J5W8Q2B7N4C9DE --reason 'stuck since noon'",
		Args:    cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.runKill(ctx, args[0], reason)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few `WORDS`")
	return cmd
}

func (c *cli) runKill(ctx context.Context, arg, reason string) error {
	id, err := crony.ParseRunID(arg)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	waits, err := client.Kill(ctx, id, reason)
	if err != nil {
		return err
	}
	if c.format != asTable {
		return c.document(map[string]string{"run": string(id), "waits": waits})
	}
	if waits != "" {
		return c.write(fmt.Appendf(nil, "%s is to be ended: %s\n", id, waits))
	}
	return c.write(fmt.Appendf(nil, "%s is to be ended\n", id))
}
